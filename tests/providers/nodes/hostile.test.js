// What hostile clients do to several servers, and tokens, limits and base paths through another node.
import assert from 'node:assert/strict'
import { connect as dial } from 'node:net'
import { describe, test } from 'node:test'

import { connect, newest, saved, synced } from '../lib/clients.js'
import { askRaw, ownerOf, startNodes, upgrade } from '../lib/cluster.js'
import { connectSocket, connect as attach, newest as hocuspocus } from '../lib/hocuspocus.js'
import { mintToken } from '../lib/server.js'
import { until } from '../../lib/wait.mjs'

const KEY = 'jwt-secret-of-at-least-thirty-two-bytes'

/** Has `name` live on the node with this index. */
async function settle(t, nodes, index, name, params = {}) {
  const client = connect(t, newest, nodes[index], name, { params })
  await synced(client)
  client.text.insert(0, `${name}: `)
  await saved(client)
  assert.equal(await ownerOf(nodes, name), index)
  return client
}

describe('requests of hostile clients', () => {
  test('n65 a request that no node would take is not carried either', async t => {
    const nodes = await startNodes(t, 2)
    await settle(t, nodes, 0, 'plan')
    const wrong = [['Content-Length: 5'], ['Transfer-Encoding: chunked'], ['Sec-WebSocket-Key: short']]
    for (const headers of wrong) {
      const request = upgrade('/ws/plan', headers)
      const answers = await Promise.all(nodes.map(node => askRaw(node, request)))
      for (const answer of answers) assert.match(answer, /^HTTP\/1\.1 400 /, `${headers}`)
    }
    assert.equal(await nodes[1].metric('cowrite_connections_carried'), 0)
  })

  test('n65 what a client says in the words of nodes counts for nothing', async t => {
    const flags = ['--jwt-secret', KEY, '--connections-per-address', '2', '--trust-proxy', 'x-real-ip']
    const nodes = await startNodes(t, 2, flags)
    const token = await mintToken(KEY, ['--sub', 'ada', '--document', '*=write', '--expires', '1h'])
    await settle(t, nodes, 0, 'plan', { token })
    const real = 'X-Real-IP: 203.0.113.9'
    const keeps = []
    const opens = headers => new Promise((resolve, reject) => {
      const [host, port] = nodes[1].address.split(':')
      const socket = dial({ host, port }, () => socket.write(upgrade(`/ws/plan?token=${token}`, [real, ...headers])))
      keeps.push(socket)
      socket.once('data', data => resolve(data.toString('latin1').slice(9, 12))).on('error', reject)
    })
    t.after(() => keeps.forEach(socket => socket.destroy()))
    assert.equal(await opens([]), '101')
    assert.equal(await opens(['cowrite-document: plan', 'document: 203.0.113.1:80']), '101')
    // Neither of these makes it another address or none, nor does it fly past the limit.
    for (const forged of ['cowrite-document: plan', 'client: -', 'fly-replay-src: instance=x', 'X-Forwarded-For: 10.1.1.1', 'Forwarded: for=10.1.1.1', 'Connection: upgrade, x-real-ip']) {
      assert.equal(await opens([forged]), '429', forged)
    }
    const socket = await askRaw(nodes[1], upgrade('/hocuspocus', ['X-Real-IP: 203.0.113.10', 'cowrite-document: plan']))
    assert.match(socket, /^HTTP\/1\.1 101 /, 'it is a socket like any other')
  })

  test('n3 a token that ends is noticed through another node, and so is one that may only read', async t => {
    const nodes = await startNodes(t, 2, ['--jwt-secret', KEY])
    const long = await mintToken(KEY, ['--sub', 'ada', '--document', '*=write', '--expires', '1h'])
    const owner = await settle(t, nodes, 0, 'plan', { token: long })
    const short = await mintToken(KEY, ['--sub', 'bob', '--document', 'plan=write', '--expires', '3s'])
    const reads = await mintToken(KEY, ['--sub', 'eve', '--document', 'plan=read', '--expires', '1h'])
    const ends = connect(t, newest, nodes[1], 'plan', { params: { token: short } })
    const inner = attach(t, hocuspocus, nodes[1], 'plan', { token: short })
    const reader = attach(t, hocuspocus, nodes[1], 'plan', { token: reads })
    await until('they are in', () => ends.provider.synced && inner.provider.synced && reader.provider.synced)
    reader.text.insert(0, 'not mine')
    await until('it has ended', () => ends.closes.length > 0 && (inner.refusals.length > 0 || inner.wire.closes.length > 0))
    assert.equal(ends.closes[0].code, 4401)
    assert.equal(owner.text.toString(), 'plan: ')
  })

  test('n5 nodes below a base path find each other', async t => {
    const nodes = await startNodes(t, 2, ['--base-path', '/edit/here'])
    const [one, two] = nodes.map(node => ({ url: `ws://${node.address}/edit/here/ws`, http: node.http }))
    const first = connect(t, newest, one, 'plan')
    await synced(first)
    first.text.insert(0, 'below')
    await saved(first)
    const second = connect(t, newest, two, 'plan')
    const wire = connectSocket(t, hocuspocus, `ws://${nodes[1].address}/edit/here/hocuspocus`)
    const third = attach(t, hocuspocus, nodes[1], 'plan', { wire })
    await until('they have it', () => [second, third].every(({ text }) => text.toString() === 'below'))
    assert.equal(await nodes[1].metric('cowrite_connections_carried'), 1)
    const answer = await fetch(`${two.http}/edit/here/inspect.json?document=plan`)
    assert.equal((await answer.json()).open, true)
    const read = await fetch(`${two.http}/edit/here/d/plan/as-update`)
    assert.equal(read.status, 200)
  })
})
