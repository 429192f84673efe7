// Links that holders of tokens make (`POST /share`), and what real providers may do with them.
import assert from 'node:assert/strict'
import { request } from 'node:http'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

import WebSocket from 'ws'

import { connect, newest, saved, synced } from '../lib/clients.js'
import { connect as connectHocuspocus, newest as newestHocuspocus, settled } from '../lib/hocuspocus.js'
import { mintToken, startServer } from '../lib/server.js'
import { until, within } from '../../lib/wait.mjs'

const SECRET = 'a secret of at least thirty-two bytes'
const ADMIN = 'an-admin-token-of-thirty-two-bytes'
const guarded = (t, flags = [], options = {}) => startServer(t, ['--jwt-secret', SECRET, '--admin-token', ADMIN, ...flags], options)
const token = (sub, ...flags) => mintToken(SECRET, ['--sub', sub, ...flags])
const ada = (...flags) => token('ada', '--name', 'Ada', '--document', 'team/*=write', '--share', ...flags)

/** Asks for a link; `body` is sent as it is if it is a text. */
async function share(server, token, body, headers = {}) {
  const response = await fetch(`${server.http}/share`, {
    method: 'POST',
    headers: { ...(token === null ? {} : { authorization: `Bearer ${token}` }), ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  })
  const text = await response.text()
  return { status: response.status, headers: response.headers, text, link: response.ok ? JSON.parse(text) : null }
}

async function revoke(server, what) {
  const response = await fetch(`${server.http}/admin/revoke`, { method: 'POST', headers: { authorization: `Bearer ${ADMIN}` }, body: JSON.stringify(what) })
  assert.equal(response.status, 200)
  return response.json()
}

async function closed(t, server, name, token) {
  const client = connect(t, newest, server, name, { params: { token } })
  await until('it is closed', () => client.closes.length > 0)
  return client.closes[0]
}

test('t15 a link for writing and one for reading open that document, on the wires of all providers, and nothing else', async t => {
  const server = await guarded(t)
  const own = await ada()
  const write = await share(server, own, { document: 'team/plan', access: 'write', seconds: 600 })
  const read = await share(server, own, { document: 'team/plan' })
  assert.deepEqual([write.status, read.status], [200, 200], write.text)
  assert.deepEqual([write.link.document, write.link.access, read.link.access], ['team/plan', 'write', 'read'])
  assert.ok(write.link.expires - Date.now() / 1_000 <= 600)
  assert.equal(write.headers.get('cache-control'), 'no-store')

  const bob = connect(t, newest, server, 'team/plan', { params: { token: write.link.token } })
  const eve = connect(t, newest, server, 'team/plan', { params: { token: read.link.token } })
  const hocuspocus = connectHocuspocus(t, newestHocuspocus, server, 'team/plan', { token: read.link.token })
  await synced(bob, eve)
  await settled(hocuspocus)
  eve.text.insert(0, 'not taken')
  bob.text.insert(0, 'by a link')
  await saved(bob)
  await until('the readers have it', () => eve.text.toString().includes('by a link') && hocuspocus.text.toString() === 'by a link')
  assert.equal(bob.text.toString(), 'by a link')
  assert.equal((await closed(t, server, 'team/other', write.link.token)).code, 4403)
  assert.equal((await closed(t, server, 'team/plan*', write.link.token)).code, 4403)
})

test('t15 more than the token has is refused with what is too much', async t => {
  const server = await guarded(t)
  const reader = await token('eve', '--document', 'team/*=read', '--share')
  const narrow = await ada('--share-document', 'team/open/*=read', '--share-expires', '1h')
  for (const [holder, body, reason] of [
    [reader, { document: 'team/plan', access: 'write' }, /for reading only/],
    [reader, { document: 'private/plan' }, /does not open this document/],
    [narrow, { document: 'team/plan' }, /may not share this document/],
    [narrow, { document: 'team/open/plan', access: 'write' }, /for reading only/],
    [narrow, { document: 'team/open/plan', seconds: 3_601 }, /3600 s at most/],
    [await ada(), { document: 'team/plan', seconds: 7_200 }, /3\d\d\d s at most/],
    [narrow, { document: 'team/open/plan', share: true }, /may not be shared again/],
    [await token('bob', '--document', '*=write'), { document: 'team/plan' }, /may not share: .* `share` claim/],
  ]) {
    const { status, text } = await share(server, holder, body)
    assert.equal(status, 403, text)
    assert.match(text, reason)
  }
})

test('t15 a link shares again only where that was allowed, and ends with what it was shared by', async t => {
  const server = await guarded(t)
  const plain = await share(server, await ada(), { document: 'team/plan', access: 'write' })
  assert.match((await share(server, plain.link.token, { document: 'team/plan' })).text, /may not share/)

  const onward = await share(server, await ada('--share-again', '--share-expires', '1d'), { document: 'team/plan', share: true, seconds: 60 })
  const second = await share(server, onward.link.token, { document: 'team/plan' })
  assert.equal(second.status, 200, second.text)
  assert.ok(second.link.expires <= onward.link.expires)
  assert.equal((await share(server, onward.link.token, { document: 'team/plan', access: 'write' })).status, 403)
  assert.equal((await share(server, second.link.token, { document: 'team/plan' })).status, 403)

  const client = connect(t, newest, server, 'team/plan', { params: { token: second.link.token } })
  await synced(client)
  assert.deepEqual(await revoke(server, { token: onward.link.id }), { ended: 1 })
  await until('it is told', () => client.closes.length > 0)
  assert.match(client.closes[0].reason, /revoked/)
})

test('t16 who revokes a person ends the links that they made, and a link can be revoked alone', async t => {
  const server = await guarded(t)
  const own = await ada()
  const [one, two] = await Promise.all([1, 2].map(() => share(server, own, { document: 'team/plan', access: 'write' })))
  const clients = [one, two].map(({ link }) => connect(t, newest, server, 'team/plan', { params: { token: link.token } }))
  const herself = connect(t, newest, server, 'team/plan', { params: { token: own } })
  await synced(...clients, herself)

  const seen = async user => (await (await fetch(`${server.http}/admin/sessions?user=${user}`, { headers: { authorization: `Bearer ${ADMIN}` } })).json()).sessions
  assert.equal((await seen('ada')).length, 3)
  assert.deepEqual((await seen(`link:${one.link.id}`)).map(({ shared_by: by, access }) => [by, access]), [[['ada'], 'write']])

  assert.deepEqual(await revoke(server, { token: one.link.id }), { ended: 1 })
  await until('one is told', () => clients[0].closes.length === 1)
  assert.deepEqual([clients[1].closes, herself.closes], [[], []])
  assert.deepEqual(await revoke(server, { user: 'ada', document: 'team/plan', leave: 'read' }), { lowered: 2 })
  clients[1].text.insert(0, 'not taken')
  assert.deepEqual(await revoke(server, { user: 'ada' }), { ended: 2 })
  await until('both are told', () => clients[1].closes.length === 1 && herself.closes.length === 1)
  assert.equal((await closed(t, server, 'team/plan', two.link.token)).code, 4403)
  // What she holds makes no more links, either.
  assert.match((await share(server, own, { document: 'team/plan' })).text, /revoked/)
  const bob = connect(t, newest, server, 'team/plan', { params: { token: await token('bob', '--document', '*=read') } })
  await synced(bob)
  assert.equal(bob.text.toString(), '')
})

test('t16 a link says who its holder is by the link, and they choose their name', async t => {
  const server = await guarded(t)
  const { link } = await share(server, await ada(), { document: 'team/plan', access: 'write' })
  const guest = connect(t, newest, server, 'team/plan', { params: { token: link.token } })
  const watcher = connect(t, newest, server, 'team/plan', { params: { token: await token('bob', '--document', '*=read') } })
  await synced(guest, watcher)
  guest.provider.awareness.setLocalState({ user: { name: 'Guest', id: 'ada', verified: ['name'] } })
  const seen = () => watcher.provider.awareness.getStates().get(guest.doc.clientID)?.user
  await until('the guest is seen', seen)
  assert.deepEqual(seen(), { name: 'Guest', id: `link:${link.id}/${guest.doc.clientID}`, verified: ['id'] })
})

test('t20 people who hold one link are told apart: none takes what is the others\'', async t => {
  const server = await guarded(t, ['--connections-per-user=2', '--trust-proxy=x-real-ip'])
  const { link } = await share(server, await ada(), { document: 'team/plan', access: 'write' }, { 'x-real-ip': '192.0.2.1' })
  const opens = address => {
    class WebSocketPolyfill extends WebSocket {
      constructor(url, protocols) { super(url, protocols, { headers: { 'x-real-ip': address } }) }
    }
    return connect(t, newest, server, 'team/plan', { params: { token: link.token }, WebSocketPolyfill })
  }
  const [one, two] = [opens('192.0.2.7'), opens('192.0.2.7')]
  await synced(one, two)
  const third = opens('192.0.2.7')
  await until('a third one there is refused', () => third.closes.length > 0)
  assert.equal(third.closes[0].code, 1013)
  const elsewhere = opens('192.0.2.8')
  await synced(elsewhere)

  // A holder of the same link writes under the client id of another one.
  const { clientID } = one.doc
  one.provider.awareness.setLocalState({ user: { name: 'One' } })
  one.text.insert(0, 'mine')
  await saved(one)
  await until('it has come', () => elsewhere.text.toString() === 'mine' && elsewhere.provider.awareness.getStates().has(clientID))
  const own = elsewhere.doc.clientID
  elsewhere.doc.clientID = clientID
  elsewhere.text.insert(0, 'forged ')
  // Its provider says good-bye for the one that it began with.
  elsewhere.doc.clientID = own
  one.text.insert(4, ' and more')
  await saved(one)
  await until('what is their own has come', () => two.text.toString() === 'mine and more')
})

test('t16 a link ends at its second, with 4401', async t => {
  const server = await guarded(t)
  const { link } = await share(server, await ada(), { document: 'team/plan', seconds: 2 })
  const client = connect(t, newest, server, 'team/plan', { params: { token: link.token } })
  await until('closed', () => client.closes.length > 0)
  assert.equal(client.closes[0].code, 4401)
})

test('t17 servers with the same share secret believe each other, and with public keys alone links need one', async t => {
  const key = fileURLToPath(new URL('../../keys/p256.public.pem', import.meta.url))
  const common = ['--share-secret', 'a share secret of thirty-two bytes, at least']
  const [one, two] = [await guarded(t, common), await startServer(t, ['--jwt-public-key', key, ...common])]
  const other = await guarded(t)
  const { link } = await share(one, await ada(), { document: 'team/plan' })
  const there = connect(t, newest, two, 'team/plan', { params: { token: link.token } })
  await synced(there)
  assert.equal((await closed(t, other, 'team/plan', link.token)).code, 4401)

  const alone = await startServer(t, ['--jwt-public-key', key])
  const off = await share(alone, await ada(), { document: 'team/plan' })
  assert.deepEqual([off.status, (await (await fetch(`${alone.http}/about.json`)).json()).share], [404, false])
  assert.match(off.text, /COWRITE_SHARE_SECRET/)
})

test('e40 what may not share, or is not understood, is told why; nothing of it is in the log', async t => {
  const server = await guarded(t, [], { log: 'trace' })
  const own = await ada()
  const bad = `${own.slice(0, -8)}planted0`
  const plan = { document: 'team/plan' }
  assert.deepEqual([(await share(server, null, plan)).status, (await share(server, bad, plan)).status], [401, 401])
  // A token in an address would be in the logs of proxies.
  assert.equal((await fetch(`${server.http}/share?token=${own}`, { method: 'POST', body: JSON.stringify(plan) })).status, 401)
  for (const body of ['', '{', '[]', '{}', '{"document":""}', '{"document":"a","acces":"write"}', '{"document":"a","access":"all"}', '{"document":"a","seconds":-1}']) {
    const { status, text } = await share(server, own, body)
    assert.equal(status, 400, body)
    assert.match(text, /send \{"document": NAME\}/)
  }
  assert.equal((await share(server, own, 'x'.repeat(17_000))).status, 413)
  const { link } = await share(server, own, plan)
  await synced(connect(t, newest, server, 'team/plan', { params: { token: link.token } }))
  const open = await startServer(t)
  const plain = await share(open, own, plan)
  assert.deepEqual([plain.status, plain.text], [404, 'this server is open: the address of a document is all that anybody needs\n'])
  assert.equal((await fetch(`${server.http}/share`)).status, 404)

  await server.stop('SIGTERM')
  assert.match(server.log, new RegExp(`ada shared team/plan for \\d+ s: link:${link.id}`))
  const secrets = [own.split('.')[2], bad.split('.')[2], link.token.split('.')[2], SECRET]
  assert.deepEqual(server.log.split('\n').filter(line => secrets.some(secret => line.includes(secret))), [])
})

/** A request whose body has begun. */
function begin(server, token, body) {
  const headers = { 'content-length': body.length, expect: '100-continue', authorization: `Bearer ${token}` }
  const begun = request(`${server.http}/share`, { method: 'POST', headers })
  begun.on('error', () => {})
  const goesOn = new Promise(resolve => begun.on('continue', resolve))
  const status = new Promise(resolve => begun.on('response', response => resolve(response.resume().statusCode)))
  begun.write(body.slice(0, 1))
  return { status, goesOn, end: () => begun.end(body.slice(1)), drop: () => begun.destroy() }
}

test('e40 no body is waited for of who may share nothing, and a revocation while it comes counts', async t => {
  const server = await guarded(t)
  const idle = begin(server, await token('bob', '--document', '*=write'), '{"document":"team/plan"}')
  t.after(idle.drop)
  assert.equal(await within('it is answered', idle.status), 403)
  const begun = begin(server, await ada(), '{"document":"team/plan"}')
  await within('it may go on', begun.goesOn)
  await revoke(server, { user: 'ada' })
  begun.end()
  assert.equal(await within('it is answered', begun.status), 403)
})

test('e40 it takes from the budget of its address', async t => {
  const server = await guarded(t, ['--handshakes-per-second=1', '--connections-per-address=2', '--trust-proxy=x-real-ip'])
  const own = await ada()
  const asks = () => share(server, own, { document: 'team/plan' }, { 'x-real-ip': '192.0.2.7' })
  let answer
  for (let n = 0; n < 8 && answer?.status !== 429; n++) answer = await asks()
  assert.equal(answer.status, 429)
  assert.ok(Number(answer.headers.get('retry-after')) > 0)
})

test('t22 one user makes so many links, and is told when more', async t => {
  const server = await guarded(t)
  const [own, bob] = [await ada(), await token('bob', '--document', '*=read', '--share')]
  const answers = await Promise.all(Array.from({ length: 80 }, () => share(server, own, { document: 'team/plan' })))
  const made = answers.filter(({ status }) => status === 200)
  assert.ok(made.length >= 60 && made.length < 80, `${made.length}`)
  const refused = answers.find(({ status }) => status === 429)
  assert.match(refused.text, /too many links of this user/)
  assert.ok(Number(refused.headers.get('retry-after')) > 0)
  assert.equal((await share(server, bob, { document: 'team/plan' })).status, 200)
})

test('e50 help at an address that has nothing for now varies by all that it varies by', async t => {
  const open = await startServer(t)
  for (const accept of ['text/html', 'application/json', 'text/plain']) {
    const answer = await share(open, null, { document: 'x' }, { accept, origin: open.http })
    assert.equal(answer.status, 404)
    for (const name of ['origin', 'accept']) assert.ok(answer.headers.get('vary').split(/, */).includes(name), `${accept}: ${answer.headers.get('vary')}`)
    assert.equal(answer.headers.get('access-control-allow-origin'), open.http)
  }
})

test('e41 pages of allowed origins may ask, and others get no word of permission', async t => {
  const friend = 'https://friend.example'
  const server = await guarded(t, ['--allow-origin', friend])
  const own = await ada()
  const preflight = origin => fetch(`${server.http}/share`, { method: 'OPTIONS', headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization,content-type' } })
  const welcome = await preflight(friend)
  assert.equal(welcome.status, 204)
  const said = name => welcome.headers.get(`access-control-${name}`)
  assert.deepEqual([said('allow-origin'), said('allow-methods'), said('allow-headers')], [friend, 'POST', 'authorization, content-type'])
  const made = await share(server, own, { document: 'team/plan' }, { origin: friend })
  const refused = await share(server, own, { document: 'elsewhere' }, { origin: friend })
  for (const [answer, status] of [[made, 200], [refused, 403]]) {
    assert.equal(answer.status, status)
    assert.equal(answer.headers.get('access-control-allow-origin'), friend)
    assert.match(answer.headers.get('vary'), /origin/)
  }
  for (const answer of [await preflight('https://evil.example'), await share(server, own, { document: 'team/plan' }, { origin: 'https://evil.example' })]) {
    assert.equal(answer.status, 403)
    assert.deepEqual([...answer.headers.keys()].filter(name => name.startsWith('access-control')), [])
  }
  // A name that was rebound to this machine is no origin of an open server.
  const open = await startServer(t)
  assert.equal((await share(open, own, { document: 'x' }, { origin: 'http://evil.example' })).status, 403)
})
