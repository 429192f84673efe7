// All small histories: 2 and 3 clients, a few edits at every position, every pattern of hearing each other in between.
// What random histories find by luck is found here because nothing is left out.
//
//   node enumerate.js               the smallest sets whole, some of the others: a minute
//   node enumerate.js --most 1e9    every set whole: days
//   node enumerate.js --set raw --family 14
//
// A *set* is a function that builds one history and asks `choose(n)` for each decision; it is run for all answers, or
// for `--most` random ones when there are more. Prints a seed, and for a failure the decisions, which play it again:
// `--set raw --path 0,1,0,2`.
import { parseArgs } from 'node:util'
import { update } from './lib/bytes.js'
import { contentOf } from './lib/content.js'
import { Dice } from './lib/dice.js'
import { House } from './lib/rooms.js'
import { YjsHouse } from './lib/yjs-rooms.js'
import { judgeSmall, momentsOf } from './lib/small.js'
import { FAMILIES, fed, fresh, waits } from './lib/yjs.js'

/** Answers `choose` from `path`, then with 0; remembers how many answers there were. */
const following = path => {
  const taken = []
  const choose = n => {
    const answer = Math.min(path[taken.length] ?? 0, n - 1)
    taken.push([answer, n])
    return answer
  }
  return { choose, taken }
}

/** The path after this one, or `null`. */
const next = taken => {
  const path = [...taken]
  while (path.length > 0) {
    const [answer, n] = path.pop()
    if (answer + 1 < n) return [...path.map(([answer]) => answer), answer + 1]
  }
  return null
}

/** How often `build` can be decided differently, up to `most`. */
const countUpTo = (build, most) => {
  let path = []
  for (let count = 0; count <= most; count++) {
    const { choose, taken } = following(path)
    build(choose)
    path = next(taken)
    if (path === null) return count + 1
  }
  return Infinity
}

const LETTERS = 'abcdefgh'

/** Real clients; each edit is `{ update, by, knew }`, where `knew` are the numbers of the edits that its author had heard. */
class Table {
  constructor (version, count) {
    this.version = version
    this.docs = Array.from({ length: count }, (_, i) => {
      const doc = fresh(version)
      doc.clientID = i + 1
      return doc
    })
    this.knows = this.docs.map(() => new Set())
    this.edits = []
    this.moments = []
  }

  text (client) { return this.version.is14 ? this.docs[client].get('text') : this.docs[client].getText('text') }
  map (client) { return this.version.is14 ? this.docs[client].get('map') : this.docs[client].getMap('map') }

  /** A client hears everything that was made so far. */
  hears (client) {
    this.edits.forEach(({ update }, i) => {
      if (!this.knows[client].has(i)) this.version.Y.applyUpdate(this.docs[client], update, 'heard')
      this.knows[client].add(i)
    })
  }

  makes (client, act) {
    const { Y } = this.version
    const doc = this.docs[client]
    const made = []
    const listen = made.push.bind(made)
    doc.on('update', listen)
    doc.transact(() => act(doc))
    doc.off('update', listen)
    if (made.length === 0) return
    this.edits.push({ update: made[0], by: client, knew: new Set(this.knows[client]) })
    this.knows[client].add(this.edits.length - 1)
    this.moments.push({ state: Y.encodeStateAsUpdate(doc), vector: Y.encodeStateVector(doc) })
  }

  /** The orders in which these edits may arrive: as they were made, and the latest of each moment first. */
  orders () {
    const inOrder = this.edits.map((_, i) => i)
    const latest = []
    while (latest.length < this.edits.length) {
      const i = inOrder.findLast(i => !latest.includes(i) && inOrder.every(j => !before(this.edits, j, i) || latest.includes(j)))
      latest.push(i)
    }
    return [inOrder, latest]
  }

  history () {
    const [first, second] = this.orders()
    const updates = order => order.map(i => this.edits[i].update)
    return { orders: String(first) === String(second) ? [updates(first)] : [updates(first), updates(second)], moments: this.moments, docs: this.docs }
  }
}

/** Whether edit `j` must arrive before edit `i`. */
const before = (edits, j, i) => j !== i && (edits[i].knew.has(j) || (edits[i].by === edits[j].by && j < i))

/** The updates of edits in every order in which they may arrive. */
function * ordersOf (edits, taken = []) {
  if (taken.length === edits.length) yield taken.map(i => edits[i].update)
  for (let i = 0; i < edits.length; i++) {
    const mayCome = !taken.includes(i) && edits.every((_, j) => !before(edits, j, i) || taken.includes(j))
    if (mayCome) yield * ordersOf(edits, [...taken, i])
  }
}

/** Clients that insert letters anywhere, `deletions` of one letter each among the last steps. */
const letters = (clients, inserts, deletions = 0) => (version, choose) => {
  const table = new Table(version, clients)
  for (let step = 0; step < inserts + deletions; step++) {
    // Who is first has no meaning, only who is lower.
    const client = choose(clients)
    if (step > 0 && choose(2) === 1) table.hears(client)
    const text = table.text(client)
    if (step < inserts) {
      const at = choose(text.length + 1)
      table.makes(client, () => text.insert(at, LETTERS[step]))
    } else {
      if (text.length === 0) return null
      const at = choose(text.length)
      table.makes(client, () => text.delete(at, 1))
    }
  }
  return table.history()
}

/** Clients that write a key over, write into what lies there, and delete it. */
const keys = (clients, steps) => (version, choose) => {
  const { Y, is14 } = version
  const table = new Table(version, clients)
  for (let step = 0; step < steps; step++) {
    const client = choose(clients)
    if (step > 0 && choose(2) === 1) table.hears(client)
    const map = table.map(client)
    const old = is14 ? map.getAttr('k') : map.get('k')
    const isType = old instanceof (is14 ? Y.Type : Y.AbstractType)
    switch (choose(isType ? 5 : 3)) {
      case 0: table.makes(client, () => is14 ? map.setAttr('k', step) : map.set('k', step)); break
      case 1: table.makes(client, () => is14 ? map.setAttr('k', new Y.Type()) : map.set('k', new Y.Text())); break
      case 2: table.makes(client, () => is14 ? map.deleteAttr('k') : map.delete('k')); break
      case 3: table.makes(client, () => old.insert(choose(old.length + 1), LETTERS[step])); break
      default: if (old.length > 0) table.makes(client, () => old.delete(choose(old.length), 1))
    }
  }
  return table.edits.length === 0 ? null : table.history()
}

/** A nested type in a list: written to by all, deleted by some, with neighbours. */
const nested = (clients, steps) => (version, choose) => {
  const { Y, is14 } = version
  const table = new Table(version, clients)
  const list = client => is14 ? table.docs[client].get('list') : table.docs[client].getArray('list')
  table.makes(0, () => list(0).insert(0, [is14 ? new Y.Type() : new Y.Text()]))
  for (let client = 1; client < clients; client++) table.hears(client)
  const types = table.docs.map((_, client) => list(client).get(0))
  for (let step = 0; step < steps; step++) {
    const client = choose(clients)
    if (choose(2) === 1) table.hears(client)
    const type = types[client]
    switch (choose(4)) {
      case 0: table.makes(client, () => type.insert(type.length === 0 ? 0 : choose(type.length + 1), LETTERS[step])); break
      case 1: if (list(client).length > 0) table.makes(client, () => list(client).delete(choose(list(client).length), 1)); break
      case 2: table.makes(client, () => list(client).insert(choose(list(client).length + 1), [step])); break
      // What was kept of it is written to, dead or alive.
      default: table.makes(client, () => is14 ? type.setAttr('k', step) : type.insertEmbed(type.length, { step }))
    }
  }
  return table.history()
}

/** Letters and formats. */
const formats = (clients, steps) => (version, choose) => {
  const table = new Table(version, clients)
  table.makes(0, () => table.text(0).insert(0, 'xyz'))
  for (let client = 1; client < clients; client++) table.hears(client)
  for (let step = 0; step < steps; step++) {
    const client = choose(clients)
    if (step > 0 && choose(2) === 1) table.hears(client)
    const text = table.text(client)
    switch (choose(4)) {
      case 0: table.makes(client, () => text.insert(choose(text.length + 1), LETTERS[step])); break
      case 1: if (text.length > 1) table.makes(client, () => text.format(choose(text.length - 1), 2, { bold: true })); break
      case 2: if (text.length > 1) table.makes(client, () => text.format(choose(text.length - 1), 2, { bold: null })); break
      default: if (text.length > 0) table.makes(client, () => text.delete(choose(text.length), 1))
    }
  }
  return table.history()
}

/**
 * Letters of which each has any neighbours that may be admitted: what Yjs's undo writes, and what nobody would have
 * thought of. `deletions`: one of them is deleted in the end.
 */
const raw = (clients, inserts, deletions = 0) => (version, choose) => {
  const { Y } = version
  const clocks = Array(clients).fill(0)
  const ids = []
  const edits = []
  for (let step = 0; step < inserts; step++) {
    const client = choose(clients)
    const [after, right] = [choose(ids.length + 1), choose(ids.length + 1)]
    const struct = { at: `${client + 1}:${clocks[client]++}`, text: LETTERS[step] }
    if (after > 0) struct.after = ids[after - 1]
    if (right > 0) struct.before = ids[right - 1]
    if (after === 0 && right === 0) struct.in = 'text'
    const knew = new Set([after, right].filter(n => n > 0).map(n => n - 1))
    edits.push({ update: update([struct]), by: client, knew })
    ids.push(struct.at)
  }
  if (deletions > 0) {
    const which = choose(inserts)
    edits.push({ update: update([], [ids[which]]), by: -1, knew: new Set([which]) })
  }
  const [first, second] = Table.prototype.orders.call({ edits })
  const updates = order => order.map(i => edits[i].update)
  const orders = String(first) === String(second) ? [updates(first)] : [updates(first), updates(second)]
  // Yjs throws on some of these; whoever wrote them is not served.
  try {
    const docs = orders.map(order => fed(version, order))
    if (docs.some(doc => waits(doc))) return null
    docs.forEach(doc => Y.encodeStateAsUpdate(doc))
    return { orders, moments: orders.flatMap(order => momentsOf(version, order)), edits }
  } catch {
    return null
  }
}

export const SETS = {
  'letters 2×3': letters(2, 3),
  'letters 3×3': letters(3, 3),
  'letters 2×2, 2 deleted': letters(2, 2, 2),
  'keys 2×3': keys(2, 3),
  'letters 2×4': letters(2, 4),
  'letters 2×3, 2 deleted': letters(2, 3, 2),
  'letters 3×4': letters(3, 4),
  'letters 2×5': letters(2, 5),
  'letters 2×6': letters(2, 6),
  'letters 3×4, 1 deleted': letters(3, 4, 1),
  'keys 2×4': keys(2, 4),
  'keys 3×4': keys(3, 4),
  'nested 2×4': nested(2, 4),
  'formats 2×4': formats(2, 4),
  'raw 2×3, 1 deleted': raw(2, 3, 1),
  'raw 2×4': raw(2, 4),
  'raw 2×5': raw(2, 5),
  'raw 3×4': raw(3, 4)
}

/** Builds and judges one history of a set; returns whether there was one. */
export const judgePath = (house, version, build, path) => {
  const { choose, taken } = following(path)
  const history = build(version, choose)
  if (history === null) return { taken, was: false }
  const unique = new Map(history.moments.map(moment => [Buffer.from(moment.state).toString('hex'), moment]))
  for (const order of history.orders) {
    judgeSmall(house, version, order, {
      moments: [...unique.values()],
      others: function * () {
        yield * history.docs ?? []
        // Where Yjs does not agree with itself, what it holds after any order is nobody's fault.
        const live = fed(version, order)
        if (history.edits && contentOf(live) !== contentOf(fed(version, [version.Y.encodeStateAsUpdate(live)]))) for (const order of ordersOf(history.edits)) yield fed(version, order)
      }
    })
  }
  return { taken, was: true }
}

/** Judges a set whole, or `most` of it. Returns `{ judged, whole }`; throws with the path of what is wrong. */
export const judgeSet = (house, version, build, most, dice) => {
  const whole = countUpTo(choose => build(version, choose), most) <= most
  let judged = 0
  let path = []
  for (let count = 0; count < most && path !== null; count++) {
    if (!whole) path = Array.from({ length: 40 }, () => dice.below(1000)).map(Number)
    try {
      const { taken, was } = judgePath(house, version, whole ? build : (version, choose) => build(version, n => choose(1000) % n), path)
      judged += was
      path = next(taken)
    } catch (error) {
      error.path = path
      throw error
    }
  }
  return { judged, whole }
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const { values: args } = parseArgs({
    options: {
      most: { type: 'string', default: '300' }, seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
      set: { type: 'string' }, family: { type: 'string' }, path: { type: 'string' },
      yjs: { type: 'boolean', default: false }, fault: { type: 'string' }
    }
  })
  const house = args.yjs ? new YjsHouse(args.fault) : new House()
  console.log(`seed ${args.seed}`)
  let wrong = 0
  let all = 0
  for (const family of args.family ? [args.family] : Object.keys(FAMILIES)) {
    const [version] = FAMILIES[family]
    for (const [name, build] of Object.entries(SETS).filter(([name]) => name.startsWith(args.set ?? ''))) {
      const started = Date.now()
      try {
        if (args.path !== undefined) {
          judgePath(house, version, (version, choose) => build(version, n => choose(1000) % n), args.path.split(',').map(Number))
          continue
        }
        const { judged, whole } = judgeSet(house, version, build, Number(args.most), new Dice(Number(args.seed)))
        all += judged
        console.log(`Yjs ${family} ${name}: ${judged} histories${whole ? '' : ' of more'} in ${((Date.now() - started) / 1000).toFixed(1)} s`)
      } catch (error) {
        wrong++
        console.error(`Yjs ${family} ${name}: ${error.stack.split('\n').slice(0, 4).join('\n')}\n  again: node enumerate.js --family ${family} --set '${name}' --path ${error.path}\n`)
      }
    }
  }
  house.close()
  if (args.path === undefined && all === 0) wrong++
  process.exit(wrong === 0 ? 0 : 1)
}
