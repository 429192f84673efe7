// A front end: a real Yjs document behind what a y-websocket provider does. It can be slow, offline, doubled.
//
// What must stay true: whatever its document says is an update of its own leaves sometime, or is in what it answers
// to a SyncStep1.
import * as wire from './wire.js'
import { Wrong } from './verdict.js'
import { edit as edit13, roots as roots13 } from './edits13.js'
import { edit as edit14, roots as roots14 } from './edits14.js'

/** Not a keep-alive. */
export const isOfDocument = ({ kind }) => kind === 'step1' || kind === 'step2' || kind === 'edit'

/** The origin of what came from the room. */
export const ROOM = 'room'

export class Client {
  /** `told(update)` is called with each update that its document emits by itself. */
  constructor (version, { id, gc, name, named, told }) {
    Object.assign(this, { version, gc, name, named, told })
    this.session = null
    /** Updates that were made and have not left. */
    this.unsent = []
    /** Updates that have left. */
    this.said = []
    this.announced = 0
    this.begin(id)
  }

  /** A new document, as after the page was loaded anew; `state` is what the browser kept. */
  begin (id, state = null) {
    const { Y } = this.version
    this.doc = new Y.Doc({ guid: 'judged', gc: this.gc })
    this.doc.clientID = id
    this.held = []
    if (state !== null) Y.applyUpdate(this.doc, state, ROOM)
    const roots = (this.version.is14 ? roots14 : roots13)(this.doc)
    this.undo = new Y.UndoManager(roots, { captureTimeout: 0 })
    this.doc.on('update', (update, origin) => {
      if (origin === ROOM) return
      this.told(update)
      this.unsent.push(update)
    })
  }

  /**
   * Edits, or takes an edit back; returns whether Yjs did. It throws now and then by itself: 13.5 takes no BigInt in a
   * list, and its search markers can point at what it has collected.
   */
  edit (dice, odd) {
    const many = dice.chance(0.1) ? 2 + dice.below(6) : 1
    const one = this.version.is14 ? edit14 : edit13
    let did = true
    const tries = act => {
      try {
        act()
      } catch {
        did = false
      }
    }
    this.doc.transact(() => {
      for (let i = 0; i < many; i++) tries(() => one(this, dice, odd))
    })
    if (dice.chance(0.1)) tries(() => this.undo.undo())
    if (dice.chance(0.06)) tries(() => this.undo.redo())
    return did
  }

  joins (room, session) {
    this.session = session
    room.join(session, { subject: this.named ? this.name : '' })
    room.say(session, wire.step1(this.version.Y.encodeStateVector(this.doc)))
    room.say(session, wire.presence(this.doc.clientID, ++this.announced))
  }

  leaves (room) {
    if (this.session !== null) room.leave(this.session)
    this.session = null
  }

  /**
   * Takes up to `most` frames and does what a provider does with them; returns how many messages of the document
   * there were.
   * `answers(update)` says to the room what the client answers.
   */
  hears (room, most, answers) {
    if (this.session === null) return 0
    const { Y } = this.version
    const messages = room.take(this.session, most).map(wire.read)
    for (const message of messages) {
      switch (message.kind) {
        case 'step1':
          // What the answer holds need not leave once more, but a provider sends it all the same.
          answers(Y.encodeStateAsUpdate(this.doc, message.payload))
          break
        case 'step2':
        case 'edit':
          Y.applyUpdate(this.doc, message.payload, ROOM)
          break
        case 'closed':
          throw new Wrong(`${this.name} was closed with ${message.code}: ${message.text}`)
        default:
      }
    }
    return messages.filter(isOfDocument).length
  }
}
