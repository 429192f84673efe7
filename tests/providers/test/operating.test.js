// What an operator, and somebody at a wrong address, is told.
import assert from 'node:assert/strict'
import { test } from 'node:test'

import WebSocket from 'ws'

import { connect, newest, saved, synced } from '../lib/clients.js'
import { connect as connectHocuspocus, connectSocket, newest as newestHocuspocus, settled } from '../lib/hocuspocus.js'
import { run, startServer } from '../lib/server.js'
import { until, within } from '../../lib/wait.mjs'
import { connect as connectYSweet, serverToken } from '../lib/y-sweet.js'
import { DocumentManager } from '@y-sweet/sdk'

const get = (url, accept) => fetch(url, { headers: { accept }, redirect: 'manual' })
const PAGE = 'text/html,application/xhtml+xml,*/*;q=0.8'

/** How a WebSocket at this address is closed. */
const closed = url => within(`${url} is closed`, new Promise((resolve, reject) => {
  const socket = new WebSocket(url)
  socket.once('close', (code, reason) => resolve({ code, reason: reason.toString() }))
  socket.once('error', reject)
}))

test('e30 health and version, for whoever asks by these names', async t => {
  const server = await startServer(t)
  assert.deepEqual(await (await fetch(`${server.http}/healthz`)).text(), 'alive\n')
  const version = await fetch(`${server.http}/version`)
  assert.match(version.headers.get('content-type'), /^application\/json/)
  const { output } = await run(['--version'])
  const { name, version: number } = await version.json()
  assert.equal(`${name} ${number}`, output.trim())
})

test('e51 who watches a server may ask with HEAD', async t => {
  const server = await startServer(t)
  for (const path of ['/livez', '/healthz', '/readyz', '/version', '/metrics', '/ready', '/about.json']) {
    const [asked, seen] = await Promise.all(['HEAD', 'GET'].map(method => fetch(`${server.http}${path}`, { method })))
    const told = ({ status, headers }) => [status, headers.get('content-type')]
    assert.deepEqual(told(asked), told(seen), path)
    assert.equal(seen.status, 200, path)
    assert.equal(await asked.text(), '')
  }
})

test('e31 a wrong address is answered with a page, an object or a line that says what is where', async t => {
  const server = await startServer(t)

  const page = await get(`${server.http}/editor`, PAGE)
  assert.equal(page.status, 404)
  assert.match(page.headers.get('content-type'), /^text\/html/)
  assert.match(page.headers.get('content-security-policy'), /default-src 'none'/)
  assert.match(await page.text(), /<a href="\/">[\s\S]*ws:\/\/HOST\/ws/)

  const object = await get(`${server.http}/editor`, 'application/json')
  assert.equal(object.status, 404)
  const { error, addresses } = await object.json()
  assert.match(error, /nothing is at this address/)
  assert.ok(addresses['/hocuspocus'].includes('ws://HOST/hocuspocus'), JSON.stringify(addresses))

  const line = await get(`${server.http}/editor`, '*/*')
  assert.equal(line.headers.get('content-type'), 'text/plain; charset=utf-8')
  assert.equal(await line.text(), 'nothing is at this address\n')

  const socket = await get(`${server.http}/ws/notes`, PAGE)
  assert.equal(socket.status, 426)
  assert.match(await socket.text(), /connect a Yjs provider to it/)
  const put = await fetch(`${server.http}/`, { method: 'PUT' })
  assert.equal(put.status, 405)
  assert.equal(put.headers.get('allow'), 'GET, HEAD')
})

test('e32 a WebSocket at a wrong address is closed for good, with the right ones', async t => {
  const server = await startServer(t)
  const wrong = connect(t, newest, { url: `ws://${server.address}` }, 'notes')
  await until('it is closed', () => wrong.closes.length > 0)

  assert.equal(wrong.closes[0].code, 4400)
  assert.match(wrong.closes[0].reason, /connect to \/ws, Hocuspocus' to \/hocuspocus$/)
  assert.equal(wrong.provider.shouldConnect, false)
  assert.equal((await closed(`ws://${server.address}/`)).code, 4400)
})

test('e33 a server says where to go when it starts', async t => {
  const server = await startServer(t, ['--base-path', '/collab'])
  await until('it says so', () => server.log.includes(`providers connect to ws://${server.address}/collab/ws (y-websocket) and ` +
    `ws://${server.address}/collab/hocuspocus (Hocuspocus)`))
  const behind = await startServer(t, ['--public-url', 'https://docs.example'])
  await until('it says so', () => behind.log.includes('wss://docs.example/ws (y-websocket)'))
})

const SECRET = '0123456789abcdef0123456789abcdef'

test('e34 each refusal is a line, on every way in, and a flood of them is not', async t => {
  const server = await startServer(t, ['--jwt-secret', SECRET, '--server-token', SECRET.replace('0', 'x'), '--admin-token', SECRET.replace('0', 'y')])
  const line = (what, pattern) => until(`a line about ${what}`, () => server.log.split('\n').some(line => / INFO /.test(line) && pattern.test(line)))

  await closed(`${server.url}/notes?token=a.b.c`)
  await line('a bad token', /GET \/ws\/notes was refused: 4401 /)
  await get(`${server.http}/ws/notes`, '*/*')
  await line('no WebSocket', /GET \/ws\/notes was refused: 426 /)
  await get(`${server.http}/d/notes/as-update`, '*/*')
  await line('a back end', /GET \/d\/notes\/as-update was refused: 401 /)
  await get(`${server.http}/admin/sessions`, '*/*')
  await line('an operator', /GET \/admin\/sessions was refused: 401 /)
  await closed(`ws://${server.address}/notes`)
  await line('a wrong address', /GET \/notes was refused: 4400 /)
  const denied = connectHocuspocus(t, newestHocuspocus, server, 'notes', { token: 'a.b.c' })
  await until('it is denied', () => denied.refusals.length > 0)
  await line('a document', /document notes was denied on connection \d+: 4401 /)

  const lines = () => server.log.split('\n').filter(line => line.includes('/flood')).length
  await Promise.all(Array.from({ length: 200 }, () => get(`${server.http}/ws/flood`, '*/*')))
  await until('what is left out is said', async () => {
    await get(`${server.http}/ws/flood`, '*/*')
    return /\(\d+ refusals before this one are not in the log\)/.test(server.log)
  })
  assert.ok(lines() < 150, `${lines()} lines`)
})

test('e35 c11 at debug each connection and session has its lines, and the store’s pages have none', async t => {
  const server = await startServer(t, [], { log: 'debug' })
  const plain = connect(t, newest, server, 'notes')
  const hocuspocus = connectHocuspocus(t, newestHocuspocus, server, 'plans')
  await synced(plain)
  await settled(hocuspocus)
  plain.text.insert(0, 'x')
  await saved(plain)
  plain.provider.destroy()
  hocuspocus.leave()
  hocuspocus.wire.end()

  for (const pattern of [
    /DEBUG .*session \d+ of document notes begins, from 127\.0\.0\.1:\d+/, /DEBUG .*session \d+ of document notes has joined/,
    /DEBUG .*session \d+ of document notes has ended/, /DEBUG .*connection \d+ begins, from 127\.0\.0\.1:\d+/,
    /DEBUG .*session \d+ of document plans has joined, on connection \d+/, /DEBUG .*session \d+ of document plans has ended/,
    /DEBUG .*connection \d+ has ended/,
  ]) await until(`${pattern}`, () => pattern.test(server.log))
  assert.deepEqual(server.log.split('\n').filter(line => /DEBUG/.test(line) && !/ cowrite/.test(line)), [])
})

test('c10 every line of a JSON log is an object, the first and the last as well', async t => {
  const server = await startServer(t, ['--log-format', 'json', '--jwt-secret', SECRET], { log: 'debug' })
  await closed(`${server.url}/notes?token=a.b.c`)
  const second = await run(['serve', '--listen', server.address, '--data', server.data, '--log-format', 'json'])
  await server.stop()

  assert.equal(second.code, 1)
  const objects = `${server.log}${second.output}`.trim().split('\n').map(line => JSON.parse(line))
  for (const object of objects) assert.deepEqual(Object.keys(object).sort(), ['level', 'message', 'target', 'time'])
  const has = (level, pattern) => objects.some(object => object.level === level && pattern.test(object.message))
  assert.ok(has('info', /was refused: 4401/), server.log)
  assert.ok(has('info', /stopped, everything is saved/))
  assert.ok(has('error', /cannot listen on|in use/), second.output)
  assert.ok(objects.every(({ time }) => Math.abs(new Date(time) - Date.now()) < 600_000))
})

test('e36 below a base path everything of people is there, and what is an operator’s is not', async t => {
  const server = await startServer(t, ['--base-path', '/tools/collab/', '--server-token', serverToken, '--admin-token', SECRET])
  const root = `${server.http}/tools/collab`
  const manager = new DocumentManager(`ys://${encodeURIComponent(serverToken)}@${server.address}/tools/collab`)
  const name = 'notes/today'
  // The SDK puts names into paths as they are.
  const path = encodeURIComponent(name)
  const { token, url, baseUrl } = await manager.getClientToken(path)
  assert.ok(url.startsWith(`ws://${server.address}/tools/collab/d/`), url)
  assert.ok(baseUrl.startsWith(`${root}/d/`), baseUrl)

  const plain = connect(t, newest, { url: `ws://${server.address}/tools/collab/ws` }, encodeURIComponent(name), { params: { token } })
  const wire = connectSocket(t, newestHocuspocus, `ws://${server.address}/tools/collab/hocuspocus`)
  const hocuspocus = connectHocuspocus(t, newestHocuspocus, server, name, { token, wire })
  const ySweet = connectYSweet(t, name, () => manager.getClientToken(path))
  await synced(plain)
  plain.text.insert(0, 'one document')
  await saved(plain)
  await until('all have it', () => [hocuspocus, ySweet].every(({ text }) => text.toString() === 'one document'))
  assert.ok((await manager.getDocAsUpdate(path)).length > 10)

  assert.equal((await get(`${root}/track-saved.js`, '*/*')).status, 200)
  const slash = await get(root, PAGE)
  assert.equal(slash.status, 308)
  assert.equal(slash.headers.get('location'), '/tools/collab/')
  for (const path of ['/', '/d/x', '/track-saved.js', '/tools', '/tools/collaborate/']) {
    assert.equal((await get(`${server.http}${path}`, PAGE)).status, 404, path)
  }
  const lost = await (await get(`${server.http}/`, PAGE)).text()
  assert.match(lost, /this server is below \/tools\/collab\/\.[\s\S]*<a href="\/tools\/collab\/">/)
  const { code, reason } = await closed(`ws://${server.address}/ws/notes`)
  assert.equal(code, 4400)
  assert.match(reason, /\/tools\/collab\/ws, Hocuspocus' to \/tools\/collab\/hocuspocus$/)

  for (const path of ['/livez', '/healthz', '/readyz', '/version', '/metrics']) {
    assert.equal((await get(`${server.http}${path}`, '*/*')).status, 200, path)
    assert.equal((await get(`${root}${path}`, '*/*')).status, 404, path)
  }
  const asOperator = { headers: { authorization: `Bearer ${SECRET}` } }
  assert.equal((await fetch(`${server.http}/admin/sessions`, asOperator)).status, 200)
  assert.equal((await fetch(`${root}/admin/sessions`, asOperator)).status, 404)
})
