// The owner of a document dies in the middle of a frame: what the node that carries it can still say.
import assert from 'node:assert/strict'
import { test } from 'node:test'

import { Client } from '../lib/client.js'
import { Cluster } from '../lib/cluster.js'
import { until } from '../lib/wait.js'

for (const [bytes, code, reason] of [[40_000, 1012, 'the server restarts'], [400_000, 1006, '']]) {
  test(`n61 a client whose owner dies within a frame of ${bytes} bytes is closed with ${code}`, async t => {
    const cluster = await Cluster.start(t, { count: 2 })
    const [owner, carrier] = cluster.nodes
    const author = new Client(owner.url, 'plan')
    t.after(() => author.end())
    await author.whenSynced()
    author.doc.getText('text').insert(0, 'first')
    await author.saved()
    const reader = new Client(carrier.url, 'plan')
    t.after(() => reader.end())
    await reader.when('it has the document', () => reader.doc.getText('text').toString() === 'first')
    const [link] = carrier.peers
    link.back.holdAfter(20_000)

    // One struct, which is not cut.
    author.doc.getArray('files').push([new Uint8Array(bytes)])
    await until('half a frame has come', () => link.back.held !== undefined)
    await owner.kill()
    await until('the reader is told', () => reader.close)

    assert.deepEqual(reader.close, { code, reason })
    assert.equal(reader.doc.getArray('files').length, 0)
  })
}
