// What a provider does, as a tracker is told of it, and what that means for what was written here.
//
// How it thinks: a *question* has a serial that is never used twice. A change is covered by a question if its
// bytes were sent on the same connection before the question. At most one question is under way, so a fast
// typist costs one question per round trip, not one per key. How a question is asked is for the wire to know.

import type { Keeper } from './kept.js'
import type { Closed, SavedState, SavedView, TrackSavedOptions } from './track-saved.js'

const CLOSE_CONFLICT = 4409

/** A server asks once when a page joins, once when it finds a gap, and again when the gap stays. */
const ASKED_IN_VAIN = 3

/** What a tracker needs of a provider. */
export interface Wire {
  /** Where the provider is now. */
  connection(): Connection
  /** Tells the tracker what the provider does from now on; returns how to stop. */
  listen(tracker: Tracker): () => void
  /**
   * Asks whether all that was sent is durable, or asks that again; `Tracker.answered` says so. False if there is no open
   * connection: what is sent when there is one (SyncStep2) will carry it.
   */
  ask(serial: number): boolean
  /** Sends what another tab wrote. */
  pass(update: Uint8Array): void
}

/** The socket's life, seen from the question "what does the server hold?". */
export type Connection =
  | { readonly is: 'idle' }
  | { readonly is: 'opening' }
  | { readonly is: 'lost'; readonly ended: Ended | null }
  /** Open, but the server has not asked what it lacks. It may be about to end it again, as it ended the one before. */
  | { readonly is: 'joining'; readonly readOnly: boolean; readonly ended: Ended | null }
  /** Open, and SyncStep2 was sent: what follows is covered by questions. */
  | { readonly is: 'joined'; readonly readOnly: boolean; readonly question: Question | null; readonly asked: Asked }

/** What the server said as it ended a connection. */
interface Ended {
  readonly closed: Closed
  /** That is how it stays; else the provider comes back, and may be let in. */
  readonly isRefused: boolean
}

interface Question {
  readonly serial: number
  /** Oldest change that it covers; null if it covers no known change (the first of a connection). */
  readonly since: number | null
}

/** How often the server asked what it lacks (SyncStep1) without confirming anything since. */
interface Asked {
  readonly times: number
  /** When it did so beside asking at the join; null if it did not. */
  readonly againSince: number | null
}

/** What no question covers. `null` is: nothing. */
type Unasked = { readonly since: number | null } | null

/** The documents in conflict: a new provider or a new tracker does not heal them. */
const conflicts = new WeakMap<object, Closed>()

/** The newest serial of all trackers: several may follow one provider, at once or one after the other. */
let newestSerial = 0

/** Is told what happens, asks the questions, and keeps the view. */
export class Tracker {
  view: SavedView
  private connection: Connection
  private conflict: Closed | null
  private unasked: Unasked = { since: null }
  private stopped = false
  private answeredEver = false
  private late = false
  private askTimer: ReturnType<typeof setTimeout> | undefined
  private lateTimer: ReturnType<typeof setTimeout> | undefined
  private repeatTimer: ReturnType<typeof setInterval> | undefined
  private readonly listeners = new Set<(view: SavedView) => void>()
  private readonly coalesceMs: number
  private readonly delayedAfterMs: number
  private readonly repeatAfterMs: number
  private readonly now: () => number

  constructor(
    private readonly doc: object,
    private readonly wire: Wire,
    private readonly keeper: Keeper | null,
    options: TrackSavedOptions,
  ) {
    this.coalesceMs = options.coalesceMs ?? 10
    this.delayedAfterMs = options.delayedAfterMs ?? 5_000
    this.repeatAfterMs = options.repeatAfterMs ?? 5_000
    this.now = options.now ?? Date.now
    this.connection = wire.connection()
    this.conflict = conflicts.get(doc) ?? null
    this.view = this.viewNow()
    if (keeper !== null) keeper.changed = () => this.publish()
    this.askSoon(0)
  }

  /** The server has refused this document, and has not let this page join again. */
  get isRefused(): boolean {
    return this.connection.is === 'lost' && this.connection.ended?.isRefused === true
  }

  subscribe(listener: (view: SavedView) => void): () => void {
    this.listeners.add(listener)
    listener(this.view)
    return () => this.listeners.delete(listener)
  }

  stop(): void {
    this.stopped = true
    clearTimeout(this.askTimer)
    clearTimeout(this.lateTimer)
    clearInterval(this.repeatTimer)
    this.listeners.clear()
  }

  // What happens.

  /** A change was made here. */
  changed(): void {
    this.keeper?.written()
    this.addUnasked(this.now())
    this.askSoon(this.coalesceMs)
    this.publish()
  }

  /** A change came from another tab, which may be offline. */
  changedElsewhere(update: Uint8Array): void {
    const { connection } = this
    const readOnly = (connection.is === 'joining' || connection.is === 'joined') && connection.readOnly
    if (!readOnly) this.wire.pass(update)
    this.changed()
  }

  opening(): void {
    if (this.connection.is === 'idle') this.enter({ is: 'opening' })
  }

  opened(): void {
    const ended = this.connection.is === 'lost' ? this.connection.ended : null
    this.enter({ is: 'joining', readOnly: false, ended })
  }

  /** `event` is the WebSocket's, null if this side closed. A provider may tell it twice, and without it. */
  lost(event: Closed | null): void {
    this.end(endedBy(event, 'ended' in this.connection ? this.connection.ended : null))
  }

  /** The server refuses this document; the connection may go on without it. */
  refused(why: Closed): void {
    this.end({ closed: why, isRefused: true })
  }

  private end(ended: Ended | null): void {
    if (ended?.closed.code === CLOSE_CONFLICT && this.conflict === null) {
      this.conflict = ended.closed
      conflicts.set(this.doc, ended.closed)
      // Something is not saved, also if nobody knows when it was written.
      this.addUnasked(this.view.unsavedSince ?? this.now())
    }
    this.enter({ is: 'lost', ended })
  }

  /** The server asked what it lacks, and is being told: a question that is asked from a timer follows that. */
  asked(): void {
    const { connection } = this
    if (connection.is !== 'joining' && connection.is !== 'joined') return
    this.join(connection.readOnly, connection.is === 'joined' ? askedAgain(connection.asked, this.now()) : { times: 1, againSince: null })
  }

  /** The provider has synchronised before anybody could hear the server ask. */
  synced(): void {
    if (this.connection.is === 'joining') this.join(this.connection.readOnly, { times: 1, againSince: null })
  }

  /** The server takes no changes from this connection. */
  readOnly(): void {
    this.setReadOnly(true)
  }

  /** The server takes changes from this connection, also if it did not before. */
  writable(): void {
    this.setReadOnly(false)
  }

  /** The server confirms what was sent before the question with this serial. */
  answered(serial: number): void {
    if (this.connection.is !== 'joined' || this.connection.question?.serial !== serial) return
    this.answeredEver = true
    this.connection = { ...this.connection, question: null, asked: { times: 0, againSince: null } }
    this.forgetQuestion()
    this.askSoon(0)
    this.publish()
  }

  // What follows from it.

  private setReadOnly(readOnly: boolean): void {
    const { connection } = this
    if ((connection.is !== 'joining' && connection.is !== 'joined') || connection.readOnly === readOnly) return
    this.forgetQuestion()
    this.connection = { ...this.connection, readOnly } as Connection
    this.askSoon(0)
    this.publish()
  }

  private join(readOnly: boolean, asked: Asked): void {
    this.enter({ is: 'joined', readOnly, question: null, asked })
    this.askSoon(0)
  }

  private enter(next: Connection): void {
    this.forgetQuestion()
    clearTimeout(this.askTimer)
    this.askTimer = undefined
    this.addUnasked(null)
    this.connection = next
    this.publish()
  }

  /** Something here may not be on the server, since that moment if it is known. */
  private addUnasked(since: number | null): void {
    this.unasked = { since: earlier(this.unasked?.since ?? null, since) }
  }

  private forgetQuestion(): void {
    clearTimeout(this.lateTimer)
    clearInterval(this.repeatTimer)
    this.late = false
    if (this.connection.is !== 'joined' || this.connection.question === null) return
    this.addUnasked(this.connection.question.since)
    this.connection = { ...this.connection, question: null }
  }

  private askSoon(delayMs: number): void {
    const { connection } = this
    if (this.stopped || this.askTimer !== undefined || this.unasked === null || this.conflict !== null) return
    if (connection.is !== 'joined' || connection.readOnly || connection.question !== null) return
    this.askTimer = setTimeout(() => this.ask(), delayMs)
  }

  private ask(): void {
    this.askTimer = undefined
    if (this.connection.is !== 'joined' || this.connection.question !== null || this.unasked === null) return
    const serial = newestSerial + 1
    if (!this.wire.ask(serial)) return
    newestSerial = serial
    this.connection = { ...this.connection, question: { serial, since: this.unasked.since } }
    this.unasked = null
    this.repeatTimer = setInterval(() => this.wire.ask(serial), this.repeatAfterMs)
    this.lateTimer = setTimeout(() => {
      this.late = true
      this.publish()
    }, this.delayedAfterMs)
    this.publish()
  }

  private publish(): void {
    const next = this.viewNow()
    if (sameView(next, this.view)) return
    this.view = next
    for (const listener of [...this.listeners]) listener(next)
  }

  private viewNow(): SavedView {
    const { connection } = this
    const state = this.stateNow()
    const question = connection.is === 'joined' ? connection.question : null
    return {
      state,
      unsavedSince: earlier(question?.since ?? null, this.unasked?.since ?? null),
      incompleteSince: state === 'incomplete' && connection.is === 'joined' ? connection.asked.againSince : null,
      closed: state === 'conflict' ? this.conflict : state !== 'readonly' && 'ended' in connection ? (connection.ended?.closed ?? null) : null,
      kept: this.keeper?.kept ?? false,
    }
  }

  private stateNow(): SavedState {
    const { connection } = this
    if (this.conflict !== null) return 'conflict'
    switch (connection.is) {
      case 'idle':
        return 'offline'
      case 'opening':
        return 'connecting'
      case 'lost':
        return connection.ended?.isRefused ? 'refused' : 'offline'
      case 'joining':
        if (connection.readOnly) return 'readonly'
        if (connection.ended === null) return 'connecting'
        return connection.ended.isRefused ? 'refused' : 'offline'
      case 'joined':
        if (connection.readOnly) return 'readonly'
        if (connection.question === null && this.unasked === null) return 'saved'
        if (connection.asked.times >= ASKED_IN_VAIN) return 'incomplete'
        if (this.late) return this.answeredEver ? 'delayed' : 'unknown'
        return 'saving'
      default:
        return unreachable(connection)
    }
  }
}

/** `before`: how the connection before ended, if the server has not let this page join since. */
function endedBy(event: Closed | null, before: Ended | null): Ended | null {
  if (event === null) return before
  const { code, reason } = event
  // The codes that no other try can change: y-websocket 3.1 stops at them, older ones go on.
  if (code >= 4400 && code < 4500) return { closed: { code, reason }, isRefused: true }
  if (before?.isRefused) return before
  // Only a server gives a reason; without one nobody may have been there.
  return reason ? { closed: { code, reason }, isRefused: false } : null
}

function askedAgain({ times, againSince }: Asked, now: number): Asked {
  return { times: times + 1, againSince: againSince ?? now }
}

function sameView(a: SavedView, b: SavedView): boolean {
  const sameClosed = a.closed?.code === b.closed?.code && a.closed?.reason === b.closed?.reason
  const sameTimes = a.unsavedSince === b.unsavedSince && a.incompleteSince === b.incompleteSince
  return a.state === b.state && a.kept === b.kept && sameTimes && sameClosed
}

function earlier(a: number | null, b: number | null): number | null {
  if (a === null) return b
  return b === null ? a : Math.min(a, b)
}

export function unreachable(state: never): never {
  throw new Error(`unreachable: ${JSON.stringify(state)}`)
}
