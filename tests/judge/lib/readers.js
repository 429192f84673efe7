// Who only reads: a watcher that is there all the time, and newcomers who are sent what they lack.
import * as wire from './wire.js'
import { Wrong } from './verdict.js'
import { isOfDocument } from './client.js'
import { fresh, waits } from './yjs.js'

/** Sessions of readers are numbered from here. */
let sessions = 1e6

const MS = 1000
/** No message of several that belong together is smaller, but the last ones. */
const PIECE_BYTES_MIN = 1000

/** A reader that is connected. After each message its Yjs encodes its document again, and events must have fired. */
export class Watcher {
  constructor (room, version, { gc = true } = {}) {
    Object.assign(this, { room, version, heard: 0, fired: 0, synced: false, large: false })
    this.doc = fresh(version, { gc })
    this.doc.on('update', () => { this.fired++ })
    this.join()
  }

  join () {
    this.session = ++sessions
    this.synced = false
    this.room.join(this.session, { reads: true })
    this.room.say(this.session, wire.step1(this.version.Y.encodeStateVector(this.doc)))
  }

  /** Takes all that waits; returns how many messages of the document there were. */
  hears (most = 1e6) {
    const messages = this.room.take(this.session, most).map(wire.read)
    for (const message of messages) this.take(message)
    return messages.filter(isOfDocument).length
  }

  take (message) {
    if (message.kind === 'closed') throw new Wrong(`a reader was closed with ${message.code}: ${message.text}`)
    if (message.kind === 'step1') this.vector = message.payload
    if (message.kind !== 'step2' && message.kind !== 'edit') return
    const { Y } = this.version
    const [before, fired] = [Buffer.from(Y.encodeStateVector(this.doc)), this.fired]
    Y.applyUpdate(this.doc, message.payload, 'room')
    this.heard++
    if (message.kind === 'step2') this.synced = true
    // What is large comes in several messages, and takes effect with the last of them.
    this.large = (this.large || message.payload.length > PIECE_BYTES_MIN) && waits(this.doc)
    if (!this.large && waits(this.doc)) throw new Wrong(`Yjs ${this.version.name} was sent what refers to what it was not sent: ${Buffer.from(message.payload).toString('hex')}`)
    Y.encodeStateAsUpdate(this.doc)
    if (!before.equals(Buffer.from(Y.encodeStateVector(this.doc))) && this.fired === fired) throw new Wrong(`no event of Yjs ${this.version.name} fired`)
  }
}

/**
 * What the room answers somebody who has `vector`: `{ updates, vector }`, the payloads in their order and the state
 * vector of the room.
 */
export const answerTo = (room, vector) => {
  const session = ++sessions
  room.join(session, { reads: true })
  room.say(session, wire.step1(vector))
  const updates = []
  let [own, synced] = [null, false]
  for (let rounds = 0; !synced; rounds++) {
    for (const message of room.take(session).map(wire.read)) {
      if (message.kind === 'closed') throw new Wrong(`who asks was closed with ${message.code}: ${message.text}`)
      if (message.kind === 'step1') own = message.payload
      if (message.kind === 'step2' || message.kind === 'edit') updates.push(message.payload)
      synced ||= message.kind === 'step2'
    }
    if (rounds > 1000) throw new Wrong('who asks is not answered')
    room.pass(20 * MS)
  }
  room.leave(session)
  return { updates, vector: own }
}
