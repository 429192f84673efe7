// Nodes that are killed, frozen, or stopped one after the other, under edits: what was acknowledged is there, and everybody
// ends with the same.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'

import { connect, newest, saved, synced } from '../lib/clients.js'
import {
  Writer, askRaw, balance, ownerOf, sql, startDatabase, startLink, startNode, startNodes, upgrade
} from '../lib/cluster.js'
import { until } from '../../lib/wait.mjs'

const pause = ms => new Promise(resolve => setTimeout(resolve, ms))

/** Editors of `names`, `each` for a document, behind a balancer, and all of them write. */
async function begin(t, nodes, names, each) {
  const front = await balance(t, nodes)
  const writers = []
  for (const name of names) {
    for (let i = 0; i < each; i++) {
      const client = connect(t, newest, front, name)
      client.name = name
      await synced(client)
      writers.push(new Writer(client, `${name}.${i}`))
    }
  }
  t.after(() => writers.forEach(writer => writer.stop()))
  await until('all are acknowledged', () => writers.every(writer => writer.acknowledged > 5))
  return { front, writers }
}

/** All that anybody has written is acknowledged, and everybody has it, also who comes now. */
async function end(t, { front, writers }) {
  await Promise.all(writers.map(writer => writer.settled()))
  for (const name of new Set(writers.map(({ client }) => client.name))) {
    const all = writers.filter(({ client }) => client.name === name)
    const newcomer = connect(t, newest, front, name)
    await synced(newcomer)
    const words = newcomer.doc.getArray('words')
    const count = all.reduce((sum, writer) => sum + writer.written, 0)
    await until(`a newcomer has all ${count} of ${name}`, () => words.length === count)
    for (const writer of all) assert.deepEqual(writer.missingIn(words), [], `of ${writer.name}`)
    await until('everybody has the same', () =>
      all.every(writer => JSON.stringify(writer.words) === JSON.stringify(words)))
  }
  const longest = writers.map(writer => writer.longest).toSorted((a, b) => a - b)
  const closes = writers.map(({ client }) => client.closes.length)
  t.diagnostic(`longest without an acknowledgement: ${longest.at(-1)} ms; closed at most ${Math.max(...closes)} times`)
}

const NAMES = ['a', 'b', 'c', 'd', 'e', 'f']

describe('nodes that come and go', () => {
  test('n8 a node that is killed under edits loses nothing, and its documents go on elsewhere', async t => {
    const nodes = await startNodes(t, 3)
    const all = await begin(t, nodes, NAMES, 2)
    const victim = await ownerOf(nodes, 'a')
    await nodes[victim].stop('SIGKILL')
    const before = all.writers.map(writer => writer.acknowledged)
    await until('all are acknowledged again', () => all.writers.every((writer, i) => writer.acknowledged > before[i] + 20), 60_000)
    const owner = await ownerOf(nodes, 'a')
    assert.ok(owner >= 0 && owner !== victim, `${owner}`)
    const told = `select count(*) from cowrite_node where address = '${nodes[victim].cluster}' and seen < now() - interval '30 min'`
    await until('who noticed has told all', async () => await sql(nodes.database, told) === '1')
    await end(t, all)
  })

  test('n9 a node that stops sends on who comes, and leaves its documents to the others', async t => {
    const nodes = await startNodes(t, 3)
    const names = Array.from({ length: 8 }, (_, i) => `doc-${i}`)
    const clients = names.map(name => connect(t, newest, nodes[0], name))
    await synced(...clients)
    clients.forEach(({ text }) => text.insert(0, 'kept'))
    await Promise.all(clients.map(saved))
    clients.forEach(({ provider }) => provider.destroy())
    const answered = []
    // One that had stopped before more than a few could ask is started again: nobody knows which of two processes runs first.
    while (answered.length <= 3) {
      if (!nodes[0].alive) {
        await nodes[0].start()
        await until('it knows of the others', async () => await nodes[0].metric('cowrite_other_nodes') === 2)
      }
      const stopped = nodes[0].stop('SIGTERM')
      let ended = false
      stopped.then(() => { ended = true })
      while (!ended) {
        // All at once: how often they can be asked depends on the machine.
        const answers = await Promise.all(names.map(name => askRaw(nodes[0], upgrade(`/ws/${name}`)).catch(() => '')))
        answered.push(...answers.filter(answer => answer.length > 0).map(answer => answer.slice(9, 12)))
        await pause(20)
      }
      assert.equal((await stopped).code, 0, nodes[0].log)
    }
    assert.deepEqual(answered.filter(status => status !== '101'), [])
    const owners = await Promise.all(names.map(name => ownerOf(nodes, name)))
    assert.deepEqual([...new Set(owners)].toSorted(), [1, 2], `${owners}`)
  })

  test('n10 nodes that are restarted one after the other lose nothing, and nobody is long without one', async t => {
    const nodes = await startNodes(t, 3)
    const all = await begin(t, nodes, NAMES, 2)
    for (const node of nodes) {
      const { code } = await node.stop('SIGTERM')
      assert.equal(code, 0, node.log)
      await node.start()
      const before = all.writers.map(writer => writer.acknowledged)
      await until('all are acknowledged', () => all.writers.every((writer, i) => writer.acknowledged > before[i] + 5), 60_000)
    }
    await end(t, all)
    const left = await sql(nodes.database, "select count(*) from cowrite_node where seen < now() - interval '5 s'")
    assert.equal(left, '0', 'a node that was stopped is forgotten')
  })

  for (const seconds of [1, 8]) {
    test(`n11 a node that is frozen for ${seconds} s loses nothing, and does not go on with what others have`, async t => {
      const nodes = await startNodes(t, 3)
      const all = await begin(t, nodes, ['a', 'b', 'c'], 3)
      const frozen = nodes[await ownerOf(nodes, 'a')]
      await frozen.freeze()
      await pause(seconds * 1000)
      frozen.thaw()
      const before = all.writers.map(writer => writer.acknowledged)
      await until('all are acknowledged', () => all.writers.every((writer, i) => writer.acknowledged > before[i] + 20), 60_000)
      await end(t, all)
    })
  }

  test('n13 what somebody wrote to a frozen node and left comes to the document all the same', async t => {
    const nodes = await startNodes(t, 2)
    const author = connect(t, newest, nodes[0], 'plan')
    await synced(author)
    author.text.insert(0, 'first ')
    await saved(author)
    const frozen = nodes[0]
    await frozen.freeze()
    author.text.insert(6, 'last words')
    await until('they are sent', () => author.provider.ws.bufferedAmount === 0)
    author.provider.destroy()
    const reader = connect(t, newest, nodes[1], 'plan')
    await until('another node has it', () => reader.provider.synced, 30_000)
    assert.equal(reader.text.toString(), 'first ')
    frozen.thaw()
    await until('they are there', () => reader.text.toString() === 'first last words', 30_000)
    assert.deepEqual(reader.closes, [])
  })

  test('n16 a node that is cut off from the database and from the others goes on without acknowledging, and loses nothing', async t => {
    const url = await startDatabase()
    const there = await startNode(t, url)
    const way = await startLink(t, `tcp://${there.cluster}/`)
    const link = await startLink(t, url, { from: there.cluster, to: new URL(way.url).host })
    const nodes = [await startNode(t, link.url), there]
    nodes.database = url
    const clients = []
    for (const node of nodes) {
      clients.push(connect(t, newest, node, 'plan'))
      await synced(...clients)
    }
    assert.equal(await ownerOf(nodes, 'plan'), 0)
    const [cut, other] = clients.map((client, i) => new Writer(client, `at-${i}`))
    t.after(() => [cut, other].forEach(writer => writer.stop()))
    await until('both are acknowledged', () => cut.acknowledged > 5 && other.acknowledged > 5)
    link.cut()
    way.cut()
    await until('another node has it', async () => await ownerOf(nodes, 'plan') === 1, 30_000)
    const [acknowledged, written] = [cut.acknowledged, cut.written]
    await until('the other is acknowledged again', () => other.acknowledged > written + 20, 30_000)
    await until('it goes on', () => cut.written > written + 20)
    // It has asked by then whether somebody else is answered.
    await pause(8_000)
    assert.equal(cut.acknowledged, acknowledged)
    assert.deepEqual(cut.client.closes, [])
    link.heal()
    way.heal()
    await Promise.all([cut, other].map(writer => writer.settled()))
    await until('both have the same', () => JSON.stringify(cut.words) === JSON.stringify(other.words))
    assert.deepEqual([...cut.missingIn(other.words), ...other.missingIn(cut.words)], [])
    assert.equal(other.words.length, cut.written + other.written)
  })

  test('n11 a reader of a node that lost a document is not left with an old one', async t => {
    const nodes = await startNodes(t, 2)
    const reader = connect(t, newest, nodes[0], 'plan')
    await synced(reader)
    const owner = nodes[await ownerOf(nodes, 'plan')]
    assert.equal(owner, nodes[0])
    await owner.freeze()
    const writer = connect(t, newest, nodes[1], 'plan')
    await until('another node has it', () => writer.provider.synced, 30_000)
    writer.text.insert(0, 'news')
    assert.equal(await ownerOf(nodes, 'plan'), 1)
    owner.thaw()
    await until('the reader has it', () => reader.text.toString() === 'news', 30_000)
  })
})
