// A page whose Yjs holds edits of somebody else that it cannot show: who wrote them, and what they build on, has left, and the
// server that had heard of both has died.
import assert from 'node:assert/strict'
import { test } from 'node:test'

import * as Y from 'yjs'

import { connect, newest, synced } from '../lib/clients.js'
import { connections, follow } from '../lib/followed.js'
import { startServer } from '../lib/server.js'
import { until } from '../../lib/wait.mjs'

for (const provider of ['y-websocket 3.1.0', 'hocuspocus 4.8.0', 'y-sweet 0.9.1']) {
  test(`s5 a page that holds what nobody can complete is told that its own edits are saved (${provider})`, async t => {
    const server = await startServer(t)
    const author = new Y.Doc()
    const updates = []
    author.on('update', update => updates.push(update))
    for (const word of ['lost ', 'late ']) author.getText('text').insert(author.getText('text').length, word)
    const client = connections[provider](t, server, 'plan')
    const page = follow(t, client)
    client.text.insert(0, 'own ')
    await page.until('saved')

    Y.applyUpdate(client.doc, updates[1])
    assert.ok(client.doc.store.pendingStructs)
    await server.stop('SIGKILL')
    await page.until('offline')
    await server.start()
    client.text.insert(4, 'words ')
    await page.until('saved')

    const reader = connect(t, newest, server, 'plan')
    await synced(reader)
    assert.equal(reader.text.toString(), 'own words ')
    // Somebody has what was missing all the same.
    Y.applyUpdate(reader.doc, updates[0])
    await until('all is there', () => /lost late /.test(reader.text.toString()) && reader.text.toString() === client.text.toString())
    await page.until('saved')
  })
}
