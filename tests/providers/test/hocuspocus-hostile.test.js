// The wire of Hocuspocus against clients that do not keep to it.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as Y from 'yjs'

import { connect as connectYWebsocket, versions as yWebsockets } from '../lib/clients.js'
import {
  addressed, address, auth, AUTH, AWARENESS, BROADCAST_STATELESS, CLOSE, connect, connectSocket, frame, newest, settled, speaker,
  STATELESS, SYNC, SYNC_STATUS, versions,
} from '../lib/hocuspocus.js'
import { mintToken, startServer } from '../lib/server.js'
import { until, within } from '../../lib/wait.mjs'
import { announcement, step1, step2, string, update, varUint } from '../lib/wire.js'

const secret = 'a secret of at least thirty-two bytes'
const guarded = (t, ...flags) => startServer(t, ['--jwt-secret', secret, ...flags])
const token = () => mintToken(secret, ['--sub', 'ada', '--document', '*=write'])

/** Updates of one new client, a letter each. */
function letters(count) {
  const doc = new Y.Doc()
  const updates = []
  doc.on('update', bytes => updates.push(bytes))
  for (let i = 0; i < count; i++) doc.getText('text').insert(i, 'x')
  return updates
}

/** Somebody well behaved on a document of its own and on `name`: that they are served is what the tests ask for. */
async function honest(t, server, name, option) {
  const wire = connectSocket(t, newest, address(server))
  const [own, shared] = ['own', name].map(document => connect(t, newest, server, document, { wire, token: option }))
  const other = connect(t, versions['hocuspocus 2.15.3'], server, name, { token: option })
  await settled(own, shared, other)
  let round = 0
  return async what => {
    const text = `round ${++round} `
    own.text.insert(0, text)
    shared.text.insert(0, text)
    await settled(own, shared)
    await until(`${what}: others are served`, () => other.text.toString().startsWith(text))
    assert.deepEqual([wire.opened, other.wire.opened, wire.closes, other.wire.closes], [1, 1, [], []], what)
    assert.deepEqual([own, shared, other].map(({ stateless }) => stateless), [[], [], []], what)
  }
}

test('x13 what is sent before a token is bounded in bytes, messages and documents', async t => {
  const server = await guarded(t)
  const served = await honest(t, server, 'target', await token())
  const mebibyte = Buffer.alloc(1024 * 1024 - 32)
  const floods = {
    'bytes': socket => { for (let i = 0; i < 7; i++) socket.say(addressed('target', update(mebibyte))) },
    'bytes for several documents': socket => { for (let i = 0; i < 7; i++) socket.say(addressed(`page ${i}`, update(mebibyte))) },
    'messages': socket => { for (let i = 0; i < 1_002; i++) socket.say(addressed('target', update([0, 0]))) },
    'messages for several documents': socket => { for (let i = 0; i < 1_100; i++) socket.say(addressed(`page ${i % 50}`, update([0, 0]))) },
    'documents': socket => { for (let i = 0; i < 102; i++) socket.say(addressed(`page ${i}`, update([0, 0]))) },
  }
  for (const [what, flood] of Object.entries(floods)) {
    const socket = await speaker(t, server)
    flood(socket)
    const { code } = await within(`${what}: it is closed`, socket.closed)
    assert.equal(code, 4205, what)
    await served(what)
  }
})

test('x13 what is sent before the token, within the bounds, counts', async t => {
  const server = await guarded(t)
  const good = await token()
  const ada = connect(t, newest, server, 'page 0', { token: good })
  await settled(ada)
  const socket = await speaker(t, server)
  const updates = letters(900)
  const others = Array.from({ length: 89 }, (_, i) => `page ${i + 1}`)
  for (const bytes of updates) socket.say(addressed('page 0', update(bytes)))
  for (const name of others) socket.say(addressed(name, update([0, 0])))
  for (const name of ['page 0', ...others]) socket.say(auth(name, good))
  const acknowledged = () => socket.heard.filter(({ type, content }) => type === SYNC_STATUS && content[0] === 1).length
  await until('all is acknowledged', () => acknowledged() === updates.length + others.length)
  await until('others have it', () => ada.text.toString() === 'x'.repeat(900))
  // Documents that have their token count no more.
  for (let i = 100; i < 195; i++) socket.say(addressed(`page ${i}`, update([0, 0])))
  socket.say(auth('page 100', good))
  await until('it is served', () =>
    socket.heard.some(({ name, type, content }) => name === 'page 100' && type === AUTH && content[0] === 2))
  assert.equal(socket.code, undefined)
})

test('x13 who sends no token is sent away after a while', async t => {
  const server = await guarded(t, '--auth-timeout', '1s')
  const served = await honest(t, server, 'target', await token())
  const silent = await speaker(t, server)
  const talking = await speaker(t, server)
  const chatter = setInterval(() => talking.say(addressed('target', announcement(1))), 100)
  t.after(() => clearInterval(chatter))
  for (const socket of [silent, talking]) {
    const { code } = await within('it is closed', socket.closed)
    assert.equal(code, 4205)
  }
  await served('after a deadline')
})

test('x15 malformed messages concern nobody but who sends them', async t => {
  const server = await startServer(t)
  const served = await honest(t, server, 'target')
  const closed = {
    'nothing': [],
    'an address alone': string('target'),
    'an address that is cut': [...varUint(100), ...Buffer.from('target')],
    'an address whose length lies': [0xff, 0xff, 0xff, 0xff, 0x7f, 1],
    'an address whose length never ends': Array(20).fill(0xff),
    'an address that is not UTF-8': [2, 0xc3, 0x28, SYNC, 0, 1, 0],
    'no address': [0, SYNC, 0, 1, 0],
    'a sync message of no known kind': frame('target', SYNC, [9, 0]),
    'an update that is cut': frame('target', SYNC, [2, 100, 1]),
    'an update whose count lies': frame('target', SYNC, [2, 4, 0xff, 0xff, 0xff, 0x7a]),
    'a state vector whose count lies': frame('target', SYNC, [0, 4, 0xff, 0xff, 0xff, 0x7a]),
    'awareness whose count lies': frame('target', AWARENESS, [4, 0xff, 0xff, 0xff, 0x7a]),
    'awareness that is no JSON': frame('target', AWARENESS, [5, 1, 9, 1, 1, 0x7b]),
    'a stateless message that is cut': frame('target', STATELESS, [100, 1]),
    'a stateless message that is not UTF-8': frame('target', STATELESS, [2, 0xc3, 0x28]),
    'a message for other servers': frame('target', BROADCAST_STATELESS, string('for all')),
  }
  for (const [what, bytes] of Object.entries(closed)) {
    const socket = await speaker(t, server)
    socket.say(auth('target', ''))
    socket.say(addressed('target', step1()))
    await until(`${what}: it is let in`, () => socket.heard.some(({ type }) => type === SYNC))
    socket.say(Uint8Array.from(bytes))
    await within(`${what}: it is closed`, socket.closed)
    await served(what)
  }
  for (const what of ['a token that is cut', 'a token whose length lies']) {
    const socket = await speaker(t, server)
    socket.say(frame('target', AUTH, [0, ...(what.includes('cut') ? [5, 1] : [0xff, 0xff, 0xff, 0xff, 0x7f])]))
    await within(`${what}: it is closed`, socket.closed)
    await served(what)
  }
})

test('x15 an unknown kind of message, or one for a document that is not open, harms nobody', async t => {
  const server = await startServer(t)
  const served = await honest(t, server, 'target')
  for (const bytes of [
    frame('target', 42, [1, 2, 3]), frame('target', 4, [0, 1, 0]), frame('target', AUTH, [1, ...string('denied')]),
    frame('own', CLOSE), frame('own', STATELESS, string('x')), addressed('own', announcement(1)),
  ]) {
    const socket = await speaker(t, server)
    socket.say(auth('target', ''))
    socket.say(addressed('target', step1()))
    await until('it is let in', () => socket.heard.some(({ type }) => type === SYNC))
    socket.say(bytes)
    await served(bytes.toString('hex'))
  }
})

test('x15 a document whose name the server does not take is refused, and the others of the socket go on', async t => {
  const server = await startServer(t)
  const served = await honest(t, server, 'target')
  const wire = connectSocket(t, newest, address(server))
  const good = connect(t, newest, server, 'target', { wire })
  for (const name of ['x'.repeat(513), 'ä'.repeat(257), 'a\nb']) {
    const bad = connect(t, newest, server, name, { wire })
    await until('it is refused', () => bad.refusals.length > 0)
    assert.ok(bad.refusals[0].length > 10, `a reason that helps: ${bad.refusals[0]}`)
    bad.leave()
  }
  const longest = connect(t, newest, server, 'ä'.repeat(256), { wire })
  await settled(good, longest)
  assert.deepEqual([wire.opened, wire.closes], [1, []])
  await served('after bad names')
})

for (const [name, version] of Object.entries(versions)) {
  test(`x18 ${name} at the address of y-websocket is told the right one`, async t => {
    const server = await startServer(t)
    const client = connect(t, version, server, 'notes', { wire: connectSocket(t, version, `${server.url}/notes`) })
    await until('it is closed', () => client.wire.closes.length > 0)
    assert.equal(client.wire.closes[0].code, 4400)
    assert.match(client.wire.closes[0].reason, /\/hocuspocus/)
  })
}

for (const [name, Provider] of Object.entries(yWebsockets)) {
  test(`x18 ${name} at the address of Hocuspocus is told the right one`, async t => {
    const server = await startServer(t)
    const client = connectYWebsocket(t, Provider, { url: address(server) }, 'notes')
    await until('it is closed', () => client.closes.length > 0)
    assert.equal(client.closes[0].code, 4400)
    assert.match(client.closes[0].reason, /\/ws\/notes/)
    assert.equal(client.provider.synced, false)
  })
}
