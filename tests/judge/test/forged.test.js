// Updates that nobody honest writes, with odd bytes in every place: whatever of them is taken, every Yjs reads it, tells
// its observers, and writes it again; and whoever sends on what it has read is not taken for another page.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Dice, mixed } from '../lib/dice.js'
import { ROOTS, forgedHistory } from '../lib/forged.js'
import { Watcher, answerTo } from '../lib/readers.js'
import { House, RoomRefused } from '../lib/rooms.js'
import * as wire from '../lib/wire.js'
import { V136, VERSIONS, fresh } from '../lib/yjs.js'

const HISTORIES = Number(process.env.FORGED ?? 40)
const FROM = Number(process.env.FORGED_FROM ?? 0)
const NOTHING = new Uint8Array([0])
const MS = 1000

let house
before(() => { house = new House() })
after(() => house.close())

/** A page: it has roots of its own kinds, whose observers look at all that an event says. */
const page = (room, version) => {
  const watcher = new Watcher(room, version)
  const { doc } = watcher
  const roots = version.is14 ? ROOTS.map(name => doc.get(name)) : [doc.getText('t'), doc.getArray('a'), doc.getMap('m'), doc.getXmlFragment('x')]
  const look = event => [event.delta, event.keys, event.path, event.changes]
  // What an observer throws Yjs throws again, when its transaction ends.
  roots.forEach(root => root.observeDeep(events => (Array.isArray(events) ? events : [events]).forEach(look)))
  return watcher
}

/** Somebody says `messages`; why it was sent away, or `null`. */
const says = (room, session, messages) => {
  room.join(session)
  room.look()
  try {
    messages.forEach(message => room.say(session, message))
  } catch (error) {
    if (!(error instanceof RoomRefused)) throw error
    room.leave(session)
    return error.message
  }
  room.pass(60 * MS)
  room.take(session)
  const ended = room.look().find(({ kind }) => kind === 'ended')
  if (ended === undefined) room.leave(session)
  return ended?.text ?? null
}

/** Plays one history; how many of its updates were taken. */
const played = seed => {
  const room = house.document(V136)
  room.open()
  const pages = VERSIONS.map(version => page(room, version))
  let [session, taken] = [0, 0]
  for (const update of forgedHistory(new Dice(mixed(seed, 1)))) {
    taken += says(room, ++session, [wire.step1(NOTHING), wire.edit(update)]) === null ? 1 : 0
    pages.forEach(page => page.hears())
  }
  room.pass(1000 * MS)
  for (const { version, doc, ...page } of pages) {
    const { Y } = version
    const turnedAway = says(room, ++session, [wire.step1(NOTHING), wire.step2(Y.encodeStateAsUpdate(doc))])
    assert.equal(turnedAway, null, `who sends on what ${version.name} has read`)
    assert.ok(page.synced)
    Y.encodeStateAsUpdateV2(doc)
  }
  room.durable()
  room.kill()
  room.open()
  for (const version of VERSIONS) {
    const doc = fresh(version)
    answerTo(room, NOTHING).updates.forEach(update => version.Y.applyUpdate(doc, update))
    version.Y.encodeStateAsUpdate(doc)
  }
  room.forget()
  return taken
}

test(`h1_g40_what_is_taken_of_${HISTORIES}_forged_histories_harms_no_yjs_and_nobody_who_sends_it_on`, () => {
  let taken = 0
  for (let seed = FROM; seed < FROM + HISTORIES; seed++) {
    try {
      taken += played(seed)
    } catch (error) {
      error.message = `history ${seed} (FORGED_FROM=${seed} FORGED=1): ${error.message}`
      throw error
    }
  }
  assert.ok(taken > HISTORIES, `${taken} updates were taken`)
})
