// deploy/haproxy.cfg in the real HAProxy, in front of three nodes, with providers of all three wires.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'

import { connect, newest, saved, synced } from '../lib/clients.js'
import { Writer, askRaw, ownerOf, startDatabase, startLink, startNode, startNodes, upgrade } from '../lib/cluster.js'
import { startHaproxy } from '../lib/haproxy.js'
import { connect as attach, newest as hocuspocus } from '../lib/hocuspocus.js'
import { until } from '../../lib/wait.mjs'
import { open } from '../lib/y-sweet.js'

const FLAGS = ['--trust-proxy', 'x-forwarded-for']
const each = (nodes, asks) => Promise.all(nodes.map(asks))

/** Somebody who comes again and again, as a page does that is opened; `end` says what was not answered with a WebSocket. */
function visitor(front) {
  const refused = []
  let [isThere, visits] = [true, 0]
  const comes = (async () => {
    while (isThere) {
      const answer = await askRaw(front, upgrade(`/ws/visit-${visits++ % 20}`)).catch(error => String(error))
      if (!answer.startsWith('HTTP/1.1 101')) refused.push(answer)
      await new Promise(resolve => setTimeout(resolve, 5))
    }
  })()
  return { visits: () => visits, end: async () => { isThere = false; await comes; return refused } }
}

/** One of each wire in a document, with the same text. */
async function trio(t, front, name) {
  const clients = [connect(t, newest, front, name), open(t, front, name, {}, { token: null }), attach(t, hocuspocus, front, name)]
  await until(`all are in ${name}`, () => clients.every(({ provider }) => provider.synced))
  return clients
}

const agree = trios => until('all have all', () => trios.every(clients =>
  clients[0].text.length > 0 && new Set(clients.map(({ text }) => text.toString())).size === 1))

describe('behind HAProxy', () => {
  test('n42 connections reach the node of their document, go elsewhere when it is killed, and come to one that joins', async t => {
    const nodes = await startNodes(t, 3, FLAGS)
    const front = await startHaproxy(t, nodes)
    const names = Array.from({ length: 9 }, (_, i) => `doc-${i}`)
    const pairs = names.map(name => [connect(t, newest, front, name), open(t, front, name, {}, { token: null })])
    await until('all are there', () => pairs.flat().every(({ provider }) => provider.synced))
    pairs.forEach(pair => pair.forEach(({ text }) => text.insert(0, 'written')))
    await agree(pairs)
    await until('all of both is there', () => pairs.every(([{ text }]) => text.length === 14))
    assert.deepEqual(await each(nodes, node => node.metric('cowrite_connections_carried')), [0, 0, 0])
    const owners = await each(names, name => ownerOf(nodes, name))
    assert.ok(new Set(owners).size > 1, `${owners}`)

    const sockets = names.map(name => attach(t, hocuspocus, front, name))
    await until('these have it, too', () => sockets.every(({ text }) => text.length === 14))
    const counts = await each(nodes, (_, i) => front.sockets(i))
    assert.ok(Math.min(...counts) > 0, `Hocuspocus’ sockets are not all on one node: ${counts}`)

    const [visits, victim] = [visitor(front), owners[0]]
    await until('somebody visits', () => visits.visits() > 20)
    await nodes[victim].stop('SIGKILL')
    const trios = pairs.map((pair, i) => [...pair, sockets[i]])
    trios.forEach(([{ text }]) => text.insert(0, 'more '))
    await agree(trios)
    await until('more is there', () => trios.every(([{ text }]) => text.length === 19))
    await Promise.all(pairs.map(([one]) => saved(one)))
    assert.deepEqual(await visits.end(), [], `${visits.visits()} came`)

    await nodes[victim].start()
    await until('it is given connections', () => front.isUp(victim))
    let late = 0
    await until('it has documents', async () => {
      const name = `late-${late++}`
      await synced(connect(t, newest, front, name))
      return await ownerOf(nodes, name) === victim
    })
    assert.ok(late < 50, `${late}`)
  })

  test('n42 a restart of one node after the other loses nothing, and nobody is turned away', async t => {
    const nodes = await startNodes(t, 3, FLAGS)
    const front = await startHaproxy(t, nodes)
    const trios = await Promise.all(['a', 'b', 'c', 'd'].map(name => trio(t, front, name)))
    const writers = trios.map(([client], i) => new Writer(client, `w${i}`))
    let typed = 0
    const types = setInterval(() => {
      typed++
      trios.forEach(([, sweet, hocus]) => { sweet.text.insert(0, 's'); hocus.text.insert(0, 'h') })
    }, 50)
    t.after(() => { clearInterval(types); writers.forEach(writer => writer.stop()) })
    const visits = visitor(front)
    for (const [i, node] of nodes.entries()) {
      assert.equal((await node.stop('SIGTERM')).code, 0, node.log)
      await node.start()
      await until('it is given connections', () => front.isUp(i))
      const before = writers.map(writer => writer.acknowledged)
      await until('all are acknowledged', () => writers.every((writer, i) => writer.acknowledged > before[i] + 5), 60_000)
    }
    assert.deepEqual(await visits.end(), [], `${visits.visits()} came`)
    clearInterval(types)
    await Promise.all(writers.map(writer => writer.settled()))
    await until('the others are acknowledged', () =>
      trios.every(([, sweet, hocus]) => !sweet.provider.hasLocalChanges && hocus.provider.unsyncedChanges === 0))
    await agree(trios)
    for (const [i, [{ text }]] of trios.entries()) {
      assert.equal(text.length, 2 * typed)
      assert.deepEqual(writers[i].missingIn(trios[i][2].doc.getArray('words')), [])
    }
    const longest = Math.max(...writers.map(writer => writer.longest))
    t.diagnostic(`longest without an acknowledgement: ${longest} ms; ${visits.visits()} came meanwhile`)
  })

  test('n42 n47 a node that stops is out before it has stopped, and when none is ready who comes back is let in', async t => {
    const database = await startDatabase()
    const links = await each([0, 1, 2], () => startLink(t, database))
    const nodes = await each(links, link => startNode(t, link.url, FLAGS))
    nodes.database = database
    const front = await startHaproxy(t, nodes)
    const author = connect(t, newest, front, 'plan')
    await synced(author)
    author.text.insert(0, 'written')
    await saved(author)

    links.forEach(link => link.cut())
    await until('no node is ready', async () => !(await each(nodes, (_, i) => front.isUp(i))).some(Boolean))
    const again = connect(t, newest, front, 'plan')
    author.text.insert(0, 'not saved, ')
    await until('who comes has it all the same', () => again.text.toString() === 'not saved, written')
    links.forEach(link => link.heal())
    await until('all are ready', async () => (await each(nodes, (_, i) => front.isUp(i))).every(Boolean))
    await saved(author)

    // What it holds cannot be saved now, so that it goes on stopping.
    const stops = await ownerOf(nodes, 'plan')
    author.text.insert(0, 'at the end ')
    const ended = nodes[stops].stop('SIGTERM')
    links[stops].cut()
    await until('HAProxy has taken it out', async () => !await front.isUp(stops))
    assert.equal(nodes[stops].process.exitCode, null, nodes[stops].log)
    assert.match(await (await fetch(`${nodes[stops].http}/readyz`)).text(), /stopping/)
    const others = Array.from({ length: 12 }, (_, i) => connect(t, newest, front, `other-${i}`))
    await synced(...others)
    assert.deepEqual(others.flatMap(({ closes }) => closes), [])
    assert.equal((await each(others, (_, i) => ownerOf(nodes, `other-${i}`))).includes(stops), false)
    links[stops].heal()
    await ended
    await until('nothing is lost', () => [author, again].every(({ text, provider }) =>
      provider.synced && text.toString() === 'at the end not saved, written'), 60_000)
    await saved(author)
  })
})
