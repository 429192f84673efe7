// Hocuspocus providers: tokens, and what they allow.
import assert from 'node:assert/strict'
import { test } from 'node:test'

import { address, connect, connectSocket, newest, seen, settled, statuses, versions } from '../lib/hocuspocus.js'
import { mintToken, startServer } from '../lib/server.js'
import { until } from '../../lib/wait.mjs'

const secret = 'a secret of at least thirty-two bytes'
const guarded = t => startServer(t, ['--jwt-secret', secret])
const token = (...args) => mintToken(secret, ['--sub', 'ada', ...args])

for (const [name, version] of Object.entries(versions)) {
  test(`x2 ${name}: a token says what may be done with a document`, async t => {
    const server = await guarded(t)
    const write = await token('--document', 'notes/*=write')
    const read = await token('--document', 'notes/*=read')
    const wanted = { 'read-write': [write, () => write, async () => write], readonly: [read, () => read, async () => read] }
    for (const [scope, options] of Object.entries(wanted)) {
      for (const option of options) {
        const client = connect(t, version, server, 'notes/1', { token: option })
        await settled(client)
        assert.equal(client.provider.isAuthenticated, true)
        assert.equal(client.provider.authorizedScope, scope)
        assert.deepEqual([client.granted, client.refusals, client.wire.closes], [1, [], []])
      }
    }
  })

  test(`x2 ${name}: without a good token a document is refused with a reason, and the socket goes on`, async t => {
    const server = await guarded(t)
    const write = await token('--document', 'notes/*=write')
    const wire = connectSocket(t, version, address(server))
    const good = connect(t, version, server, 'notes/1', { wire, token: write })
    await settled(good)
    const bad = {
      rubbish: 'rubbish', 'another secret': await mintToken(secret + '!', ['--sub', 'eve', '--document', '*=write']),
      elsewhere: await token('--document', 'other/*=write'), nothing: undefined, empty: '',
    }
    for (const [reason, option] of Object.entries(bad)) {
      const client = connect(t, version, server, `notes/${reason}`, { wire, token: option })
      await until(`${reason} is refused`, () => client.refusals.length > 0)
      assert.ok(client.refusals[0].length > 10, `a reason that helps: ${client.refusals[0]}`)
      client.text.insert(0, 'not taken')
      assert.equal(client.provider.synced, false)
      assert.equal(client.granted, 0)
    }
    good.text.insert(0, 'taken')
    await settled(good)
    assert.deepEqual([wire.opened, wire.closes], [1, []])

    const readers = Object.keys(bad).map(reason => connect(t, newest, server, `notes/${reason}`, { token: write }))
    const reader = connect(t, newest, server, 'notes/1', { token: write })
    await settled(reader, ...readers)
    assert.equal(reader.text.toString(), 'taken')
    assert.deepEqual(readers.map(({ text }) => text.toString()), readers.map(() => ''))
  })

  test(`x4 ${name}: one of three documents on a socket is refused, the others go on`, async t => {
    const server = await guarded(t)
    const some = await token('--document', 'a=write', '--document', 'b=read')
    const all = await token('--document', '*=write')
    const wire = connectSocket(t, version, address(server))
    const [a, b, c] = ['a', 'b', 'c'].map(document => connect(t, version, server, document, { wire, token: some }))
    const [watcherA, watcherB, watcherC] = ['a', 'b', 'c'].map(document => connect(t, newest, server, document, { token: all }))
    await settled(a, b, watcherA, watcherB, watcherC)
    await until('one is refused', () => c.refusals.length > 0)
    a.text.insert(0, 'a')
    c.text.insert(0, 'c')
    watcherB.text.insert(0, 'b')
    await settled(a, watcherB)
    await until('the others go on', () => watcherA.text.toString() === 'a' && b.text.toString() === 'b')
    assert.equal(watcherC.text.toString(), '')
    assert.equal(watcherC.provider.awareness.getStates().size, 1)
    assert.deepEqual([a, b, c].map(({ granted }) => granted), [1, 1, 0])
    assert.deepEqual([wire.opened, wire.closes], [1, []])
  })

  test(`x7 ${name}: a reader's edits are not taken, and it is told so`, async t => {
    const server = await guarded(t)
    const write = await token('--document', '*=write')
    const read = await token('--document', '*=read')
    const writer = connect(t, newest, server, 'notes', { token: write })
    await settled(writer)
    writer.text.insert(0, 'first ')
    writer.text.delete(0, 1)
    await settled(writer)

    // One that has nothing of its own has nothing unsynced, though its SyncStep2 repeats what it knows.
    const reader = connect(t, version, server, 'notes', { token: read })
    await settled(reader)
    reader.provider.forceSync()
    await settled(reader)
    assert.deepEqual(statuses(reader.wire, 'notes'), [1, 1])
    assert.equal(reader.text.toString(), 'irst ')

    reader.text.insert(0, 'not taken ')
    await until('it is told', () => statuses(reader.wire, 'notes').length === 3)
    writer.text.insert(0, 'second ')
    await until('it hears of others', () => reader.text.toString().includes('second'))
    assert.deepEqual(statuses(reader.wire, 'notes'), [1, 1, 0])
    assert.equal(reader.provider.hasUnsyncedChanges, true)
    // Its SyncStep2 has what the server lacks.
    reader.provider.forceSync()
    await until('it is told again', () => statuses(reader.wire, 'notes').length === 4)
    assert.equal(statuses(reader.wire, 'notes')[3], 0)
    assert.equal(reader.provider.hasUnsyncedChanges, true)
    reader.provider.setAwarenessField('user', 'reader')
    await until('its presence is seen', () => seen(writer, reader)?.user === 'reader')
    assert.equal(writer.text.toString(), 'second irst ')
    assert.deepEqual([reader.wire.opened, reader.wire.closes], [1, []])
  })

  test(`x8 ${name}: a reader sends no stateless messages`, async t => {
    const server = await guarded(t)
    const write = await token('--document', '*=write')
    const read = await token('--document', '*=read')
    const reader = connect(t, version, server, 'notes', { token: read })
    const [ada, bob] = [version, newest].map(version => connect(t, version, server, 'notes', { token: write }))
    await settled(reader, ada, bob)
    ada.provider.sendStateless('hello')
    await until('a reader hears it', () => reader.stateless.length > 0 && bob.stateless.length > 0)
    reader.provider.sendStateless('not passed on')
    reader.provider.setAwarenessField('user', 'reader')
    await until('what it sent afterwards has come', () => [ada, bob].every(client => seen(client, reader)?.user === 'reader'))
    assert.deepEqual([reader, ada, bob].map(({ stateless }) => stateless), [['hello'], [], ['hello']])
    assert.deepEqual([reader.wire.opened, reader.wire.closes], [1, []])
  })
}

for (const name of ['hocuspocus 3.4.4', 'hocuspocus 4.8.0']) {
  test(`x2 ${name}: who was refused may try again on the same socket`, async t => {
    const version = versions[name]
    const server = await guarded(t)
    let answer = 'rubbish'
    const client = connect(t, version, server, 'notes', { token: () => answer })
    client.text.insert(0, 'written before')
    await until('it is refused', () => client.refusals.length > 0)
    answer = await token('--document', '*=write')
    await client.provider.sendToken()
    client.provider.startSync()
    await settled(client)
    const reader = connect(t, newest, server, 'notes', { token: answer })
    await settled(reader)
    assert.equal(reader.text.toString(), 'written before')
    assert.deepEqual([client.granted, client.wire.opened, client.wire.closes], [1, 1, []])
  })
}
