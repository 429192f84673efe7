import assert from 'node:assert/strict'
import { request } from 'node:http'
import { test } from 'node:test'
import WebSocket from 'ws'

import { connect, newest, saved, synced, versions } from '../lib/clients.js'
import { mintToken, startServer } from '../lib/server.js'
import { until, within } from '../../lib/wait.mjs'

const secret = 'a secret of at least thirty-two bytes'
const guarded = t => startServer(t, ['--jwt-secret', secret])
const token = (...args) => mintToken(secret, ['--sub', 'ada', ...args])

for (const [version, Provider] of Object.entries(versions)) {
  test(`e8 ${version}: a reader gets everything, changes nothing, and is told`, async t => {
    const server = await guarded(t)
    const write = await token('--document', 'notes/*=write')
    const read = await token('--document', 'notes/*=read')
    const writer = connect(t, Provider, server, 'notes/1', { params: { token: write } })
    await synced(writer)
    const warnings = []
    const warn = console.warn
    console.warn = (...args) => warnings.push(args.join(' '))
    t.after(() => { console.warn = warn })
    const reader = connect(t, Provider, server, 'notes/1', { params: { token: read } })
    await synced(reader)

    reader.text.insert(0, 'not taken')
    writer.text.insert(0, 'taken')
    await until('the reader has it', () => reader.text.toString().includes('taken'))
    await saved(writer)
    await until('the reader is told', () => warnings.some(text => text.includes('read-only')))
    assert.equal(writer.text.toString(), 'taken')
  })

  test(`e9 ${version}: without access it is closed with 4401 or 4403`, async t => {
    const server = await guarded(t)
    const elsewhere = await token('--document', 'other/*=write')
    const cases = [
      [{}, 4401], [{ token: 'rubbish' }, 4401], [{ token: elsewhere }, 4403],
      [{ token: await mintToken(secret + '!', ['--sub', 'eve', '--document', '*=write']) }, 4401],
    ]
    for (const [params, code] of cases) {
      const client = connect(t, Provider, server, 'notes/1', { params })
      await until(`closed with ${code}`, () => client.closes.length > 0)
      assert.equal(client.closes[0].code, code)
      assert.ok(client.closes[0].reason.length > 10, 'a reason that helps')
      assert.equal(client.provider.synced, false)
      client.provider.destroy()
    }
  })
}

test('e9 y-websocket 3.1 does not try again after 4401', async t => {
  const server = await guarded(t)
  const client = connect(t, newest, server, 'notes/1')
  // An older one comes back, by the same schedule: when it has done so four times, this one would have.
  const older = connect(t, versions['y-websocket 2.1.0'], server, 'notes/1')
  await until('closed', () => client.closes.length > 0)
  const before = older.closes.length
  await until('an older provider has tried again four times', () => older.closes.length >= before + 4)
  assert.equal(client.closes.length, 1)
})

test('e10 a session ends with its token, with 4401', async t => {
  const server = await guarded(t)
  // The server allows the clocks to differ by five seconds.
  const client = connect(t, newest, server, 'notes/1', { params: { token: await token('--document', '*=write', '--expires', '1s') } })
  await synced(client)
  await until('closed', () => client.closes.length > 0)
  assert.equal(client.closes[0].code, 4401)
  assert.match(client.closes[0].reason, /expired/)
})

test('e11 a token may come as bearer header or as subprotocol', async t => {
  const server = await guarded(t)
  const jwt = await token('--document', '*=write')
  const open = socket => within('a message', new Promise((resolve, reject) => {
    socket.once('message', () => resolve(socket.protocol))
    socket.once('close', code => reject(new Error(`closed with ${code}`)))
    socket.once('error', reject)
  }))
  const header = new WebSocket(`${server.url}/x`, { headers: { authorization: `Bearer ${jwt}` } })
  assert.equal(await open(header), '')
  const pair = new WebSocket(`${server.url}/x`, ['cowrite', `bearer.${jwt}`])
  assert.equal(await open(pair), 'cowrite')
  const other = new WebSocket(`${server.url}/x?token=${jwt}`, ['anything', 'else'])
  assert.equal(await open(other), 'anything')
  for (const socket of [header, pair, other]) socket.terminate()
})

test('e12 pages of other origins are told the flag that allows them', async t => {
  const server = await startServer(t, ['--allow-origin', 'https://friend.example'])
  const answer = (origin, path = '/ws/x') => within('an answer to the upgrade', new Promise((resolve, reject) => {
    const headers = origin ? { origin } : {}
    const socket = new WebSocket(`ws://${server.address}${path}`, { headers })
    // Whoever is welcome is sent something that is no denial, or nothing before it speaks.
    socket.once('open', () => socket.ping())
    socket.once('pong', () => { resolve('welcome'); socket.terminate() })
    socket.once('close', (code, reason) => resolve(`${code} ${reason}`))
    socket.once('error', reject)
  }))
  for (const origin of [undefined, server.http, 'https://friend.example', 'http://localhost:5173']) {
    assert.equal(await answer(origin), 'welcome', origin)
  }
  const long = `vscode-webview://${'0123456789abcdef'.repeat(15)}`
  for (const path of ['/ws/x', '/hocuspocus']) {
    for (const origin of ['https://evil.example', 'null', 'http://localhost.example:5173', `https://${'preview-'.repeat(4)}1234.example`]) {
      const reason = `this page may not connect; the operator can allow it: --allow-origin ${origin}`
      assert.equal(await answer(origin, path), `4403 ${reason}`)
    }
    // One that finds no room in a close frame is whole in the log.
    assert.match(await answer(long, path), /^4403 this page may not connect; .* the log has the --allow-origin for it$/)
  }
  await server.stop()
  assert.equal(server.log.match(/WARN.*--allow-origin https:\/\/evil.example/g)?.length, 1, server.log)
  assert.ok(server.log.includes(`--allow-origin ${long}\n`), server.log)
})

test('e13 bad document names are refused with what is wrong with them', async t => {
  const server = await startServer(t)
  const closed = path => within(`${path} is closed`, new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://${server.address}${path}`)
    socket.once('close', (code, reason) => resolve([code, reason.toString()]))
    socket.once('error', reject)
  }))
  for (const [path, reason] of [
    ['/ws/', /empty/], ['/ws/a%00b', /control character/], ['/ws/' + 'x'.repeat(513), /513 bytes/], ['/ws/%ff', /UTF-8/],
  ]) {
    const [code, text] = await closed(path)
    assert.equal(code, 4400, path)
    assert.match(text, reason)
  }
  const longest = new WebSocket(`ws://${server.address}/ws/${'%C3%A4'.repeat(256)}`)
  await within('a message', new Promise((resolve, reject) => { longest.once('message', resolve); longest.once('close', reject) }))
  longest.terminate()
})

test('e14 a request that is no upgrade is told what the address is for', async t => {
  const server = await startServer(t)
  const answer = await within('an answer', new Promise((resolve, reject) =>
    request(`${server.http}/ws/x`, resolve).once('error', reject).end()))
  assert.equal(answer.statusCode, 426)
  answer.destroy()
})

test('p23 others see who somebody is by the token, whatever its page says', async t => {
  const secret = 'a secret of at least thirty-two bytes'
  const server = await startServer(t, ['--jwt-secret', secret])
  const token = (sub, name) => mintToken(secret, ['--sub', sub, '--name', name, '--color', '#2266cc', '--document', '*=write'])
  const eve = connect(t, newest, server, 'stamped', { params: { token: await token('eve', 'Eve') } })
  const bob = connect(t, newest, server, 'stamped', { params: { token: await token('bob', 'Bob') } })
  await synced(eve, bob)
  eve.provider.awareness.setLocalState({ user: { name: 'Ada', id: 'ada', avatar: 'a.png' }, cursor: 7 })
  await until('she is seen', () => bob.provider.awareness.getStates().get(eve.doc.clientID)?.user)
  assert.deepEqual(bob.provider.awareness.getStates().get(eve.doc.clientID), {
    user: { name: 'Eve', id: 'eve', avatar: 'a.png', color: '#2266cc', verified: ['id', 'name', 'color'] }, cursor: 7,
  })
  assert.deepEqual(eve.provider.awareness.getLocalState().user, { name: 'Ada', id: 'ada', avatar: 'a.png' })
})
