import assert from 'node:assert/strict'
import { connect as connectTcp } from 'node:net'
import { test } from 'node:test'
import WebSocket from 'ws'
import * as Y from 'yjs'

import { connect, newest, same, saved, synced } from '../lib/clients.js'
import { mintToken, startServer } from '../lib/server.js'
import { until, within } from '../../lib/wait.mjs'

const closed = (url, act) => within('the connection is closed', new Promise((resolve, reject) => {
  const socket = new WebSocket(url)
  socket.once('open', () => act(socket))
  socket.once('close', (code, reason) => resolve({ code, reason: reason.toString() }))
  socket.once('error', error => { if (error.code !== 'ECONNRESET') reject(error) })
}))

const opened = socket => within('the connection is open', new Promise((resolve, reject) =>
  socket.once('open', resolve).once('error', reject)))

test('e15 malformed messages close their connection and nobody else notices', async t => {
  const server = await startServer(t)
  const [ada, bob] = [1, 2].map(() => connect(t, newest, server, 'target'))
  await synced(ada, bob)
  const attacks = {
    'an update whose count lies': [0, 2, 4, 0xff, 0xff, 0xff, 0x7a],
    'a state vector whose count lies': [0, 0, 4, 0xff, 0xff, 0xff, 0x7a],
    'awareness whose count lies': [1, 4, 0xff, 0xff, 0xff, 0x7a],
    'awareness that is no JSON': [1, 5, 1, 9, 1, 1, 0x7b],
    'a sync message of no known kind': [0, 9, 0],
    'a cut message': [0, 2, 100, 1],
    'nothing': [],
  }
  for (const [name, bytes] of Object.entries(attacks)) {
    const { code, reason } = await closed(`${server.url}/target`, socket => socket.send(new Uint8Array(bytes)))
    assert.equal(code, 4400, `${name}: ${reason}`)
  }
  ada.text.insert(0, 'still here')
  await same(ada, bob)
  await saved(ada)
  assert.deepEqual([ada.closes, bob.closes], [[], []])
})

test('e16 text, bad UTF-8, too large and flooding frames close with the code that says so', async t => {
  const server = await startServer(t, ['--message-bytes-max', '64KiB'])
  const url = `${server.url}/frames`
  assert.equal((await closed(url, socket => socket.send('text'))).code, 1003)
  assert.equal((await closed(url, socket => socket.send(Buffer.alloc(64 * 1024 + 1)))).code, 1009)
  assert.equal((await closed(url, socket => socket.send(Buffer.from([0xff, 0xfe]), { binary: false }))).code, 1007)

  const raw = frame => within('the connection is closed', new Promise((resolve, reject) => {
    const [host, port] = server.address.split(':')
    const socket = connectTcp(Number(port), host)
    let bytes = Buffer.alloc(0)
    socket.on('error', () => {})
    socket.on('data', data => {
      const upgraded = bytes.includes('\r\n\r\n')
      bytes = Buffer.concat([bytes, data])
      if (!upgraded && bytes.includes('\r\n\r\n')) for (let i = 0; i < 20; i++) socket.write(frame)
    })
    socket.on('close', () => {
      const at = bytes.lastIndexOf(0x88)
      at < 0 ? reject(new Error('closed without a code')) : resolve(bytes.readUInt16BE(at + 2))
    })
    socket.write('GET /ws/frames HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n' +
      'sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n')
  }))
  const declared = Buffer.from([0x82, 0xff, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0])
  assert.equal(await raw(declared), 1009, 'eight gigabytes declared')
  const empty = Buffer.alloc(600 * 100)
  for (let i = 0; i < empty.length; i += 6) empty[i + 1] = 0x80
  assert.equal(await raw(empty), 1002, 'a flood of empty fragments')
})

test('e17 an update that refers to what nobody has is not applied, and its sender is asked', async t => {
  const server = await startServer(t)
  const ada = connect(t, newest, server, 'gap')
  await synced(ada)
  const elsewhere = new Y.Doc()
  const updates = []
  elsewhere.on('update', update => updates.push(update))
  elsewhere.getText('text').insert(0, 'first')
  elsewhere.getText('text').insert(5, ' second')
  const asked = await within('it is asked for what is missing', new Promise((resolve, reject) => {
    const socket = new WebSocket(`${server.url}/gap`)
    let questions = 0
    socket.on('open', () => socket.send(new Uint8Array([0, 2, updates[1].length, ...updates[1]])))
    socket.on('message', data => {
      if (data[0] === 0 && data[1] === 0 && ++questions === 2) {
        resolve(questions)
        socket.terminate()
      }
    })
    socket.on('close', code => reject(new Error(`closed with ${code}`)))
  }))
  assert.equal(asked, 2)
  assert.equal(ada.text.toString(), '')
})

test('e18 nobody speaks for the client of somebody else', async t => {
  const secret = 'a secret of at least thirty-two bytes'
  const server = await startServer(t, ['--jwt-secret', secret])
  const token = name => mintToken(secret, ['--sub', name, '--document', '*=write'])
  const [ada, bob] = await Promise.all(['ada', 'bob'].map(async name =>
    connect(t, newest, server, 'masks', { params: { token: await token(name) } })))
  await synced(ada, bob)
  ada.provider.awareness.setLocalState({ user: { name: 'Ada' } })
  bob.provider.awareness.setLocalState({ user: { name: 'Bob' } })
  const seen = () => bob.provider.awareness.getStates().get(ada.doc.clientID)?.user?.name
  await until('bob sees ada', () => seen() === 'Ada')

  const id = []
  for (let rest = ada.doc.clientID; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) { id.push(rest); break }
    id.push((rest % 128) | 128)
  }
  const forge = json => {
    const text = Buffer.from(json)
    const entry = [1, ...id, 99, text.length, ...text]
    return new Uint8Array([1, entry.length, ...entry])
  }
  const socket = new WebSocket(`${server.url}/masks?token=${await token('eve')}`)
  await opened(socket)
  socket.send(forge('{"user":{"name":"Eve"}}'))
  socket.send(forge('null'))
  // A message of the forger's own comes after them, so they have been judged when bob sees it.
  socket.send(new Uint8Array([1, 6, 1, 5, 1, 2, 0x7b, 0x7d]))
  await until("bob sees the forger's own message", () => bob.provider.awareness.getStates().has(5))
  assert.equal(seen(), 'Ada')
  assert.ok(await server.metric('cowrite_awareness_refused_total') >= 2)
  socket.terminate()
})

/** Everything that a server says to `bytes` until it ends the connection; `reply` sees each part of it. */
const answerTo = (server, bytes, reply = () => {}) => within('the server ends the connection', new Promise((resolve, reject) => {
  const [host, port] = server.address.split(':')
  const socket = connectTcp(Number(port), host, () => { socket.write(bytes); reply(socket, bytes.subarray(0, 0)) })
  const parts = []
  socket.on('data', part => { parts.push(part); reply(socket, part) })
  socket.on('error', reject)
  socket.on('end', () => { socket.end(); resolve(Buffer.concat(parts)) })
}))

const upgradeOf = path => Buffer.from(`GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
  'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n')
/** A frame with a mask of zeros: its payload is as it is. */
const frameOf = (kind, payload) => Buffer.concat([Buffer.from([0x80 | kind, 0x80 | payload.length, 0, 0, 0, 0]), Buffer.from(payload)])

test('e23 what comes in one packet with the upgrade counts, and one that becomes no WebSocket is plain HTTP', async t => {
  const server = await startServer(t)

  const step2 = Buffer.from([0x82, 5, 0, 1, 2, 0, 0])
  const together = await answerTo(server, Buffer.concat([upgradeOf('/ws/together'), frameOf(2, [0, 0, 1, 0])]), (socket, part) => {
    if (part.includes(step2)) socket.write(frameOf(8, [3, 0xe8]))
  })
  assert.match(together.toString(), /^HTTP\/1\.1 101 /)
  assert.deepEqual([...together.subarray(-4)], [0x88, 2, 3, 0xe8])

  const health = (await answerTo(server, upgradeOf('/livez'))).toString()
  assert.match(health, /^HTTP\/1\.1 200 OK\r\n/)
  assert.match(health, /\r\nconnection: close\r\n/i)
  assert.match(health, /\r\ncontent-length: \d+\r\n/i)
})

test('e28 what is no handshake of one page is refused before it is a WebSocket', async t => {
  const server = await startServer(t)
  const [host, port] = server.address.split(':')
  const handshake = ({ version = '1.1', more = [], key = 'AAAAAAAAAAAAAAAAAAAAAA==', origins = [] } = {}) => Buffer.from([
    `GET /ws/x HTTP/${version}`, `Host: ${host}:${port}`, 'Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13',
    `Sec-WebSocket-Key: ${key}`, ...origins.map(origin => `Origin: ${origin}`), ...more, '', '',
  ].join('\r\n'), 'latin1')
  const status = options => within(`an answer to ${JSON.stringify(options)}`, new Promise((resolve, reject) => {
    const socket = connectTcp(Number(port), host, () => socket.write(handshake(options)))
    socket.on('error', reject)
    let heard = ''
    socket.on('data', part => {
      heard += part.toString('latin1')
      const status = Number(heard.split(' ')[1])
      const close = heard.indexOf('\x88')
      // A WebSocket says something at once: that it lacks everything, or why it closes.
      if (status === 101 && heard.endsWith('\r\n\r\n')) return
      socket.destroy()
      resolve(close > 0 ? heard.charCodeAt(close + 2) * 256 + heard.charCodeAt(close + 3) : status)
    })
  }))

  const own = `http://${server.address}`
  assert.equal(await status(), 101)
  assert.equal(await status({ origins: [own] }), 101)
  assert.equal(await status({ origins: ['http://elsewhere'] }), 4403)
  assert.equal(await status({ origins: ['http://els\xe9where'] }), 4403)
  assert.equal(await status({ origins: [own, 'http://elsewhere'] }), 4403)
  assert.equal(await status({ origins: [own, own] }), 4403)
  assert.equal(await status({ version: '1.0' }), 400)
  assert.equal(await status({ more: ['Content-Length: 3'] }), 400)
  assert.equal(await status({ more: ['Transfer-Encoding: chunked'] }), 400)
  assert.equal(await status({ more: ['Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=='] }), 400)
  assert.equal(await status({ key: 'short==' }), 400)
})

test('h4 messages that never end take no more than they may, and hold up nobody', async t => {
  const server = await startServer(t, ['--unfinished-bytes-max', '4MiB'])
  const ada = connect(t, newest, server, 'honest')
  await synced(ada)
  const [host, port] = server.address.split(':')
  const head = Buffer.from([0x82, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0])
  const codes = []
  let ended = 0
  for (let i = 0; i < 40; i++) {
    const socket = connectTcp(Number(port), host, () => socket.write(upgradeOf(`/ws/never-${i}`)))
    t.after(() => socket.destroy())
    socket.on('error', () => {})
    socket.on('close', () => { ended++ })
    await within('it is open', new Promise(resolve => socket.once('data', resolve)))
    socket.on('data', part => {
      const close = part.lastIndexOf(0x88)
      if (close >= 0) codes.push(part.readUInt16BE(close + 2))
    })
    socket.write(Buffer.concat([head, Buffer.alloc(400_000)]))
  }
  await until('those that are too many are sent away', () => ended >= 29)
  assert.ok(codes.every(code => code === 1013), `${codes}`)
  // Who brings little is let in where others hold all there is.
  for (const bytes of [50_000, 300_000]) {
    ada.text.insert(0, 'x'.repeat(bytes))
    await saved(ada)
  }
  assert.deepEqual(ada.closes, [])
})

test('e24 the close frame reaches a client that is still sending', async t => {
  const server = await startServer(t)
  const flood = Buffer.concat(Array(2_000).fill(frameOf(2, Array(100).fill(0))))
  for (let times = 0; times < 20; times++) {
    const answer = await answerTo(server, Buffer.concat([upgradeOf('/ws/late'), frameOf(1, [0x61]), flood, flood, flood]))
    assert.deepEqual([...answer.subarray(answer.lastIndexOf(0x88)).subarray(2, 4)], [1003 >> 8, 1003 & 255])
  }
})

test('e25 what has arrived counts, also when the connection breaks right behind it', async t => {
  const server = await startServer(t)
  const [host, port] = server.address.split(':')
  const letter = [0, 2, 11, 1, 1, 1, 0, 4, 1, 4, ...Buffer.from('text'), 1, 0x78, 0]
  letter[2] = letter.length - 3
  for (let times = 0; times < 20; times++) {
    await within('the letter is sent', new Promise((resolve, reject) => {
      const socket = connectTcp(Number(port), host, () => socket.write(upgradeOf(`/ws/broken-${times}`)))
      socket.on('error', reject)
      socket.once('data', () => {
        socket.pause()
        socket.write(frameOf(2, letter), () => { socket.resetAndDestroy(); resolve() })
      })
    }))
  }
  for (let times = 0; times < 20; times++) {
    const reader = connect(t, newest, server, `broken-${times}`)
    await until('the letter is there', () => reader.text.toString() === 'x')
    reader.provider.destroy()
  }
})
