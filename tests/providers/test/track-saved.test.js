// cowrite-track-saved, installed from its tarball, on every stock provider and the real server.
import assert from 'node:assert/strict'
import { test } from 'node:test'

import * as Y from 'yjs'

import { connections, follow, secret, token } from '../lib/followed.js'
import { statuses } from '../lib/hocuspocus.js'
import { run, startServer } from '../lib/server.js'
import { until } from '../lib/wait.js'

const guarded = (t, flags = []) => startServer(t, ['--jwt-secret', secret, ...flags])
const stored = async (server, name) => (await run(['doc', 'export', name, '--as', 'text', '--data', server.data])).output

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
    const line = client.provider.configuration?.websocketProvider ?? {}
    const before = [Object.entries(client.provider.messageHandlers ?? {}), line.send]
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
    for (const { saved } of [third, other]) saved.destroy()

    assert.equal(one.views.filter(({ state }) => state === 'saved').length, 1)
    await client.provider.destroy?.()
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
      told.push(updates + client.wire.opened - statuses(client.wire, 'notes').length)
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
