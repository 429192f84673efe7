// The other wires on several servers: y-sweet's client, and Hocuspocus' sockets, whose documents live on different nodes.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'

import { connect as connectYWebsocket, newest as yWebsocket, saved, synced } from '../lib/clients.js'
import { ownerOf, startNodes } from '../lib/cluster.js'
import { SYNC, address, auth, connectSocket, connect as attach, frame, newest, speaker, versions } from '../lib/hocuspocus.js'
import { mintToken } from '../lib/server.js'
import { until } from '../../lib/wait.mjs'
import { open } from '../lib/y-sweet.js'

/** Has `name` live on the node with this index. */
async function settle(t, nodes, index, name, params = {}) {
  const client = connectYWebsocket(t, yWebsocket, nodes[index], name, { params })
  await synced(client)
  client.text.insert(0, `${name}: `)
  await saved(client)
  assert.equal(await ownerOf(nodes, name), index)
  return client
}

describe('other wires on several servers', () => {
  test('n5 an editor of each wire on a node of its own write one document', async t => {
    const nodes = await startNodes(t, 3)
    const first = await settle(t, nodes, 0, 'plan')
    const second = open(t, nodes[1], 'plan', {}, { token: null })
    const third = attach(t, newest, nodes[2], 'plan')
    await until('they have it', () => [second, third].every(({ text }) => text.toString() === 'plan: '))
    second.text.insert(6, 'y-sweet ')
    third.text.insert(6, 'hocuspocus ')
    await until('all have all', () => [first, second, third].every(({ text }) => text.length === 25))
    await until('all is acknowledged', () => !second.provider.hasLocalChanges && third.provider.unsyncedChanges === 0)
    assert.equal(await ownerOf(nodes, 'plan'), 0)
  })

  for (const [version, Provider] of Object.entries(versions)) {
    test(`n7 a socket with documents on three nodes reaches each where it lives (${version})`, async t => {
      const nodes = await startNodes(t, 3)
      const owners = []
      for (const index of [0, 1, 2]) owners.push(await settle(t, nodes, index, `doc-${index}`))
      const wire = connectSocket(t, Provider, address(nodes[0]))
      const clients = [0, 1, 2].map(index => attach(t, Provider, nodes[0], `doc-${index}`, { wire }))
      await until('it has all', () => clients.every(({ text }, i) => text.toString() === `doc-${i}: `))
      clients.forEach(({ text }, i) => text.insert(text.length, `${i}`.repeat(1000)))
      owners.forEach(({ text }) => text.insert(0, 'o'))
      await until('all have all', () => [...clients, ...owners].every(({ text }) => text.length === 1008))
      await until('all is acknowledged', () => clients.every(({ provider }) => provider.unsyncedChanges === 0))

      clients[1].provider.setAwarenessField('user', { name: 'ada' })
      await until('presence reaches the owner', () =>
        [...owners[1].provider.awareness.getStates().values()].some(({ user }) => user?.name === 'ada'))
      clients[1].leave()
      await until('and ends with the document', () =>
        ![...owners[1].provider.awareness.getStates().values()].some(({ user }) => user?.name === 'ada'))
      clients[2].text.insert(0, '!')
      await until('the others go on', () => owners[2].text.toString().startsWith('!'))
      assert.equal(wire.opened, 1)
      assert.deepEqual(wire.closes, [])
      const again = attach(t, Provider, nodes[0], 'doc-1', { wire })
      await until('it can come back', () => again.text.length === 1008)
      assert.equal(wire.opened, 1)
    })
  }

  test('n7 a document that is denied where it lives leaves the others of the socket alone', async t => {
    const key = 'jwt-secret-of-at-least-thirty-two-bytes'
    const nodes = await startNodes(t, 2, ['--jwt-secret', key, '--document-bytes-max', '20KiB', '--auth-timeout', '1s'])
    const token = await mintToken(key, ['--sub', 'ada', '--document', 'doc-*=write', '--expires', '1h'])
    await settle(t, nodes, 0, 'doc-0', { token })
    await settle(t, nodes, 1, 'doc-1', { token })
    const wire = connectSocket(t, newest, address(nodes[0]))
    const [here, there] = [0, 1].map(index => attach(t, newest, nodes[0], `doc-${index}`, { wire, token }))
    await until('both are there', () => [here, there].every(({ text }) => text.length === 7))

    for (let i = 0; i < 3; i++) there.text.insert(0, 'x'.repeat(30_000))
    await until('it is denied', () => there.refusals.length > 0)
    assert.match(there.refusals[0], /4413/)
    await until('the way to its node has ended', async () => await nodes[1].metric('cowrite_connections') === 1)
    here.text.insert(0, 'goes on ')
    await until('the other goes on', () => here.provider.unsyncedChanges === 0)
    assert.equal(wire.opened, 1)
    assert.deepEqual(wire.closes, [])
  })

  test('n14 a large document reaches a slow reader of a Hocuspocus socket on another node, and fills no memory', async t => {
    const nodes = await startNodes(t, 2)
    const client = await settle(t, nodes, 1, 'large')
    const words = client.doc.getArray('words')
    for (let i = 0; i < 20; i++) words.push([new Uint8Array(1024 * 1024).fill(i)])
    await saved(client)
    const before = await nodes[0].metric('process_resident_memory_bytes')
    const slow = await Promise.all(Array.from({ length: 5 }, () => speaker(t, nodes[0])))
    for (const { socket, say } of slow) {
      socket.pause()
      say(auth('large', ''))
      say(frame('large', SYNC, [0, 1, 0]))
    }
    await until('there are ways to its node', async () => await nodes[1].metric('cowrite_connections') === 6)
    await new Promise(resolve => setTimeout(resolve, 1_000))
    const grown = await nodes[0].metric('process_resident_memory_bytes') - before
    assert.ok(grown < 60 * 1024 * 1024, `${grown} bytes for five readers that read nothing of 20 MB`)
    slow.forEach(({ socket }) => socket.resume())
    const bytes = ({ heard }) => heard.reduce((sum, { content }) => sum + content.length, 0)
    await until('they get all of it', () => slow.every(reader => bytes(reader) > 20 * 1024 * 1024))
  })

  test('n7 a socket comes back when the node of one of its documents dies', async t => {
    const nodes = await startNodes(t, 3)
    await settle(t, nodes, 0, 'doc-0')
    const lost = await settle(t, nodes, 1, 'doc-1')
    lost.provider.destroy()
    const wire = connectSocket(t, newest, address(nodes[0]))
    const clients = [0, 1].map(index => attach(t, newest, nodes[0], `doc-${index}`, { wire }))
    await until('both are there', () => clients.every(({ text }) => text.length === 7))
    await nodes[1].stop('SIGKILL')
    clients.forEach(({ text }) => text.insert(0, 'more '))
    await until('both are acknowledged', () => clients.every(({ provider }) => provider.unsyncedChanges === 0), 60_000)
    assert.equal(clients[1].text.toString(), 'more doc-1: ')
    assert.notEqual(await ownerOf(nodes, 'doc-1'), 1)
  })
})
