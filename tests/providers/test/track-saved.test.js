// cowrite-track-saved, installed from its tarball, on every stock provider and the real server.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

import * as Y from 'yjs'

import { trackSaved } from '../dist/node_modules/cowrite-track-saved/dist/track-saved.js'
import { connections, follow, secret, token } from '../lib/followed.js'
import * as hocuspocus from '../lib/hocuspocus.js'
import { run, startServer } from '../lib/server.js'
import { until } from '../../lib/wait.mjs'
import * as ySweet from '../lib/y-sweet.js'

const guarded = (t, flags = []) => startServer(t, ['--jwt-secret', secret, ...flags])
const stored = async (server, name) => (await run(['doc', 'export', name, '--as', 'text', '--data', server.data])).output

/** What a provider has that may be wrapped, and how many listen to it. */
function shape({ messageHandlers, configuration, doc, document, awareness, listeners, websocket, _observers, callbacks }) {
  const emitter = listeners ?? _observers ?? Object.entries(callbacks)
  const counts = [...emitter].map(([name, all]) => [name, all.size ?? all.length]).filter(([, count]) => count > 0)
  const { _observers: ofDocument } = doc ?? document ?? awareness.doc
  return [counts, [...ofDocument].map(([name, all]) => [name, all.size]), Object.entries(messageHandlers ?? {}),
    Object.getOwnPropertyDescriptor(configuration?.websocketProvider ?? {}, 'send'), websocket?.listenerCount('message')]
}

/** What a page whose client id is 4711 writes first. */
function written(text) {
  const doc = new Y.Doc()
  doc.clientID = 4711
  doc.getText('text').insert(0, text)
  return Y.encodeStateAsUpdate(doc)
}

for (const [provider, connect] of Object.entries(connections)) {
  test(`w38 ${provider}: what is called saved is there after SIGKILL, also what was written offline`, async t => {
    const server = await guarded(t)
    const client = connect(t, server, 'notes', await token('*=write'))
    const page = follow(t, client)
    const killedWhenSaved = until('it is saved', () => {
      if (page.saved.state !== 'saved') return false
      server.process.kill('SIGKILL')
      return true
    })
    client.text.insert(0, 'before the first connection')
    assert.notEqual(page.saved.unsavedSince, null)
    await killedWhenSaved
    assert.equal(page.saved.unsavedSince, null)
    await server.ended
    assert.match(await stored(server, 'notes'), /before the first connection/)

    await page.until('offline')
    for (const word of [' one', ' two', ' three']) client.text.insert(client.text.length, word)
    assert.notEqual(page.saved.unsavedSince, null)
    await server.start()
    await page.until('saved')
    await server.stop('SIGKILL')

    assert.match(await stored(server, 'notes'), /before the first connection one two three/)
    assert.ok(!page.views.some(({ state }) => ['unknown', 'delayed', 'refused'].includes(state)), JSON.stringify(page.views))
  })

  test(`w38 ${provider}: somebody else’s edits are not ours to save, and each of ours is saving first`, async t => {
    const server = await guarded(t)
    const jwt = await token('*=write')
    const [one, other] = [connect(t, server, 'notes', jwt), connect(t, server, 'notes', jwt)]
    const [page, others] = [follow(t, one), follow(t, other)]
    await Promise.all([page.until('saved'), others.until('saved')])
    const before = page.views.length

    other.text.insert(0, 'theirs')
    await until('it has come', () => one.text.toString() === 'theirs')
    await others.until('saved')
    assert.deepEqual(page.views.slice(before), [])
    one.text.insert(0, 'ours, ')
    assert.equal(page.saved.state, 'saving')
    await page.until('saved')
  })

  test(`w7 ${provider}: a reader is readonly and never saved`, async t => {
    const server = await guarded(t)
    const client = connect(t, server, 'notes', await token('*=read'))
    const page = follow(t, client)
    client.text.insert(0, 'not taken')
    await page.until('readonly')
    client.text.insert(0, 'nor this ')
    const writer = connect(t, server, 'notes', await token('*=write', 'bob'))
    writer.text.insert(0, 'taken')
    await follow(t, writer).until('saved')
    await until('the reader has it', () => client.text.toString().includes('taken'))

    assert.equal(page.saved.state, 'readonly')
    assert.notEqual(page.saved.unsavedSince, null)
    assert.ok(!page.views.some(({ state }) => state === 'saved'))
  })

  test(`w12 ${provider}: a refusal has its code and its reason`, async t => {
    const server = await guarded(t)
    for (const [jwt, code, reason] of [['rubbish', 4401, /not a JWT/], [await token('other/*=write'), 4403, /document/]]) {
      const page = follow(t, connect(t, server, 'notes', jwt))
      await page.until('refused')
      assert.equal(page.saved.closed.code, code)
      assert.match(page.saved.closed.reason, reason)
    }
  })

  test(`w13 ${provider}: who writes under a client id that is taken is in conflict`, async t => {
    const server = await guarded(t)
    const jwt = await token('*=write')
    const clients = [connect(t, server, 'notes', jwt), connect(t, server, 'notes', jwt)]
    const pages = clients.map(client => follow(t, client))
    await Promise.all(pages.map(page => page.until('saved')))
    // Neither knows of the other's yet.
    Y.applyUpdate(clients[0].doc, written('Ada'))
    Y.applyUpdate(clients[1].doc, written('Eve'))
    const page = await until('one of them is in conflict', () => pages.find(({ saved }) => saved.state === 'conflict'))
    const heard = page.views.length

    assert.equal(page.saved.closed.code, 4409)
    assert.match(page.saved.closed.reason, /client 4711 from clock 0$/)
    assert.notEqual(page.saved.unsavedSince, null)
    await pages.find(other => other !== page).until('saved')
    assert.deepEqual(page.views.slice(heard), [])
  })

  test(`w45 ${provider}: two who follow one provider each hear of it, and leave it as it was`, async t => {
    const server = await guarded(t)
    const client = connect(t, server, 'notes', await token('*=write'))
    await until('it is connected', () => client.provider.synced)
    const before = shape(client.provider)
    const [one, other] = [follow(t, client), follow(t, client)]
    await Promise.all([one.until('saved'), other.until('saved')])
    one.saved.destroy()
    client.text.insert(0, 'more')
    assert.equal(other.saved.state, 'saving')
    await other.until('saved')
    const third = follow(t, client)
    assert.equal(third.saved.state, 'saving')
    await third.until('saved')
    client.text.insert(0, 'and ')
    await Promise.all([third.until('saved'), other.until('saved')])
    assert.notDeepEqual(shape(client.provider), before)
    for (const { saved } of [other, third]) saved.destroy()

    assert.equal(one.views.filter(({ state }) => state === 'saved').length, 1)
    assert.deepEqual(shape(client.provider), before)
  })
}

for (const [provider, connect] of Object.entries(connections).filter(([name]) => name.startsWith('hocuspocus'))) {
  test(`w39 ${provider}: saved is said when each update of this connection has been acknowledged`, async t => {
    const server = await guarded(t)
    const client = connect(t, server, 'notes', await token('*=write'))
    const page = follow(t, client)
    await page.until('saved')
    const told = []
    page.saved.subscribe(({ state }) => {
      if (state !== 'saved') return
      const updates = client.wire.said.filter(({ type, content }) => type === 0 && content[0] === 2).length
      told.push(updates + client.wire.opened - hocuspocus.statuses(client.wire, 'notes').length)
    })
    await server.stop('SIGKILL')
    await page.until('offline')
    for (let i = 0; i < 20; i++) client.text.insert(0, `${i} `)
    await server.start()
    await page.until('saved')
    for (let i = 0; i < 20; i++) client.text.insert(0, `${i} `)
    await page.until('saved')

    assert.ok(told.length > 2)
    assert.deepEqual(told.filter(owed => owed !== 0), [])
  })
}

const { versions, connect: connectHocuspocus, connectSocket, address } = hocuspocus
const version4 = versions['hocuspocus 4.8.0']

test('w39 hocuspocus 4.8.0: what the provider collects is not saved before it has gone out', async t => {
  const server = await guarded(t)
  const client = connectHocuspocus(t, version4, server, 'notes', { token: await token('*=write'), flushDelay: 300 })
  const page = follow(t, client)
  await page.until('saved')
  const updates = () => client.wire.said.filter(({ type, content }) => type === 0 && content[0] === 2).length
  const sentWhenSaved = []
  page.saved.subscribe(({ state }) => { if (state === 'saved') sentWhenSaved.push(updates()) })
  for (const letter of 'collected') client.text.insert(client.text.length, letter)
  assert.deepEqual([page.saved.state, updates()], ['saving', 0])
  await page.until('saved')
  await server.stop('SIGKILL')

  assert.deepEqual(sentWhenSaved, [0, 1])
  assert.match(await stored(server, 'notes'), /collected/)
})

test('w39 hocuspocus 4.8.0: what is written while the provider is detached is not saved', async t => {
  const server = await guarded(t)
  const client = connectHocuspocus(t, version4, server, 'notes', { token: await token('*=write') })
  const page = follow(t, client)
  await page.until('saved')
  client.provider.detach()
  const before = page.views.length
  client.text.insert(0, 'detached')
  const other = connectHocuspocus(t, version4, server, 'other', { token: await token('*=write'), wire: client.wire })
  other.text.insert(0, 'on the same socket')
  await follow(t, other).until('saved')
  assert.ok(!page.views.slice(before).some(({ state }) => state === 'saved'))
  client.provider.attach()
  await page.until('saved')
  await server.stop('SIGKILL')

  assert.match(await stored(server, 'notes'), /detached/)
})

test('w39 hocuspocus 4.8.0: two sessions of a document on one socket are followed apart', async t => {
  const server = await guarded(t)
  const wire = connectSocket(t, version4, address(server))
  const [writer, reader] = await Promise.all(['*=write', '*=read'].map(async grant =>
    connectHocuspocus(t, version4, server, 'notes', { token: await token(grant), sessionAwareness: true, wire })))
  const [writes, reads] = [follow(t, writer), follow(t, reader)]
  await Promise.all([writes.until('saved'), reads.until('readonly')])
  reader.text.insert(0, 'not taken')
  writer.text.insert(0, 'taken')
  await writes.until('saved')
  await until('the reader has it', () => reader.text.toString().includes('taken'))
  assert.equal(reads.saved.state, 'readonly')
})

test('w5 hocuspocus 2.15.3: what another tab brought is passed on, and saved when it is', async t => {
  const server = await guarded(t)
  const version = versions['hocuspocus 2.15.3']
  const jwt = await token('*=write')
  const tab = connectHocuspocus(t, version, server, 'notes', { token: jwt, broadcast: true })
  // Nothing listens there.
  const wire = connectSocket(t, version, 'ws://127.0.0.1:9')
  const cutOff = connectHocuspocus(t, version, server, 'notes', { token: jwt, broadcast: true, wire })
  const page = follow(t, tab)
  await page.until('saved')
  for (const { provider } of [tab, cutOff]) provider.subscribeToBroadcastChannel()
  const before = page.views.length
  cutOff.text.insert(0, 'from another tab')
  assert.equal(tab.text.toString(), 'from another tab')
  assert.equal(page.saved.state, 'saving')
  await page.until('saved')
  await server.stop('SIGKILL')

  assert.ok(page.views.length > before)
  assert.match(await stored(server, 'notes'), /from another tab/)
})

test('w41 y-sweet 0.9.1: the client’s own count goes on as before', async t => {
  const server = await guarded(t)
  const client = connections['y-sweet 0.9.1'](t, server, 'notes', await token('*=write'))
  const page = follow(t, client, { coalesceMs: 0 })
  await page.until('saved')
  for (let i = 0; i < 5; i++) {
    client.text.insert(0, 'x')
    assert.ok(client.provider.hasLocalChanges)
    await page.until('saved')
    await ySweet.saved(client)
  }
})

test('w38 what is no provider of these wires is a TypeError', () => {
  assert.throws(() => trackSaved({ on() {}, off() {} }), TypeError)
})

test('w44 the types take each stock provider', { timeout: 120_000 }, async t => {
  const folder = fileURLToPath(new URL('../dist/', import.meta.url))
  await writeFile(`${folder}types.ts`, `
    import { createYjsProvider } from '@y-sweet/client'
    import { type Saved, type SavedState, trackSaved, warnBeforeLeaving } from 'cowrite-track-saved'
    import { HocuspocusProvider as Hocuspocus2 } from 'hocuspocus-2'
    import { HocuspocusProvider as Hocuspocus3 } from 'hocuspocus-3'
    import { HocuspocusProvider as Hocuspocus4 } from 'hocuspocus-4'
    import { WebsocketProvider as Provider1 } from 'y-websocket-1'
    import { WebsocketProvider as Provider2 } from 'y-websocket-2'
    import { WebsocketProvider as Provider3 } from 'y-websocket-3'
    import * as Y from 'yjs'

    const doc = new Y.Doc()
    const url = 'ws://127.0.0.1:8080'
    const all: Saved[] = [
      trackSaved(new Provider1(url, 'a', doc)), trackSaved(new Provider2(url, 'a', doc)), trackSaved(new Provider3(url, 'a', doc)),
      trackSaved(new Hocuspocus2({ url, name: 'a' })), trackSaved(new Hocuspocus3({ url, name: 'a' })), trackSaved(new Hocuspocus4({ url, name: 'a' })),
      trackSaved(createYjsProvider(doc, 'a', '/api/auth')),
    ]
    export const states: SavedState[] = all.map(({ state }) => state)
    export const stops: (() => void)[] = all.map((saved) => warnBeforeLeaving(saved))
    // @ts-expect-error: it is no provider
    trackSaved(doc)
  `)
  const tsc = fileURLToPath(new URL('../../../web-demo/node_modules/typescript/bin/tsc', import.meta.url))
  for (const [module, resolution] of [['esnext', 'bundler'], ['nodenext', 'nodenext']]) {
    const args = [tsc, '--ignoreConfig', '--noEmit', '--strict', '--skipLibCheck', '--target', 'es2022', '--lib', 'es2023,dom', '--types', '', '--module', module, '--moduleResolution', resolution, `${folder}types.ts`]
    await promisify(execFile)(process.execPath, args).catch(({ stdout }) => assert.fail(stdout))
  }
})
