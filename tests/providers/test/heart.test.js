// A document is what its authors wrote: values, ids and deletions come back as they were sent, poison is refused, and
// nobody writes under another's client id.
import assert from 'node:assert/strict'
import { createServer, connect as connectTcp } from 'node:net'
import { test } from 'node:test'
import * as Y from 'yjs'

import { connect, newest, same, saved, synced } from '../lib/clients.js'
import { mintToken, startServer } from '../lib/server.js'
import { until, within } from '../../lib/wait.mjs'
import { announcement, savedQuestion, speaker, step1, string, structs, update, varUint } from '../lib/wire.js'

const state = ({ doc }) => Buffer.from(Y.encodeStateAsUpdate(doc))

/** Somebody who comes, gets everything, and leaves. */
async function visit(t, server, name, docOptions) {
  const visitor = connect(t, newest, server, name, {}, docOptions)
  await synced(visitor)
  visitor.provider.destroy()
  return visitor
}

/** The document has left memory; whoever comes next reads what is stored. */
const left = server => until('it left memory', async () => await server.metric('cowrite_documents_open') === 0)

const anyOfEachKind = {
  undefined: [127], null: [126], integer: [125, 1], float: [124, 0x3f, 0xc0, 0, 0], double: [123, 0x3f, 0xb9, 0x99, 0x99, 0x99, 0x99, 0x99, 0x9a],
  bigint: [122, 0, 0, 0, 0, 0, 0, 0, 5], false: [121], true: [120], string: [119, 1, 0x78], bytes: [116, 2, 1, 2],
  array: [117, 1, 125, 1], object: [118, 1, 1, 0x61, 125, 1],
}
const object = (key, value) => [118, 1, ...string(key), ...value]
const inMap = value => [0x28, 1, ...string('map'), ...string('k'), 1, ...value]
const inArray = value => [8, 1, ...string('array'), 1, ...value]
const asOptions = options => [9, 1, ...string('array'), ...string('guid'), ...options]
const poisons = {
  'a value of a map': value => inMap(object('__proto__', value)),
  'a value of an array': value => inArray(object('__proto__', value)),
  'deep in a value': value => inMap([117, 2, 126, ...object('a', [117, 1, ...object('__proto__', value)])]),
  'behind another key': value => inMap([118, 2, ...string('a'), 126, ...string('__proto__'), ...value]),
  'an option of a sub-document': value => asOptions(object('__proto__', value)),
  'in the meta of a sub-document': value => asOptions(object('meta', object('__proto__', value))),
  'the option guid of a sub-document': value => asOptions(object('guid', value)),
  'the option gcFilter of a sub-document': value => asOptions(object('gcFilter', value)),
}

test('g29 what Yjs cannot write again is refused wherever it is, and nobody else notices', async t => {
  const server = await startServer(t)
  const [ada, bob] = [1, 2].map(() => connect(t, newest, server, 'well'))
  await synced(ada, bob)
  let events = 0
  bob.doc.on('update', () => events++)
  let poisoner = 1
  for (const [place, struct] of Object.entries(poisons)) {
    for (const [kind, value] of Object.entries(anyOfEachKind)) {
      const attacker = await speaker(t, server, 'well')
      attacker.say(update(structs(poisoner++, 0, [struct(value)])))
      const { code, reason } = await within('it is refused', attacker.closed)
      assert.equal(code, 4400, `${place}, ${kind}`)
      assert.match(reason, /__proto__|sub-document option/, `${place}, ${kind}`)
    }
    const before = events
    ada.text.insert(0, 'a')
    await until('events fire', () => events > before)
  }

  bob.text.insert(0, 'b')
  await same(ada, bob)
  await saved(bob)
  const clients = [ada.doc.clientID, bob.doc.clientID].sort()
  const newcomer = await visit(t, server, 'well')
  await server.stop('SIGKILL')
  await server.start()
  const later = await visit(t, server, 'well')
  for (const one of [ada, bob, newcomer, later]) {
    assert.deepEqual([...one.doc.store.clients.keys()].sort(), clients)
    assert.ok(state(one).length > 0)
    assert.equal(one.text.toString(), 'b' + 'a'.repeat(Object.keys(poisons).length))
  }
  assert.deepEqual([...ada.closes, ...bob.closes].filter(({ code }) => code >= 4000), [])
})

/** Writes on under another's client id, at once when it sees something of it: the next clocks are taken then. */
async function forger(t, server, name, { announced, ...options } = {}) {
  const forger = await speaker(t, server, name, options)
  forger.sent = 0
  forger.follow = (client, clock) => {
    const letters = [0, 1, 2].map(i => [0x84, ...varUint(client), ...varUint(clock + i - 1), ...string('E')])
    forger.say(update(structs(client, clock, letters)))
    forger.sent++
  }
  if (announced) forger.say(announcement(announced, 9))
  forger.say(step1())
  forger.socket.on('message', () => {
    const { kind, content } = forger.heard.at(-1)
    if (kind !== 'update') return
    for (const struct of Y.decodeUpdate(content).structs) forger.follow(struct.id.client, struct.id.clock + struct.length)
  })
  return forger
}

/** What it sent has been judged: the server answers in order. */
async function judged(forger) {
  const answers = () => forger.heard.filter(({ kind }) => kind === 'step2').length
  await until('its first question is answered', () => answers() > 0)
  const before = answers()
  forger.say(step1([1, ...varUint(before + 1), 1]))
  await until('it has been judged', () => answers() > before)
}

for (const announces of [false, true]) {
  const how = announces ? 'announces and follows' : 'follows'
  test(`d21 nobody takes the clocks of a page that is here: an attacker ${how} its client id`, async t => {
    const server = await startServer(t)
    const ada = connect(t, newest, server, 'victim')
    await synced(ada)
    const eve = await forger(t, server, 'victim', { announced: announces && ada.doc.clientID })
    await until('she has joined', () => eve.heard.some(({ kind }) => kind === 'step2'))

    for (let letters = 1; letters <= 100; letters++) {
      ada.text.insert(letters - 1, 'a')
      await until('she has seen it and written on', () => eve.sent >= letters)
    }
    await saved(ada)

    const reader = await visit(t, server, 'victim')
    assert.equal(reader.text.toString(), 'a'.repeat(100))
    assert.deepEqual(ada.closes, [])
    assert.ok(await server.metric('cowrite_updates_total{result="of_another"}') > 0, 'she tried')
  })
}

/** Ada writes a line and goes; Eve writes on under her client id; Ada comes back with a paragraph. */
async function returns(t, server, { of = {}, early } = {}) {
  const name = 'returns'
  const ada = connect(t, newest, server, name, of.ada ? { params: { token: of.ada } } : {})
  await synced(ada)
  const comes = () => forger(t, server, name, { headers: of.eve ? { authorization: `Bearer ${of.eve}` } : {} })
  const there = early && await comes()
  ada.text.insert(0, 'a line, ')
  await saved(ada)
  ada.provider.disconnect()
  await until('she is gone', async () => await server.metric('cowrite_connections') === (there ? 1 : 0))
  ada.text.insert(8, 'and a paragraph')
  const eve = there || await comes()
  eve.follow(ada.doc.clientID, 8)
  await judged(eve)
  ada.closes.length = 0
  ada.provider.connect()
  return { ada, eve, name }
}

test('d22 a paragraph whose clocks were taken meanwhile ends with 4409, and is never called saved', async t => {
  const server = await startServer(t)
  const { ada, name } = await returns(t, server)

  let confirmed = false
  ada.provider.on('status', ({ status }) => {
    if (status === 'connected') saved(ada).then(() => { confirmed = true }, () => {})
  })
  await until('it is closed', () => ada.closes.some(({ code }) => code === 4409))
  assert.match(ada.closes.at(-1).reason, new RegExp(`another page writes .*, client ${ada.doc.clientID} from clock 8$`))

  const reader = await visit(t, server, name)
  assert.equal(reader.text.toString(), 'a line, EEE')
  assert.equal(confirmed, false)
  assert.equal(ada.text.toString(), 'a line, and a paragraph')
  assert.ok(await server.metric('cowrite_updates_total{result="conflict"}') > 0)
})

test('d21 the clocks of a page that left are its own for a while: from who was there they are a gap', async t => {
  const server = await startServer(t)
  const { ada, name } = await returns(t, server, { early: true })

  await until('she is back', () => ada.provider.synced)
  await saved(ada)

  assert.equal((await visit(t, server, name)).text.toString(), 'a line, and a paragraph')
  assert.deepEqual(ada.closes, [])
})

const secret = 'a secret of at least thirty-two bytes'
const token = subject => mintToken(secret, ['--sub', subject, '--document', '*=write'])

test('d21 with tokens another subject writes nothing under a page’s client id', async t => {
  const server = await startServer(t, ['--jwt-secret', secret])
  const of = { ada: await token('ada'), eve: await token('eve') }
  const { ada, eve } = await returns(t, server, { of })

  await until('she is back', () => ada.provider.synced)
  await saved(ada)
  eve.say(savedQuestion(1))
  await judged(eve)

  const reader = connect(t, newest, server, 'returns', { params: { token: of.eve } })
  await synced(reader)
  assert.equal(reader.text.toString(), 'a line, and a paragraph')
  assert.equal(eve.heard.some(({ kind }) => kind === 102), false, 'what she holds is not called saved')
})

test('d21 with tokens one’s own other session passes on what a page wrote, another subject’s waits for it', async t => {
  const server = await startServer(t, ['--jwt-secret', secret])
  const [mine, other] = [await token('ada'), await token('bob')]
  const open = token => connect(t, newest, server, 'tabs', { params: { token } })
  const [page, tab, bob] = [open(mine), open(mine), open(other)]
  await synced(page, tab, bob)
  page.text.insert(0, 'one ')
  await same(page, tab, bob)
  page.provider.disconnect()
  page.text.insert(4, 'two ')

  let confirmed = false
  Y.applyUpdate(bob.doc, Y.encodeStateAsUpdate(page.doc))
  saved(bob).then(() => { confirmed = true }, () => {})
  await until('it counts as another’s', async () => await server.metric('cowrite_updates_total{result="of_another"}') > 0)
  assert.equal(tab.text.toString(), 'one ')
  assert.equal(confirmed, false)

  Y.applyUpdate(tab.doc, Y.encodeStateAsUpdate(page.doc))
  await saved(tab)
  const reader = open(other)
  await synced(reader)
  assert.equal(reader.text.toString(), 'one two ')
  await until('bob’s is saved, too', () => confirmed)
})

/** A line to the server that can die without anybody hearing of it. */
async function line(t, server) {
  const [host, port] = server.address.split(':')
  const sockets = new Set()
  const line = { dead: new Set() }
  const proxy = createServer({ allowHalfOpen: true }, near => {
    const far = connectTcp({ host, port: Number(port), allowHalfOpen: true })
    const pair = { near, far }
    sockets.add(pair)
    near.on('data', bytes => { if (!line.dead.has(pair)) far.write(bytes) })
    far.on('data', bytes => { if (!line.dead.has(pair)) near.write(bytes) })
    near.on('end', () => { if (!line.dead.has(pair)) far.end() })
    far.on('end', () => { if (!line.dead.has(pair)) near.end() })
    for (const socket of [near, far]) socket.on('error', () => {})
  })
  line.dies = () => sockets.forEach(pair => line.dead.add(pair))
  await new Promise(resolve => proxy.listen(0, '127.0.0.1', resolve))
  line.url = `ws://127.0.0.1:${proxy.address().port}/ws`
  t.after(() => { sockets.forEach(({ near, far }) => { near.destroy(); far.destroy() }); proxy.close() })
  return line
}

test('d21 who comes back goes on being saved, also when the line before died without a word', async t => {
  const server = await startServer(t)
  const proxy = await line(t, server)
  const ada = connect(t, newest, proxy, 'line')
  const bob = connect(t, newest, server, 'line')
  await synced(ada, bob)
  for (let times = 0; times < 3; times++) {
    ada.text.insert(ada.text.length, 'a')
    await saved(ada)
    ada.provider.disconnect()
    ada.text.insert(ada.text.length, 'b')
    ada.provider.connect()
    await until('she is back', () => ada.provider.synced)
    await saved(ada)
    await same(ada, bob)
  }

  proxy.dies()
  ada.text.insert(ada.text.length, 'c')
  ada.provider.ws.terminate()
  await until('she has noticed', () => !ada.provider.wsconnected)
  assert.equal(await server.metric('cowrite_connections'), 2, 'the server has not')
  await until('she is back', () => ada.provider.wsconnected && ada.provider.synced)
  ada.text.insert(ada.text.length, 'd')
  await saved(ada)

  await until('bob has it', () => bob.text.toString() === 'abababcd')
  assert.deepEqual([...ada.closes, ...bob.closes].filter(({ code }) => code >= 4000), [])
})

const values = {
  big: 5n, wide: 2n ** 62n, negative: -1n, double: 2 ** 62, zero: -0, nan: NaN, nothing: undefined,
  bytes: new Uint8Array([1, 2, 255]),
  nested: { list: [5n, [-0, { deep: NaN }], undefined, new Uint8Array([0])], 'a key': { b: 2 ** 53, a: -(2n ** 63n) } },
}

test('g20 every value that Yjs can hold stays what it is, for everybody and after everything', async t => {
  const server = await startServer(t, ['--snapshot-bytes', '1KiB', '--idle-timeout', '200ms'])
  const [writer, reader] = [1, 2].map(() => connect(t, newest, server, 'values'))
  await synced(writer, reader)
  writer.doc.transact(() => {
    const map = writer.doc.getMap('map')
    for (const [key, value] of Object.entries(values)) map.set(key, value)
    // Yjs takes them into an array only inside a value.
    writer.doc.getArray('array').push([values, Object.values(values)])
  })
  // Enough for a snapshot, of which the values are a part.
  writer.text.insert(0, 'x'.repeat(4_096))
  await same(writer, reader)
  await saved(writer)
  const all = { writer, 'live reader': reader, newcomer: await visit(t, server, 'values') }
  await server.stop('SIGKILL')
  await server.start()
  all['after a restart'] = await visit(t, server, 'values')
  for (const client of Object.values(all)) client.provider.destroy()
  await left(server)
  all['after a snapshot'] = await visit(t, server, 'values')

  for (const [who, client] of Object.entries(all)) {
    assert.deepStrictEqual(client.doc.getMap('map').toJSON(), values, who)
    assert.deepStrictEqual(client.doc.getArray('array').toJSON(), [values, Object.values(values)], who)
    assert.ok(state(client).equals(state(writer)), `${who}: byte for byte`)
  }
})

test('g20 patterned client ids are admitted, however many', async t => {
  const server = await startServer(t)
  const ada = connect(t, newest, server, 'patterned')
  await synced(ada)
  const count = 5_000
  for (const id of [n => (n + 1) * 65_536, n => 1_764_000_000_000 + n]) {
    const clients = Array.from({ length: count }, (_, n) => id(count - 1 - n))
    const sections = clients.flatMap(client => [1, ...varUint(client), 0, 4, 1, ...string('text'), 1, 0x78])
    Y.applyUpdate(ada.doc, new Uint8Array([...varUint(count), ...sections, 0]))
  }
  ada.text.insert(0, 'ada')
  await saved(ada)

  const newcomer = await visit(t, server, 'patterned')
  assert.equal(newcomer.doc.store.clients.size, 2 * count + 1)
  assert.equal(newcomer.text.length, 2 * count + 3)
  assert.deepEqual(ada.closes, [])
})

test('k5 content that was deleted is kept where the server is told so, and gone elsewhere', async t => {
  const server = await startServer(t, ['--keep-deleted', 'versions/*', '--idle-timeout', '200ms'])
  const old = 'the first version'
  const check = async (when, snapshots) => {
    for (const [name, snapshot] of Object.entries(snapshots)) {
      const reader = await visit(t, server, name, { gc: false })
      assert.equal(reader.text.toString(), 'the second', when)
      const kept = name.startsWith('versions/')
      assert.equal(state(reader).includes(old), kept, `${name}, ${when}`)
      if (kept) assert.equal(Y.createDocFromSnapshot(reader.doc, snapshot).getText('text').toString(), old, when)
    }
  }
  const snapshots = {}
  const writers = ['versions/a', 'others/a'].map(name => {
    const writer = connect(t, newest, server, name, {}, { gc: false })
    writer.name = name
    return writer
  })
  await synced(...writers)
  for (const { name, doc, text } of writers) {
    text.insert(0, old)
    snapshots[name] = Y.snapshot(doc)
    text.delete(0, text.length)
    text.insert(0, 'the second')
  }
  await Promise.all(writers.map(saved))

  await check('while it is open', snapshots)
  await server.stop('SIGKILL')
  await server.start()
  await check('after a restart', snapshots)
  writers.forEach(({ provider }) => provider.destroy())
  await left(server)
  await check('after it left memory', snapshots)
})
