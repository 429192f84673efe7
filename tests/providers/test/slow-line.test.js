// Slow lines: providers give up when no message came for 30 s (y-sweet's: 5 s), and one that is on its way does not count.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as encoding from 'lib0/encoding'
import * as Y from 'yjs'

import { connect, newest, same, saved, synced } from '../lib/clients.js'
import { connect as connectHocuspocus, connectSocket, newest as hocuspocus, settled } from '../lib/hocuspocus.js'
import { startServer } from '../lib/server.js'
import { gateway, slowLine } from '../lib/slow-line.js'
import { connect as connectYSweet, manager, open as openYSweet, saved as savedYSweet } from '../lib/y-sweet.js'
import { until } from '../../lib/wait.mjs'

test('f12 a document of 600 kB reaches readers on a slow line without a reconnect', { timeout: 120_000 }, async t => {
  const server = await startServer(t)
  const author = connect(t, newest, server, 'large')
  await synced(author)
  author.text.insert(0, 'x'.repeat(600_000))
  await saved(author)
  const line = await slowLine(t, server)
  const reader = connect(t, newest, { url: `ws://${line}/ws` }, 'large')
  const other = connectHocuspocus(t, hocuspocus, server, 'large', { wire: connectSocket(t, hocuspocus, `ws://${line}/hocuspocus`) })
  await until('all of it is there', () => reader.provider.synced && reader.text.length === 600_000, 90_000)
  await until('all of it is there', () => other.text.length === 600_000, 90_000)
  await settled(other)
  assert.deepEqual([reader.closes, other.wire.closes], [[], []])
  // What was sent to see what the line carries says nothing.
  for (const { provider } of [reader, other]) assert.ok(!provider.awareness.meta.has(0))

  author.text.insert(0, 'and more')
  await same(author, reader)
})

for (const [what, way] of [
  // No ping tells of it: 128 KiB come through at once.
  ['a line that lets much through at once', (t, server) => slowLine(t, server, { rate: 100_000, atOnce: 131_072 })],
  ['a gateway that answers pings', async (t, server) => slowLine(t, await gateway(t, server), { rate: 100_000 })],
]) {
  test(`f15 to whom a large message did not come it is sent in smaller ones: ${what}`, { timeout: 120_000 }, async t => {
    const server = await startServer(t)
    const author = connect(t, newest, server, 'large')
    await synced(author)
    author.text.insert(0, 'x'.repeat(900_000))
    await saved(author)
    const line = await way(t, server)
    const token = async () => {
      const token = await manager(server, '').getOrCreateDocAndToken('large')
      return { ...token, url: token.url.replace(server.address, line) }
    }
    const reader = connectYSweet(t, 'large', token)

    await until('all of it is there', () => reader.provider.synced && reader.text.toString() === author.text.toString(), 90_000)

    assert.ok(reader.opened >= 2, 'it came back')
    assert.ok(!reader.provider.awareness.meta.has(0))
    reader.text.insert(0, 'and more')
    await same(author, reader)
  })
}

test('f16 who wrote offline in a document of very many client ids has it saved, on each wire', async t => {
  const server = await startServer(t)
  const crowd = new Y.Doc({ gc: false })
  // What 6,000 pages typed into one text, a letter each.
  const letters = encoding.createEncoder()
  encoding.writeVarUint(letters, 6_000)
  for (let client = 106_000; client > 100_000; client--) {
    for (const number of [1, client, 0]) encoding.writeVarUint(letters, number)
    encoding.writeUint8(letters, 4)
    encoding.writeVarUint(letters, 1)
    for (const text of ['text', 'x']) encoding.writeVarString(letters, text)
  }
  encoding.writeVarUint(letters, 0)
  Y.applyUpdate(crowd, encoding.toUint8Array(letters))
  const author = connect(t, newest, server, 'crowd')
  await synced(author)
  Y.applyUpdate(author.doc, Y.encodeStateAsUpdate(crowd))
  await saved(author)

  // Each has all of it but what others write meanwhile.
  const away = (word, doc = new Y.Doc()) => {
    Y.applyUpdate(doc, Y.encodeStateAsUpdate(crowd))
    doc.getText('text').insert(0, word)
    return doc
  }
  const [one, two, three, nobody] = [
    connect(t, newest, server, 'crowd'),
    connectHocuspocus(t, hocuspocus, server, 'crowd', { document: away('two ') }),
    openYSweet(t, server, 'crowd', {}, { doc: away('three ') }),
    connect(t, newest, server, 'crowd'),
  ]
  away('one ', one.doc)
  for (const word of ['one ', 'two ', 'three ']) await until(`${word}is there`, () => nobody.text.toString().includes(word))
  await same(author, one, two, three, nobody)
  await saved(one)
  await settled(two)
  await savedYSweet(three)
})
