// Which of several servers one is (N32).
import assert from 'node:assert/strict'
import { test } from 'node:test'

import { startNodes } from '../lib/cluster.js'
import { run, startServer } from '../lib/server.js'
import { until } from '../../lib/wait.mjs'

test('n32 a server says which of several it is, as the list of all names it', async t => {
  const nodes = await startNodes(t, 2)
  let listed
  await until('all have said how they are reached', async () => {
    const { output } = await run(['nodes', '--database-url', nodes.database, '--json'])
    listed = new Map(JSON.parse(output).map(({ node, address }) => [address, node]))
    return nodes.every(({ cluster }) => listed.has(cluster))
  })
  const version = async server => (await fetch(`${server.http}/version`)).json()
  for (const node of nodes) {
    assert.equal((await version(node)).node, listed.get(node.cluster))
  }
  assert.deepEqual(Object.keys(await version(await startServer(t))), ['name', 'version'])
})
