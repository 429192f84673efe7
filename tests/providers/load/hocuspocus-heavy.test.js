// Large documents, many at once, and slow readers, on Hocuspocus' wire.
import assert from 'node:assert/strict'
import { test } from 'node:test'

import { connect as connectYWebsocket, newest as newestYWebsocket, saved, synced as syncedYWebsocket } from '../lib/clients.js'
import { connect, newest, settled, synced, versions } from '../lib/hocuspocus.js'
import { mintToken, startServer } from '../lib/server.js'
import { until } from '../../lib/wait.mjs'

/** A document of `parts` megabytes, and its author. */
async function written(t, server, name, parts, options = {}) {
  const author = connectYWebsocket(t, newestYWebsocket, server, name, options)
  await syncedYWebsocket(author)
  for (let i = 0; i < parts; i++) {
    author.text.insert(author.text.length, String.fromCharCode(97 + i % 26).repeat(1_000_000))
    await saved(author)
  }
  return author
}

/** Not assert.equal: it would print megabytes. */
const sameText = (author, ...readers) => {
  for (const { text } of readers) {
    assert.ok(text.toString() === author.text.toString(), `${text.length} of ${author.text.length} characters`)
  }
}

test('x9 a first sync of 20 MB comes in several messages, and edits go on', async t => {
  const server = await startServer(t)
  const author = await written(t, server, 'large', 20)
  for (const [name, version] of Object.entries(versions)) {
    await t.test(name, async t => {
      const reader = connect(t, version, server, 'large')
      await settled(reader)
      sameText(author, reader)
      const updates = reader.wire.heard.filter(({ type, content }) => type === 0 && content[0] > 0)
      assert.ok(updates.length > 20, `${updates.length} messages`)
      assert.ok(updates.every(({ content }) => content.length <= 1024 * 1024))

      reader.text.insert(0, `an edit of ${name} `)
      await settled(reader)
      await until('it is there', () => author.text.toString().startsWith(`an edit of ${name} `))
    })
  }
})

test('x9 a reader does not take itself for synced before it has a large document', async t => {
  const secret = 'a secret of at least thirty-two bytes'
  const server = await startServer(t, ['--jwt-secret', secret])
  const token = access => mintToken(secret, ['--sub', access, '--document', `*=${access}`])
  const author = await written(t, server, 'large', 10, { params: { token: await token('write') } })
  for (const version of Object.values(versions)) {
    const reader = connect(t, version, server, 'large', { token: await token('read') })
    await settled(reader)
    sameText(author, reader)
  }
})

test('x9 sixty providers that come at once all have the document', async t => {
  const server = await startServer(t)
  const author = await written(t, server, 'crowd', 1)
  const crowd = Array.from({ length: 60 }, (_, i) => connect(t, Object.values(versions)[i % 3], server, 'crowd'))
  await settled(...crowd)
  sameText(author, ...crowd)
})

test('x9 a reader that stops reading is brought up to date when it goes on, and holds up nobody', async t => {
  const server = await startServer(t, ['--outbox-bytes-max', '1MiB'])
  const author = connectYWebsocket(t, newestYWebsocket, server, 'slow')
  const slow = connect(t, newest, server, 'slow')
  const other = connect(t, newest, server, 'other', { wire: slow.wire })
  await syncedYWebsocket(author)
  await settled(slow, other)
  slow.wire.socket.pause()
  for (let i = 0; i < 24; i++) {
    author.text.insert(author.text.length, String.fromCharCode(97 + i % 26).repeat(1_000_000))
    await saved(author)
  }
  await until('it has fallen behind', async () => await server.metric('cowrite_resyncs_total') > 0)
  const reader = connect(t, newest, server, 'slow')
  await synced(reader)
  sameText(author, reader)

  slow.wire.socket.resume()
  await until('it has caught up', () => slow.text.length === author.text.length)
  sameText(author, slow)
  other.text.insert(0, 'the other document of its socket')
  await settled(other)
  assert.deepEqual([slow.wire.opened, slow.wire.closes], [1, []])
})
