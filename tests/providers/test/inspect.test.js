// Looking inside a document: what the server tells of it, and to whom.
import assert from 'node:assert/strict'
import { request } from 'node:http'
import { test } from 'node:test'

import * as Y from 'yjs'

import { connect, newest, saved, synced } from '../lib/clients.js'
import { connect as connectHocuspocus, newest as newestHocuspocus, settled } from '../lib/hocuspocus.js'
import { mintToken, startServer } from '../lib/server.js'
import { until } from '../../lib/wait.mjs'

const SECRET = 'a secret of at least thirty-two bytes'
const ADMIN = 'an-admin-token-of-thirty-two-bytes'
const bearer = token => ({ authorization: `Bearer ${token}` })

const mint = (user, ...grants) => mintToken(SECRET, ['--sub', user, ...grants.flatMap(grant => ['--document', grant])])

/** The status, the headers and what was said. */
async function ask(server, document, headers = {}) {
  const answer = await fetch(`${server.http}/inspect.json?document=${encodeURIComponent(document)}`, { headers })
  const text = await answer.text()
  return { status: answer.status, text, headers: answer.headers, body: answer.ok ? JSON.parse(text) : null }
}
const asOperator = async (server, path, root = server.http) => await fetch(`${root}/admin/${path}`, { headers: bearer(ADMIN) })

test('i1 whoever may read a document is told what is inside it, and nobody else', async t => {
  const server = await startServer(t, ['--jwt-secret', SECRET, '--admin-token', ADMIN])
  const [writer, reader, other] = await Promise.all([mint('ada', '*=write'), mint('bob', 'one=read'), mint('eve', 'two=write')])
  const ada = connect(t, newest, server, 'one', { params: { token: writer } })
  await synced(ada)
  ada.text.insert(0, 'hello')
  await saved(ada)

  for (const token of [writer, reader]) {
    const { status, headers, body } = await ask(server, 'one', bearer(token))
    assert.equal(status, 200)
    assert.equal(headers.get('cache-control'), 'no-store')
    assert.equal(headers.get('access-control-allow-origin'), null)
    assert.deepEqual([body.document, body.open, body.figures.structs, body.figures.clients, body.figures.updates], ['one', true, 1, 1, 1])
    assert.deepEqual([body.figures.position, body.figures.durable, body.figures.unsaved_bytes], [1, 1, 0])
    assert.ok(body.figures.saved_after_ms.last > 0 && body.figures.saved_after_ms.mean > 0)
    assert.ok(!JSON.stringify(body).includes(writer))
  }
  assert.equal((await ask(server, 'one')).status, 401)
  assert.equal((await ask(server, 'one', bearer('nonsense'))).status, 401)
  assert.equal((await ask(server, 'one', bearer(other))).status, 403)
  assert.equal((await ask(server, 'one', bearer(ADMIN))).status, 401, 'the admin token opens /admin alone')
  assert.equal((await ask(server, '', bearer(writer))).status, 400)
  assert.equal((await fetch(`${server.http}/inspect.json`, { headers: bearer(writer) })).status, 400)
  assert.equal((await ask(server, 'one', { ...bearer(writer), origin: 'https://elsewhere.example' })).status, 403)
})

test('i1 a page whose name was rebound to an open server is told nothing, and questions are counted', async t => {
  const open = await startServer(t)
  const status = await new Promise((resolve, reject) => {
    const [host, port] = open.address.split(':')
    const asked = request({ host, port, path: '/inspect.json?document=one', headers: { host: 'rebound.example' } }, answer => {
      answer.resume()
      resolve(answer.statusCode)
    })
    asked.once('error', reject)
    asked.end()
  })
  assert.equal(status, 403)

  const few = await startServer(t, ['--trust-proxy', 'x-real-ip', '--handshakes-per-second', '1', '--connections-per-address', '2'])
  const asked = await Promise.all(Array.from({ length: 20 }, () => ask(few, 'one', { 'x-real-ip': '203.0.113.7' })))
  assert.ok(asked.some(({ status }) => status === 200) && asked.some(({ status, headers }) => status === 429 && headers.has('retry-after')))
})

test('i2 looking opens nothing and keeps nothing in memory', async t => {
  const server = await startServer(t, ['--idle-timeout', '300ms', '--admin-token', ADMIN])
  const ada = connect(t, newest, server, 'one')
  await synced(ada)
  ada.text.insert(0, 'hello')
  await saved(ada)
  assert.equal((await ask(server, 'one')).body.open, true)
  ada.provider.destroy()

  await until('it leaves memory, whoever looks', async () => (await ask(server, 'one')).body.open === false)
  assert.equal((await asOperator(server, 'update?document=one')).status, 404)
  assert.equal(await server.metric('cowrite_documents_open'), 0)
  assert.deepEqual((await ask(server, 'one')).body, { document: 'one', open: false })
})

test('i4 each session is there by its wire, with the client ids that it speaks for', async t => {
  const server = await startServer(t, ['--jwt-secret', SECRET])
  const [ada, bob] = await Promise.all([mint('ada', '*=write'), mint('bob', '*=read')])
  const one = connect(t, newest, server, 'one', { params: { token: ada } })
  const two = connectHocuspocus(t, newestHocuspocus, server, 'one', { token: bob })
  await synced(one)
  await settled(two)
  one.provider.awareness.setLocalStateField('user', { name: 'x' })
  two.provider.awareness.setLocalStateField('user', { name: 'y' })

  let seen = []
  await until('both are told of', async () => {
    seen = (await ask(server, 'one', bearer(bob))).body.sessions.sort((a, b) => (a.user < b.user ? -1 : 1))
    return seen.length === 2 && seen.every(({ clients }) => clients.length === 1)
  })
  assert.deepEqual(seen.map(({ user, access, wire, reading, behind }) => [user, access, wire, reading, behind]), [
    ['ada', 'write', 'y-websocket', 'live', 0],
    ['bob', 'read', 'hocuspocus', 'live', 0],
  ])
  assert.deepEqual(seen.map(({ clients }) => clients), [[one.provider.awareness.clientID], [two.provider.awareness.clientID]])
})

test('i5 readers that are hidden are not told of, and addresses are for the operator', async t => {
  const flags = ['--jwt-secret', SECRET, '--admin-token', ADMIN, '--reader-presence', 'false', '--stamp-presence', 'false', '--trust-proxy', 'x-real-ip']
  const server = await startServer(t, flags)
  const [ada, bob] = await Promise.all([mint('ada', '*=write'), mint('bob', '*=read')])
  const [one, two] = [ada, bob].map(token => connect(t, newest, server, 'one', { params: { token } }))
  await synced(one, two)

  const { text, body } = await ask(server, 'one', bearer(bob))
  assert.equal(body.sessions.length, 1)
  assert.equal(body.figures.sessions, 1)
  assert.deepEqual([body.sessions[0].access, body.sessions[0].user], ['write', null])
  assert.ok(!text.includes('address') && !text.includes('ada') && !text.includes('bob'))
  const all = await (await asOperator(server, 'document?document=one')).json()
  assert.deepEqual(all.sessions.map(({ user, address }) => [user, typeof address]).sort(), [['ada', 'string'], ['bob', 'string']])
})

test('i6 the operator is told which documents are open, the busiest first, and what is in them', async t => {
  const server = await startServer(t, ['--admin-token', ADMIN, '--admin-listen', '127.0.0.1:0', '--base-path', '/collab'])
  const at = { ...server, url: `${server.url.replace('/ws', '/collab/ws')}` }
  const [quiet, busy] = ['team/quiet', 'team/busy'].map(document => connect(t, newest, at, encodeURIComponent(document)))
  await synced(quiet, busy)
  for (let time = 0; time < 20; time++) {
    busy.text.insert(0, 'x')
    await saved(busy)
  }

  const listed = await (await asOperator(server, 'documents', server.admin)).json()
  assert.deepEqual([listed.open, listed.documents.map(({ document }) => document)], [2, ['team/busy', 'team/quiet']])
  assert.equal(listed.documents[0].figures.updates, 20)
  assert.ok(listed.documents[0].figures.updates_per_second > 0)
  const some = await (await asOperator(server, 'documents?holding=qui', server.admin)).json()
  assert.deepEqual(some.documents.map(({ document }) => document), ['team/quiet'])
  const doc = new Y.Doc()
  Y.applyUpdate(doc, new Uint8Array(await (await asOperator(server, 'update?document=team%2Fbusy', server.admin)).arrayBuffer()))
  assert.equal(doc.getText('text').toString(), 'x'.repeat(20))
  for (const path of ['documents', 'document?document=team%2Fbusy', 'update?document=team%2Fbusy']) {
    assert.equal((await fetch(`${server.admin}/admin/${path}`)).status, 401, path)
    assert.equal((await asOperator(server, path)).status, 404, `${path} is at the operator's address alone`)
    assert.equal((await asOperator(server, path, `${server.http}/collab`)).status, 404, path)
  }
  assert.equal((await asOperator(server, 'document', server.admin)).status, 400)
})

test('i13 the page for operators is where they have an address of their own', async t => {
  const server = await startServer(t, ['--admin-token', ADMIN, '--admin-listen', '127.0.0.1:0', '--base-path', '/collab'])
  const page = await fetch(`${server.admin}/inspect`)
  assert.equal(page.status, 200)
  const script = (await page.text()).match(/src="(\/assets\/[^"]+)"/)[1]
  assert.equal((await fetch(server.admin + script)).status, 200)
  for (const path of ['/', '/d/one', '/inspect/more', '/about.json', '/inspect.json?document=one', '/assets/nothing.js']) assert.equal((await fetch(server.admin + path)).status, 404, path)
  assert.equal((await fetch(`${server.http}/collab/inspect`)).status, 200)
})
