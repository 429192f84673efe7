// What an operator has for himself: a door of his own, access that is lowered in place, presence of readers, and what every
// answer tells browsers.
import assert from 'node:assert/strict'
import { request } from 'node:http'
import { test } from 'node:test'

import { connect as connectYWebsocket, newest as newestYWebsocket, saved, synced as syncedYWebsocket } from '../lib/clients.js'
import { SYNC_STATUS, connect, newest, settled } from '../lib/hocuspocus.js'
import { mintToken, startServer } from '../lib/server.js'
import { until } from '../../lib/wait.mjs'
import { connect as connectYSweet } from '../lib/y-sweet.js'

const SECRET = 'a secret of at least thirty-two bytes'
const ADMIN = 'an-admin-token-of-thirty-two-bytes'
const SERVER = 'a-server-token-of-thirty-two-bytes'
const KEYS = ['--jwt-secret', SECRET, '--admin-token', ADMIN, '--server-token', SERVER]

const mint = (user, access = 'write') => mintToken(SECRET, ['--sub', user, '--name', user, '--document', `*=${access}`])

async function revoke(server, body) {
  const response = await fetch(`${server.admin ?? server.http}/admin/revoke`, { method: 'POST', headers: { authorization: `Bearer ${ADMIN}` }, body: JSON.stringify(body) })
  return { status: response.status, body: response.ok ? await response.json() : await response.text() }
}

async function clientToken(server, document, userId) {
  const headers = { authorization: `Bearer ${SERVER}`, 'content-type': 'application/json' }
  return await (await fetch(`${server.http}/doc/${document}/auth`, { method: 'POST', headers, body: JSON.stringify({ userId }) })).json()
}

const plain = (t, server, document, token) => {
  const client = connectYWebsocket(t, newestYWebsocket, server, document, { params: { token } })
  client.told = 0
  client.provider.messageHandlers[2] = () => { client.told++ }
  return client
}

test('a13 a writer becomes a reader on the spot, on three wires, is told so, and comes back as one with the same token', async t => {
  const server = await startServer(t, KEYS)
  const [ada, bob] = await Promise.all(['ada', 'bob'].map(user => mint(user)))
  const writer = plain(t, server, 'one', bob)
  const [first, elsewhere] = ['one', 'two'].map(document => plain(t, server, document, ada))
  const second = connect(t, newest, server, 'one', { token: ada })
  const sweetToken = await clientToken(server, 'one', 'ada')
  const third = connectYSweet(t, 'one', async () => sweetToken)
  const toldThird = () => third.heard.filter(([kind]) => kind === 2).length
  await syncedYWebsocket(writer, first, elsewhere)
  await settled(second)
  third.text.insert(0, 'before. ')
  await until('writers they are', () => writer.text.toString() === 'before. ')
  assert.deepEqual([first.told, second.provider.authorizedScope, toldThird()], [0, 'read-write', 0])

  assert.deepEqual(await revoke(server, { user: 'ada', document: 'one', leave: 'read' }), { status: 200, body: { lowered: 3 } })
  await until('all are told', () => first.told === 1 && second.provider.authorizedScope === 'readonly' && toldThird() === 1)
  for (const one of [first, second, third]) one.text.insert(0, 'LOST ')
  const isRefused = ({ type, content }) => type === SYNC_STATUS && content[0] === 0
  await until('each edit is answered', () => first.told === 2 && second.wire.heard.some(isRefused) && toldThird() === 2)
  writer.text.insert(0, 'after. ')
  elsewhere.text.insert(0, 'still a writer')
  await until('readers read', () => [first, second, third].every(({ text }) => text.toString().includes('after. ')))
  await saved(elsewhere)
  assert.equal(writer.text.toString(), 'after. before. ')
  assert.deepEqual([first.closes, second.wire.closes, third.closes, writer.told, elsewhere.told], [[], [], [], 0, 0])
  const asked = await (await fetch(`${server.http}/admin/sessions?user=ada&document=one`, { headers: { authorization: `Bearer ${ADMIN}` } })).json()
  assert.deepEqual(asked.sessions.map(({ access }) => access), ['read', 'read', 'read'])
  assert.deepEqual((await revoke(server, { user: 'ada', document: 'one', leave: 'read' })).body, { lowered: 0 })

  await server.stop('SIGKILL')
  await server.start()
  const again = plain(t, server, 'one', ada)
  await syncedYWebsocket(again)
  assert.equal(again.told, 1, 'a reader from the start')
  await until('a newer token writes', async () => {
    const fresh = plain(t, server, 'one', await mint('ada'))
    await syncedYWebsocket(fresh)
    return fresh.told === 0
  })
})

test('a8 on y-sweet\'s wire a user is out at once, and its client token with it', async t => {
  const server = await startServer(t, KEYS)
  const [ada, bob] = await Promise.all(['ada', 'bob'].map(user => clientToken(server, 'one', user)))
  const [out, stays] = [ada, bob].map(token => connectYSweet(t, 'one', async () => token))
  out.text.insert(0, 'hello')
  await until('both are in', () => stays.text.toString() === 'hello')

  assert.deepEqual((await revoke(server, { user: 'ada' })).body, { ended: 1 })
  await until('ada is out, and is not let in again', () => out.closes.length >= 2)
  assert.deepEqual(out.closes.slice(0, 2), Array(2).fill({ code: 4403, reason: out.closes[0].reason }))
  assert.match(out.closes[0].reason, /the token was revoked/)
  const shown = await fetch(`${server.http}/d/one/as-update`, { headers: { authorization: `Bearer ${ada.token}` } })
  assert.equal(shown.status, 403)
  assert.deepEqual(stays.closes, [])
})

const states = client => [...client.provider.awareness.getStates().values()].map(state => state.user?.name).filter(Boolean).sort()

test('a14 who only reads is seen, or is not, as the operator likes', async t => {
  for (const isSeen of [true, false]) {
    const server = await startServer(t, [...KEYS, ...(isSeen ? [] : ['--reader-presence', 'false'])])
    const [writer, other] = [plain(t, server, 'one', await mint('writer')), plain(t, server, 'one', await mint('other'))]
    const reader = plain(t, server, 'one', await mint('reader', 'read'))
    await syncedYWebsocket(writer, other, reader)
    for (const one of [writer, other, reader]) one.provider.awareness.setLocalStateField('user', { name: 'x' })
    await saved(reader)
    const both = isSeen ? ['other', 'reader', 'writer'] : ['other', 'writer']
    await until('writers are seen', () => ['other', 'writer'].every(name => states(reader).concat('writer', 'other').includes(name)) && states(other).length >= both.length)
    await until('the reader sees the writers', () => states(reader).includes('writer') && states(reader).includes('other'))
    assert.deepEqual(states(other).filter(name => name !== 'x').sort(), both.filter(name => name !== 'other'))

    await revoke(server, { user: 'writer', leave: 'read' })
    await until('the writer is told', () => writer.told === 1)
    const left = isSeen ? ['reader', 'writer'] : []
    await until('who became a reader is seen or gone', () => `${states(other).filter(name => name !== 'x').sort()}` === `${left}`)
    // Once more: what a reader says is dropped.
    writer.provider.awareness.setLocalStateField('user', { name: 'again' })
    await saved(writer)
    assert.deepEqual(states(other).filter(name => name !== 'x').sort(), left)
  }
})

test('a12 /admin and /metrics have an address of their own', async t => {
  const server = await startServer(t, [...KEYS, '--admin-listen', '127.0.0.1:0'])
  const status = async (at, path) => (await fetch(`${at}${path}`, { headers: { authorization: `Bearer ${ADMIN}` } })).status
  const client = plain(t, server, 'one', await mint('ada'))
  await syncedYWebsocket(client)

  assert.deepEqual(await Promise.all(['/admin/sessions', '/metrics', '/livez', '/readyz'].map(path => status(server.admin, path))), [200, 200, 200, 200])
  assert.deepEqual(await Promise.all(['/admin/sessions', '/metrics', '/livez', '/readyz'].map(path => status(server.http, path))), [404, 404, 200, 200])
  assert.deepEqual(await Promise.all(['/', '/ws/one', '/d/one/as-update', '/doc/new'].map(path => status(server.admin, path))), [404, 404, 404, 404])
  assert.equal((await fetch(`${server.admin}/admin/sessions`)).status, 401)
  const upgrade = connectYWebsocket(t, newestYWebsocket, { url: `${server.admin.replace('http', 'ws')}/ws` }, 'one', { params: { token: await mint('ada') }, connect: false })
  let opened = false
  upgrade.provider.on('status', ({ status }) => { opened ||= status === 'connected' })
  const failed = new Promise(resolve => upgrade.provider.on('connection-error', resolve))
  upgrade.provider.connect()
  await failed
  assert.equal(opened, false)
  assert.deepEqual((await revoke(server, { user: 'ada' })).body, { ended: 1 })
  assert.equal((await server.stop('SIGTERM')).code, 0)

  const both = await startServer(t, [...KEYS, '--admin-listen', '127.0.0.1:0', '--public-metrics', 'true'])
  assert.equal(await status(both.http, '/metrics'), 200)
  const hidden = await startServer(t, [...KEYS, '--public-metrics', 'false'])
  assert.deepEqual([await status(hidden.http, '/metrics'), await status(hidden.http, '/admin/sessions')], [404, 200])
})

test('a15 every answer tells browsers to keep it to themselves', async t => {
  const server = await startServer(t, [...KEYS, '--admin-listen', '127.0.0.1:0', '--public-metrics', 'true'])
  const answers = new Map()
  const ask = async (path, options, at = server.http) => answers.set(`${at === server.admin ? 'admin ' : ''}${options?.method ?? 'GET'} ${path} ${Object.keys(options?.headers ?? {})}`, await fetch(`${at}${path}`, options))
  const bearer = { headers: { authorization: `Bearer ${SERVER}` } }
  for (const path of ['/', '/d/one', '/nothing', '/nothing?token=x', '/metrics', '/livez', '/readyz', '/ws/one', '/hocuspocus', '/ready', '/check_store', '/d/one/as-update', '/track-saved.js', '/licenses.md']) await ask(path)
  await ask('/d/one/as-update', bearer)
  await ask('/doc/new', { method: 'POST', ...bearer })
  await ask('/d/one/update', { method: 'POST', ...bearer, body: 'nonsense' })
  await ask('/', { method: 'DELETE' })
  for (const path of ['/admin/sessions', '/metrics', '/nothing']) await ask(path, undefined, server.admin)
  await new Promise((resolve, reject) => {
    const headers = { connection: 'upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': 'short' }
    request(`${server.http}/ws/one`, { headers }, response => {
      answers.set('a bad upgrade', { status: response.statusCode, headers: new Headers(response.headers) })
      resolve(response.resume())
    }).on('error', reject).end()
  })

  assert.equal(answers.get('a bad upgrade').status, 400)
  for (const [what, { headers }] of answers) {
    const said = name => headers.get(name) ?? ''
    assert.match(said('content-security-policy'), /^default-src 'none';.*frame-ancestors 'none'$/, what)
    assert.ok(!/unsafe|https?:|\*/.test(said('content-security-policy')), what)
    assert.equal(said('x-content-type-options'), 'nosniff', what)
    assert.equal(said('referrer-policy'), 'no-referrer', what)
    assert.equal(said('x-frame-options'), 'DENY', what)
    assert.equal(said('cross-origin-opener-policy'), 'same-origin', what)
    assert.equal(said('cross-origin-resource-policy'), what.includes('track-saved') ? 'cross-origin' : 'same-origin', what)
    assert.match(said('permissions-policy'), /camera=\(\)/, what)
    const isFile = /GET (\/|\/d\/one|\/track-saved\.js|\/licenses\.md) $/.test(what)
    assert.equal(said('cache-control'), isFile ? 'no-cache' : 'no-store', what)
  }
  const page = await (await fetch(server.http)).text()
  const asset = page.match(/assets\/[^"]+\.js/)[0]
  assert.match((await fetch(`${server.http}/${asset}`)).headers.get('cache-control'), /immutable/)
})
