// A node that the database does not answer while it answers others: who is connected to it goes to these.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { connect, newest, saved, synced } from '../lib/clients.js'
import { Writer, askAsNode, askRaw, balance, ownerOf, startDatabase, startLink, startNode, upgrade } from '../lib/cluster.js'
import * as hocuspocus from '../lib/hocuspocus.js'
import { until } from '../../lib/wait.mjs'

/** It takes five seconds to be cut off and a few to be sure of it, and longer on a busy machine. */
const LONG = 60_000
/** Rooms that nobody is in leave memory at once, if they may. */
const FLAGS = ['--idle-timeout', '100ms']

/** So many nodes, each with a link of its own to the database (`links`). */
async function startLinked(t, count) {
  const database = await startDatabase()
  const links = await Promise.all(Array.from({ length: count }, () => startLink(t, database)))
  const nodes = await Promise.all(links.map(link => startNode(t, link.url, FLAGS)))
  await until('all know of all', async () =>
    (await Promise.all(nodes.map(node => node.metric('cowrite_other_nodes')))).every(others => others === count - 1))
  return Object.assign(nodes, { database, links })
}

/** A balancer that gives everybody to the first node until `open()`. */
async function startFront(t, nodes) {
  const behind = nodes.slice(0, 1)
  const front = await balance(t, behind)
  return Object.assign(front, { open: () => behind.push(...nodes.slice(1)) })
}

const codes = closes => closes.map(({ code }) => code)
const reason = async node => (await node.ready()).reason
const turnsAway = node => async () => (await askRaw(node, upgrade('/ws/plan'))).startsWith('HTTP/1.1 503')

/** All that is in a document: its text and its words. */
const content = ({ doc }) => JSON.stringify([doc.getText('text').toString(), doc.getArray('words').toArray()])

describe('a node that alone is cut off from the database', () => {
  test('n69 its clients on all wires go to another one with all that they wrote, and everybody has the same', async t => {
    const nodes = await startLinked(t, 3)
    const [cut] = nodes
    const elsewhere = connect(t, newest, nodes[1], 'elsewhere')
    await synced(elsewhere)
    const front = await startFront(t, nodes)
    const page = connect(t, newest, front, 'plan')
    const hocus = hocuspocus.connect(t, hocuspocus.newest, front, 'plan')
    const second = hocuspocus.connect(t, hocuspocus.newest, front, 'notes', { wire: hocus.wire })
    // Of what lives elsewhere: carried for a page, and for a socket that has no other document.
    const carried = connect(t, newest, front, 'elsewhere')
    const away = hocuspocus.connect(t, hocuspocus.newest, front, 'elsewhere')
    const leaver = connect(t, newest, front, 'left')
    const all = [page, hocus, second, carried, away, leaver]
    await synced(...all)
    const writer = new Writer(page, 'page')
    t.after(() => writer.stop())
    await until('it is acknowledged', () => writer.acknowledged > 5)
    assert.deepEqual(await Promise.all(['plan', 'notes', 'left', 'elsewhere'].map(name => ownerOf(nodes, name))), [0, 0, 0, 1])
    front.open()

    nodes.links[0].cut()
    hocus.text.insert(0, 'while it was cut off')
    second.text.insert(0, 'a note')
    leaver.text.insert(0, 'last words')
    await until('they are sent', () => leaver.provider.ws.bufferedAmount === 0)
    await until('presence and edits reach others', () => page.text.toString() === hocus.text.toString())
    leaver.provider.destroy()
    const pages = [page.closes, hocus.wire.closes, carried.closes, away.wire.closes]
    await until('all are told to come back', () => pages.every(closes => closes.length > 0), LONG)
    await writer.settled()
    await hocuspocus.settled(hocus, second, away)
    assert.ok(await ownerOf(nodes, 'plan') > 0 && await ownerOf(nodes, 'notes') > 0)
    // Its holder is another one from here on: what the last author wrote has to be given back.
    const reader = connect(t, newest, nodes[1], 'left')
    await synced(reader)
    assert.deepEqual([reader.text.toString(), await ownerOf(nodes, 'left')], ['', 1])
    assert.ok(await turnsAway(cut)())
    assert.match(await reason(cut), /answers other nodes/)
    assert.deepEqual(pages.map(codes), [[1012], [1012], [1012], [1012]])

    nodes.links[0].heal()
    await until('it is ready again', async () => (await cut.ready()).ready)
    const [plan, notes, left, last] = ['plan', 'notes', 'left', 'elsewhere'].map(name => connect(t, newest, cut, name))
    await synced(plan, notes, left, last)
    await until('what its last author wrote is there', () => [reader, left].every(({ text }) => text.toString() === 'last words'), LONG)
    assert.deepEqual(reader.closes, [])
    const pairs = [[plan, page], [plan, hocus], [notes, second], [last, carried], [last, away], [last, elsewhere]]
    await until('everybody has the same', () => pairs.every(([one, other]) => content(one) === content(other)))
    assert.equal(plan.text.toString(), 'while it was cut off')
    assert.equal(notes.text.toString(), 'a note')
    assert.deepEqual(plan.doc.getArray('words').toArray(), Array.from({ length: writer.written }, (_, i) => `page-${i + 1}`))
    assert.deepEqual(pages.map(codes), [[1012], [1012], [1012], [1012]], 'once')
  })

  test('n69 n16 while the database answers nobody no session ends; when it answers another node sessions go there', async t => {
    const nodes = await startLinked(t, 2)
    const [one, two] = nodes
    const front = await startFront(t, nodes)
    const page = connect(t, newest, front, 'plan')
    const hocus = hocuspocus.connect(t, hocuspocus.newest, front, 'plan')
    const other = connect(t, newest, two, 'other')
    await synced(page, hocus, other)
    const writers = [new Writer(page, 'page'), new Writer(other, 'other')]
    t.after(() => writers.forEach(writer => writer.stop()))
    await until('all are acknowledged', () => writers.every(writer => writer.acknowledged > 5))
    front.open()

    nodes.links.forEach(link => link.cut())
    await until('they are not ready', async () => !(await one.ready()).ready && !(await two.ready()).ready)
    // As long as it takes to be sure, and longer.
    await sleep(12_000)
    const acknowledged = writers.map(writer => writer.acknowledged)
    const written = writers[0].written
    await until('it goes on', () => writers[0].written > written + 20 && hocus.doc.getArray('words').length > written + 10)
    assert.deepEqual(writers.map(writer => writer.acknowledged), acknowledged)
    assert.deepEqual([page.closes, hocus.wire.closes, other.closes], [[], [], []])

    nodes.links[1].heal()
    await until('those of the other are told to come back', () => page.closes.length > 0 && hocus.wire.closes.length > 0, LONG)
    await Promise.all(writers.map(writer => writer.settled()))
    await hocuspocus.settled(hocus)
    assert.equal(await ownerOf(nodes, 'plan'), 1)
    assert.deepEqual([page.closes, hocus.wire.closes, other.closes].map(codes), [[1012], [1012], []])

    nodes.links[0].heal()
    await until('both are ready', async () => (await one.ready()).ready)
    const newcomer = connect(t, newest, one, 'plan')
    await synced(newcomer)
    await until('everybody has the same', () => new Set([page, hocus, newcomer].map(content)).size === 1)
    assert.equal(newcomer.doc.getArray('words').length, writers[0].written)
    assert.deepEqual([page.closes, hocus.wire.closes, other.closes].map(codes), [[1012], [1012], []])
  })

  test('n69 what is not saved stays in memory, and who comes is let in again when nobody is answered any more', async t => {
    const nodes = await startLinked(t, 2)
    const [cut] = nodes
    const author = connect(t, newest, cut, 'plan')
    await synced(author)
    author.text.insert(0, 'saved')
    await saved(author)
    nodes.links[0].cut()
    author.text.insert(0, 'not ')
    await until('it is told to come back, and turned away', async () => author.closes.length > 0 && await turnsAway(cut)(), LONG)
    assert.equal(author.closes[0].code, 1012)
    nodes.links[1].cut()
    const late = connect(t, newest, cut, 'plan')
    await until('both are let in', () => author.provider.synced && late.provider.synced, LONG)
    assert.equal(late.text.toString(), 'not saved')
    nodes.links.forEach(link => link.heal())
    const writers = [author, late].map((client, i) => new Writer(client, `${i}`))
    t.after(() => writers.forEach(writer => writer.stop()))
    await Promise.all(writers.map(writer => writer.settled()))
    const reader = connect(t, newest, nodes[1], 'plan')
    await until('it is there for all', () => reader.text.toString() === 'not saved', LONG)
  })

  test('n69 only a node is told whether the database answers, and a node that stops says no', async t => {
    const nodes = await startLinked(t, 2)
    const ask = (node, said) => askAsNode(node, said, 'GET /cluster/answered HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n')
    const status = async (node, said = 'node') => (await ask(node, said)).slice(9, 12)
    assert.equal(await status(nodes[0]), '200')
    assert.equal(await status(nodes[0], 'client=192.0.2.1:80'), '403')
    assert.equal((await fetch(`${nodes[0].http}/cluster/answered`)).status, 404)
    nodes.links[0].cut()
    await until('it says no', async () => await status(nodes[0]) === '503')
    assert.equal(await status(nodes[1]), '200')
    const author = connect(t, newest, nodes[1], 'plan')
    await synced(author)
    author.text.insert(0, 'not to be saved now')
    nodes.links[1].cut()
    author.text.insert(0, 'and more ')
    const ended = nodes[1].stop('SIGTERM')
    await until('it stops', async () => /stopping/.test(await reason(nodes[1])))
    assert.equal(await status(nodes[1]), '503')
    nodes.links[1].heal()
    await ended
  })
})
