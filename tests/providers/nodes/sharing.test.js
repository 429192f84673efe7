// Several servers on one Postgres: any of them takes any connection, and a document lives on one of them.
import assert from 'node:assert/strict'
import { connect as dial } from 'node:net'
import { describe, test } from 'node:test'
import * as Y from 'yjs'

import { connect, newest, same, saved, synced, versions } from '../lib/clients.js'
import { askAsNode, askRaw, ownerOf, secret, startDatabase, startNode, startNodes, upgrade } from '../lib/cluster.js'
import { mintToken, run } from '../lib/server.js'
import { until, within } from '../../lib/wait.mjs'

describe('documents on several servers', () => {
  for (const [version, Provider] of Object.entries(versions)) {
    test(`n5 editors on three nodes write one document (${version})`, async t => {
      const nodes = await startNodes(t, 3)
      const clients = nodes.map(node => connect(t, Provider, node, 'plan'))
      await synced(...clients)
      clients.forEach((client, i) => client.text.insert(0, `from ${i}. `))
      await same(...clients)
      await until('all three are there', () => clients[0].text.toString().length === 24)
      await Promise.all(clients.map(saved))

      clients.forEach(({ provider }, i) => provider.awareness.setLocalStateField('user', { name: `n${i}` }))
      await until('all see each other', () => clients.every(({ provider }) =>
        [...provider.awareness.getStates().values()].filter(({ user }) => user).length === 3))
      assert.deepEqual(clients.map(client => client.closes), [[], [], []])
      await until('it lives on one of them', async () => {
        const open = await Promise.all(nodes.map(node => node.metric('cowrite_documents_open')))
        return open.toSorted().join() === '0,0,1'
      })
    })
  }

  test('n5 clients that come at once to a document that nobody has all get to one node', async t => {
    const nodes = await startNodes(t, 3)
    for (let round = 0; round < 5; round++) {
      const clients = [...nodes, ...nodes].map(node => connect(t, newest, node, `round-${round}`))
      await synced(...clients)
      clients.forEach((client, i) => client.text.insert(0, `${i}`))
      await until('all is with all', () => clients.every(({ text }) => text.length === 6))
      await same(...clients)
      assert.deepEqual(clients.flatMap(client => client.closes), [], `round ${round}: nobody was sent away`)
    }
  })

  test('n62 any of them tells a reader what is inside a document whose name is encoded', async t => {
    const nodes = await startNodes(t, 3)
    const client = connect(t, newest, nodes[0], 'a plan/ü')
    await synced(client)
    client.text.insert(0, 'by a page')
    await saved(client)

    for (const node of nodes) {
      const answer = await fetch(`${node.http}/inspect.json?document=${encodeURIComponent('a plan/ü')}`)
      const { open, figures, sessions } = await answer.json()
      assert.deepEqual([open, figures?.updates, sessions?.length], [true, 1, 1])
      const nobody = await fetch(`${node.http}/inspect.json?document=nobody`)
      assert.equal((await nobody.json()).open, false)
    }
    const open = await Promise.all(nodes.map(node => node.metric('cowrite_documents_open')))
    assert.equal(open.toSorted().join(), '0,0,1', 'nothing was opened for it')
  })

  test('n5 what a back end reads and writes reaches the owner', async t => {
    const nodes = await startNodes(t, 3)
    const client = connect(t, newest, nodes[0], 'a plan/ü')
    await synced(client)
    client.text.insert(0, 'by a page')
    await saved(client)

    const path = `/d/${encodeURIComponent('a plan/ü')}`
    for (const node of nodes) {
      const answer = await fetch(`${node.http}${path}/as-update`)
      assert.equal(answer.status, 200)
      const doc = new Y.Doc()
      Y.applyUpdate(doc, new Uint8Array(await answer.arrayBuffer()))
      assert.equal(doc.getText('text').toString(), client.text.toString())
      doc.getText('text').insert(0, '+')
      const written = await fetch(`${node.http}${path}/update`, { method: 'POST', body: Y.encodeStateAsUpdate(doc) })
      assert.equal(written.status, 200)
    }
    await until('the page has all three', () => client.text.toString() === '+++by a page')
    const refused = await fetch(`${nodes[1].http}${path}/update`, { method: 'POST', body: 'no update' })
    assert.equal(refused.status, 400, await refused.text())
  })

  test('n3 tokens, budgets and addresses are judged as if the client had come to the owner', async t => {
    const key = 'jwt-secret-of-at-least-thirty-two-bytes'
    const flags = ['--jwt-secret', key, '--trust-proxy', 'x-forwarded-for', '--connections-per-address', '2']
    const nodes = await startNodes(t, 2, flags)
    const token = await mintToken(key, ['--sub', 'ada', '--document', 'plan=write', '--expires', '1h'])
    const reads = await mintToken(key, ['--sub', 'bob', '--document', 'plan=read', '--expires', '1h'])
    const from = (node, address, shown) => {
      const from = { 'X-Forwarded-For': address }
      class Forwarded extends WebSocketFrom { constructor(url, protocols) { super(url, protocols, { headers: from }) } }
      return connect(t, newest, node, 'plan', { params: shown ? { token: shown } : {}, WebSocketPolyfill: Forwarded })
    }
    const first = from(nodes[0], '203.0.113.1', token)
    await synced(first)
    assert.equal(await ownerOf(nodes, 'plan'), 0)
    const second = from(nodes[1], '203.0.113.1', token)
    await synced(second)
    const reader = from(nodes[1], '203.0.113.2', reads)
    await synced(reader)
    reader.text.insert(0, 'not mine')
    first.text.insert(0, 'ours ')
    await until('all have it', () => second.text.toString() === 'ours ')
    assert.equal(first.text.toString(), 'ours ')

    const third = from(nodes[1], '203.0.113.1', token)
    await until('it is told that there are too many', () => third.provider.wsUnsuccessfulReconnects > 0)
    assert.equal(third.provider.synced, false)
    const nobody = from(nodes[1], '203.0.113.3', 'no.token.atall')
    await until('it is refused', () => nobody.closes.length > 0)
    assert.equal(nobody.closes[0].code, 4401)
  })

  test('n3 addresses are counted where the document lives, as the first node saw them', async t => {
    const nodes = await startNodes(t, 2, ['--trust-proxy', 'proxy-protocol', '--connections-per-address', '2'])
    /** The answer to a client of 203.0.113.N, whose connection stays open. */
    const comes = (node, n) => new Promise((resolve, reject) => {
      const [host, port] = node.address.split(':')
      const socket = dial({ host, port })
      const proxied = Buffer.from([...Buffer.from('\r\n\r\n\0\r\nQUIT\n'), 0x21, 0x11, 0, 12, 203, 0, 113, n, 127, 0, 0, 1, 0, 80, 0, 80])
      socket.write(Buffer.concat([proxied, Buffer.from(upgrade('/ws/plan'))]))
      socket.once('data', data => resolve(data.toString('latin1').slice(9, 12))).on('error', reject)
      t.after(() => socket.destroy())
    })
    assert.equal(await comes(nodes[0], 1), '101')
    assert.equal(await ownerOf(nodes, 'plan'), 0)
    assert.equal(await comes(nodes[1], 1), '101')
    assert.equal(await comes(nodes[1], 1), '429', 'two are open at the owner')
    assert.equal(await comes(nodes[1], 2), '101')
  })

  test('n4 a node with another secret is refused, and says so', async t => {
    const nodes = await startNodes(t, 1)
    const stranger = await startNode(t, nodes.database, [], { secret: 'x'.repeat(32) })
    const client = connect(t, newest, nodes[0], 'plan')
    await synced(client)
    const lost = connect(t, newest, stranger, 'plan')
    await until('it is told to come back', () => lost.closes.length > 0)
    assert.equal(lost.closes[0].code, 1013)
    await until('both say so', () =>
      stranger.log.includes('another --cluster-secret') && nodes[0].log.includes("without this node's --cluster-secret"))
    assert.equal([...nodes, stranger].some(node => node.log.includes(secret) || node.log.includes('xxxxxxxx')), false)
    assert.equal(client.provider.synced, true)
  })

  test('n2 whoever connects to the cluster address and is no node is closed', async t => {
    const [node] = await startNodes(t, 1)
    const [host, port] = node.cluster.split(':')
    const socket = dial({ host, port })
    let heard = ''
    socket.on('data', data => { heard += data }).on('error', () => {})
    socket.write('GET /ws/plan HTTP/1.1\r\nHost: a\r\n\r\n')
    await within('it is closed', new Promise(resolve => socket.once('close', resolve)))
    assert.doesNotMatch(heard, /HTTP/)
  })

  test('n12 a node that is asked for what it does not have says so, and asks no other', async t => {
    const nodes = await startNodes(t, 2)
    const client = connect(t, newest, nodes[0], 'plan')
    await synced(client)
    for (const request of [upgrade('/ws/plan'), upgrade('/d/plan/ws/plan'), upgrade('/hocuspocus', ['cowrite-document: plan'])]) {
      const said = request.includes('hocuspocus') ? 'document=203.0.113.1:80' : 'client=203.0.113.1:80'
      assert.match(await askAsNode(nodes[1], said, request), /^HTTP\/1\.1 421 /, request)
      assert.match(await askAsNode(nodes[0], said, request), /^HTTP\/1\.1 101 /, request)
    }
    const read = 'GET /d/plan/as-update HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n'
    assert.match(await askAsNode(nodes[1], 'client=-', read), /^HTTP\/1\.1 421 /)
    assert.match(await askAsNode(nodes[0], 'client=-', read), /^HTTP\/1\.1 200 /)
  })

  test('n13 only a node writes on its own behalf', async t => {
    const key = 'jwt-secret-of-at-least-thirty-two-bytes'
    const [node] = await startNodes(t, 1, ['--jwt-secret', key])
    const write = 'POST /cluster/write/plan HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\n\0\0'
    assert.match(await askAsNode(node, 'client=-', write), /^HTTP\/1\.1 403 /)
    assert.match(await askAsNode(node, 'node', write), /^HTTP\/1\.1 200 /)
    assert.match(await askRaw(node, write), /^HTTP\/1\.1 40[45] /)
  })

  test('n15 the proxy of fly.io is asked to go to the machine itself, once', async t => {
    const url = await startDatabase()
    const nodes = []
    for (const machine of ['aaa', 'bbb']) nodes.push(await startNode(t, url, [], { variables: { FLY_MACHINE_ID: machine } }))
    nodes.push(await startNode(t, url, ['--fly-replay', 'false'], { variables: { FLY_MACHINE_ID: 'ccc' } }))
    const client = connect(t, newest, nodes[0], 'plan')
    await synced(client)
    const answer = await askRaw(nodes[1], upgrade('/ws/plan'))
    assert.match(answer, /^HTTP\/1\.1 204 /)
    assert.match(answer, /fly-replay: instance=aaa;/)
    for (const header of ['fly-replay-src: instance=bbb', 'fly-replay-failed: instance=aaa']) {
      assert.match(await askRaw(nodes[1], upgrade('/ws/plan', [header])), /^HTTP\/1\.1 101 /)
    }
    assert.match(await askRaw(nodes[2], upgrade('/ws/plan')), /^HTTP\/1\.1 101 /)
  })

  test('n1 what does not fit together is said at the start', async () => {
    const url = await startDatabase()
    const { code, output } = await run(['serve', '--database-url', url, '--cluster-address', '192.0.2.1:0', '--cluster-secret', secret])
    assert.equal(code, 1)
    assert.match(output, /--cluster-address 192\.0\.2\.1:0: .*an address or a name of this machine/)
  })

  test('n14 a large document reaches a slow reader through a tunnel, and fills no memory', async t => {
    const nodes = await startNodes(t, 2)
    const client = connect(t, newest, nodes[0], 'large')
    await synced(client)
    const words = client.doc.getArray('words')
    for (let i = 0; i < 10; i++) words.push([new Uint8Array(1024 * 1024).fill(i)])
    await saved(client)
    assert.equal(await ownerOf(nodes, 'large'), 0)

    const before = await nodes[1].metric('process_resident_memory_bytes')
    const slow = Array.from({ length: 5 }, () => stalled(t, nodes[1], 'large'))
    await until('they are upgraded', () => slow.every(socket => socket.upgraded))
    await new Promise(resolve => setTimeout(resolve, 1_000))
    const grown = await nodes[1].metric('process_resident_memory_bytes') - before
    assert.ok(grown < 20 * 1024 * 1024, `${grown} bytes for five readers that read nothing of 10 MB`)

    slow.forEach(socket => socket.resume())
    await until('they get all of it', () => slow.every(socket => socket.bytesRead > 10 * 1024 * 1024))
    const reader = connect(t, newest, nodes[1], 'large')
    await synced(reader)
    assert.equal(reader.doc.getArray('words').length, 10)
  })
})

const { default: WebSocketFrom } = await import('ws')

/** A client that asks for a whole document and reads nothing of it yet. */
function stalled(t, node, name) {
  const [host, port] = node.address.split(':')
  const socket = dial({ host, port })
  socket.write(`GET /ws/${name} HTTP/1.1\r\nHost: ${node.address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
    'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n')
  // SyncStep1 of a client that has nothing, masked with zeros.
  socket.write(Buffer.from([0x82, 0x84, 0, 0, 0, 0, 0, 0, 1, 0]))
  socket.once('data', data => {
    socket.upgraded = data.toString('latin1').startsWith('HTTP/1.1 101')
    socket.pause()
  })
  socket.on('error', () => {})
  t.after(() => socket.destroy())
  return socket
}
