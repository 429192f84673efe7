// y-sweet's client and its paths over a disk that refuses: nothing is called saved, nobody is sent away.
import assert from 'node:assert/strict'
import { test } from 'node:test'

import { createYjsProvider } from '@y-sweet/client'
import WebSocket from 'ws'
import * as Y from 'yjs'

import { CHANGES, EIO } from '../lib/disk.js'
import { brittleServer } from '../lib/disk-server.js'
import { endYSweet } from '../lib/provider-writers.js'
import { TINY } from '../lib/session.js'
import { until } from '../lib/wait.js'

test('x27, x28 while the disk refuses, a page stays connected, and neither it nor a back end is told that all is saved', async t => {
  const { server, disk } = brittleServer(t, { flags: TINY })
  await server.start()
  const http = () => server.url.replace(/^ws/, 'http').replace(/\/ws$/, '')
  const ask = async (path, options) => (await fetch(`${http()}${path}`, options)).json()
  const doc = new Y.Doc()
  const closes = []
  let questions = 0
  const clientToken = await ask('/doc/notes/auth', { method: 'POST' })
  class Tapped extends WebSocket {
    send(message) {
      questions += Number(new Uint8Array(message)[0] === 102)
      super.send(message)
    }
  }
  const provider = createYjsProvider(doc, 'notes', async () => clientToken, { WebSocketPolyfill: Tapped, showDebuggerLink: false })
  t.after(() => endYSweet(provider))
  provider.on('connection-close', ({ code }) => closes.push(code))
  doc.getText('text').insert(0, 'before ')
  await until('it is saved', () => provider.synced && !provider.hasLocalChanges)
  assert.deepEqual(await ask('/check_store', { method: 'POST' }), { ok: true })

  disk.meddle('failFrom', { part: '/journal/', kinds: CHANGES, error: EIO, perMille: 0 })
  doc.getText('text').insert(0, 'meanwhile ')
  const other = new Y.Doc()
  other.getText('text').insert(0, 'by a back end ')
  let written
  fetch(`${http()}/d/notes/update`, { method: 'POST', body: Y.encodeStateAsUpdate(other) }).then(({ status }) => { written = status })
  await until('the page has what the back end wrote', () => doc.getText('text').toString().includes('back end'))
  const refused = await until('the store is not ready', async () => {
    const said = await ask('/check_store', { method: 'POST' })
    return !said.ok && said
  })
  assert.match(refused.error, /Input\/output/)
  assert.deepEqual(await ask('/ready'), refused)
  // Its client takes a server that says nothing for 5 s for lost.
  const asked = questions
  await until('it has asked for long', () => questions >= asked + 6, 60_000)
  assert.deepEqual([closes, provider.hasLocalChanges, written], [[], true, undefined])

  disk.heal()
  await until('all is saved', () => !provider.hasLocalChanges && written !== undefined)
  assert.equal(written, 200)
  assert.deepEqual(closes, [])
  await server.kill()
  await server.start()
  const there = new Y.Doc()
  Y.applyUpdate(there, new Uint8Array(await (await fetch(`${http()}/d/notes/as-update`)).arrayBuffer()))
  for (const words of ['before', 'meanwhile', 'by a back end']) assert.ok(there.getText('text').toString().includes(words), words)
})
