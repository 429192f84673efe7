// Nodes that are slow, or not where they say, and those who wait for them.
import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import { describe, test } from 'node:test'

import { connect, newest, same, saved, synced } from '../lib/clients.js'
import { ownerOf, sql, startNodes } from '../lib/cluster.js'
import { address, connectSocket, connect as attach, newest as hocuspocus } from '../lib/hocuspocus.js'
import { until } from '../../lib/wait.mjs'

/** Has `name` live on the node with this index. */
async function settle(t, nodes, index, name) {
  const client = connect(t, newest, nodes[index], name)
  await synced(client)
  client.text.insert(0, `${name}: `)
  await saved(client)
  assert.equal(await ownerOf(nodes, name), index)
  return client
}

describe('nodes that are slow, or not where they say', () => {
  test('n66 a hundred who wait for a frozen owner all get in, and hold up nobody else', async t => {
    const nodes = await startNodes(t, 2)
    await settle(t, nodes, 0, 'plan')
    const other = await settle(t, nodes, 1, 'other')
    await nodes[0].freeze()
    const waiting = Array.from({ length: 100 }, () => connect(t, newest, nodes[1], 'plan'))
    const wire = connectSocket(t, hocuspocus, address(nodes[1]))
    const both = ['plan', 'other'].map(name => attach(t, hocuspocus, nodes[1], name, { wire }))
    await until('the other document is there', () => both[1].text.toString() === 'other: ', 4_000)
    other.text.insert(0, 'goes on ')
    await saved(other)
    assert.equal((await fetch(`${nodes[1].http}/readyz`)).status, 200)
    await until('all are in', () => [...waiting, both[0]].every(({ text }) => text.toString() === 'plan: '), 40_000)
    assert.equal(await ownerOf(nodes, 'plan'), 1)
    nodes[0].thaw()
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
