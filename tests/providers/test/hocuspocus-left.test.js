// Sessions of Hocuspocus' wire that are left, renewed and opened again while something is under way.
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { test } from 'node:test'
import * as Y from 'yjs'

import { AUTH, CLOSE, addressed, auth, connect, frame, newest, settled, speaker, statuses, SYNC, SYNC_STATUS } from '../lib/hocuspocus.js'
import { AS_FAST_AS_IT_GOES, mintToken, startServer } from '../lib/server.js'
import { until, within } from '../../lib/wait.mjs'
import { step1, step2, update } from '../lib/wire.js'

const secret = 'a secret of at least thirty-two bytes'
const edit = (client = 1) => Buffer.from([1, 1, client, 0, 4, 1, 1, 0x74, 1, 0x78, 0])

test('e25 what has arrived counts while its document is being opened', async t => {
  const server = await startServer(t)
  const socket = await speaker(t, server)
  // As a network delivers it: together.
  socket.socket._socket.cork()
  for (const message of [auth('page', ''), addressed('page', step1()), addressed('page', update(edit()))]) socket.say(message)
  socket.socket.close()
  socket.socket._socket.uncork()
  await within('it is closed', socket.closed)
  const other = connect(t, newest, server, 'page')
  await settled(other)
  await until('the edit is there', () => other.doc.getText('t').toString() === 'x', 5_000)
})

test('x4 a document that is opened again goes on at once, whatever was written just before it was left', async t => {
  const server = await startServer(t)
  const ada = connect(t, newest, server, 'page')
  const other = connect(t, newest, server, 'page')
  await settled(ada, other)
  ada.provider.awareness.setLocalState({ name: 'ada' })
  await until('she is seen', () => other.provider.awareness.getStates().size > 1)
  // As a network delivers it: together.
  ada.wire.socket._socket.cork()
  ada.text.insert(0, 'x'.repeat(20_000))
  ada.provider.detach()
  ada.provider.attach()
  ada.text.insert(0, 'more ')
  setTimeout(() => ada.wire.socket._socket.uncork(), 50)
  await until('others have it', () => other.text.toString().startsWith('more '), 10_000)
  await settled(ada)
})

test('x10 a new token holds for what is said after it, and not for what was said before', async t => {
  const server = await startServer(t, ['--jwt-secret', secret])
  const token = access => mintToken(secret, ['--sub', 'ada', '--document', `*=${access}`])
  const [writes, reads] = await Promise.all([token('write'), token('read')])
  const socket = await speaker(t, server)
  socket.say(auth('page', writes))
  socket.say(addressed('page', step1()))
  await until('it is answered', () => socket.heard.some(({ type, content }) => type === SYNC && content[0] === 1))
  socket.socket._socket.cork()
  socket.say(addressed('page', update(edit())))
  socket.say(auth('page', reads))
  socket.socket._socket.uncork()
  await until('it is answered', () => statuses(socket, 'page').length > 0)
  assert.deepEqual(statuses(socket, 'page'), [1])
})

test('x2 a token that comes while the document is being opened is answered, too', async t => {
  const server = await startServer(t, ['--jwt-secret', secret])
  const token = access => mintToken(secret, ['--sub', 'ada', '--document', `*=${access}`])
  const [writes, reads] = await Promise.all([token('write'), token('read')])
  const socket = await speaker(t, server)
  socket.socket._socket.cork()
  socket.say(auth('page', reads))
  socket.say(auth('page', writes))
  socket.say(addressed('page', step1()))
  socket.socket._socket.uncork()
  const scopes = () => socket.heard.filter(({ type }) => type === AUTH).map(({ content }) => content.subarray(2).toString())
  await until('it is answered', () => socket.heard.some(({ type, content }) => type === SYNC && content[0] === 1))
  assert.equal(scopes().at(-1), 'read-write')
})

test('x11 a connection without a session is told that the server stops', async t => {
  const server = await startServer(t, ['--jwt-secret', secret])
  const good = await mintToken(secret, ['--sub', 'ada', '--document', '*=write'])
  const [left, denied, silent] = [await speaker(t, server), await speaker(t, server), await speaker(t, server)]
  left.say(auth('page', good))
  left.say(frame('page', CLOSE))
  denied.say(auth('page', 'bad'))
  await until('it is denied', () => denied.heard.length > 0)
  server.stop('SIGTERM')
  const codes = await Promise.all([left, denied, silent].map(async ({ closed }) => (await within('closed', closed)).code))
  assert.deepEqual(codes, [1012, 1012, 1012])
})

test('x4 an acknowledgement for a session that was left is not given to the next one', async t => {
  const server = await startServer(t)
  const writer = await speaker(t, server)
  writer.say(auth('big', ''))
  writer.say(addressed('big', step1()))
  const doc = new Y.Doc()
  doc.on('update', bytes => writer.say(addressed('big', update(bytes))))
  for (let i = 0; i < 24; i++) doc.getText('text').insert(0, 'y'.repeat(700 * 1024))
  await until('it is there', () => statuses(writer, 'big').length === 24)
  const socket = await speaker(t, server)
  socket.say(auth('page', ''))
  socket.say(addressed('page', step1()))
  socket.say(addressed('page', step2()))
  await until('it is acknowledged', () => statuses(socket, 'page').length === 1)
  // It reads slowly.
  socket.socket._socket.pause()
  socket.say(auth('big', ''))
  socket.say(addressed('big', step1()))
  await new Promise(resolve => setTimeout(resolve, 1_000))
  const page = new Y.Doc()
  page.on('update', bytes => socket.say(addressed('page', update(bytes))))
  for (let i = 0; i < 5; i++) page.getText('text').insert(0, 'x')
  await new Promise(resolve => setTimeout(resolve, 500))
  socket.say(frame('page', CLOSE))
  await new Promise(resolve => setTimeout(resolve, 200))
  const before = socket.heard.length
  socket.say(auth('page', ''))
  socket.say(addressed('page', step1()))
  socket.socket._socket.resume()
  await until('it has the document again', () => socket.heard.slice(before).some(({ name, type, content }) => name === 'page' && type === SYNC && content[0] === 1))
  const of = socket.heard.slice(before).filter(({ name }) => name === 'page')
  const granted = of.findIndex(({ type }) => type === AUTH)
  assert.equal(of.slice(granted).filter(({ type }) => type === SYNC_STATUS).length, 0, 'the new session sent nothing')
})

test('p6 documents that are opened and left without end take no memory', async t => {
  const server = await startServer(t, AS_FAST_AS_IT_GOES)
  const socket = await speaker(t, server)
  const rss = async () => Number(/VmRSS:\s+(\d+)/.exec(await readFile(`/proc/${server.process.pid}/status`, 'utf8'))[1])
  const before = await rss()
  let most = 0
  for (let turn = 0; turn < 8; turn++) {
    const names = Array.from({ length: 2_000 }, (_, i) => turn % 2 ? `doc-${turn}-${i}` : 'same')
    for (const name of names) {
      socket.say(auth(name, ''))
      socket.say(frame(name, CLOSE))
    }
    const last = `last-${turn}`
    socket.say(auth(last, ''))
    await until('it is let in', () => socket.heard.some(({ name }) => name === last), 60_000)
    socket.heard.length = 0
    most = Math.max(most, await rss())
  }
  assert.ok(most - before < 64 * 1024, `${most - before} kB`)
  await until('they have left memory', async () => await server.metric('cowrite_documents_open') <= 9)
})

test('x6 of thousands of messages that arrive together each counts', async t => {
  const server = await startServer(t)
  const socket = await speaker(t, server)
  const names = Array.from({ length: 8 }, (_, i) => `page-${i}`)
  for (const name of names) {
    for (const message of [auth(name, ''), addressed(name, step1()), addressed(name, step2())]) socket.say(message)
  }
  const acknowledged = count => names.every(name => statuses(socket, name).length === count)
  await until('each is there', () => acknowledged(1))
  const doc = new Y.Doc()
  const updates = []
  doc.on('update', bytes => updates.push(bytes))
  for (let i = 0; i < 700; i++) doc.getMap('map').set('key', i)
  // As a network delivers it: together, and no document has many in a row.
  const all = updates.flatMap(bytes => names.map(name => addressed(name, update(bytes))))
  socket.socket._socket.cork()
  all.forEach(message => socket.say(message))
  socket.socket._socket.uncork()
  await until('each is acknowledged', () => acknowledged(701))
  const other = connect(t, newest, server, 'page-7')
  await settled(other)
  assert.equal(other.doc.getMap('map').get('key'), 699)
})
