// Memory stays in proportion to what was sent and is stored.
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { test } from 'node:test'
import * as Y from 'yjs'

import { connect, newest, saved, synced } from '../lib/clients.js'
import { costly } from '../lib/costly.js'
import { startServer } from '../lib/server.js'
import { until } from '../../lib/wait.mjs'
import { confirmed, speaker, update } from '../lib/wire.js'

const MiB = 1024 * 1024

/** Bytes of memory that the server has (VmRSS), or had at most (VmHWM); of the binary's pages the kernel maps as many as it likes (RssFile). */
function memory(server, which) {
  const status = readFileSync(`/proc/${server.process.pid}/status`, 'utf8')
  return Number(status.match(new RegExp(`${which}:\\s+(\\d+) kB`))[1]) * 1024
}

for (const [name, messages] of Object.entries(costly)) {
  test(`p6 a message of x bytes takes at most 30 x + 16 MiB: ${name}`, async t => {
    const server = await startServer(t, ['--threads', '1'])
    for (const count of [5_000, 10_000, 20_000]) {
      const sender = await speaker(t, server, `costly-${count}`)
      await confirmed(sender)
      // The highest mark starts anew at what is taken at the moment.
      writeFileSync(`/proc/${server.process.pid}/clear_refs`, '5')
      const idle = memory(server, 'VmRSS')
      const bytes = messages(count).reduce((sum, message) => { sender.say(update(message)); return sum + message.length }, 0)
      await confirmed(sender)

      const more = memory(server, 'VmHWM') - idle
      assert.ok(more <= 30 * bytes + 16 * MiB, `${count} in ${bytes} bytes took ${more}`)
      sender.socket.terminate()
    }
  })
}

test('p6 60,000 typed letters behind a snapshot take less than 60 MB through a restart and one letter more', async t => {
  const server = await startServer(t, ['--threads', '1', '--idle-timeout', '200ms'])
  const first = connect(t, newest, server, 'typed')
  await synced(first)
  first.text.insert(0, 'The paragraph goes on. '.repeat(130_000))
  await saved(first)
  first.provider.destroy()
  await until('it left a snapshot', async () => await server.metric('cowrite_documents_open') === 0)
  const ada = connect(t, newest, server, 'typed')
  await synced(ada)
  const before = ada.text.length
  for (let letters = 0; letters < 60_000; letters++) {
    ada.text.insert(before + letters, 'x')
    if (letters % 1_000 === 0) await saved(ada)
  }
  await saved(ada)

  await server.stop('SIGKILL')
  await server.start()
  await until('she is back', () => ada.provider.wsconnected && ada.provider.synced)
  ada.text.insert(ada.text.length, 'y')
  await saved(ada)

  const most = memory(server, 'VmHWM') - memory(server, 'RssFile')
  assert.ok(most < 60e6, `${most} bytes`)
  assert.deepEqual(ada.closes.filter(({ code }) => code >= 4000), [])
})

test('p6 a document with living sub-documents leaves memory whenever it is left', async t => {
  const server = await startServer(t, ['--threads', '1', '--idle-timeout', '200ms'])
  const writer = connect(t, newest, server, 'parent')
  await synced(writer)
  writer.text.insert(0, 'x'.repeat(12_000_000))
  for (let i = 0; i < 100; i++) writer.doc.getMap('map').set(`child ${i}`, new Y.Doc({ meta: { i } }))
  await saved(writer)
  writer.provider.destroy()
  const left = () => until('it left memory', async () => await server.metric('cowrite_documents_open') === 0)
  await left()

  const opened = []
  for (let times = 0; times < 8; times++) {
    const client = connect(t, newest, server, 'parent')
    await synced(client)
    client.text.insert(0, `${times}`)
    await saved(client)
    assert.equal(client.doc.getMap('map').size, 100)
    client.provider.destroy()
    await left()
    // Twice what one opening takes would be kept by now if nothing were given back.
    const most = times < 3 ? Infinity : Math.max(...opened.slice(0, 3)) + 12e6
    await until(`memory comes back: ${opened} and ${memory(server, 'VmRSS')}`, () => memory(server, 'VmRSS') <= most)
    opened.push(memory(server, 'VmRSS'))
  }
})
