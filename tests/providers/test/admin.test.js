// What an operator may do while the server runs, with the real providers of all wires.
import assert from 'node:assert/strict'
import { mkdir, rmdir } from 'node:fs/promises'
import { request } from 'node:http'
import { join } from 'node:path'
import { test } from 'node:test'

import * as Y from 'yjs'

import { connect as connectYWebsocket, newest as newestYWebsocket, synced as syncedYWebsocket } from '../lib/clients.js'
import { address, connect, connectSocket, newest, settled } from '../lib/hocuspocus.js'
import { mintToken, startServer } from '../lib/server.js'
import { until, within } from '../../lib/wait.mjs'

const SECRET = 'a secret of at least thirty-two bytes'
const ADMIN = 'an-admin-token-of-thirty-two-bytes'

async function server(t) {
  const server = await startServer(t, ['--jwt-secret', SECRET, '--admin-token', ADMIN])
  const ask = async (path, body, token = ADMIN) => {
    const response = await fetch(`${server.http}/admin/${path}`, {
      method: body === undefined ? 'GET' : 'POST',
      headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
      body: typeof body === 'object' ? JSON.stringify(body) : body,
    })
    return { status: response.status, body: response.headers.get('content-type') === 'application/json' ? await response.json() : await response.text() }
  }
  const token = (user, documents = '*') => mintToken(SECRET, ['--sub', user, '--document', `${documents}=write`])
  return { server, ask, token }
}

test('a9 no token and nothing that people write is in the log, at any level', async t => {
  const server = await startServer(t, ['--jwt-secret', SECRET, '--admin-token', ADMIN, '--server-token', 'a-server-token-of-thirty-two-bytes'], { log: 'trace' })
  const good = await mintToken(SECRET, ['--sub', 'ada', '--document', '*=write'])
  const bad = `${good.slice(0, -8)}planted0`
  const text = 'planted text'
  const plain = connectYWebsocket(t, newestYWebsocket, server, 'one', { params: { token: good } })
  const hocuspocus = connect(t, newest, server, 'one', { token: good })
  await syncedYWebsocket(plain)
  await settled(hocuspocus)
  plain.text.insert(0, text)
  plain.provider.awareness.setLocalState({ user: { name: 'planted name' } })
  hocuspocus.provider.sendStateless('planted stateless')
  await until('it is there', () => hocuspocus.text.toString() === text)
  const refused = connectYWebsocket(t, newestYWebsocket, server, 'one', { params: { token: bad, more: 'planted query' } })
  const denied = connect(t, newest, server, 'two', { token: bad })
  await until('both are refused', () => refused.closes.length > 0 && denied.refusals.length > 0)
  const bearer = { headers: { authorization: 'Bearer a-server-token-of-thirty-two-bytes' } }
  await fetch(`${server.http}/doc/new?z=planted`, { method: 'POST', ...bearer })
  await fetch(`${server.http}/d/one/as-update?token=${bad}`)
  await fetch(`${server.http}/admin/sessions?user=planted`, { headers: { authorization: `Bearer ${ADMIN}x` } })
  await fetch(`${server.http}/admin/revoke`, { method: 'POST', body: '{"planted":', headers: { authorization: `Bearer ${ADMIN}` } })
  await server.stop('SIGTERM')

  assert.ok(server.log.includes('TRACE') || server.log.includes('DEBUG'), server.log)
  const secrets = [good, good.split('.')[2], 'planted', SECRET, ADMIN, 'a-server-token', Buffer.from(text).toString('hex')]
  const lines = server.log.split('\n').filter(line => secrets.some(secret => line.includes(secret)))
  assert.deepEqual(lines, [])
})

/** A request whose body has begun; `status` is that of its answer. */
function begin(server, path, token, body) {
  const headers = { 'content-length': body.length, ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) }
  const begun = request(server.http + path, { method: 'POST', headers: { ...headers, expect: '100-continue' } })
  begun.on('error', () => {})
  const goesOn = new Promise(resolve => begun.on('continue', resolve))
  const status = new Promise(resolve => begun.on('response', response => resolve(response.resume().statusCode)))
  begun.write(body.subarray(0, 1))
  return { status, goesOn, end: () => begun.end(body.subarray(1)), drop: () => begun.destroy() }
}

test('h4 nobody waits for the body of somebody who may ask for nothing', async t => {
  const { server: running } = await server(t)
  for (const token of [undefined, 'another-token-of-thirty-two-bytes']) {
    const begun = begin(running, '/admin/revoke', token, Buffer.alloc(1_000, 'x'))
    t.after(begun.drop)
    assert.equal(await within('it is answered', begun.status), 401)
  }
})

test('a8 what a user who is revoked had begun to send is not taken', async t => {
  const { server: running, ask, token } = await server(t)
  const doc = new Y.Doc()
  doc.getText('text').insert(0, 'too late')
  const begun = begin(running, '/d/notes/update', await token('ada'), Buffer.from(Y.encodeStateAsUpdate(doc)))
  await within('it may go on', begun.goesOn)
  assert.equal((await ask('revoke', { user: 'ada' })).status, 200)
  begun.end()
  assert.equal(await within('it is answered', begun.status), 403)
  const reader = connectYWebsocket(t, newestYWebsocket, running, 'notes', { params: { token: await token('bob') } })
  await syncedYWebsocket(reader)
  assert.equal(reader.text.toString(), '')
})

const revoked = /the token was revoked/

test('a8 a user who is revoked loses every session within a second, on all wires, and comes back with a newer token only', async t => {
  const { server: running, ask, token } = await server(t)
  const [ada, bob] = await Promise.all(['ada', 'bob'].map(token => mintToken(SECRET, ['--sub', token, '--document', '*=write'])))
  const plain = connectYWebsocket(t, newestYWebsocket, running, 'one', { params: { token: ada } })
  const other = connectYWebsocket(t, newestYWebsocket, running, 'one', { params: { token: bob } })
  const hocuspocus = connect(t, newest, running, 'one', { token: ada })
  await syncedYWebsocket(plain, other)
  await settled(hocuspocus)

  assert.deepEqual(await ask('revoke', { user: 'ada' }), { status: 200, body: { ended: 2 } })
  await until('both are told', () => plain.closes.length === 1 && hocuspocus.refusals.length === 1)
  assert.equal(plain.closes[0].code, 4403)
  assert.match(plain.closes[0].reason, revoked)
  assert.match(hocuspocus.refusals[0], revoked)
  assert.deepEqual(hocuspocus.wire.closes, [], 'its socket goes on')
  assert.deepEqual(other.closes, [])

  // Remembered, also by the next process.
  await running.stop('SIGKILL')
  await running.start()
  const again = connectYWebsocket(t, newestYWebsocket, running, 'one', { params: { token: ada } })
  await until('the old token is refused', () => again.closes.length > 0)
  assert.match(again.closes[0].reason, revoked)
  // `iat` counts seconds: one of this very second would be as old.
  await until('a second has passed', async () => {
    const fresh = connectYWebsocket(t, newestYWebsocket, running, 'one', { params: { token: await token('ada') } })
    await until('it is decided', () => fresh.provider.synced || fresh.closes.length > 0)
    return fresh.provider.synced
  })
})

test('a18 a revocation that cannot be written down ends sessions all the same, and the operator is told', async t => {
  const { server: running, ask, token } = await server(t)
  const ada = await token('ada')
  const plain = connectYWebsocket(t, newestYWebsocket, running, 'one', { params: { token: ada } })
  const hocuspocus = connect(t, newest, running, 'one', { token: ada })
  await syncedYWebsocket(plain)
  await settled(hocuspocus)
  // Where it would be written first.
  const inTheWay = join(running.data, 'revocations.part')
  await mkdir(inTheWay)

  const { status, body } = await ask('revoke', { user: 'ada' })
  assert.equal(status, 503)
  assert.match(body, /^2 sessions were ended, and such tokens are refused until the server ends\..*not remembered.*send it again/)
  await until('both are told', () => plain.closes.length === 1 && hocuspocus.refusals.length === 1)
  const again = connectYWebsocket(t, newestYWebsocket, running, 'one', { params: { token: ada } })
  await until('the token is refused', () => again.closes.length > 0)
  assert.match(again.closes[0].reason, revoked)

  await rmdir(inTheWay)
  assert.deepEqual(await ask('revoke', { user: 'ada' }), { status: 200, body: { ended: 0 } })
  await running.stop('SIGKILL')
  await running.start()
  const later = connectYWebsocket(t, newestYWebsocket, running, 'one', { params: { token: ada } })
  await until('the token is refused', () => later.closes.length > 0)
  assert.match(later.closes[0].reason, revoked)
})

test('a8 one document of three on a socket is revoked, and the others go on', async t => {
  const { server: running, ask, token } = await server(t)
  const wire = connectSocket(t, newest, address(running))
  const ada = await token('ada')
  const three = ['one', 'two', 'three'].map(name => connect(t, newest, running, name, { wire, token: ada }))
  const bob = connectYWebsocket(t, newestYWebsocket, running, 'two', { params: { token: await token('bob') } })
  await settled(...three)
  await syncedYWebsocket(bob)

  assert.deepEqual(await ask('revoke', { document: 'two' }), { status: 200, body: { ended: 2 } })
  await until('both are told', () => three[1].refusals.length === 1 && bob.closes.length === 1)
  for (const one of [three[0], three[2]]) one.text.insert(0, 'goes on')
  await settled(three[0], three[2])
  assert.deepEqual([wire.opened, wire.closes], [1, []])
  assert.deepEqual([three[0].refusals, three[2].refusals], [[], []])
})

test('a8 who is here, and who may not ask', async t => {
  const { server: running, ask, token } = await server(t)
  const plain = connectYWebsocket(t, newestYWebsocket, running, 'one', { params: { token: await token('ada') } })
  const hocuspocus = connect(t, newest, running, 'two', { token: await token('bob') })
  await syncedYWebsocket(plain)
  await settled(hocuspocus)

  const all = (await ask('sessions')).body.sessions
  const seen = all.map(({ document, user, access, wire }) => [document, user, access, wire]).sort()
  assert.deepEqual(seen, [['one', 'ada', 'write', 'y-websocket'], ['two', 'bob', 'write', 'hocuspocus']])
  assert.equal((await ask('sessions?user=bob')).body.sessions.length, 1)
  assert.equal((await ask('sessions?document=one')).body.sessions[0].user, 'ada')

  for (const wrong of [undefined, '', `${ADMIN}x`, await token('ada')]) {
    assert.equal((await ask('sessions', undefined, wrong ?? null)).status, 401)
    assert.equal((await ask('revoke', { user: 'ada' }, wrong ?? null)).status, 401)
  }
  for (const bad of ['', '{}', '[]', '{"user":"a","token":"b"}', '{"usr":"a"}', '{"document":""}']) {
    const { status, body } = await ask('revoke', bad)
    assert.equal(status, 400, bad)
    assert.match(body, /send one of/)
  }
  const open = await startServer(t)
  assert.equal((await fetch(`${open.http}/admin/sessions`, { headers: { authorization: `Bearer ${ADMIN}` } })).status, 404)
})
