// What an operator, a reader and a back end are told and may do, whichever node they ask.
import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import * as Y from 'yjs'

import { connect, newest, saved, synced } from '../lib/clients.js'
import { askAsNode, askRaw, ownerOf, startNodes } from '../lib/cluster.js'
import { mintToken, run } from '../lib/server.js'
import { until } from '../../lib/wait.mjs'

const KEY = 'jwt-secret-of-at-least-thirty-two-bytes'
const ADMIN = 'an-admin-token-of-thirty-two-bytes'
const FLAGS = ['--jwt-secret', KEY, '--admin-token', ADMIN]
const bearer = token => ({ authorization: `Bearer ${token}` })
const mint = (user, ...more) => mintToken(KEY, ['--sub', user, '--document', '*=write', ...more])

async function ask(node, path, token = ADMIN, root = node.http) {
  const answer = await fetch(`${root}${path}`, { headers: bearer(token) })
  const text = await answer.text()
  return { status: answer.status, text, body: answer.ok ? JSON.parse(text) : null }
}

/** A document that lives on each node, with somebody who wrote into it. */
async function oneOnEach(t, nodes) {
  const token = await mint('ada')
  const clients = []
  for (const [index, node] of nodes.entries()) {
    const client = connect(t, newest, node, `doc-${index}`, { params: { token } })
    await synced(client)
    client.text.insert(0, `of ${index}`)
    await saved(client)
    assert.equal(await ownerOf(nodes, `doc-${index}`), index)
    clients.push(client)
  }
  return { token, clients }
}

const idOf = async node => (await (await fetch(`${node.http}/version`)).json()).node

describe('whichever node is asked', () => {
  test('n62 a reader is told what is inside a document that lives elsewhere, and nothing is opened for it', async t => {
    const nodes = await startNodes(t, 2, FLAGS)
    const { token } = await oneOnEach(t, nodes)
    for (const node of nodes) {
      for (const name of ['doc-0', 'doc-1']) {
        const { status, body, text } = await ask(node, `/inspect.json?document=${name}`, token)
        assert.equal(status, 200, text)
        assert.deepEqual([body.document, body.open, body.figures?.structs, body.sessions?.length], [name, true, 1, 1])
        assert.equal('address' in body.sessions[0], false)
      }
      assert.equal((await ask(node, '/inspect.json?document=nobody', token)).body.open, false)
      assert.equal((await ask(node, '/inspect.json?document=doc-0', 'no.token.atall')).status, 401)
    }
    assert.equal(await ownerOf(nodes, 'nobody'), -1)
    assert.deepEqual(await Promise.all([0, 1].map(index => ownerOf(nodes, `doc-${index}`))), [0, 1])
  })

  test('n63 an operator is told of sessions and documents of all nodes, and may look into each', async t => {
    const nodes = await startNodes(t, 3, [...FLAGS, '--admin-listen', '127.0.0.1:0'])
    const { token } = await oneOnEach(t, nodes)
    const through = connect(t, newest, nodes[0], 'doc-1', { params: { token } })
    await synced(through)
    const ids = await Promise.all(nodes.map(idOf))
    for (const node of nodes) {
      const asked = path => ask(node, path, ADMIN, node.admin)
      await until('it has heard of the others', async () => (await asked('/admin/sessions')).body.sessions.length === 4)
      const { body: { sessions, unanswered } } = await asked('/admin/sessions')
      assert.deepEqual(sessions.map(({ document, node }) => [document, node]).toSorted(),
        [['doc-0', ids[0]], ['doc-1', ids[1]], ['doc-1', ids[1]], ['doc-2', ids[2]]])
      assert.deepEqual(unanswered, [])
      assert.equal((await asked('/admin/sessions?document=doc-2')).body.sessions.length, 1)
      assert.equal((await asked('/admin/sessions?user=eve')).body.sessions.length, 0)
      const { body: listed } = await asked('/admin/documents?holding=doc')
      assert.equal(listed.open, 3)
      assert.deepEqual(listed.documents.map(({ document, node, figures }) => [document, node, figures.structs]).toSorted(),
        ids.map((id, i) => [`doc-${i}`, id, 1]))
      const { body: inside } = await asked('/admin/document?document=doc-1')
      assert.deepEqual([inside.open, inside.sessions.length, inside.figures.structs], [true, 2, 1])
      const update = await fetch(`${node.admin}/admin/update?document=doc-2`, { headers: bearer(ADMIN) })
      const doc = new Y.Doc()
      Y.applyUpdate(doc, new Uint8Array(await update.arrayBuffer()))
      assert.equal(doc.getText('text').toString(), 'of 2')
      assert.equal((await fetch(`${node.admin}/admin/update?document=nobody`, { headers: bearer(ADMIN) })).status, 404)
    }
  })

  test('n63 a node that does not answer is named, and holds up nothing', async t => {
    const nodes = await startNodes(t, 2, FLAGS)
    await oneOnEach(t, nodes)
    const id = await idOf(nodes[1])
    await until('it has heard of the other', async () => (await ask(nodes[0], '/admin/sessions')).body.sessions.length === 2)
    await nodes[1].freeze()
    const [{ body: listed }, { body: documents }] = await Promise.all(['sessions', 'documents'].map(what => ask(nodes[0], `/admin/${what}`)))
    nodes[1].thaw()
    assert.deepEqual([listed.sessions.map(({ document }) => document), documents.open], [['doc-0'], 1])
    for (const { unanswered } of [listed, documents]) {
      assert.deepEqual(unanswered.map(({ node, address, reason }) => [node, address, /not answer in time/.test(reason)]), [[id, nodes[1].cluster, true]])
    }
  })

  test('n63 nobody but a node is told by the cluster address, and only what an operator may know who showed the token', async t => {
    const nodes = await startNodes(t, 2, FLAGS)
    await oneOnEach(t, nodes)
    for (const path of ['sessions', 'documents', 'document?document=doc-1', 'update?document=doc-1']) {
      const get = (from, token) => `GET ${from}/admin/${path} HTTP/1.1\r\nHost: a\r\n${token ? `Authorization: Bearer ${ADMIN}\r\n` : ''}Connection: close\r\n\r\n`
      for (const said of ['client=203.0.113.1:80', 'document=-']) {
        assert.match(await askAsNode(nodes[1], said, get('/cluster', true)), /^HTTP\/1\.1 403 /, `${said} ${path}`)
      }
      assert.match(await askAsNode(nodes[1], 'node', get('/cluster')), /^HTTP\/1\.1 200 /, path)
      assert.doesNotMatch(await askAsNode(nodes[1], 'client=-', get('', true)), /^HTTP\/1\.1 2/, path)
      assert.doesNotMatch(await askRaw(nodes[1], get('/cluster', true)), /^HTTP\/1\.1 2/, path)
      assert.match(await askRaw(nodes[0], get('')), /^HTTP\/1\.1 401 /, path)
    }
  })

  test('n5 a link that any node made opens the document on all, and an import reaches documents where they live', async t => {
    const nodes = await startNodes(t, 2, FLAGS)
    const { clients } = await oneOnEach(t, nodes)
    const owner = await mint('ada', '--share')
    const shared = await fetch(`${nodes[0].http}/share`, { method: 'POST', headers: bearer(owner), body: JSON.stringify({ document: 'doc-1', access: 'read' }) })
    assert.equal(shared.status, 200)
    const { token } = await shared.json()
    for (const node of nodes) {
      const reader = connect(t, newest, node, 'doc-1', { params: { token } })
      await until('the reader has it', () => reader.text.toString() === 'of 1')
      reader.text.insert(0, 'not taken ')
    }

    const folder = await mkdtemp(join(tmpdir(), 'cowrite-import-'))
    t.after(() => rm(folder, { recursive: true, force: true }))
    for (const name of ['doc-0', 'doc-1', 'new']) {
      const doc = new Y.Doc()
      const there = clients[Number(name.split('-')[1])]
      if (there) Y.applyUpdate(doc, Y.encodeStateAsUpdate(there.doc))
      doc.getText('more').insert(0, `imported ${name}`)
      await writeFile(join(folder, `${name}.bin`), Y.encodeStateAsUpdate(doc))
    }
    const { code, output } = await run(['import', folder, '--to', nodes[0].url], { COWRITE_TOKEN: await mint('importer') })
    assert.equal(code, 0, output)
    for (const [name, text] of [['doc-0', 'of 0'], ['doc-1', 'of 1'], ['new', '']]) {
      const client = connect(t, newest, nodes[1], name, { params: { token: owner } })
      await synced(client)
      assert.deepEqual([client.text.toString(), client.doc.getText('more').toString()], [text, `imported ${name}`])
    }
  })
})
