import assert from 'node:assert/strict'
import { test } from 'node:test'

import { connect, newest, same, saved, synced, versions } from '../lib/clients.js'
import { startServer } from '../lib/server.js'
import { until } from '../../lib/wait.mjs'

for (const [version, Provider] of Object.entries(versions)) {
  test(`e1 ${version}: two editors sync both ways, and a newcomer gets everything`, async t => {
    const server = await startServer(t)
    const ada = connect(t, Provider, server, 'notes/für alle')
    ada.text.insert(0, 'before the connection ')
    const bob = connect(t, newest, server, 'notes/für alle')
    await synced(ada, bob)

    ada.text.insert(ada.text.length, 'ada ')
    bob.text.insert(bob.text.length, 'bob ')
    bob.doc.getMap('map').set('key', { nested: [1, 2.5, null, 'x'] })
    await same(ada, bob)
    await until('the map has come', () => ada.doc.getMap('map').get('key'))

    const newcomer = connect(t, Provider, server, 'notes/f%C3%BCr alle')
    await synced(newcomer)
    assert.equal(newcomer.text.toString(), ada.text.toString())
    assert.match(newcomer.text.toString(), /before the connection/)
    assert.deepEqual(newcomer.doc.getMap('map').toJSON(), { key: { nested: [1, 2.5, null, 'x'] } })
  })

  test(`e2 ${version}: after SIGKILL and a restart the client reconnects and nothing saved is missing`, async t => {
    const server = await startServer(t)
    const ada = connect(t, Provider, server, 'killed')
    await synced(ada)
    ada.text.insert(0, 'saved')
    await saved(ada)

    await server.stop('SIGKILL')
    ada.provider.disconnect()
    ada.text.insert(5, ' and offline')
    await server.start()
    const reader = connect(t, newest, server, 'killed')
    await synced(reader)
    assert.equal(reader.text.toString(), 'saved')

    ada.provider.connect()
    await until('the client is back', () => ada.provider.wsconnected && ada.provider.synced)
    await saved(ada)
    await until('the reader has the rest', () => reader.text.toString() === 'saved and offline')
  })

  test(`e3 ${version}: presence comes, changes, and goes with its connection`, async t => {
    const server = await startServer(t)
    const ada = connect(t, Provider, server, 'presence')
    const bob = connect(t, newest, server, 'presence')
    await synced(ada, bob)
    const seen = () => bob.provider.awareness.getStates().get(ada.doc.clientID)

    ada.provider.awareness.setLocalState({ user: { name: 'Ada' } })
    await until('bob sees ada', () => seen()?.user?.name === 'Ada')
    ada.provider.awareness.setLocalStateField('cursor', { anchor: 3 })
    await until('bob sees the cursor', () => seen()?.cursor?.anchor === 3)

    const newcomer = connect(t, newest, server, 'presence')
    await until('a newcomer sees ada', () => newcomer.provider.awareness.getStates().has(ada.doc.clientID))

    ada.provider.ws.terminate?.()
    ada.provider.shouldConnect = false
    await until('ada is gone', () => !seen())
  })
}

test('e4 editors of different documents never meet', async t => {
  const server = await startServer(t)
  const [one, two] = ['a/b', 'a/B'].map(name => connect(t, newest, server, name))
  await synced(one, two)
  one.text.insert(0, 'one')
  two.text.insert(0, 'two')
  await Promise.all([saved(one), saved(two)])
  assert.deepEqual([one, two].map(({ text }) => text.toString()), ['one', 'two'])
})

test('e5 offline edits of two clients merge when both return', async t => {
  const server = await startServer(t)
  const [ada, bob] = ['y-websocket 2.1.0', 'y-websocket 3.1.0'].map(v => connect(t, versions[v], server, 'offline'))
  await synced(ada, bob)
  ada.text.insert(0, 'common')
  await same(ada, bob)
  ada.provider.disconnect()
  bob.provider.disconnect()
  ada.text.insert(0, 'ada ')
  ada.text.delete(4, 3)
  bob.text.insert(bob.text.length, ' bob')
  ada.provider.connect()
  bob.provider.connect()
  await until('both have both', () => ada.text.toString() === 'ada mon bob' && bob.text.toString() === 'ada mon bob')
})

test('e6 a large first sync comes in several messages, each a valid update', async t => {
  const server = await startServer(t)
  const ada = connect(t, newest, server, 'large')
  await synced(ada)
  for (let i = 0; i < 40; i++) ada.text.insert(ada.text.length, String.fromCharCode(97 + i % 26).repeat(100_000))
  await saved(ada)

  const sizes = []
  const reader = connect(t, newest, server, 'large')
  reader.provider.ws.addEventListener('message', ({ data }) => {
    const bytes = new Uint8Array(data)
    if (bytes[0] === 0 && bytes[1] > 0) sizes.push(bytes.length)
  })
  await synced(reader)
  // Not assert.equal: it would print megabytes.
  assert.ok(reader.text.toString() === ada.text.toString(), `${reader.text.length} of ${ada.text.length} characters`)
  assert.ok(sizes.length > 3, `${sizes.length} messages`)
  assert.ok(Math.max(...sizes) <= 1024 * 1024, `${Math.max(...sizes)} bytes`)
})

test('e7 a quiet connection is kept alive for longer than the providers wait', { timeout: 90_000 }, async t => {
  const server = await startServer(t)
  const clients = Object.values(versions).map(Provider => {
    const client = connect(t, Provider, server, 'quiet')
    // Nothing of its own keeps it alive: no awareness, hence no renewals and no echoes.
    client.provider.awareness.setLocalState(null)
    return client
  })
  await synced(...clients)
  // A provider gives up when it has heard nothing for 30 s.
  const since = Date.now()
  await until('each heard something after more than 30 s', () =>
    clients.every(({ provider }) => provider.wsLastMessageReceived - since > 30_000), 80_000)
  assert.deepEqual(clients.map(({ closes }) => closes), [[], [], []])
  assert.ok(clients.every(({ provider }) => provider.wsconnected))
})

for (const [name, Provider] of Object.entries(versions)) {
  test(`p15 ${name}: who reconnects is seen again at once, and not with the next renewal`, async t => {
    const server = await startServer(t)
    const [ada, bob] = ['ada', 'bob'].map(() => connect(t, Provider, server, 'presence'))
    await synced(ada, bob)
    ada.provider.awareness.setLocalStateField('user', { name: 'Ada' })
    const seen = () => bob.provider.awareness.getStates().get(ada.doc.clientID)
    await until('Bob sees Ada', () => seen()?.user?.name === 'Ada')
    const clock = ada.provider.awareness.meta.get(ada.doc.clientID).clock

    ada.provider.disconnect()
    await until('she has gone', () => seen() === undefined)
    ada.provider.connect()
    await until('she is back', () => seen()?.user?.name === 'Ada')
    // A renewal, 15 s later, would be one more.
    assert.equal(ada.provider.awareness.meta.get(ada.doc.clientID).clock, clock + 1)
    assert.deepEqual(ada.provider.awareness.getLocalState(), { user: { name: 'Ada' } })
  })
}
