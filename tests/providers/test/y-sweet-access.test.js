// y-sweet's client and SDK: tokens, and what they allow; what is refused, and how.
import assert from 'node:assert/strict'
import { request } from 'node:http'
import { test } from 'node:test'

import WebSocket from 'ws'
import * as Y from 'yjs'

import { connect as connectYWebsocket, newest as yWebsocket } from '../lib/clients.js'
import { mintToken, run, startServer } from '../lib/server.js'
import { until, within } from '../../lib/wait.mjs'
import { answers, connect, manager, open, questions, saved, serverToken, synced } from '../lib/y-sweet.js'

const secret = 'a secret of at least thirty-two bytes'
const guarded = (t, ...flags) => startServer(t, ['--server-token', serverToken, ...flags])
const updateOf = words => {
  const doc = new Y.Doc()
  doc.getText('text').insert(0, words)
  return Y.encodeStateAsUpdate(doc)
}
const text = update => {
  const doc = new Y.Doc()
  Y.applyUpdate(doc, update)
  return doc.getText('text').toString()
}
const bearer = token => ({ Authorization: `Bearer ${token}` })

/** The status of a request, and what was said. */
async function ask(server, method, path, { headers = bearer(serverToken), body } = {}) {
  const answer = await fetch(server.http + path, { method, headers, body, duplex: 'half' })
  return { status: answer.status, text: await answer.text(), headers: answer.headers }
}

/** The same with headers that `fetch` does not let a page set. */
const askAs = (server, method, path, headers) => new Promise((resolve, reject) => {
  const [host, port] = server.address.split(':')
  const asked = request({ host, port, method, path, headers }, answer => {
    answer.resume()
    answer.once('end', () => resolve(answer.statusCode))
  })
  asked.once('error', reject)
  asked.end()
})

test('x22 the server token opens what is the back end’s, and nothing else does', async t => {
  const server = await guarded(t)
  const { token } = await manager(server).getClientToken('notes')
  for (const [method, path] of [['POST', '/doc/new'], ['POST', '/doc/notes/auth'], ['POST', '/check_store'], ['GET', '/check_store']]) {
    for (const headers of [{}, bearer('wrong'), bearer(serverToken.slice(1)), bearer(`${serverToken}x`), bearer(token)]) {
      const { status, text, headers: told } = await ask(server, method, path, { headers })
      assert.equal(status, 401, path)
      assert.match(text, /server token/)
      assert.equal(told.get('WWW-Authenticate'), 'Bearer')
    }
    assert.equal((await ask(server, method, path)).status, 200)
  }
  await assert.rejects(manager(server, '').checkStore(), { name: 'YSweetError', cause: { code: 'NoAuthProvided' } })
  await assert.rejects(manager(server, 'wrong').checkStore(), { name: 'YSweetError', cause: { code: 'InvalidAuthProvided' } })
  assert.equal((await ask(server, 'POST', '/d/notes/update', { body: updateOf('by the back end') })).status, 200)
  assert.equal((await ask(server, 'GET', '/d/notes/as-update')).status, 200)
  // On the other wires it is no token.
  const { closes } = connectYWebsocket(t, yWebsocket, server, 'notes', { params: { token: serverToken } })
  await until('it is refused', () => closes[0]?.code === 4401)
  assert.ok(!server.log.includes(serverToken) && !server.log.includes(token))
})

test('x22 a server without a server token says so, and takes the tokens of its issuer', async t => {
  const server = await startServer(t, ['--jwt-secret', secret])
  const token = await mintToken(secret, ['--sub', 'ada', '--document', 'notes=write', '--document', 'read=read'])
  const { status, text: said } = await ask(server, 'POST', '/doc/new', { headers: bearer(token) })
  assert.deepEqual([status, said.includes('--server-token')], [401, true])
  const asked = { headers: bearer(token), body: updateOf('x') }
  assert.equal((await ask(server, 'POST', '/d/notes/update', asked)).status, 200)
  assert.equal((await ask(server, 'POST', '/d/read/update', asked)).status, 403)
  assert.equal((await ask(server, 'GET', '/d/read/as-update', { headers: bearer(token) })).status, 200)
  assert.equal((await ask(server, 'GET', '/d/other/as-update', { headers: bearer(token) })).status, 403)
  assert.equal((await ask(server, 'GET', '/d/notes/as-update', { headers: {} })).status, 401)
  const page = connect(t, 'notes', async () => ({ url: `ws://${server.address}/d/notes/ws`, docId: 'notes', token }))
  await saved(page)
  assert.equal(page.text.toString(), 'x')
})

test('x22 a short server token is refused at the start', async () => {
  const { code, output } = await run(['serve', '--listen', '127.0.0.1:0'], { COWRITE_SERVER_TOKEN: 'too-short' })
  assert.equal(code, 2)
  assert.match(output, /--server-token: the server token is 9 bytes long and needs at least 32/)
})

test('x24 a client token opens its document until its end and no moment longer', async t => {
  const server = await guarded(t)
  const back = manager(server)
  await back.updateDoc('notes', updateOf('there'))
  const document = await back.getDocConnection('notes', { validForSeconds: 5 })
  const ended = Date.now() + 5_000
  assert.equal(text(await document.getAsUpdate()), 'there')
  // The clock is that of both.
  await until('its end has come', () => Date.now() >= ended)
  await assert.rejects(document.getAsUpdate(), { cause: { code: 'InvalidAuthProvided' } })
  await assert.rejects(document.updateDoc(updateOf('late')), { cause: { code: 'InvalidAuthProvided' } })

  const { token } = await back.getClientToken('notes')
  assert.equal((await ask(server, 'GET', '/d/other/as-update', { headers: bearer(token) })).status, 403)
  assert.equal((await ask(server, 'GET', '/d/notes/as-update', { headers: bearer(token) })).status, 200)
  assert.equal((await ask(server, 'GET', `/d/notes/as-update?token=${token}`, { headers: {} })).status, 200)
  const { exp } = JSON.parse(Buffer.from(token.split('.')[1], 'base64url'))
  assert.ok(Math.abs(exp - Date.now() / 1_000 - 3_600) < 60, 'an hour, when nothing else is asked for')
})

test('x24 a session ends with its client token, and its page comes back with a new one', async t => {
  const server = await guarded(t)
  let valid = 1
  const back = manager(server)
  const page = connect(t, 'notes', () => back.getClientToken('notes', { validForSeconds: valid }))
  await saved(page)
  const first = page.provider.clientToken.token
  valid = 600
  await until('its token has ended', () => page.closes.length > 0)
  assert.equal(page.closes[0].code, 4401)
  page.text.insert(0, 'written meanwhile')
  await until('it is back', () => page.asked === 2 && page.provider.synced)
  await saved(page)
  assert.notEqual(page.provider.clientToken.token, first)
  assert.equal(text(await back.getDocAsUpdate('notes')), 'written meanwhile')
  // With the old one it was refused each time, and told why.
  assert.deepEqual([...new Set(page.closes.map(({ code }) => code))], [4401])
  assert.equal(page.opened, page.closes.length + 1)
})

test('x24 a page of which the token is bad, or for another document, is told why, and asks for another one', async t => {
  const server = await guarded(t)
  const back = manager(server)
  const other = await back.getClientToken('other')
  const bad = { 4401: 'rubbish', 4403: other.token }
  for (const [code, token] of Object.entries(bad)) {
    const good = await back.getClientToken('notes')
    const tokens = [{ ...good, token }, good]
    const page = connect(t, 'notes', async () => tokens.shift())
    await until('it is let in with another one', () => page.provider.synced)
    assert.deepEqual(page.closes.map(({ code }) => code), Array(3).fill(Number(code)))
    assert.ok(page.closes.every(({ reason }) => reason.length > 10))
    assert.equal(page.asked, 2)
  }
})

test('x26 who may only read sees a document that nobody has open, and changes nothing', async t => {
  const server = await guarded(t)
  const back = manager(server)
  await back.updateDoc('notes', updateOf('there'))
  await server.stop()
  await server.start()
  const document = await back.getDocConnection('notes', { authorization: 'read-only' })
  assert.equal(text(await document.getAsUpdate()), 'there')
  await assert.rejects(document.updateDoc(updateOf('not taken')), ({ cause }) => cause.status === 403)
  await server.stop()
  await server.start()
  const reader = open(t, server, 'notes', { authorization: 'read-only' })
  await saved(reader)
  assert.equal(reader.text.toString(), 'there')
  const writer = open(t, server, 'notes')
  await saved(writer)

  reader.text.insert(0, 'not taken ')
  writer.text.insert(0, 'taken ')
  await saved(writer)
  await until('it hears of others', () => reader.text.toString().includes('taken there'))
  reader.provider.awareness.setLocalStateField('user', 'reader')
  await until('it is seen', () => writer.provider.awareness.getStates().get(reader.doc.clientID)?.user === 'reader')
  assert.equal(text(await back.getDocAsUpdate('notes')), 'taken there')
  // It is not told that its edit is saved, and stays all the same.
  const asked = questions(reader)
  await until('it has asked several times', () => questions(reader) > asked + 3, 30_000)
  assert.equal(reader.provider.hasLocalChanges, true)
  assert.deepEqual([reader.opened, reader.closes], [1, []])
  assert.ok(answers(reader) < questions(reader))
})

test('x27 a bad update is refused and changes nothing', async t => {
  const server = await guarded(t, '--message-bytes-max', '64KiB')
  const back = manager(server)
  const good = updateOf('there')
  await back.updateDoc('notes', good)
  const before = Buffer.from(await back.getDocAsUpdate('notes'))
  const later = new Y.Doc()
  later.getText('text').insert(0, 'first')
  const has = Y.encodeStateVector(later)
  later.getText('text').insert(5, ' second')
  const changed = Buffer.from(good)
  changed[changed.length - 2] ^= 1
  const bad = {
    nothing: [Buffer.alloc(0), 400], 'no update': [Buffer.from('{"docId":"notes"}'), 400], cut: [good.slice(0, -3), 400],
    'followed by more': [Buffer.concat([good, Buffer.from([0])]), 400], 'with a gap': [Y.encodeStateAsUpdate(later, has), 400],
    'another text under known numbers': [changed, 409], 'too large': [updateOf('x'.repeat(70_000)), 413],
  }
  for (const [name, [body, expected]] of Object.entries(bad)) {
    const { status, text, headers } = await ask(server, 'POST', '/d/notes/update', { body })
    assert.equal(status, expected, `${name}: ${text}`)
    assert.ok(text.length > 10, `${name}: ${text}`)
    assert.match(headers.get('Content-Type'), /^text\/plain/)
  }
  assert.deepEqual(Buffer.from(await back.getDocAsUpdate('notes')), before)
  await back.updateDoc('notes', good)
  for (const contentType of ['application/json', 'text/plain', 'multipart/form-data']) {
    const headers = { ...bearer(serverToken), 'Content-Type': contentType }
    assert.equal((await ask(server, 'POST', '/d/notes/update', { body: good, headers })).status, 200)
  }
})

test('x27 an update that was answered is there after SIGKILL', async t => {
  const server = await guarded(t)
  for (let round = 0; round < 5; round++) {
    await Promise.all([0, 1, 2].map(number => manager(server).updateDoc(`notes-${number}`, updateOf(`${round}`))))
    await server.stop('SIGKILL')
    await server.start()
    for (const number of [0, 1, 2]) {
      const there = text(await manager(server).getDocAsUpdate(`notes-${number}`))
      assert.deepEqual([...there].sort().join(''), '01234'.slice(0, round + 1))
    }
  }
})

test('x27 questions that are not understood are refused', async t => {
  const server = await guarded(t)
  const bad = [
    ['/doc/new', '{"docId":7}'], ['/doc/new', '{'], ['/doc/new', '[]'], ['/doc/new', `{"docId":"${'x'.repeat(20_000)}"}`, 413],
    ['/doc/notes/auth', '{"authorization":"admin"}'], ['/doc/notes/auth', '{"validForSeconds":-1}'],
    ['/doc/notes/auth', '{"validForSeconds":"1"}'], ['/doc/notes/auth', '{"userId":7}'],
    ['/doc/notes/auth', `{"userId":"${'x'.repeat(257)}"}`], ['/doc/notes/auth', '{"userId":"a\\u0000b"}'],
    ['/doc/a%00b/auth', '{}'], [`/doc/${'x'.repeat(513)}/auth`, '{}'], ['/doc/%ff/auth', '{}'],
  ]
  for (const [path, body, expected = 400] of bad) {
    const { status, text } = await ask(server, 'POST', path, { body })
    assert.equal(status, expected, `${path} ${body.slice(0, 50)}`)
    assert.ok(text.length > 10)
  }
  for (const body of ['', '{}', '{"userId":"","authorization":null,"validForSeconds":0.5}', '{"validForSeconds":1e300}', '{"more":1}']) {
    assert.equal((await ask(server, 'POST', '/doc/notes/auth', { body })).status, 200, body)
  }
  // Told as a close code, which a page sees.
  for (const path of ['/d/a/ws/b', '/d/a/ws/a/a', '/d/%ff/ws/%ff', '/doc/ws/%ff']) {
    const socket = new WebSocket(`ws://${server.address}${path}`, { headers: bearer(serverToken) })
    t.after(() => socket.terminate())
    const code = await within(path, new Promise((resolve, reject) => socket.once('close', resolve).once('error', reject)))
    assert.equal(code, 4400, path)
  }
})

test('x30 pages of other origins ask for nothing, nor does one whose name was rebound to this machine', async t => {
  const open = await startServer(t)
  const closed = await guarded(t)
  const [, port] = open.address.split(':')
  const ask = (server, method, path, headers) => askAs(server, method, path, { ...bearer(serverToken), ...headers })
  for (const [method, path] of [['POST', '/doc/new'], ['POST', '/doc/notes/auth'], ['POST', '/check_store'], ['GET', '/d/notes/as-update']]) {
    for (const server of [open, closed]) {
      assert.equal(await ask(server, method, path, { Origin: 'https://evil.example' }), 403, path)
      assert.equal(await ask(server, method, path, { Origin: server.http }), 200, path)
    }
    assert.equal(await ask(open, method, path, { Host: `evil.example:${port}` }), 403, path)
    assert.equal(await ask(open, method, path, { Host: `localhost:${port}` }), 200, path)
    assert.equal(await ask(closed, method, path, { Host: 'docs.example' }), 200, path)
  }
  assert.equal(await ask(open, 'POST', '/d/notes/update', { Origin: 'https://evil.example' }), 403)
})
