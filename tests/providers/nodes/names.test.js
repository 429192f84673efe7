// Which of several servers one is (N32).
import assert from 'node:assert/strict'
import { test } from 'node:test'

import { startNodes } from '../lib/cluster.js'
import { run, startServer } from '../lib/server.js'

test('n32 a server says which of several it is, as the list of all names it', async t => {
  const nodes = await startNodes(t, 2)
  const { output } = await run(['nodes', '--database-url', nodes.database, '--json'])
  const listed = new Map(JSON.parse(output).map(({ node, address }) => [address, node]))
  const version = async server => (await fetch(`${server.http}/version`)).json()
  for (const node of nodes) {
    assert.ok(listed.get(node.cluster), output)
    assert.equal((await version(node)).node, listed.get(node.cluster))
  }
  assert.deepEqual(Object.keys(await version(await startServer(t))), ['name', 'version'])
})
