// y-sweet's client and SDK: what an application does with them, against this server.
import assert from 'node:assert/strict'
import { test } from 'node:test'

import * as Y from 'yjs'
import { createDoc, getClientToken, getOrCreateDocAndToken } from '@y-sweet/sdk'

import { connect as connectHocuspocus, newest as hocuspocus, seen as seenByHocuspocus, settled } from '../lib/hocuspocus.js'
import { connect as connectYWebsocket, newest as yWebsocket, saved as savedByYWebsocket } from '../lib/clients.js'
import { startServer } from '../lib/server.js'
import { until } from '../../lib/wait.mjs'
import { answers, connect, connectionString, manager, open, questions, saved, seen, serverToken, synced } from '../lib/y-sweet.js'

const guarded = (t, ...flags) => startServer(t, ['--server-token', serverToken, ...flags])
const text = update => {
  const doc = new Y.Doc()
  Y.applyUpdate(doc, update)
  return doc.getText('text').toString()
}
const updateOf = words => {
  const doc = new Y.Doc()
  doc.getText('text').insert(0, words)
  return Y.encodeStateAsUpdate(doc)
}

test('x21 the SDK makes documents, client tokens, and reads and writes documents that nobody has open', async t => {
  const server = await guarded(t)
  const back = manager(server)
  assert.deepEqual(await back.checkStore(), { ok: true })
  assert.deepEqual(await back.createDoc('notes-1_A'), { docId: 'notes-1_A' })
  assert.deepEqual(await back.createDoc('notes-1_A'), { docId: 'notes-1_A' })
  const names = new Set([(await back.createDoc()).docId, (await createDoc(connectionString(server))).docId])
  assert.equal(names.size, 2)
  for (const name of names) assert.match(name, /^[A-Za-z0-9_-]{20,}$/)

  const { docId } = await back.createDocWithContent(updateOf('written by the back end'))
  assert.equal(text(await back.getDocAsUpdate(docId)), 'written by the back end')
  const document = await back.getDocConnection(docId, { userId: 'ada' })
  await document.updateDoc(updateOf('and more '))
  assert.match(text(await document.getAsUpdate()), /and more/)
  assert.match(text(await document.getAsUpdate()), /written by the back end/)
  assert.equal(text(await back.getDocAsUpdate('of-which-nobody-has-heard')), '')
  await back.updateDoc(docId, new Uint8Array([0, 0]))
  for (const get of [getClientToken, getOrCreateDocAndToken]) {
    assert.equal((await get(connectionString(server), docId)).docId, docId)
  }

  const page = open(t, server, docId)
  await saved(page)
  assert.match(page.text.toString(), /written by the back end/)
  await back.updateDoc(docId, updateOf('live '))
  await until('a page sees what a back end writes', () => page.text.toString().includes('live'))
})

test('x21 the paths of older versions answer', async t => {
  const server = await guarded(t)
  const back = manager(server)
  await back.updateDoc('notes', updateOf('there'))
  const { token } = await back.getClientToken('notes')
  const ask = (path, options) => fetch(`${server.http}${path}?z=1`, { headers: { Authorization: `Bearer ${token}` }, ...options })
  assert.equal(text(new Uint8Array(await (await ask('/doc/notes/as-update')).arrayBuffer())), 'there')
  const written = await ask('/doc/notes/update', { method: 'POST', body: updateOf('older ') })
  assert.deepEqual([written.status, await written.text()], [200, ''])
  const store = await fetch(`${server.http}/check_store`, { headers: { Authorization: `Bearer ${serverToken}` } })
  assert.deepEqual(await store.json(), { ok: true })
  const ready = await fetch(`${server.http}/ready`)
  assert.deepEqual([ready.status, await ready.json()], [200, { ok: true }])

  const page = connect(t, 'notes', async () => ({ url: `ws://${server.address}/doc/ws`, docId: 'notes', token }))
  await saved(page)
  assert.match(page.text.toString(), /older/)
})

test('x21 an open server takes everybody, with any token and none', async t => {
  const server = await startServer(t)
  for (const token of ['', 'whatever']) {
    const back = manager(server, token)
    assert.deepEqual(await back.checkStore(), { ok: true })
    const asked = { authorization: 'read-only', validForSeconds: 1 }
    assert.deepEqual(await back.getClientToken('notes', asked), {
      url: `ws://${server.address}/d/notes/ws`, baseUrl: `${server.http}/d/notes`, docId: 'notes', authorization: 'read-only',
    })
    await back.updateDoc('notes', updateOf('x'))
    const page = open(t, server, 'notes', {}, { token })
    page.text.insert(0, 'y')
    await saved(page)
  }
  assert.equal(text(await manager(server, '').getDocAsUpdate('notes')).length, 4)
})

test('x21 what a browser opens below /d/ is the page of the demo, whatever it is called', async t => {
  const server = await startServer(t)
  const page = await (await fetch(`${server.http}/d/notes`)).text()
  for (const path of ['/d/notes/as-update', '/d/notes/update', '/d/notes/ws/notes', '/d/doc/new']) {
    const shown = await fetch(server.http + path, { headers: { Accept: 'text/html,application/xhtml+xml,*/*;q=0.8' } })
    assert.equal(await shown.text(), page, path)
  }
})

test('x23 a name that y-sweet would not give to a document is refused, and a client token is there for any other', async t => {
  const server = await guarded(t)
  const back = manager(server)
  for (const name of ['a b', 'a/b', 'ä', 'x'.repeat(513)]) {
    await assert.rejects(back.createDoc(name), { message: /ServerError: Server responded with 400/ }, name)
  }
  for (const [asked, name] of [['team/minutes', 'team/minutes'], ['a%20b', 'a b'], ['%C3%A4*', 'ä*'], ['of-nobody', 'of-nobody']]) {
    const clientToken = await back.getClientToken(asked)
    assert.equal(clientToken.docId, name)
    const page = connect(t, name, async () => clientToken)
    page.text.insert(0, name)
    await saved(page)
    assert.equal(text(await back.getDocAsUpdate(asked)), name)
    const other = connectYWebsocket(t, yWebsocket, server, encodeURIComponent(name), { params: { token: clientToken.token } })
    await until('it is the document of that name everywhere', () => other.text.toString() === name)
  }
})

test('x25 addresses are those that the SDK connected to, or those of --public-url', async t => {
  const server = await guarded(t)
  const ask = (server, headers) => fetch(`${server.http}/doc/a%2Fb/auth`, {
    method: 'POST', headers: { Authorization: `Bearer ${serverToken}`, ...headers },
  }).then(answer => answer.json())
  const forwarded = { 'X-Forwarded-Proto': 'https', 'X-Forwarded-Host': 'evil.example', Forwarded: 'host=evil.example;proto=https' }
  const plain = await ask(server, forwarded)
  assert.deepEqual([plain.url, plain.baseUrl], [`ws://${server.address}/d/a%2Fb/ws`, `${server.http}/d/a%2Fb`])

  const behind = await guarded(t, '--public-url', 'https://docs.example/cowrite/')
  const there = await ask(behind, forwarded)
  assert.deepEqual([there.url, there.baseUrl, there.docId],
    ['wss://docs.example/cowrite/d/a%2Fb/ws', 'https://docs.example/cowrite/d/a%2Fb', 'a/b'])
})

test('x28 two pages of y-sweet, one of Hocuspocus and one of y-websocket are in one document, with their cursors', async t => {
  const server = await guarded(t)
  const { token } = await manager(server).getClientToken('notes')
  const [ada, bob] = [open(t, server, 'notes', { userId: 'ada' }), open(t, server, 'notes', { userId: 'bob' })]
  const hoc = connectHocuspocus(t, hocuspocus, server, 'notes', { token })
  const yws = connectYWebsocket(t, yWebsocket, server, 'notes', { params: { token } })
  await saved(ada, bob)
  await settled(hoc)
  await until('y-websocket is there', () => yws.provider.synced)
  const all = [ada, bob, hoc, yws]
  all.forEach((client, number) => {
    client.text.insert(0, `${number}`)
    client.provider.awareness.setLocalStateField('user', `${number}`)
  })
  await until('all have all', () => all.every(({ text }) => text.length === 4 && text.toString() === ada.text.toString()))
  await until('all see all', () => all.every(({ provider }) =>
    all.every(({ doc }, number) => provider.awareness.getStates().get(doc.clientID)?.user === `${number}`)))
  await saved(ada, bob)
  await settled(hoc)
  await savedByYWebsocket(yws)

  bob.leave()
  await until('a cursor goes with its page', () => [ada, hoc, yws].every(({ provider }) => !provider.awareness.getStates().has(bob.doc.clientID)))
  assert.equal(seen(ada, hoc).user, seenByHocuspocus(hoc, hoc).user)
})

test('x28 a page that is told that all is saved finds it after SIGKILL', async t => {
  const server = await guarded(t)
  const page = open(t, server, 'notes')
  const expected = []
  for (let round = 0; round < 3; round++) {
    for (let edit = 0; edit < 20; edit++) {
      page.text.insert(page.text.length, `${round}.${edit} `)
      expected.push(`${round}.${edit} `)
      if (edit % 5 === 0) await new Promise(resolve => setTimeout(resolve, 5))
    }
    await saved(page)
    await server.stop('SIGKILL')
    await until('the page knows', () => !page.provider.synced)
    await server.start()
    assert.equal(text(await manager(server).getDocAsUpdate('notes')), expected.join(''))
    page.text.insert(page.text.length, `offline ${round} `)
    expected.push(`offline ${round} `)
    assert.equal(page.provider.hasLocalChanges, true)
    await saved(page)
    assert.equal(text(await manager(server).getDocAsUpdate('notes')), expected.join(''))
  }
})

test('x28 what was written offline is called saved when it is, though the client asks before it sends that', async t => {
  const server = await guarded(t)
  const page = open(t, server, 'notes')
  await saved(page)
  await server.stop('SIGKILL')
  await until('the page knows', () => !page.provider.synced)
  page.text.insert(0, 'offline '.repeat(200_000))
  const at = page.heard.length
  const asked = page.said.length
  await server.start()
  await saved(page)
  await server.stop('SIGKILL')
  await server.start()
  assert.equal(text(await manager(server).getDocAsUpdate('notes')).length, 8 * 200_000)
  // The trap is there: the first question went before the answer to the server's SyncStep1.
  const said = page.said.slice(asked)
  const question = said.findIndex(message => message[0] === 102)
  const answer = said.findIndex(message => message[0] === 0 && message[1] === 1)
  assert.ok(question >= 0 && question < answer, `${question} and ${answer}`)
  assert.ok(page.heard.length > at)
})

test('x31 a page that does nothing stays connected, and each of its questions is answered', async t => {
  const server = await guarded(t)
  const [page, other] = [open(t, server, 'notes'), open(t, server, 'notes')]
  await saved(page, other)
  const before = answers(page)
  await until('it has asked several times', () => questions(page) >= 5 && answers(page) >= before + 3, 30_000)
  assert.deepEqual([page.opened, page.closes, page.asked], [1, [], 1])
  // One that has lost its line is noticed, and comes back.
  page.socket.terminate()
  await until('it is back', () => page.opened === 2 && page.provider.synced)
  page.text.insert(0, 'back')
  await saved(page)
  await until('others see it', () => other.text.toString() === 'back')
  page.provider.awareness.setLocalStateField('user', 'ada')
  await until('and its cursor', () => seen(other, page)?.user === 'ada')
  assert.equal(page.asked, 1)
})

test('x29 a page whose edits are not taken comes back with growing pauses', async t => {
  const server = await guarded(t, '--document-bytes-max', '2KiB')
  const page = open(t, server, 'notes')
  await synced(page)
  const writes = setInterval(() => page.text.insert(0, 'x'.repeat(5_000)), 20)
  t.after(() => clearInterval(writes))
  await until('it is closed', () => page.closes.length > 0)
  clearInterval(writes)
  await until('it has come back a few times', () => page.asked >= 3)
  assert.deepEqual([...new Set(page.closes.map(({ code }) => code))], [4413])
  // Three attempts for each client token; without pauses there would be hundreds for one.
  assert.ok(page.opened <= 8, `${page.opened} connections`)
  assert.equal(page.provider.hasLocalChanges, true)
})
