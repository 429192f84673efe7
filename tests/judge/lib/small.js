// A small history through the room: a few updates in a given order, and everything that can be read of them.
//
// A session says each update. Then a newcomer, whoever had a state on the way, somebody after a restart, and somebody
// after a restart from a snapshot are sent what they lack, and hold what some Yjs holds without a server.
import * as wire from './wire.js'
import { Allowed, Wrong, difference } from './verdict.js'
import { fed, fresh, vectorText, waits } from './yjs.js'

const SECOND = 1e6
/** Updates that arrive without a pause. */
const AT_ONCE = 500
const NOTHING = new Uint8Array([0])

/** What somebody who has `vector` is sent, by calls that may leave together; `read(taken)` makes updates of it. */
const asks = (room, session, vector) => {
  room.join(session, { reads: true })
  room.say(session, wire.step1(vector))
  room.take(session)
  room.leave(session)
}

const updatesIn = taken => {
  const updates = []
  let vector = null
  for (const message of taken.map(wire.read)) {
    if (message.kind === 'closed') throw new Wrong(`a reader was closed with ${message.code}: ${message.text}`)
    if (message.kind === 'step1') vector = message.payload
    if (message.kind === 'step2' || message.kind === 'edit') updates.push(message.payload)
  }
  if (updates.length === 0) throw new Wrong('who asks is not answered')
  return { updates, vector }
}

/**
 * Says `updates` to a room and reads it in every way. `moments` are `{ state, vector }` that somebody had (states
 * as updates). `others` are more orders or documents that Yjs may hold. `gaps`: whether updates may come before what
 * they need. Returns `{ stored, newcomer }`: the records, and the updates that a newcomer was sent.
 */
export const judgeSmall = (house, version, updates, { moments = [], others = () => [], policy = {}, gaps = false, readers = [version] } = {}) => {
  const { Y } = version
  const room = house.document(version)
  const gc = !policy.keepDeleted
  const control = fed(version, updates, { gc })
  if (!gaps && waits(control)) throw new Error('an update comes before what it needs')
  const results = house.together(() => {
    room.open({ ...policy, snapshotBytes: 0 })
    room.join(1)
    room.say(1, wire.step1(NOTHING))
    updates.slice(0, -1).forEach((update, i) => {
      room.say(1, wire.edit(update))
      // A long history goes on for a while, and its author reads.
      if (i % AT_ONCE === AT_ONCE - 1) {
        room.pass(SECOND / 20)
        room.take(1)
      }
    })
    room.pass(SECOND)
    room.durable()
    updates.slice(-1).forEach(update => room.say(1, wire.edit(update)))
    room.pass(SECOND)
    room.take(1)
    asks(room, 2, NOTHING)
    moments.forEach(({ vector }, i) => asks(room, 3 + i, vector))
    room.counts()
    // Restarted from the records before anything was made a snapshot of them: the last one is not durable yet.
    room.durable()
    room.dump()
    room.kill()
    room.open(policy)
    asks(room, 1000, NOTHING)
    moments.forEach(({ vector }, i) => asks(room, 1001 + i, vector))
    room.forget()
  }).filter(result => result !== undefined).slice(Math.max(0, Math.floor((updates.length - 1) / AT_ONCE)))
  for (const { kind, text } of room.look()) if (kind === 'ended') throw new Wrong(`the room: ${text}`)
  const [, ...answers] = results
  const [newcomer, ...differences] = answers.slice(0, 1 + moments.length).map(updatesIn)
  const counts = answers[1 + moments.length]
  const stored = answers[2 + moments.length]
  const [restarted, ...later] = answers.slice(3 + moments.length).map(updatesIn)
  if (!gaps && counts.gaps + counts.others > 0) throw new Wrong('an update had a gap')
  if (counts.conflicts > 0) throw new Wrong('the room sees two pages under one client id')
  if (!stored.some(record => record.snapshot)) throw new Wrong('no snapshot was taken')

  for (const reader of readers) {
    const allowed = new Allowed(reader === version ? control : fed(reader, updates, { gc }), function * () {
      yield fed(reader, [Y.encodeStateAsUpdate(control)])
      // Merging is slow for more.
      if (updates.length < 2000) yield fed(reader, [Y.mergeUpdates(updates)])
      for (const other of others()) {
        if (reader === version) yield other
        yield fed(reader, [Y.encodeStateAsUpdate(other)])
      }
    })
    const same = (what, doc, more = []) => {
      if (waits(doc)) throw new Wrong(`${what} waits for what it was not sent`)
      if (allowed.judge(doc, more) === null) throw new Wrong(`${what} holds something else, ${difference(allowed.docs[0], doc)}`)
      reader.Y.encodeStateAsUpdate(doc)
    }
    same('a newcomer', fed(reader, newcomer.updates))
    same('after a restart a newcomer', fed(reader, restarted.updates))
    for (const [when, answers] of [['', differences], ['after a restart ', later]]) {
      answers.forEach((answer, i) => {
        const { state, vector } = moments[i]
        same(`${when}who had ${vectorText(version, vector)}`, fed(reader, [state, ...answer.updates]), [fed(reader, [state, Y.encodeStateAsUpdate(control, vector)])])
      })
    }
  }
  const clocks = vectorText(version, Y.encodeStateVector(control))
  // What the room asks a newcomer for may begin earlier: where somebody wrote whose client id it was not (D22).
  for (const answer of [newcomer, restarted]) {
    const held = Y.encodeStateVector(fed(version, answer.updates, { gc }))
    if (!gaps && vectorText(version, held) !== clocks) throw new Wrong('the room has other clocks')
  }
  return { stored, newcomer: newcomer.updates, control }
}

/** The moments of somebody who hears these updates one after the other: after each, or `most` of them. */
export const momentsOf = (version, updates, most = Infinity) => {
  const { Y } = version
  const doc = fresh(version)
  const step = Math.max(1, Math.ceil(updates.length / most))
  const moments = []
  updates.forEach((update, i) => {
    Y.applyUpdate(doc, update)
    if (i < updates.length - 1 && i % step === step - 1) moments.push({ state: Y.encodeStateAsUpdate(doc), vector: Y.encodeStateVector(doc) })
  })
  return moments
}
