// What hostile clients, wrong addresses and slow nodes do to others.
import assert from 'node:assert/strict'
import { connect as dial, createServer } from 'node:net'
import { describe, test } from 'node:test'

import { connect, newest, same, saved, synced } from '../lib/clients.js'
import { askRaw, ownerOf, sql, startNodes, upgrade } from '../lib/cluster.js'
import {
  STATELESS, address, auth, connectSocket, connect as attach, frame, newest as hocuspocus, speaker
} from '../lib/hocuspocus.js'
import { AS_FAST_AS_IT_GOES, mintToken } from '../lib/server.js'
import { until } from '../lib/wait.js'

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

describe('nodes that are slow, or not where they say', () => {
  test('n66 a hundred who wait for a frozen owner all get in, and hold up nobody else', async t => {
    const nodes = await startNodes(t, 2)
    await settle(t, nodes, 0, 'plan')
    const other = await settle(t, nodes, 1, 'other')
    nodes[0].process.kill('SIGSTOP')
    const waiting = Array.from({ length: 100 }, () => connect(t, newest, nodes[1], 'plan'))
    const wire = connectSocket(t, hocuspocus, address(nodes[1]))
    const both = ['plan', 'other'].map(name => attach(t, hocuspocus, nodes[1], name, { wire }))
    await until('the other document is there', () => both[1].text.toString() === 'other: ', 4_000)
    other.text.insert(0, 'goes on ')
    await saved(other)
    assert.equal((await fetch(`${nodes[1].http}/readyz`)).status, 200)
    await until('all are in', () => [...waiting, both[0]].every(({ text }) => text.toString() === 'plan: '), 40_000)
    assert.equal(await ownerOf(nodes, 'plan'), 1)
    nodes[0].process.kill('SIGCONT')
  })

  test('n14 what a client says to many documents of a frozen node fills no memory of its own', async t => {
    const nodes = await startNodes(t, 2, AS_FAST_AS_IT_GOES)
    const names = Array.from({ length: 12 }, (_, i) => `doc-${i}`)
    for (const name of names) await settle(t, nodes, 1, name)
    const { socket, say, heard } = await speaker(t, nodes[0])
    names.forEach(name => say(auth(name, '')))
    await until('all are let in', () => names.every(name => heard.some(message => message.name === name)))
    const before = await nodes[0].metric('process_resident_memory_bytes')
    nodes[1].process.kill('SIGSTOP')
    const large = new Uint8Array(8 * 1024 * 1024)
    for (let round = 0; round < 3; round++) names.forEach(name => say(Buffer.concat([frame(name, STATELESS), large])))
    let most = 0
    for (let look = 0; look < 20; look++) {
      most = Math.max(most, await nodes[0].metric('process_resident_memory_bytes'))
      await new Promise(resolve => setTimeout(resolve, 100))
    }
    assert.ok(socket.bufferedAmount > 100 * 1024 * 1024, `${socket.bufferedAmount} bytes wait at the client`)
    assert.ok(most - before < 100 * 1024 * 1024, `${most - before} bytes`)
    nodes[1].process.kill('SIGCONT')
  })

  test('n66 who waits for an owner that lives and is silent is told to come back', async t => {
    const nodes = await startNodes(t, 2)
    const owner = await settle(t, nodes, 0, 'plan')
    const silent = createServer(socket => socket.on('error', () => {}))
    await new Promise(resolve => silent.listen(0, '127.0.0.1', resolve))
    t.after(() => silent.close())
    // It beats with its own address each second.
    await sql(nodes.database, `create function elsewhere() returns trigger language plpgsql as $$ begin
      if new.address = '${nodes[0].cluster}' then new.address := '127.0.0.1:${silent.address().port}'; end if; return new; end $$;
      create trigger elsewhere before update on cowrite_node for each row execute function elsewhere()`)
    await until('it is told', async () => await sql(nodes.database, `select count(*) from cowrite_node where address = '${nodes[0].cluster}'`) === '0')
    const lost = connect(t, newest, nodes[1], 'plan')
    await until('it is told to come back', () => lost.closes.length > 0, 30_000)
    assert.equal(lost.closes[0].code, 1013)
    owner.text.insert(0, 'goes on ')
    await saved(owner)
    assert.deepEqual(owner.closes, [])
  })

  test('n64 a document that two nodes take from each other again and again is put to rest, and nobody loses anything', async t => {
    const nodes = await startNodes(t, 2)
    const owner = await settle(t, nodes, 0, 'plan')
    // To each of them the address of the other means itself: it takes the other for dead each time.
    const [one, two] = nodes.map(node => node.cluster)
    await sql(nodes.database, `create function elsewhere() returns trigger language plpgsql as $$ begin
      new.address := case new.address when '${one}' then '${two}' when '${two}' then '${one}' else new.address end; return new; end $$;
      create trigger elsewhere before update on cowrite_node for each row execute function elsewhere()`)
    const { node: id } = await (await fetch(`${nodes[0].http}/version`)).json()
    await until('it is told', async () => await sql(nodes.database, `select address from cowrite_node where id = '${id}'`) === two)
    const other = connect(t, newest, nodes[1], 'plan')
    const writes = setInterval(() => [owner, other].forEach(({ text }) => text.insert(0, 'x')), 50)
    t.after(() => clearInterval(writes))
    const rests = () => nodes.some(node => /nobody opens it for/.test(node.log))
    await until('it rests', rests, 60_000).catch(async error => {
      throw new Error(`${error.message}: ${await sql(nodes.database, 'select crashes, node, rests_until from cowrite_document')}`)
    })
    clearInterval(writes)
    await sql(nodes.database, 'drop trigger elsewhere on cowrite_node; update cowrite_document set rests_until = now()')
    await until('both are back', () => owner.provider.synced && other.provider.synced, 60_000)
    await same(owner, other)
  })
})
