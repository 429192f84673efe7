// What one client may take: an honest one that passes, and a greedy one that is stopped.
import assert from 'node:assert/strict'
import { connect as connectTcp } from 'node:net'
import { test } from 'node:test'
import WebSocket from 'ws'
import * as Y from 'yjs'

import { connect, newest, same, saved, synced, versions } from '../lib/clients.js'
import { attempt, behindProxy, from, guarded, tokenOf } from '../lib/counted.js'
import * as hocuspocus from '../lib/hocuspocus.js'
import { startServer } from '../lib/server.js'
import { until, within } from '../../lib/wait.mjs'
import { announcement, confirmed, speaker, update } from '../lib/wire.js'

test('l43 connections of one address are bounded, those of others are not concerned', async t => {
  const server = await behindProxy(t, '--connections-per-address', '3')
  const office = from('6.6.6.6, 203.0.113.7')
  const colleagues = await Promise.all([1, 2, 3].map(() => speaker(t, server, 'a', office)))
  for (const forged of ['203.0.113.7', '1.2.3.4,203.0.113.7']) {
    const { status, retry, text } = await attempt(t, server, 'a', from(forged))
    assert.equal(status, 429)
    assert.ok(retry > 0)
    assert.match(text, /too many connections from your address: come back in \d+ s/)
  }
  assert.ok((await attempt(t, server, 'a', from('203.0.113.8'))).socket)
  colleagues[0].socket.close()
  await until('there is room again', async () => (await attempt(t, server, 'a', office)).socket)
})

test('l41 addresses of one IPv6 network are one client', async t => {
  const server = await behindProxy(t, '--connections-per-address', '1')
  assert.ok((await attempt(t, server, 'a', from('2001:db8:0:1::1'))).socket)
  assert.equal((await attempt(t, server, 'a', from('2001:db8:0:1:ffff::2'))).status, 429)
  assert.ok((await attempt(t, server, 'a', from('2001:db8:0:2::1'))).socket)
})

test('l59 an IPv4 address is the same client in each of its IPv6 forms', async t => {
  const server = await behindProxy(t, '--connections-per-address', '1')
  assert.ok((await attempt(t, server, 'a', from('64:ff9b::203.0.113.7'))).socket)
  for (const form of ['203.0.113.7', '::ffff:203.0.113.7', '2002:cb00:7107:1::1']) assert.equal((await attempt(t, server, 'a', from(form))).status, 429, form)
  assert.ok((await attempt(t, server, 'a', from('64:ff9b::203.0.113.8'))).socket)
})

test('l42 connections from this machine are not counted, and a proxy that is not trusted is logged once', async t => {
  const server = await startServer(t, ['--connections-per-address', '1', '--handshakes-per-second', '1'])
  for (let i = 0; i < 5; i++) assert.ok((await attempt(t, server, 'a')).socket)
  assert.doesNotMatch(server.log, /--trust-proxy/)
  for (let i = 0; i < 5; i++) assert.ok((await attempt(t, server, 'a', from('203.0.113.7'))).socket)
  await until('it is logged', () => server.log.includes('--trust-proxy'))
  assert.equal(server.log.match(/--trust-proxy/g).length, 1)
})

test('l44 connections of one user are bounded, also on several wires', async t => {
  const server = await guarded(t, '--connections-per-user', '2')
  const [ada, bob] = [await tokenOf('ada'), await tokenOf('bob')]
  // Five documents on one socket are one connection.
  const wire = hocuspocus.connectSocket(t, hocuspocus.newest, hocuspocus.address(server))
  const pages = ['a', 'b', 'c', 'd', 'e'].map(name => hocuspocus.connect(t, hocuspocus.newest, server, name, { wire, token: ada }))
  await hocuspocus.settled(...pages)
  assert.ok((await attempt(t, server, `a?token=${ada}`)).socket)
  const refused = await attempt(t, server, `a?token=${ada}`)
  assert.equal(refused.code, 1013)
  assert.match(refused.text, /too many connections of this user: come back in \d+ s/)
  const third = await hocuspocus.speaker(t, server)
  third.say(hocuspocus.auth('a', ada))
  assert.equal((await within('it is closed', third.closed)).code, 1013)
  assert.ok((await attempt(t, server, `a?token=${bob}`)).socket)
  wire.destroy?.() ?? wire.provider?.destroy()
})

test('l45 sessions of one document are bounded', async t => {
  const server = await startServer(t, ['--sessions-per-document', '2'])
  const [first] = [await speaker(t, server, 'a'), await speaker(t, server, 'a')]
  const refused = await attempt(t, server, 'a')
  assert.equal(refused.code, 1013)
  assert.match(refused.text, /too many people have this document open: come back in \d+ s/)
  assert.ok((await attempt(t, server, 'b')).socket)
  first.socket.close()
  await until('there is room again', async () => (await attempt(t, server, 'a')).socket)
})

test('l46 handshakes of one address have a rate', async t => {
  const server = await behindProxy(t, '--handshakes-per-second', '1', '--connections-per-address', '10')
  const ask = async address => {
    const answer = await attempt(t, server, 'a', from(address))
    answer.socket?.terminate()
    return answer
  }
  const greedy = []
  for (let i = 0; i < 60; i++) greedy.push(await ask('203.0.113.7'))
  const refused = greedy.filter(({ status }) => status === 429)
  // Twice as many as there may be connections come at once.
  assert.ok(refused.length > 0 && refused.length <= 40, `${refused.length} of 60 were refused`)
  assert.ok(refused.every(({ retry }) => retry > 0))
  assert.match(refused[0].text, /too many handshakes/)
  assert.ok((await ask('203.0.113.8')).socket)
  await until('it is let in again', async () => (await ask('203.0.113.7')).socket)
})

test('l47 who is refused again and again is told less, and nobody else at the same address notices', async t => {
  const server = await guarded(t, '--refusals-per-minute', '3')
  const office = from('203.0.113.7')
  const bad = []
  for (let i = 0; i < 6; i++) bad.push(await attempt(t, server, 'a?token=bad', office))
  assert.deepEqual(bad.map(({ code, status }) => code ?? status), [4401, 4401, 4401, 429, 429, 429])
  assert.ok(bad[5].retry > 0)
  assert.equal((await attempt(t, server, 'a?token=bad', from('203.0.113.8'))).code, 4401)
  const good = connect(t, newest, server, 'a', { params: { token: await tokenOf('ada') }, WebSocketPolyfill: class extends WebSocket {
    constructor(url, protocols) { super(url, protocols, office) }
  } })
  await synced(good)
})

test('l47 a provider that takes no code for an answer comes back less often', async t => {
  const server = await guarded(t, '--refusals-per-minute', '3')
  const stubborn = connect(t, versions['y-websocket 1.5.4'], server, 'a', { maxBackoffTime: 60_000, params: { token: 'bad' },
    WebSocketPolyfill: class extends WebSocket {
      constructor(url, protocols) { super(url, protocols, from('203.0.113.7')) }
    } })
  // A close code resets its patience; a refused handshake does not.
  await until('its pauses grow', () => stubborn.provider.wsUnsuccessfulReconnects >= 3)
})

test('l47 an old provider whose edits are not taken comes back less often', async t => {
  const server = await guarded(t, '--refusals-per-minute', '3')
  const office = from('203.0.113.7')
  const minted = await tokenOf('ada')
  const page = (version, name) => connect(t, version, server, name, { params: { token: minted }, maxBackoffTime: 100,
    WebSocketPolyfill: class extends WebSocket {
      constructor(url, protocols) { super(url, protocols, office) }
    } })
  const stubborn = page(versions['y-websocket 1.5.4'], 'refused')
  stubborn.doc.getMap('map').set('key', JSON.parse('{"__proto__": 1}'))
  await until('it is told so three times', () => stubborn.closes.length >= 3)
  const told = stubborn.closes.length
  // Its own clock: it came back about ten times a second.
  await new Promise(resolve => setTimeout(resolve, 4_000))
  assert.ok(stubborn.closes.length - told <= 2, `${stubborn.closes.length} closes`)
  assert.ok(stubborn.closes.every(close => close.code === 4400), JSON.stringify(stubborn.closes))

  const honest = page(newest, 'another')
  await synced(honest)
  honest.text.insert(0, 'x')
  await saved(honest)
  assert.deepEqual(honest.closes, [])
})

test('l48 new documents have a rate, and what is there opens all the same', async t => {
  const server = await guarded(t, '--new-documents-per-minute', '5')
  const [ada, bob] = [await tokenOf('ada'), await tokenOf('bob')]
  const open = (name, token, address) => attempt(t, server, `${name}?token=${token}`, from(address))
  // Many who open the same one begin one.
  const pupils = await Promise.all(Array.from({ length: 20 }, () => open('class', ada, '203.0.113.7')))
  assert.ok(pupils.every(({ socket }) => socket))
  const answers = []
  for (let i = 0; i < 6; i++) answers.push(await open(`d${i}`, ada, '203.0.113.7'))
  assert.deepEqual(answers.map(({ code }) => code), [undefined, undefined, undefined, undefined, 1013, 1013])
  assert.match(answers[5].text, /too many new documents .*: come back in \d+ s/)
  assert.equal((await open('d7', ada, '203.0.113.8')).code, 1013, 'the same user from elsewhere')
  assert.equal((await open('d7', bob, '203.0.113.7')).code, 1013, 'another user from there')
  assert.ok((await open('d0', ada, '203.0.113.7')).socket, 'one that is there')
  assert.ok((await open('d7', bob, '203.0.113.8')).socket, 'somebody else from elsewhere')
  const written = await fetch(`${server.http}/d/d8/update`, { method: 'POST', body: new Uint8Array([0, 0]),
    headers: { authorization: `Bearer ${ada}`, 'x-forwarded-for': '203.0.113.7' } })
  assert.equal(written.status, 429)
  assert.ok(Number(written.headers.get('retry-after')) > 0)
})

/** A raw connection, and when it ends. */
function raw(t, server, bytes) {
  const [host, port] = server.address.split(':')
  const socket = connectTcp(Number(port), host)
  let text = ''
  socket.on('data', data => { text += data })
  socket.on('error', () => {})
  const ended = new Promise(resolve => socket.once('close', () => resolve(text)))
  t.after(() => socket.destroy())
  if (bytes) socket.write(bytes)
  return { socket, ended, get text() { return text } }
}

test('l49 a connection that does not ask for anything is closed', async t => {
  const server = await startServer(t, ['--request-timeout', '1s'])
  const silent = raw(t, server)
  const slow = raw(t, server, 'GET /livez HTTP/1.1\r\n')
  const drip = setInterval(() => slow.socket.write('x-a: b\r\n'), 200)
  t.after(() => clearInterval(drip))
  await within('the silent one is closed', silent.ended)
  await within('the slow one is closed', slow.ended)
  const connected = await speaker(t, server, 'a')
  await confirmed(connected)
})

/** What a proxy says that speaks for an IPv4 address. */
function proxied(address, port = 4711) {
  const head = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1')
  const rest = [...address.split('.').map(Number), 127, 0, 0, 1, port >> 8, port & 255, 0, 80]
  return Buffer.from([...head, 0x21, 0x11, 0, rest.length, ...rest])
}

const handshake = 'GET /ws/a HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n' +
  'sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n'

test('l49 connections of one address that are no WebSockets are bounded', async t => {
  const server = await startServer(t, ['--trust-proxy', 'proxy-protocol', '--requests-per-address', '3', '--request-timeout', '1m'])
  const greedy = proxied('203.0.113.7')
  const served = raw(t, server, Buffer.concat([greedy, Buffer.from(handshake)]))
  await until('it is upgraded', () => served.text.startsWith('HTTP/1.1 101'))
  const silent = [1, 2, 3, 4, 5].map(() => raw(t, server, greedy))
  const closed = new Set()
  silent.forEach(({ ended }, i) => ended.then(() => closed.add(i)))
  await until('two of five are closed', () => closed.size === 2)
  const other = raw(t, server, Buffer.concat([proxied('203.0.113.8'), Buffer.from('GET /livez HTTP/1.1\r\nhost: x\r\n\r\n')]))
  await until('others are answered', () => other.text.includes('alive'))
  assert.equal(closed.size, 2)
})

test('l51 the PROXY protocol says whose connection it is', async t => {
  const server = await startServer(t, ['--trust-proxy', 'proxy-protocol', '--connections-per-address', '1'])
  const ask = address => raw(t, server, Buffer.concat([proxied(address), Buffer.from(handshake)]))
  const first = ask('203.0.113.7')
  await until('it is upgraded', () => first.text.startsWith('HTTP/1.1 101'))
  const second = ask('203.0.113.7')
  await until('it is refused', () => second.text.startsWith('HTTP/1.1 429'))
  const other = ask('203.0.113.8')
  await until('it is upgraded', () => other.text.startsWith('HTTP/1.1 101'))
  // Version 1 says the same as a line of text; of an unknown peer the proxy's own connection counts, which is this machine's.
  const askByText = line => raw(t, server, `PROXY ${line}\r\n${handshake}`)
  const third = askByText('TCP4 203.0.113.7 10.0.0.1 4711 80')
  await until('it is refused', () => third.text.startsWith('HTTP/1.1 429'))
  for (const line of ['TCP4 203.0.113.9 10.0.0.1 4711 80', 'TCP6 2001:db8::7 2001:db8::1 4711 80', 'UNKNOWN', 'UNKNOWN']) {
    const taken = askByText(line)
    await until('it is upgraded', () => taken.text.startsWith('HTTP/1.1 101'))
  }
  for (const bad of [handshake, `PROXY TCP4 203.0.113.10\r\n${handshake}`, `PROXY ${'x'.repeat(200)}\r\n${handshake}`]) {
    assert.equal(await within('it is closed', raw(t, server, bad).ended), '')
  }
  await until('it is logged', () => server.log.includes('--trust-proxy'))
})

/** Updates of one client, a letter each. */
function letters(count) {
  const doc = new Y.Doc()
  const updates = []
  doc.on('update', bytes => updates.push(bytes))
  for (let i = 0; i < count; i++) doc.getText('text').insert(i, 'x')
  return updates
}

const floods = {
  'h5 messages': { flags: ['--messages-per-second', '10'], say: speaker => letters(3_000).forEach(bytes => speaker.say(update(bytes))) },
  'h6 bytes': { flags: ['--received-bytes-per-second', '1KiB', '--message-bytes-max', '64KiB'],
    say: speaker => { for (let i = 0; i < 300; i++) speaker.say(announcement(7, i + 1, JSON.stringify({ i, text: 'x'.repeat(30_000) }))) } },
  'h7 presence': { flags: ['--presence-per-second', '10'],
    say: speaker => { for (let i = 0; i < 3_000; i++) speaker.say(announcement(7, i + 1, JSON.stringify({ i }))) } },
}

for (const [name, { flags, say }] of Object.entries(floods)) {
  test(`${name} are read at a pace, others do not notice, and nobody is closed`, async t => {
    const server = await startServer(t, flags)
    const [ada, bob] = [1, 2].map(() => connect(t, newest, server, 'target'))
    await synced(ada, bob)
    const greedy = await speaker(t, server, 'flood')
    say(greedy)
    await until('it was read', async () => await server.metric('cowrite_received_bytes_total') > 1_000)
    for (let i = 0; i < 20; i++) {
      ada.text.insert(0, 'x')
      await saved(ada)
    }
    await same(ada, bob)
    assert.ok(greedy.socket.bufferedAmount > 0 || !greedy.heard.some(({ content }) => Buffer.from(content).includes('2999')))
    const before = await server.metric('cowrite_received_bytes_total')
    assert.equal(greedy.socket.readyState, WebSocket.OPEN)
    await until('it is read on', async () => await server.metric('cowrite_received_bytes_total') > before)
    assert.deepEqual([ada.closes, bob.closes], [[], []])
  })
}

test('h8 costly messages are read at a pace, and others do not notice', async t => {
  const server = await startServer(t, ['--cpu-percent', '1'])
  const [ada, bob] = [1, 2].map(() => connect(t, newest, server, 'target'))
  await synced(ada, bob)
  const greedy = await speaker(t, server, 'flood')
  // Each is 30 kB of structs that have to be judged, and is known after the first.
  const doc = new Y.Doc()
  for (let i = 0; i < 3_000; i++) doc.getMap('map').set(`${i % 7}`, i)
  const costly = update(Y.encodeStateAsUpdate(doc))
  const all = 4_000
  for (let i = 0; i < all; i++) greedy.say(costly)
  await until('it was read', async () => await server.metric('cowrite_updates_total') > 0)
  for (let i = 0; i < 20; i++) {
    ada.text.insert(0, 'x')
    await saved(ada)
  }
  await same(ada, bob)
  const taken = await server.metric('cowrite_updates_total')
  assert.ok(taken < all, `${taken} updates were taken`)
  await until('it is read on', async () => await server.metric('cowrite_updates_total') > taken)
  assert.equal(greedy.socket.readyState, WebSocket.OPEN)
  assert.deepEqual([ada.closes, bob.closes], [[], []])
})
