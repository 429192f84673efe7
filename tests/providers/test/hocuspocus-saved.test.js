// Hocuspocus providers: what is acknowledged is durable, and nothing is acknowledged twice.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as Y from 'yjs'

import {
  addressed, auth, connect, newest, seen, settled, speaker, statuses, SYNC, synced, versions,
} from '../lib/hocuspocus.js'
import { startServer } from '../lib/server.js'
import { until } from '../../lib/wait.mjs'
import { step1, step2, update } from '../lib/wire.js'

/** How many messages of a client, SyncStep2 or Update, the server has to acknowledge. */
const changes = ({ wire }) => wire.said.filter(({ type, content }) => type === SYNC && content[0] > 0).length

/** Resolves when whatever the server had to say to `client` has come. */
async function caughtUp(client, other) {
  client.provider.forceSync()
  await settled(client)
  other.doc.getMap('marks').set('mark', Math.random())
  await until('it has what the other one wrote last', () =>
    client.doc.getMap('marks').get('mark') === other.doc.getMap('marks').get('mark'))
  // An edit is with the others before it is durable.
  await settled(other)
}

for (const [name, version] of Object.entries(versions)) {
  test(`x6 ${name}: every message with changes is acknowledged once`, async t => {
    const server = await startServer(t)
    const ada = connect(t, version, server, 'counted')
    const bob = connect(t, newest, server, 'counted')
    await settled(ada, bob)
    for (let i = 0; i < 300; i++) {
      ada.text.insert(i, 'a')
      if (i % 10 === 0) bob.text.insert(0, 'b')
    }
    assert.equal(ada.provider.hasUnsyncedChanges, true)
    await settled(ada, bob)
    // What says nothing new counts, too.
    ada.provider.documentUpdateHandler(Y.encodeStateAsUpdate(ada.doc), 'sent again')
    ada.provider.documentUpdateHandler(new Uint8Array([0, 0]), 'nothing')
    await settled(ada)
    await caughtUp(ada, bob)
    for (const client of [ada, bob]) {
      assert.deepEqual(statuses(client.wire, 'counted'), Array(changes(client)).fill(1))
      assert.equal(Math.min(...client.counts), 0)
      assert.equal(client.wire.opened, 1)
    }
    assert.ok(changes(ada) >= 300, `${changes(ada)} changes`)
  })

  test(`x6 ${name}: what is acknowledged survives SIGKILL in that moment`, async t => {
    const server = await startServer(t)
    for (let round = 0; round < 3; round++) {
      const ada = connect(t, version, server, `killed ${round}`)
      await settled(ada)
      const killed = new Promise(resolve => ada.provider.on('unsyncedChanges', () => {
        if (ada.provider.unsyncedChanges === 0) resolve(server.stop('SIGKILL'))
      }))
      for (let i = 0; i < 50; i++) ada.text.insert(0, `${i} `)
      const text = ada.text.toString()
      await killed
      ada.leave()
      ada.wire.end()

      await server.start()
      const reader = connect(t, newest, server, `killed ${round}`)
      await settled(reader)
      assert.equal(reader.text.toString(), text)
      reader.wire.end()
    }
  })

  test(`x6 ${name}: what it is asked for of the server's own accord is not acknowledged`, async t => {
    const server = await startServer(t)
    const ada = connect(t, version, server, 'asked')
    const bob = connect(t, newest, server, 'asked')
    await settled(ada, bob)
    const before = changes(ada)
    // The provider does not send what seems to have come from itself, so what follows it refers to what is missing.
    ada.doc.transact(() => ada.text.insert(0, 'not sent '), ada.provider)
    ada.text.insert(ada.text.length, 'sent')
    await settled(ada)
    await until('bob has both', () => bob.text.toString() === 'not sent sent')
    ada.text.insert(0, 'and on ')
    await settled(ada)
    // Two edits and one answer; the provider counts the edits alone.
    assert.equal(changes(ada), before + 3)
    await caughtUp(ada, bob)
    assert.deepEqual(statuses(ada.wire, 'asked'), Array(before + 3).fill(1), 'with one for forceSync')
    assert.equal(Math.min(...ada.counts), 0)
  })

  test(`x9 ${name}: forceSync is answered, and brings what is missing`, async t => {
    const server = await startServer(t)
    const ada = connect(t, version, server, 'forced')
    const bob = connect(t, newest, server, 'forced')
    await settled(ada, bob)
    for (let i = 0; i < 3; i++) {
      ada.provider.forceSync()
      assert.equal(ada.provider.unsyncedChanges, 1)
      await settled(ada)
    }
    // The provider does not send what seems to have come from itself.
    ada.doc.transact(() => ada.text.insert(0, 'not sent'), ada.provider)
    ada.provider.setAwarenessField('user', 'ada')
    await until('bob has what came after it', () => seen(bob, ada)?.user === 'ada')
    assert.equal(bob.text.toString(), '')
    ada.provider.forceSync()
    await until('bob has the rest', () => bob.text.toString() === 'not sent')
    await settled(ada)
  })

  test(`x11 ${name}: after a stop providers come back by themselves, with what was written meanwhile`, async t => {
    const server = await startServer(t)
    const ada = connect(t, version, server, 'stopped')
    const bob = connect(t, version, server, 'stopped')
    await settled(ada, bob)
    ada.text.insert(0, 'before')
    await settled(ada)
    assert.deepEqual(await server.stop('SIGTERM'), { code: 0, signal: null }, server.log)
    await until('both have heard of it', () => [ada, bob].every(({ wire }) => wire.closes.length > 0))
    assert.deepEqual([ada, bob].map(({ wire }) => wire.closes[0].code), [1012, 1012])
    assert.equal(ada.provider.synced, false)
    ada.text.insert(0, 'ada offline ')
    bob.text.insert(bob.text.length, ' bob offline')

    await server.start()
    await synced(ada, bob)
    await until('both have both', () => [ada, bob].every(({ text }) => text.toString() === 'ada offline before bob offline'))
    await until('nothing is left', () => [ada, bob].every(({ provider }) => !provider.hasUnsyncedChanges))
    await server.stop('SIGKILL')
    for (const client of [ada, bob]) {
      client.leave()
      client.wire.end()
    }
    await server.start()
    const reader = connect(t, newest, server, 'stopped')
    await settled(reader)
    assert.equal(reader.text.toString(), 'ada offline before bob offline')
  })
}

test('x6 what refers to something that is missing is acknowledged when that has come', async t => {
  const server = await startServer(t)
  const ada = connect(t, newest, server, 'gap')
  await settled(ada)
  const elsewhere = new Y.Doc()
  const updates = []
  elsewhere.on('update', bytes => updates.push(bytes))
  elsewhere.getText('text').insert(0, 'first')
  elsewhere.getText('text').insert(5, ' second')
  const socket = await speaker(t, server)
  const say = message => socket.say(addressed('gap', message))
  const questions = () => socket.heard.filter(({ type, content }) => type === SYNC && content[0] === 0).length
  const answers = () => statuses(socket, 'gap')
  socket.say(auth('gap', ''))
  say(step1())
  say(step2())
  await until('it is acknowledged', () => answers().length === 1)
  say(update(updates[1]))
  await until('it is asked for what is missing', () => questions() === 2)
  ada.text.insert(0, 'meanwhile ')
  await settled(ada)
  assert.deepEqual(answers(), [1])

  say(step2(Y.encodeStateAsUpdate(elsewhere)))
  await until('the update is acknowledged', () => answers().length === 2)
  await until('it is there', () => ada.text.toString().includes('first second'))
  say(update(Y.encodeStateAsUpdate(elsewhere)))
  await until('what is sent later is', () => answers().length === 3)
  assert.deepEqual(answers(), [1, 1, 1])
})
