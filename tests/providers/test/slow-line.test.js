// A line of 15 kB/s: providers give up when no message came for 30 s, and one that is on its way does not count.
import assert from 'node:assert/strict'
import { connect as connectTcp, createServer } from 'node:net'
import { test } from 'node:test'

import { connect, newest, same, saved, synced } from '../lib/clients.js'
import { connect as connectHocuspocus, connectSocket, newest as hocuspocus, settled } from '../lib/hocuspocus.js'
import { startServer } from '../lib/server.js'
import { until } from '../../lib/wait.mjs'

const BYTES_PER_SECOND = 15_000

/** A way to the server that carries so much towards the client. */
async function slowLine(t, server) {
  const [host, port] = server.address.split(':')
  const proxy = createServer(client => {
    const upstream = connectTcp(Number(port), host)
    const close = () => { clearInterval(timer); client.destroy(); upstream.destroy() }
    let waiting = Buffer.alloc(0)
    const timer = setInterval(() => {
      client.write(waiting.subarray(0, BYTES_PER_SECOND / 10))
      waiting = waiting.subarray(BYTES_PER_SECOND / 10)
      if (waiting.length < BYTES_PER_SECOND) upstream.resume()
    }, 100)
    upstream.on('data', part => {
      waiting = Buffer.concat([waiting, part])
      if (waiting.length >= BYTES_PER_SECOND) upstream.pause()
    })
    client.pipe(upstream)
    for (const end of [client, upstream]) end.on('error', close).on('close', close)
  })
  await new Promise(resolve => proxy.listen(0, '127.0.0.1', resolve))
  t.after(() => proxy.close())
  return `127.0.0.1:${proxy.address().port}`
}

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

  author.text.insert(0, 'and more')
  await same(author, reader)
})
