// What a line carries is seen through the node that it leads to.
import assert from 'node:assert/strict'
import { test } from 'node:test'

import { connect, newest, saved, synced } from '../lib/clients.js'
import { ownerOf, startNodes } from '../lib/cluster.js'
import { SYNC, connect as connectHocuspocus, connectSocket, newest as hocuspocus } from '../lib/hocuspocus.js'
import { slowLine } from '../lib/slow-line.js'
import { until } from '../../lib/wait.mjs'

test('f14 a large document of another node comes to a slow line in pieces, and to a fast one at once', async t => {
  const nodes = await startNodes(t, 2)
  const [owner, carrier] = nodes
  const author = connect(t, newest, owner, 'large')
  await synced(author)
  author.text.insert(0, 'x'.repeat(300_000))
  await saved(author)
  assert.equal(await ownerOf(nodes, 'large'), 0)
  const url = address => `ws://${address}/hocuspocus`
  const [slow, fast] = [await slowLine(t, carrier), carrier.address].map(address =>
    connectHocuspocus(t, hocuspocus, carrier, 'large', { wire: connectSocket(t, hocuspocus, url(address)) }))
  /** The sizes of what came of the document. */
  const sizes = ({ wire }) => wire.heard.filter(({ type, content }) => type === SYNC && content.length > 1_000).map(({ content }) => content.length)

  await until('the fast one has it', () => fast.text.length === 300_000)
  await until('some of it has come', () => sizes(slow).length > 0, 60_000)

  assert.equal(sizes(fast).length, 1)
  // What comes in four seconds.
  assert.ok(sizes(slow)[0] < 90_000, `${sizes(slow)}`)
  assert.deepEqual([slow.wire.closes, fast.wire.closes], [[], []])
})
