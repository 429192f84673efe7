// What concerns one document, or one node, and leaves the rest of a client's documents alone; how carried connections end.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'

import { connect as connectYWebsocket, newest as yWebsocket, saved, synced } from '../lib/clients.js'
import { ownerOf, startNodes } from '../lib/cluster.js'
import { address, connectSocket, connect as attach, newest, versions } from '../lib/hocuspocus.js'
import { until } from '../../lib/wait.mjs'

/** Has `name` live on the node with this index. */
async function settle(t, nodes, index, name) {
  const client = connectYWebsocket(t, yWebsocket, nodes[index], name)
  await synced(client)
  client.text.insert(0, `${name}: `)
  await saved(client)
  assert.equal(await ownerOf(nodes, name), index)
  return client
}

describe('one document of many', () => {
  for (const [version, Provider] of Object.entries(versions)) {
    test(`n60 a document whose node has no room for it leaves the others of a socket alone (${version})`, async t => {
      const nodes = await startNodes(t, 2, ['--sessions-per-document', '1'])
      await settle(t, nodes, 1, 'full')
      const wire = connectSocket(t, Provider, address(nodes[0]))
      const here = attach(t, Provider, nodes[0], 'here', { wire })
      await until('it is there', () => here.provider.synced)
      const full = attach(t, Provider, nodes[0], 'full', { wire })
      await until('it is denied', () => full.refusals.length > 0)
      assert.match(full.refusals[0], /too many people.*\(1013\)/)
      here.text.insert(0, 'goes on')
      await until('the other goes on', () => here.provider.unsyncedChanges === 0)
      assert.equal(wire.opened, 1)
      assert.deepEqual(wire.closes, [])
    })
  }

  test('n60 a socket whose only document has no room on its node waits, and comes back until it has', async t => {
    const nodes = await startNodes(t, 2, ['--sessions-per-document', '1'])
    const owner = await settle(t, nodes, 1, 'full')
    const only = attach(t, newest, nodes[0], 'full')
    await until('it is told to come back', () => only.wire.closes.length > 0)
    assert.equal(only.wire.closes[0].code, 1013)
    assert.deepEqual(only.refusals, [])
    owner.provider.destroy()
    await until('it is in', () => only.text.toString() === 'full: ', 60_000)
  })
})

describe('carried connections', () => {
  test('n61 who is carried by a node that stops is told to come back, in time', async t => {
    const nodes = await startNodes(t, 2)
    await settle(t, nodes, 0, 'plan')
    const carried = Array.from({ length: 20 }, () => connectYWebsocket(t, yWebsocket, nodes[1], 'plan'))
    await synced(...carried)
    const inner = attach(t, newest, nodes[1], 'plan')
    await until('it is in', () => inner.provider.synced)
    const writes = setInterval(() => carried.forEach(({ text }) => text.insert(0, 'x'.repeat(200))), 5)
    t.after(() => clearInterval(writes))
    await until('they write', () => carried[0].text.length > 10_000)
    const { code } = await nodes[1].stop('SIGTERM')
    clearInterval(writes)
    assert.equal(code, 0, nodes[1].log)
    await until('all have ended', () => carried.every(({ closes }) => closes.length > 0) && inner.wire.closes.length > 0)
    assert.deepEqual([...new Set(carried.map(({ closes }) => closes[0].code))], [1012])
    assert.equal(inner.wire.closes[0].code, 1012)
  })

  test('n61 who is carried to a node that dies is told to come back', async t => {
    const nodes = await startNodes(t, 2)
    await settle(t, nodes, 0, 'plan')
    const carried = Array.from({ length: 5 }, () => connectYWebsocket(t, yWebsocket, nodes[1], 'plan'))
    await synced(...carried)
    await nodes[0].stop('SIGKILL')
    await until('all have ended', () => carried.every(({ closes }) => closes.length > 0))
    assert.deepEqual([...new Set(carried.map(({ closes }) => closes[0].code))], [1012])
    await until('they are back', () => carried.every(({ provider }) => provider.synced))
    assert.equal(await ownerOf(nodes, 'plan'), 1)
  })
})
