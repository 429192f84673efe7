// What one client may take of memory: nobody else's documents are the price.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import WebSocket from 'ws'
import * as Y from 'yjs'

import { connect, newest, same, saved, synced } from '../lib/clients.js'
import { attempt, from, guarded, tokenOf } from '../lib/counted.js'
import { startServer } from '../lib/server.js'
import { until } from '../../lib/wait.mjs'
import { update } from '../lib/wire.js'

test('l54, l83 when memory is used up nothing more is let grow, who is there goes on, who comes to a small document is let in, and it comes back', async t => {
  const server = await startServer(t, ['--memory-max', '128MiB', '--idle-timeout', '1s', '--snapshot-bytes', '1GiB'])
  const ada = connect(t, newest, server, 'honest')
  await synced(ada)
  const letter = Buffer.alloc(1024 * 1024, 'x').toString()
  const greedy = []
  let refused
  for (let i = 0; i < 200 && !refused; i++) {
    const answer = await attempt(t, server, `greedy${i}`)
    if (!answer.socket) { refused = answer; break }
    greedy.push(answer.socket)
    answer.socket.on('close', (code, reason) => { refused = { code, text: String(reason) } })
    const doc = new Y.Doc()
    doc.getText('text').insert(0, letter)
    answer.socket.send(update(Y.encodeStateAsUpdate(doc)))
    await until('it was taken or refused', async () => refused || await server.metric('cowrite_updates_total') > i)
  }
  assert.equal(refused?.code, 1013)
  assert.match(refused.text, /memory is used up.*: come back in \d+ s/)
  // What was taken since memory was last measured counts by its estimate.
  const small = await until('a small document is opened', async () => (await attempt(t, server, 'small')).socket)
  small.terminate()
  assert.ok(greedy.length > 5, `${greedy.length} were let in`)
  ada.text.insert(0, 'still here')
  await saved(ada)
  const bob = connect(t, newest, server, 'honest')
  await same(ada, bob)
  assert.deepEqual(ada.closes, [])
  await until('it is logged', () => server.log.includes('no more documents are opened'))
  for (const socket of greedy) socket.terminate()
  await until('there is room again', async () => (await attempt(t, server, 'another')).socket, 60_000)
})

test('l84 who has most documents open opens no more as memory fills, and gives way to others when it is short', async t => {
  const server = await guarded(t, '--memory-max', '160MiB', '--idle-timeout', '1s', '--snapshot-bytes', '1GiB')
  const megabyte = Buffer.alloc(1024 * 1024, 'x').toString()
  const write = (socket, letters) => {
    const doc = new Y.Doc()
    doc.getText('text').insert(0, letters)
    socket.send(update(Y.encodeStateAsUpdate(doc)))
  }
  const honest = connect(t, newest, server, 'honest', { params: { token: await tokenOf('honest') } })
  await synced(honest)
  const author = connect(t, newest, server, 'stored', { params: { token: await tokenOf('author') } })
  await synced(author)
  author.text.insert(0, megabyte.repeat(4))
  await saved(author)
  author.provider.destroy()
  await until('it has left memory', async () => await server.metric('cowrite_documents_open') === 1)

  const greedy = { headers: { authorization: `Bearer ${await tokenOf('greedy')}`, ...from('203.0.113.7').headers } }
  const sockets = []
  const closes = []
  const closed = (code, reason) => closes.push({ code, text: String(reason) })
  let taken = await server.metric('cowrite_updates_total')
  const isTaken = async () => closes.length > 0 || await server.metric('cowrite_updates_total') > taken
  while (closes.length === 0 && sockets.length < 300) {
    const answer = await attempt(t, server, `greedy${sockets.length}`, greedy)
    if (!answer.socket) { closes.push(answer); break }
    sockets.push(answer.socket)
    answer.socket.on('close', closed)
    taken = await server.metric('cowrite_updates_total')
    write(answer.socket, megabyte)
    await until('it was taken or refused', isTaken)
  }
  assert.equal(closes[0].code, 1013)
  assert.match(closes[0].text, /documents that this user has open .*, close some: come back in \d+ s/)
  const others = await attempt(t, server, 'of-others', { headers: { authorization: `Bearer ${await tokenOf('other')}` } })
  assert.ok(others.socket, 'others open documents')

  // What is open can be made to grow.
  closes.length = 0
  for (let i = 0; closes.length === 0 && i < 300; i++) {
    taken = await server.metric('cowrite_updates_total')
    const socket = sockets[i % sockets.length]
    if (socket.readyState !== WebSocket.OPEN) break
    write(socket, megabyte)
    await until('it was taken or refused', isTaken)
  }
  const late = connect(t, newest, server, 'stored', { params: { token: await tokenOf('late') } })
  await synced(late)
  assert.equal(late.text.length, 4 * 1024 * 1024)
  await until('it was sent away', () => closes.some(({ text }) => /documents that this user has open/.test(text)))
  honest.text.insert(0, 'still here')
  await saved(honest)
  assert.deepEqual(honest.closes, [])
})
