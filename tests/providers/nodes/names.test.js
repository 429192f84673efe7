// Which of several servers one is (N32), and which one has a document (N46).
import assert from 'node:assert/strict'
import { test } from 'node:test'

import { connect, newest, synced } from '../lib/clients.js'
import { ownerOf, startNodes } from '../lib/cluster.js'
import { connect as attach, newest as hocuspocus } from '../lib/hocuspocus.js'
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

test('n46 the node of a document says what is inside it, whichever is asked, and how each session came', async t => {
  const key = 'admin-token-of-at-least-thirty-two-bytes'
  const nodes = await startNodes(t, 2, ['--admin-token', key])
  const [here, there] = await Promise.all(nodes.map(async node => (await (await fetch(`${node.http}/version`)).json()).node))
  const [first, second] = nodes.map(node => connect(t, newest, node, 'plan'))
  await synced(first)
  await synced(second)
  const third = attach(t, hocuspocus, nodes[1], 'plan')
  const all = [first, second, third]
  await until('all are there', () => third.provider.synced)
  all.forEach(({ provider }) => provider.awareness.setLocalStateField('user', { name: 'somebody' }))

  const ask = async (node, name, path = '/inspect.json', headers = {}) =>
    (await fetch(`${node.http}${path}?document=${name}`, { headers })).json()
  const owner = await ownerOf(nodes, 'plan')
  const own = [here, there][owner]
  for (const node of nodes) {
    let inside
    await until('all are told of', async () => {
      inside = await ask(node, 'plan')
      return inside.open && inside.sessions.flatMap(({ clients }) => clients).length === 3
    })
    assert.equal(inside.node, own)
    const through = client => inside.sessions.find(({ clients }) => clients.includes(client.doc.clientID)).node
    assert.deepEqual(all.map(through), [here, there, there])
  }
  const asOperator = { authorization: `Bearer ${key}` }
  for (const node of nodes) {
    const { open, node: has, sessions } = await ask(node, 'plan', '/admin/document', asOperator)
    assert.deepEqual([open, has, sessions.length], [true, own, 3])
  }

  for (const node of nodes) assert.deepEqual(await ask(node, 'nobody'), { document: 'nobody', open: false })
  assert.equal(await ownerOf(nodes, 'nobody'), -1, 'nobody has taken it')
  const alone = await startServer(t)
  await synced(connect(t, newest, alone, 'plan'))
  const inside = await ask(alone, 'plan')
  assert.equal('node' in inside || 'node' in inside.sessions[0], false)
})
