// What connections hold, and what becomes of a document that cannot be entered for now.
import assert from 'node:assert/strict'
import { connect as connectTcp } from 'node:net'
import { test } from 'node:test'

import { connect, newest, saved, synced } from '../lib/clients.js'
import { follow } from '../lib/followed.js'
import * as hocuspocus from '../lib/hocuspocus.js'
import { startServer } from '../lib/server.js'
import { until, within } from '../../lib/wait.mjs'
import { speaker } from '../lib/wire.js'

const handshake = 'GET /ws/a HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n' +
  'sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n'

for (const [name, version] of Object.entries(hocuspocus.versions)) {
  test(`l56 a document that cannot be entered for now leaves the others of its connection alone, with ${name}`, async t => {
    const server = await startServer(t, ['--sessions-per-document', '1'])
    await speaker(t, server, 'full')
    const wire = hocuspocus.connectSocket(t, version, hocuspocus.address(server))
    const free = hocuspocus.connect(t, version, server, 'free', { wire })
    await hocuspocus.settled(free)
    const outside = hocuspocus.connect(t, version, server, 'full', { wire })
    await until('it is told', () => outside.refusals.length > 0)
    assert.match(outside.refusals[0], /^too many people have this document open: come back in \d+ s \(1013\)$/)
    free.text.insert(0, 'goes on')
    await hocuspocus.settled(free)
    assert.deepEqual([wire.opened, wire.closes, free.refusals], [1, [], []])
  })

  test(`l56 whoever has nothing else on its connection comes back by itself, with ${name}`, async t => {
    const server = await startServer(t, ['--sessions-per-document', '1'])
    const first = await speaker(t, server, 'full')
    const outside = hocuspocus.connect(t, version, server, 'full')
    await until('it is closed', () => outside.wire.closes.length > 0)
    assert.equal(outside.wire.closes[0].code, 1013)
    assert.match(outside.wire.closes[0].reason, /too many people have this document open: come back in \d+ s/)
    first.socket.close()
    await hocuspocus.synced(outside)
    assert.deepEqual(outside.refusals, [])
  })
}

for (const [name, version] of Object.entries(hocuspocus.versions)) {
  test(`w100 what was written in a document that is refused for now is saved when it is let in, with ${name}`, async t => {
    const server = await startServer(t, ['--sessions-per-document', '1'])
    const [first] = [await speaker(t, server, 'full'), await speaker(t, server, 'left')]
    const wire = hocuspocus.connectSocket(t, version, hocuspocus.address(server))
    await hocuspocus.settled(hocuspocus.connect(t, version, server, 'free', { wire }))
    // The one that is refused first would ask again first, and what takes seconds takes none.
    t.mock.method(Math, 'random', () => 0)
    const { setTimeout } = globalThis
    t.mock.method(globalThis, 'setTimeout', (run, ms, ...more) => setTimeout(run, ms >= 5_000 && ms < 20_000 ? ms / 50 : ms, ...more))
    const left = hocuspocus.connect(t, version, server, 'left', { wire })
    await follow(t, left).until('refused')
    left.leave()
    const saidBefore = wire.said.filter(({ name }) => name === 'left').length

    const outside = hocuspocus.connect(t, version, server, 'full', { wire })
    const page = follow(t, outside)
    outside.text.insert(0, 'kept')
    await page.until('refused')
    assert.equal(page.saved.closed.code, 1013)
    first.socket.close()
    await page.until('saved')

    assert.deepEqual([page.saved.closed, wire.opened, wire.closes], [null, 1, []])
    assert.equal(wire.said.filter(({ name }) => name === 'left').length, saidBefore)
  })
}

test('l57 what memory is held for is counted by kind, and goes again', async t => {
  const server = await startServer(t, ['--idle-timeout', '1s'])
  const ada = connect(t, newest, server, 'large')
  await synced(ada)
  ada.doc.getMap('map').set('picture', new Uint8Array(12_000_000))
  await saved(ada)
  const held = kind => server.metric(`cowrite_${kind}_bytes`)
  assert.ok(await held('documents') > 12_000_000)
  assert.equal(await held('outboxes'), 0)

  // One asks for it and does not read, and one does not end its message.
  const masked = (bytes, length = bytes.length) => Buffer.concat([Buffer.from([0x82, 0xFF, 0, 0, 0, 0, ...[24, 16, 8, 0].map(bits => (length >>> bits) & 255), 0, 0, 0, 0]), bytes])
  const opens = async (name, bytes) => {
    const socket = connectTcp(Number(server.address.split(':').at(-1)), '127.0.0.1')
    t.after(() => socket.destroy())
    socket.on('error', () => {})
    socket.write(handshake.replace('/ws/a', `/ws/${name}`))
    await within('it is upgraded', new Promise(resolve => socket.once('data', resolve)))
    socket.pause()
    socket.write(bytes)
    return socket
  }
  const sockets = [await opens('large', masked(Buffer.from([0, 0, 1, 0]))), await opens('other', masked(Buffer.alloc(2_000_000), 4_000_000))]
  await until('it waits to be read', async () => await held('outboxes') > 1_000_000)
  await until('it is not complete', async () => await held('unfinished') > 1_500_000)

  sockets.forEach(socket => socket.destroy())
  ada.provider.destroy()
  for (const kind of ['outboxes', 'unfinished', 'documents', 'answers', 'unsaved']) await until(`no ${kind} are held`, async () => await held(kind) === 0, 30_000)
})
