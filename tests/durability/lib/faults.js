// Plans of faults, drawn from a seed, that happen to several servers, their database and what connects them while people
// write over all wires; and the judge of what is left.
import { setTimeout as sleep } from 'node:timers/promises'

import * as Y from 'yjs'

import { run, sql } from './cluster.js'
import { Dice } from './dice.js'
import { Ledger, Verdict, Writer, equal, judge, judgeServer, read } from './oracle.js'
import { HocuspocusWriter, YSweetWriter } from './provider-writers.js'
import { Ended } from './watched.js'

const WIRES = [Writer, HocuspocusWriter, YSweetWriter]
/** How long a person waits for a document before trying elsewhere. */
const PATIENCE_MS = 4_000
/** The limit only ends a test that has already failed. */
const LIMIT_MS = 60_000

/** What can happen: each `(cluster, dice)` does something, and returns what undoes it and says what it was. */
export const FAULTS = {
  slowDatabase: (cluster, dice) => onLinks([dice.pick(dice.pick(cluster.nodes).database)], link => {
    link.there.delayMs = dice.from(0, 300)
    link.back.delayMs = dice.from(0, 300)
  }),
  heldDatabase: (cluster, dice) => onLinks(dice.pick(cluster.nodes).database, oneOrBoth(dice, direction => direction.hold())),
  cutDatabase: (cluster, dice) => onLinks(dice.pick(cluster.nodes).database, link => link.cut()),
  lostAnswers: (cluster, dice) => {
    const every = dice.from(2, 12)
    return onLinks(dice.pick(cluster.nodes).database, link => { link.loses = every })
  },
  lostAnswersOfAll: (cluster, dice) => {
    const every = dice.from(4, 20)
    return onLinks(cluster.nodes.flatMap(node => node.database), link => { link.loses = every })
  },
  slowPeer: (cluster, dice) => onLinks([dice.pick(dice.pick(cluster.nodes).peers)], link => {
    link.there.delayMs = dice.from(0, 300)
    link.back.delayMs = dice.from(0, 300)
  }),
  heldPeer: (cluster, dice) => onLinks([dice.pick(dice.pick(cluster.nodes).peers)], oneOrBoth(dice, direction => direction.hold())),
  heldPeers: (cluster, dice) => onLinks(around(cluster, dice), oneOrBoth(dice, direction => direction.hold())),
  cutPeers: (cluster, dice) => onLinks(around(cluster, dice), link => link.cut()),
  // Whoever sees this takes a node for dead that lives.
  refusedPeers: (cluster, dice) => onLinks(around(cluster, dice), link => link.refuse()),
  refusedPeer: (cluster, dice) => onLinks([dice.pick(dice.pick(cluster.nodes).peers)], link => link.refuse()),
  // No reply of another node comes, and no word to one arrives, again and again.
  brokenPeers: (cluster, dice) => {
    const every = dice.from(3, 30)
    return onLinks(cluster.nodes.flatMap(node => node.peers), link => { link.loses = every })
  },
  killed: async (cluster, dice) => {
    const node = dice.pick(cluster.nodes)
    await node.kill()
    return { what: `node ${node.index}`, undo: () => begins(cluster, node) }
  },
  stopped: async (cluster, dice) => {
    const node = dice.pick(cluster.nodes)
    if (!node.isRunning) return { what: 'none', undo: () => {} }
    node.isRunning = false
    const undo = async () => {
      const { code, signal } = await node.stop()
      // 1 says that edits could not be saved in its time: the database was away. It may also have been killed meanwhile.
      if (code !== 0 && code !== 1 && signal !== 'SIGKILL') throw new Verdict(`node ${node.index} stopped with ${code}: ${node.log.slice(-4_000)}`)
      await begins(cluster, node)
    }
    return { what: `node ${node.index}`, undo }
  },
  frozen: async (cluster, dice) => {
    const node = dice.pick(cluster.nodes)
    if (!node.isRunning) return { what: 'none', undo: () => {} }
    await node.freeze()
    return { what: `node ${node.index}`, undo: () => node.thaw() }
  },
}

/** Starts a node that has ended; while its database is cut off only the end of that lets it start. */
function begins(cluster, node) {
  if (!node.isRunning && node.database.every(link => !link.isCut && !link.there.held && !link.back.held)) return cluster.begin(node)
}

/** Faults by which a node dies, or wakes as one that believes to have what others have by then. */
export const DEATHS = ['killed', 'frozen', 'stopped']

async function onLinks(links, does) {
  for (const link of links) await does(link)
  const where = link => link.to === undefined ? 'database' : `to ${link.to}`
  return { what: links.map(where).join(', '), undo: () => Promise.all(links.map(link => link.heal())) }
}

/** All links to a node and from it. */
function around(cluster, dice) {
  const node = dice.pick(cluster.nodes)
  return [...node.peers, ...node.from]
}

function oneOrBoth(dice, does) {
  const which = dice.from(0, 2)
  return link => {
    if (which !== 0) does(link.there)
    if (which !== 1) does(link.back)
  }
}

/**
 * Somebody at a page: connects to any node, writes, and comes back when the connection has ended, with what is not saved.
 * One in six closes the page instead, so that nobody brings those edits again, and somebody else comes.
 */
async function person(world, place, dice) {
  const { cluster, ledger, documents } = world
  const Kind = WIRES[Math.floor(place / documents) % WIRES.length]
  const comes = () => new Kind(ledger, `doc-${place % documents}`, `p${place}.${++world.people}`)
  let writer = comes()
  world.crew[place] = writer
  while (!world.isOver) {
    const node = dice.pick(cluster.nodes)
    try {
      if (node.isRunning) {
        await within(writer.connect(node.url), PATIENCE_MS)
        while (!world.isOver && !writer.client.close) {
          const heavy = place % 3 === 0 && dice.oneIn(4)
          writer.write(heavy ? { place: place % 5, text: dice.text(dice.from(500, 8_000)) } : undefined)
          await sleep(dice.from(5, 40))
          if (dice.oneIn(150)) break
        }
      }
    } catch (error) {
      if (!(error instanceof Ended) && error !== LATE) throw error
    }
    writer.end()
    if (!world.isOver && dice.oneIn(6)) world.crew[place] = writer = comes()
    await sleep(dice.from(10, 150))
  }
}

const LATE = new Error('it takes too long')
function within(promise, ms) {
  promise.catch(() => {})
  return Promise.race([promise, sleep(ms).then(() => { throw LATE })])
}

/** Plays faults for a while on a cluster. `spanMs`: how long each lasts; returns what was counted. */
export async function play(cluster, seed, { documents = 4, people = 12, steps = 4, spanMs = [200, 2_000], faults = Object.keys(FAULTS), say = () => {}, meanwhile, convergeOnly = false } = {}) {
  const dice = new Dice(seed)
  const world = { cluster, ledger: new Ledger(), documents, crew: [], people: 0, isOver: false }
  const plan = []
  const told = text => { plan.push(text); say(text) }
  let crew
  try {
    let failed
    crew = Promise.all(Array.from({ length: people }, (_, place) => person(world, place, new Dice(dice.from(0, 2 ** 31)))))
      .catch(error => { failed = error })
    await until('something is acknowledged', () => failed || world.ledger.acknowledged > people)
    for (let step = 0; step < steps && !failed; step++) {
      // Two things may happen at once.
      const undone = []
      for (let more = dice.oneIn(3) ? 2 : 1; more > 0; more--) {
        const name = dice.pick(faults)
        const { what, undo } = await FAULTS[name](cluster, dice)
        told(`${name} (${what})`)
        undone.push(undo)
        if (more > 1) await sleep(dice.from(0, 200))
      }
      await sleep(dice.from(...spanMs))
      for (const undo of undone) await undo()
      await sleep(dice.from(0, spanMs[0]))
    }
    await meanwhile?.(world)
    await cluster.heal()
    world.isOver = true
    await crew
    if (failed) throw failed
    world.crew.forEach(writer => writer.end())
    await settle(world, dice)
    return { sent: world.ledger.sent, acknowledged: world.ledger.acknowledged, people: world.people, world }
  } catch (error) {
    error.message = `seed ${seed}, after ${plan.join('; ')}: ${error.message}`
    throw error
  } finally {
    world.isOver = true
    await cluster.heal().catch(() => {})
    await crew
    world.crew.forEach(writer => writer.end())
  }
}

/** All who are left get everything acknowledged, and all are the same, at each node; then the oracle, and the database. */
async function settle(world, dice) {
  const { cluster, ledger } = world
  const names = [...ledger.documents.keys()]
  await Promise.all(world.crew.map(writer => acknowledged(writer, cluster, dice)))
  for (const name of names) {
    const crew = world.crew.filter(writer => writer.document === name)
    const end = Date.now() + LIMIT_MS
    for (;;) {
      const readers = await Promise.all(cluster.nodes.map(node => read(node.url, name)))
      try {
        const docs = [...readers, ...crew].map(({ doc }) => doc)
        await until(`all of ${name} are the same`, () => equal(...docs) || crew.some(({ client }) => client.close) ||
          readers.some(({ close }) => close), end - Date.now())
        if (equal(...docs)) {
          for (const { doc } of readers) judge(ledger, name, doc)
          break
        }
      } finally {
        readers.forEach(reader => { reader.end(); reader.doc.destroy() })
      }
      // A session that was told to come back hears nothing more.
      for (const writer of crew.filter(({ client }) => client.close)) await acknowledged(writer, cluster, dice)
    }
  }
  world.crew.forEach(writer => writer.end())
  const strangers = await cluster.strangers()
  if (strangers) throw new Verdict(strangers)
  // What is stored, not what is in anybody's memory.
  for (const node of cluster.nodes) {
    node.isRunning = false
    const { code } = await node.stop()
    if (code !== 0) throw new Verdict(`node ${node.index} stopped with ${code}: ${node.log.slice(-4_000)}`)
  }
  const verified = await run(['verify', '--database-url', cluster.url])
  if (verified.code !== 0) throw new Verdict(verified.output)
  await cluster.begin(cluster.nodes[0])
  await judgeServer(ledger, cluster.nodes[0].url)
  for (const node of cluster.nodes.slice(1)) await cluster.begin(node)
}

/** Comes back until all that was written is acknowledged, and stays. */
async function acknowledged(writer, cluster, dice) {
  const end = Date.now() + LIMIT_MS
  for (let wait = 50; ; wait = Math.min(wait * 2, 1_000)) {
    writer.end()
    const node = dice.pick(cluster.nodes)
    try {
      await writer.connect(node.url)
      writer.ask()
      await writer.whenAcknowledged(undefined, Math.max(1, end - Date.now()))
      return
    } catch (error) {
      if (!(error instanceof Ended) || Date.now() > end) {
        error.message += ` (${writer.constructor.name} ${writer.name} at node ${node.index}; ${await lacking(writer, cluster)}; ${await standing(cluster, writer.document)})`
        throw error
      }
      await sleep(wait)
    }
  }
}

/** What a writer's document waits for, and what it has that a newcomer's has not, for whoever reads a failure. */
async function lacking(writer, cluster) {
  const reader = await read(cluster.nodes[0].url, writer.document)
  const [own, stored] = [writer.doc, reader.doc].map(doc => Y.decodeStateVector(Y.encodeStateVector(doc)))
  reader.end()
  const clocks = [...own].filter(([client, clock]) => stored.get(client) !== clock).map(([client, clock]) => `${client}: ${clock} here, ${stored.get(client)} there`)
  const waits = writer.doc.store.pendingStructs?.missing
  return `waits for ${JSON.stringify(waits && [...waits])}; its client is ${writer.doc.clientID}; ${clocks.join(', ')}`
}

/** What the database and the nodes say of a document, for whoever reads a failure. */
async function standing(cluster, document) {
  const row = await sql(cluster.url, `select d.holder, d.last_seq, n.address from cowrite_document d
    left join cowrite_node n on n.id = d.node where d.name = '${document}'`).catch(error => error.message)
  const nodes = await Promise.all(cluster.nodes.map(async node => {
    const ready = await node.ready().then(JSON.stringify, error => error.message)
    return `\nnode ${node.index} at ${node.flags.join(' ').match(/cluster-address (\S+)/)[1]}: ${ready}\n${node.log.slice(-6_000)}`
  }))
  return `${row}${nodes.join('')}`
}

async function until(what, condition, limitMs = LIMIT_MS) {
  const end = Date.now() + limitMs
  while (!await condition()) {
    if (Date.now() > end) throw new Verdict(`never: ${what}`)
    await sleep(10)
  }
}
