// A random history: real Yjs clients that edit one document through a real room, and what everybody holds in the end.
//
// A history is decided by `{ seed, index, family, odd, steps }`: `steps` are the numbers of the steps that are played
// (all, unless it is being shrunk), and each step throws its own dice, so that leaving one out changes the others as
// little as can be. `play` returns what happened, or throws `Wrong`.
//
// The control is Yjs without a server: a document of each version that is fed with the same messages in the order in
// which the room heard them; and others that the verdict asks for when that one differs (the clients' own states,
// merged updates, another order).
import * as wire from './lib/wire.js'
import { Client } from './lib/client.js'
import { Dice, mixed } from './lib/dice.js'
import { Watcher, answerTo } from './lib/readers.js'
import { keptOf } from './lib/content.js'
import { Allowed, Wrong, difference } from './lib/verdict.js'
import { FAMILIES, V136, VERSIONS, fed, fresh, vectorText, waits } from './lib/yjs.js'

const MS = 1000
const SECOND = 1e6

const CLIENT_IDS = [
  // Two milliseconds of a clock, as some bindings take them for ids.
  (dice, n) => 1764165600000 + n * 7,
  (dice, n) => (n + 1) * 65536,
  (dice, n) => 1 + n,
  (dice, n) => 4294967295 - n,
  (dice, n) => Number.MAX_SAFE_INTEGER - n,
  dice => dice.below(4294967296)
]

/** What kind of history this is. */
const plan = ({ seed, index, family, odd }) => {
  const dice = new Dice(mixed(seed, index, 1))
  const versions = FAMILIES[family]
  const keepDeleted = dice.chance(0.25)
  return {
    dice,
    family,
    odd,
    versions,
    keepDeleted,
    count: 2 + dice.below(5),
    id: odd ? dice.of(CLIENT_IDS) : CLIENT_IDS.at(-1),
    length: dice.of([15, 40, 80, 120]),
    policy: {
      snapshotBytes: dice.of([500, 5000, 256 << 10]),
      outboxBytesMax: dice.of([2000, 60000, 4 << 20]),
      keepDeleted
    },
    // A history of orderly clients must not have a single gap.
    orderly: dice.chance(0.5),
    // Who has a token is known when it comes back.
    named: dice.chance(0.5)
  }
}

class History {
  constructor (house, given) {
    this.given = given
    this.plan = plan(given)
    this.room = house.document(this.plan.versions[0])
    this.room.open(this.plan.policy)
    this.sessions = 0
    /** Sessions whose line broke. */
    this.lost = new Set()
    this.ids = 0
    /** The updates as their documents emitted them, and the messages as the room heard them. */
    this.emitted = []
    this.messages = []
    /** Moments of clients: `{ version, state, vector }`. */
    this.moments = []
    this.gapsMeant = false
    this.edits = 0
    /** Edits that Yjs itself could not make. */
    this.threw = 0
    /** How the comparisons ended: see lib/verdict.js. */
    this.ended = {}
    /** What the steps did, for a person who looks at a failure. */
    this.trail = []
    this.counted = { updates: 0, known: 0, gaps: 0, readers: 0, conflicts: 0, others: 0, resyncs: 0 }
    this.controls = new Map()
    const { dice, versions, count } = this.plan
    this.control = this.controlOf(versions[0])
    this.clients = Array.from({ length: count }, (_, n) => this.client(n, dice))
    this.watchers = VERSIONS.filter(version => versions.includes(version)).map(version => new Watcher(this.room, version, { gc: dice.chance(0.8) }))
    this.clients.forEach(client => this.online(client))
  }

  client (n, dice) {
    const version = dice.of(this.plan.versions)
    // What is kept of what was deleted is each client's own affair.
    const gc = dice.chance(this.plan.keepDeleted ? 0.3 : 0.8)
    return new Client(version, { id: this.nextId(), gc, name: `client ${n}`, named: this.plan.named, told: update => this.emitted.push(update) })
  }

  nextId () { return this.plan.id(this.plan.dice, this.ids++) }

  /** What Yjs of this version holds that was told the same as the room. */
  controlOf (version, gc = !this.plan.keepDeleted) {
    const name = `${version.name} ${gc}`
    if (!this.controls.has(name)) this.controls.set(name, fed(version, this.messages, { gc }))
    return this.controls.get(name)
  }

  say (client, kind, update) {
    this.messages.push(update)
    for (const [name, doc] of this.controls) VERSIONS.find(version => name.startsWith(`${version.name} `)).Y.applyUpdate(doc, update, 'fed')
    this.room.say(client.session, wire[kind](update))
    this.look()
  }

  /** What the room did; a session that it closed is an error. */
  look () {
    const happened = this.room.look()
    for (const { kind, session, text } of happened) {
      if (this.lost.has(session)) continue
      if (kind === 'ended') throw new Wrong(`the room closed a session: ${text}`)
    }
    return happened.map(({ kind }) => kind)
  }

  count () {
    const counts = this.room.counts()
    for (const key in counts) this.counted[key] += counts[key]
  }

  /** A client connects, and answers at once what it is asked: what it made offline is in that answer. */
  online (client) {
    if (client.session !== null) return
    client.unsent = []
    client.joins(this.room, ++this.sessions)
    this.hears(client, 1e6)
  }

  hears (client, most) {
    return client.hears(this.room, most, update => this.say(client, 'step2', update))
  }

  sendsAll (client) {
    if (client.session === null) return
    for (const update of client.unsent.splice(0)) {
      this.say(client, 'edit', update)
      client.said.push(update)
    }
  }

  /** The server stops at once; what was not durable is lost, and everybody comes back. */
  crashes () {
    this.count()
    this.room.kill()
    this.clients.forEach(client => { client.session = null })
    this.room.open(this.plan.policy)
    this.watchers.forEach(watcher => watcher.join())
  }

  /** Everybody leaves, the document leaves memory, and is opened again. */
  departs () {
    this.clients.forEach(client => client.leaves(this.room))
    this.watchers.forEach(watcher => this.room.leave(watcher.session))
    this.count()
    for (let tries = 0; !this.look().includes('unloaded'); tries++) {
      if (tries > 5) throw new Wrong('a document that nobody uses stays in memory')
      this.room.durable()
      this.room.pass(40 * SECOND)
    }
    this.room.open(this.plan.policy)
    this.watchers.forEach(watcher => watcher.join())
  }

  step (number) {
    const dice = new Dice(mixed(this.given.seed, this.given.index, 2, number))
    const client = dice.of(this.clients)
    const { odd, orderly } = this.plan
    const what = dice.weighted([
      [40, 'edit'], [10, 'edit unsent'], [20, 'hear'], [4, 'offline'], [6, 'online'], [2, 'reload'], [3, 'double'], [2, 'again'], [3, 'merge'], [8, 'pass'],
      [4, 'durable'], [4, 'moment'], [6, 'watch'], [1, 'depart'],
      ...(orderly ? [] : [[2, 'reorder'], [1, 'crash'], [1, 'peer'], [2, 'relay'], [1.5, 'lose']])
    ])
    this.trail.push(`${number} ${client.name}${client.session === null ? ' (offline)' : ''}: ${what}`)
    switch (what) {
      case 'edit':
      case 'edit unsent':
        this.edits++
        if (!client.edit(dice, odd)) this.threw++
        if (what === 'edit') this.sendsAll(client)
        break
      case 'hear':
        this.hears(client, dice.of([1, 2, 1e6]))
        break
      case 'offline':
        client.leaves(this.room)
        break
      case 'online':
        this.online(client)
        break
      case 'reload': {
        const state = client.version.Y.encodeStateAsUpdate(client.doc)
        client.leaves(this.room)
        // What it made offline comes under an id that was another page's a moment ago.
        if (!this.plan.named) this.gapsMeant = true
        client.begin(this.nextId(), state)
        break
      }
      case 'double':
        if (client.session !== null && client.unsent.length > 0) {
          for (const update of [...client.unsent]) this.say(client, 'edit', update)
          this.sendsAll(client)
        }
        break
      case 'again': {
        // An update that the room has heard from it before. (After a crash it may lack what that needs.)
        const old = client.said.length > 0 ? dice.of(client.said) : null
        if (client.session !== null && old !== null) this.say(client, 'edit', old)
        break
      }
      case 'merge':
        if (client.session !== null && client.unsent.length > 1) this.say(client, 'edit', client.version.Y.mergeUpdates(client.unsent.splice(0)))
        break
      case 'reorder':
        if (client.session !== null && client.unsent.length > 1) {
          this.gapsMeant = true
          client.unsent = dice.shuffled(client.unsent)
          this.sendsAll(client)
        }
        break
      case 'relay':
        // All that it has, at once, as another tab would.
        if (client.session !== null) this.say(client, 'edit', client.version.Y.encodeStateAsUpdate(client.doc))
        break
      case 'peer': {
        // Two tabs of one browser meet without the server.
        this.gapsMeant = true
        const other = dice.of(this.clients)
        const { Y } = client.version
        Y.applyUpdate(client.doc, other.version.Y.encodeStateAsUpdate(other.doc, Y.encodeStateVector(client.doc)), 'peer')
        break
      }
      case 'lose':
        // Its line breaks, and the room does not hear of that: when it comes back, it is there twice for a while.
        if (client.session !== null) {
          this.gapsMeant = true
          this.lost.add(client.session)
          this.room.lose(client.session)
          client.session = null
        }
        break
      case 'crash':
        this.gapsMeant = true
        this.crashes()
        break
      case 'depart':
        this.departs()
        break
      case 'pass':
        this.room.pass(dice.of([1 * MS, 15 * MS, 200 * MS, 3 * SECOND]))
        break
      case 'durable':
        this.room.durable()
        break
      case 'moment':
        this.moment(client.version, client.doc)
        break
      default:
        this.watchers.forEach(watcher => watcher.hears())
    }
    this.look()
  }

  moment (version, doc) {
    const { Y } = version
    if (this.moments.length < 30) this.moments.push({ version, state: Y.encodeStateAsUpdate(doc), vector: Y.encodeStateVector(doc) })
  }

  /** Everybody comes back, and the room is left alone until nothing more happens. */
  settles () {
    this.clients.forEach(client => { this.moment(client.version, client.doc) })
    for (let [round, quiet] = [0, 0]; quiet < 4; round++) {
      if (round > 60) throw new Wrong('the room does not come to rest')
      let messages = 0
      for (const client of this.clients) {
        this.online(client)
        messages += this.hears(client, 1e6) + client.unsent.length
        this.sendsAll(client)
      }
      for (const watcher of this.watchers) messages += watcher.hears()
      this.look()
      this.room.durable()
      // Who has a gap is asked again; and the client id of a page that left is another's after a minute.
      this.room.pass([700 * MS, 80 * SECOND, 11 * SECOND, 11 * SECOND][quiet])
      quiet = messages === 0 ? quiet + 1 : 0
    }
    this.count()
  }

  /** What Yjs may hold without a server, of which the verdict asks only what it must. */
  allowed (version) {
    const history = this
    return new Allowed(this.controlOf(version), function * () {
      yield history.controlOf(version, history.plan.keepDeleted)
      yield fed(version, [version.Y.encodeStateAsUpdate(history.controlOf(version))])
      yield fed(version, [V136.Y.mergeUpdates(history.messages)])
      yield fed(version, history.emitted)
      for (const client of history.clients) {
        yield fed(version, [client.version.Y.encodeStateAsUpdate(client.doc)])
      }
    })
  }

  /** Compares what was read with what Yjs alone holds. */
  same (what, doc, allowed, more) {
    if (waits(doc)) throw new Wrong(`${what} waits for what it was not sent`)
    const end = allowed.judge(doc, more)
    this.ended[end] = (this.ended[end] ?? 0) + 1
    if (end === null) throw new Wrong(`${what} holds something else, ${difference(allowed.docs[0], doc)}`)
  }

  judges () {
    const { room } = this
    const gaps = this.counted.gaps + this.counted.others
    if (!this.gapsMeant && gaps > 0) throw new Wrong(`${gaps} updates had gaps, and nobody meant that`)
    if (this.counted.conflicts > 0) throw new Wrong('the room saw two pages write under one client id')
    if (this.counted.readers > 0) throw new Wrong('a reader was taken for one who edits')
    const [first] = this.plan.versions
    const vector = vectorText(first, first.Y.encodeStateVector(this.control))
    const readers = VERSIONS.filter(version => this.canRead(version))
    const all = new Map(readers.map(version => [version, this.allowed(version)]))
    const everybody = (when) => {
      const answer = answerTo(room, new Uint8Array([0]))
      const held = this.heldBy(answer)
      if (held !== vector) throw new Wrong(`${when} the room has other clocks: ${held} instead of ${vector}`)
      for (const [version, allowed] of all) this.same(`${when} a newcomer with Yjs ${version.name}`, fed(version, answer.updates), allowed)
      return answer
    }

    for (const watcher of this.watchers) this.same(`a watcher with Yjs ${watcher.version.name}`, watcher.doc, all.get(watcher.version))
    for (const client of this.clients) {
      const { Y } = client.version
      const wired = fed(client.version, [Y.encodeStateAsUpdate(client.doc)])
      const allowed = new Allowed(this.controlOf(client.version), () => this.allowed(client.version).others)
      this.same(`${client.name}`, wired, allowed)
    }
    const newcomer = everybody('in the end')
    this.keeps('in the end', newcomer.updates)
    this.differences(all, this.moments)
    this.returns(newcomer, vector)

    room.durable()
    this.crashes()
    everybody('after a restart')

    // An edit that is durable, with a snapshot, and once more.
    room.durable()
    room.kill()
    room.open({ ...this.plan.policy, snapshotBytes: 0 })
    this.probe(first)
    for (const version of readers) all.set(version, this.allowed(version))
    room.pass(SECOND)
    room.durable()
    if (!room.dump().some(record => record.snapshot)) throw new Wrong('no snapshot was taken')
    this.crashes()
    this.look()
    const answer = answerTo(room, new Uint8Array([0]))
    if (this.heldBy(answer) !== vectorText(first, first.Y.encodeStateVector(this.control))) throw new Wrong('after a snapshot the room has other clocks')
    for (const [version, allowed] of all) this.same(`after a snapshot a newcomer with Yjs ${version.name}`, fed(version, answer.updates), allowed)
    this.keeps('after a snapshot', answer.updates)
    this.returns(answer, this.heldBy(answer))
    this.differences(all, this.moments.slice(-8))
  }

  /**
   * How far an answer brings a newcomer. (What the room asks for may begin earlier: where somebody wrote whose client id
   * it was not, D22.)
   */
  heldBy ({ updates }) {
    const [first] = this.plan.versions
    return vectorText(first, first.Y.encodeStateVector(fed(first, updates)))
  }

  /** Whether this version can read what the family wrote at all. */
  canRead (version) {
    try {
      this.controlOf(version)
      return true
    } catch {
      if (this.plan.versions.includes(version)) throw new Wrong(`Yjs ${version.name} cannot read its own family`)
      this.controls.delete(`${version.name} ${!this.plan.keepDeleted}`)
      return false
    }
  }

  /** Each state that a client once had, brought up to date by the room. */
  differences (all, moments) {
    for (const { version, state, vector } of moments) {
      const { updates } = answerTo(this.room, vector)
      const doc = fed(version, [state, ...updates])
      const more = [fed(version, [state, this.plan.versions[0].Y.encodeStateAsUpdate(this.control, vector)])]
      this.same(`who had ${vectorText(version, vector)} with Yjs ${version.name}`, doc, all.get(version), more)
    }
  }

  /**
   * A document that keeps what was deleted has what it once heard, as a Yjs has that never collects. (What it
   * did not take at first comes again from somebody who may have forgotten it.)
   */
  keeps (when, updates) {
    const [first] = this.plan.versions
    if (!this.plan.keepDeleted || this.gapsMeant) return
    const [expected, found] = [keptOf(this.control), keptOf(fed(first, updates, { gc: false }))]
    if (expected !== found) throw new Wrong(`${when} what was deleted is not what it was:\n${expected.slice(0, 400)}\n--\n${found.slice(0, 400)}`)
  }

  /** What a newcomer would answer the room holds nothing new but deletions: nothing that a newcomer of the control lacks. */
  returns ({ updates }, clocks) {
    const vector = this.plan.versions[0].Y.encodeStateVector(this.control)
    for (const version of this.plan.versions) {
      const { Y } = version
      const doc = fed(version, updates)
      const back = Y.encodeStateAsUpdate(doc, vector)
      const structs = Y.decodeUpdate(back).structs.filter(struct => struct.length > 0)
      if (structs.length > 0) throw new Wrong(`a newcomer with Yjs ${version.name} sends back structs`)
      if (vectorText(version, Y.encodeStateVector(doc)) !== clocks) throw new Wrong(`a newcomer with Yjs ${version.name} has other clocks`)
    }
  }

  /** Somebody writes one letter more. */
  probe (version) {
    const { Y } = version
    const answer = answerTo(this.room, new Uint8Array([0]))
    const doc = fresh(version)
    doc.clientID = 3000000023
    answer.updates.forEach(update => Y.applyUpdate(doc, update))
    const before = Y.encodeStateVector(doc)
    version.is14 ? doc.get('probe').insert(0, '!') : doc.getText('probe').insert(0, '!')
    const update = Y.encodeStateAsUpdate(doc, before)
    const session = ++this.sessions
    this.room.join(session)
    this.room.say(session, wire.step1(Y.encodeStateVector(doc)))
    this.say({ session }, 'edit', update)
    this.emitted.push(update)
    this.room.take(session)
    this.room.leave(session)
  }
}

/** The numbers of the steps of a whole history. */
export const stepsOf = given => Array.from({ length: plan(given).length }, (_, i) => i)

/**
 * Plays and judges one history. Returns what happened: `{ edits, updates, … , ended }`.
 *
 * @throws {Wrong} when somebody holds something else than Yjs alone
 */
export const play = (house, given) => {
  const history = new History(house, given)
  const steps = given.steps ?? stepsOf(given)
  try {
    for (const number of steps) history.step(number)
    history.settles()
    history.judges()
  } catch (error) {
    error.trail = history.trail
    error.messages = history.messages
    throw error
  } finally {
    history.room.forget()
  }
  return { edits: history.edits, threw: history.threw, ...history.counted, moments: history.moments.length, ...history.ended }
}
