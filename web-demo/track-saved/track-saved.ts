// trackSaved: is everything that was written here durable on the server?
//
// The y-websocket wire carries edits but no acknowledgement. Cowrite answers y-sweet's message 102:
// the client sends `66 varBytes(varUint serial)` and gets the same frame back once everything that
// this connection sent before it would survive losing power. This module asks that question on
// behalf of a stock y-websocket provider (1.5, 2.1, 3.x) and keeps the answer as one small state.
// It needs nothing but the provider it is given.
//
// How it thinks: a *question* is a 102 with a serial that is never used twice. A change is covered
// by a question if its bytes were sent on the same connection before the question. At most one
// question is under way, so a fast typist costs one question per round trip, not one per key.
//
// `Tracker` is told what happens and decides what it means; `listen` is all that touches the provider.
//
// What must stay true:
//  - "saved" is said only when the connection is open, the server has asked for and been sent what
//    it lacked (SyncStep1, SyncStep2), and the newest question of this connection was answered
//    after the last change.
//  - A new connection knows nothing: what was confirmed on an older one is asked for again.
//  - What another tab brought over BroadcastChannel counts as a change of ours: it is passed on to
//    the server, because the tab that wrote it may be offline.
//  - A connection that may only read never says "saved".
//  - A document of which the server holds other content under the same numbers is never "saved" again,
//    whichever provider it is given to: a state vector that says "I have it" is not believed any more.

/**
 * What is known about the changes made here.
 *
 * - `connecting`: the first connection is being opened, or one is open and not yet synchronised.
 * - `offline`: there is no connection; the provider may be trying again.
 * - `saving`: connected; something is not known to be durable yet.
 * - `delayed`: like `saving`, but this server, which did answer before, has not for `delayedAfterMs`:
 *   it cannot store right now.
 * - `unknown`: like `saving`, but this server has never answered: it does not speak message 102, or
 *   cannot store.
 * - `incomplete`: like `saving`, but the server keeps asking (`incompleteSince`): it lacks edits on which
 *   edits of this page build, and confirms nothing until somebody who has them sends them.
 * - `readonly`: the server takes no changes from this connection; it never becomes `saved`.
 * - `refused`: the server ended the connection with a final code (`closed`). It stays so until a server
 *   has let this page join again.
 * - `conflict`: the server holds other content under the numbers of edits made here: another page writes
 *   under the same client id (`closed` says which). The edits are in this page's document and nowhere else.
 *   This is final for this document: what it holds has to be brought in again under a new client id.
 * - `saved`: everything written here is durable on the server.
 */
export type SavedState =
  | 'connecting'
  | 'offline'
  | 'saving'
  | 'delayed'
  | 'unknown'
  | 'incomplete'
  | 'readonly'
  | 'refused'
  | 'conflict'
  | 'saved'

/** How the server ended a connection for good: a WebSocket close code of 4400 to 4499, and its reason. */
export interface Closed {
  readonly code: number
  readonly reason: string
}

/** One consistent look at the store. */
export interface SavedView {
  readonly state: SavedState
  /** When the oldest change that is not known to be durable was made, in ms since 1970; else null. */
  readonly unsavedSince: number | null
  /** Since when the server has been asking for what it lacks, in ms since 1970; null unless `incomplete`. */
  readonly incompleteSince: number | null
  /** Why the server ended the connection; null unless `refused` or `conflict`. */
  readonly closed: Closed | null
}

export interface Saved extends SavedView {
  /** Calls the listener now and after every change of state; returns how to stop. */
  subscribe(listener: (view: SavedView) => void): () => void
  /** Stops asking and puts the provider's handlers back. The provider itself is left alone. */
  destroy(): void
}

export interface TrackSavedOptions {
  /** How long changes are collected before one question is sent, in ms. */
  readonly coalesceMs?: number
  /** How long the server may take to answer before the state says so, in ms. */
  readonly delayedAfterMs?: number
  /** How long an unanswered question waits before it is sent again, in ms. */
  readonly repeatAfterMs?: number
  /** The clock behind `unsavedSince` and `incompleteSince`, in ms since 1970. */
  readonly now?: () => number
}

type Handler = (encoder: never, decoder: never, provider: never, overWebsocket: boolean, type: number) => void

/** What is used of a `WebsocketProvider`, in any of the versions above. */
export interface TrackableProvider {
  readonly doc: {
    on(name: 'update', listener: (update: Uint8Array, origin: unknown) => void): unknown
    off(name: 'update', listener: (update: Uint8Array, origin: unknown) => void): unknown
  }
  readonly ws: { readonly readyState: number; send(frame: Uint8Array<ArrayBuffer>): void } | null
  readonly wsconnected: boolean
  readonly wsconnecting: boolean
  readonly synced: boolean
  readonly messageHandlers: Handler[]
  on(name: 'status', listener: (event: { status: 'connected' | 'disconnected' | 'connecting' }) => void): unknown
  on(name: 'connection-close', listener: (event: Closed | null) => void): unknown
  on(name: 'sync', listener: (synced: boolean) => void): unknown
  off(name: 'status', listener: (event: { status: 'connected' | 'disconnected' | 'connecting' }) => void): unknown
  off(name: 'connection-close', listener: (event: Closed | null) => void): unknown
  off(name: 'sync', listener: (synced: boolean) => void): unknown
}

const MESSAGE_SYNC = 0
const MESSAGE_AUTH = 2
const MESSAGE_SAVED = 102
const SYNC_STEP_1 = 0
const SYNC_UPDATE = 2
const AUTH_DENIED = 0
const SOCKET_OPEN = 1
const CLOSE_CONFLICT = 4409

/** A server asks once when a page joins, once when it finds a gap, and again when the gap stays. */
const ASKED_IN_VAIN = 3

/** The socket's life, seen from the question "what does the server hold?". */
type Connection =
  | { readonly is: 'idle' }
  | { readonly is: 'opening' }
  /** `refused`: the server ended it for good. */
  | { readonly is: 'lost'; readonly refused: Closed | null }
  /** Open, but the server has not asked what it lacks. It may be about to refuse again. */
  | { readonly is: 'joining'; readonly readOnly: boolean; readonly refused: Closed | null }
  /** Open, and SyncStep2 was sent: what follows is covered by questions. */
  | { readonly is: 'joined'; readonly readOnly: boolean; readonly question: Question | null; readonly asked: Asked }

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

/** The part of lib0's decoder that is read here. */
interface Reader {
  readonly arr: Uint8Array
  pos: number
}

/** The documents in conflict: a new provider or a new tracker does not heal them. */
const conflicts = new WeakMap<object, Closed>()

export function trackSaved(provider: TrackableProvider, options: TrackSavedOptions = {}): Saved {
  const tracker = new Tracker(provider, options)
  const stopListening = listen(provider, tracker)
  return {
    get state() {
      return tracker.view.state
    },
    get unsavedSince() {
      return tracker.view.unsavedSince
    },
    get incompleteSince() {
      return tracker.view.incompleteSince
    },
    get closed() {
      return tracker.view.closed
    },
    subscribe: (listener) => tracker.subscribe(listener),
    destroy() {
      stopListening()
      tracker.stop()
    },
  }
}

/** Is told what happens, asks the questions, and keeps the view. */
class Tracker {
  view: SavedView
  private connection: Connection
  private conflict: Closed | null
  private unasked: Unasked = { since: null }
  private serial = 0
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

  constructor(private readonly provider: TrackableProvider, options: TrackSavedOptions) {
    this.coalesceMs = options.coalesceMs ?? 10
    this.delayedAfterMs = options.delayedAfterMs ?? 5_000
    this.repeatAfterMs = options.repeatAfterMs ?? 5_000
    this.now = options.now ?? Date.now
    this.connection = connectionOf(provider)
    this.conflict = conflicts.get(provider.doc) ?? null
    this.view = this.viewNow()
    this.askSoon(0)
  }

  subscribe(listener: (view: SavedView) => void): () => void {
    this.listeners.add(listener)
    listener(this.view)
    return () => this.listeners.delete(listener)
  }

  stop(): void {
    clearTimeout(this.askTimer)
    clearTimeout(this.lateTimer)
    clearInterval(this.repeatTimer)
    this.listeners.clear()
  }

  // What happens.

  /** A change was made here. */
  changed(): void {
    this.addUnasked(this.now())
    this.askSoon(this.coalesceMs)
    this.publish()
  }

  /** A change came from another tab, which may be offline. */
  changedElsewhere(update: Uint8Array): void {
    const { connection } = this
    const readOnly = (connection.is === 'joining' || connection.is === 'joined') && connection.readOnly
    if (!readOnly) this.send(updateFrame(update))
    this.changed()
  }

  opening(): void {
    if (this.connection.is === 'idle') this.enter({ is: 'opening' })
  }

  opened(): void {
    const refused = this.connection.is === 'lost' ? this.connection.refused : null
    this.enter({ is: 'joining', readOnly: false, refused })
  }

  /** `event` is the WebSocket's, null if this side closed. A provider may tell it twice, and without it. */
  lost(event: Closed | null): void {
    const refused = refusalOf(event) ?? ('refused' in this.connection ? this.connection.refused : null)
    if (refused?.code === CLOSE_CONFLICT && this.conflict === null) {
      this.conflict = refused
      conflicts.set(this.provider.doc, refused)
      // Something is not saved, also if nobody knows when it was written.
      this.addUnasked(this.view.unsavedSince ?? this.now())
    }
    this.enter({ is: 'lost', refused })
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
    if (this.connection.is !== 'joining' && this.connection.is !== 'joined') return
    this.forgetQuestion()
    this.connection = { ...this.connection, readOnly: true }
    this.publish()
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
    if (this.askTimer !== undefined || this.unasked === null || this.conflict !== null) return
    if (connection.is !== 'joined' || connection.readOnly || connection.question !== null) return
    this.askTimer = setTimeout(() => this.ask(), delayMs)
  }

  private ask(): void {
    this.askTimer = undefined
    if (this.connection.is !== 'joined' || this.connection.question !== null || this.unasked === null) return
    const frame = savedFrame(this.serial + 1)
    if (!this.send(frame)) return
    this.serial += 1
    this.connection = { ...this.connection, question: { serial: this.serial, since: this.unasked.since } }
    this.unasked = null
    this.repeatTimer = setInterval(() => this.send(frame), this.repeatAfterMs)
    this.lateTimer = setTimeout(() => {
      this.late = true
      this.publish()
    }, this.delayedAfterMs)
    this.publish()
  }

  /** False if there is no open socket: the next connection's SyncStep2 will carry it. */
  private send(frame: Uint8Array<ArrayBuffer>): boolean {
    const { ws, wsconnected } = this.provider
    if (!wsconnected || ws === null || ws.readyState !== SOCKET_OPEN) return false
    ws.send(frame)
    return true
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
      closed: state === 'conflict' ? this.conflict : state === 'refused' && 'refused' in connection ? connection.refused : null,
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
        return connection.refused === null ? 'offline' : 'refused'
      case 'joining':
        if (connection.readOnly) return 'readonly'
        return connection.refused === null ? 'connecting' : 'refused'
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

/** Tells the tracker what a provider does; returns how to stop. */
function listen(provider: TrackableProvider, tracker: Tracker): () => void {
  // What the server said before it was listened to has gone by; only "synchronised" can still be heard.
  const attachedWhileJoining = provider.wsconnected && !provider.synced
  const broadcasts = { underWay: false }
  const onUpdate = (update: Uint8Array, origin: unknown): void => {
    if (broadcasts.underWay) tracker.changedElsewhere(update)
    else if (origin !== provider) tracker.changed()
  }
  const onStatus = ({ status }: { status: 'connected' | 'disconnected' | 'connecting' }): void => {
    switch (status) {
      case 'connecting':
        return tracker.opening()
      case 'connected':
        return tracker.opened()
      case 'disconnected':
        return tracker.lost(null)
      default:
        return unreachable(status)
    }
  }
  const onClose = (event: Closed | null): void => tracker.lost(event)
  const onSynced = (synced: boolean): void => {
    if (synced && attachedWhileJoining) tracker.synced()
  }
  const stopHandling = handleMessages(provider, tracker, broadcasts)
  provider.doc.on('update', onUpdate)
  provider.on('status', onStatus)
  provider.on('connection-close', onClose)
  provider.on('sync', onSynced)
  return () => {
    provider.doc.off('update', onUpdate)
    provider.off('status', onStatus)
    provider.off('connection-close', onClose)
    provider.off('sync', onSynced)
    stopHandling()
  }
}

/** Reads along with the provider's own handlers; `broadcasts` says whether one of another tab's is at work. */
function handleMessages({ messageHandlers }: TrackableProvider, tracker: Tracker, broadcasts: { underWay: boolean }): () => void {
  const handleSync = messageHandlers[MESSAGE_SYNC]
  const handleAuth = messageHandlers[MESSAGE_AUTH]
  const handleSaved = messageHandlers[MESSAGE_SAVED]
  const onSync: Handler = (encoder, decoder, self, overWebsocket, type) => {
    const { arr, pos }: Reader = decoder
    broadcasts.underWay = !overWebsocket
    try {
      handleSync?.(encoder, decoder, self, overWebsocket, type)
    } finally {
      broadcasts.underWay = false
    }
    // The provider sends the answer when this handler returns.
    if (overWebsocket && arr[pos] === SYNC_STEP_1) tracker.asked()
  }
  const onAuth: Handler = (encoder, decoder, self, overWebsocket, type) => {
    const { arr, pos }: Reader = decoder
    handleAuth?.(encoder, decoder, self, overWebsocket, type)
    if (overWebsocket && isReadOnlyNotice({ arr, pos })) tracker.readOnly()
  }
  const onAnswer: Handler = (_encoder, decoder, _self, overWebsocket) => {
    if (!overWebsocket) return
    const reader: Reader = decoder
    readVarUint(reader)
    tracker.answered(readVarUint(reader))
  }
  messageHandlers[MESSAGE_SYNC] = onSync
  messageHandlers[MESSAGE_AUTH] = onAuth
  messageHandlers[MESSAGE_SAVED] = onAnswer
  return () => {
    restore(messageHandlers, MESSAGE_SYNC, onSync, handleSync)
    restore(messageHandlers, MESSAGE_AUTH, onAuth, handleAuth)
    restore(messageHandlers, MESSAGE_SAVED, onAnswer, handleSaved)
  }
}

/** A provider that is already synchronised has answered the server's SyncStep1, which comes first. */
function connectionOf(provider: TrackableProvider): Connection {
  const { wsconnected, wsconnecting, synced } = provider
  if (wsconnected && synced) return { is: 'joined', readOnly: false, question: null, asked: { times: 1, againSince: null } }
  if (wsconnected) return { is: 'joining', readOnly: false, refused: null }
  return wsconnecting ? { is: 'opening' } : { is: 'idle' }
}

/** The codes that no other try can change: y-websocket 3.1 stops at them, older ones go on. */
function refusalOf(event: Closed | null): Closed | null {
  if (event === null || !(event.code >= 4400 && event.code < 4500)) return null
  return { code: event.code, reason: event.reason }
}

function askedAgain({ times, againSince }: Asked, now: number): Asked {
  return { times: times + 1, againSince: againSince ?? now }
}

function sameView(a: SavedView, b: SavedView): boolean {
  const sameClosed = a.closed?.code === b.closed?.code && a.closed?.reason === b.closed?.reason
  return a.state === b.state && a.unsavedSince === b.unsavedSince && a.incompleteSince === b.incompleteSince && sameClosed
}

/** Puts a handler back, unless somebody else has wrapped ours since. */
function restore(handlers: Handler[], type: number, ours: Handler, before: Handler | undefined): void {
  if (handlers[type] !== ours) return
  if (before === undefined) delete handlers[type]
  else handlers[type] = before
}

/** `02 00 varString(reason)`, where the reason opens with "read-only". */
function isReadOnlyNotice(reader: Reader): boolean {
  if (readVarUint(reader) !== AUTH_DENIED) return false
  const length = readVarUint(reader)
  return new TextDecoder().decode(reader.arr.subarray(reader.pos, reader.pos + length)).startsWith('read-only')
}

/** `66 varBytes(varUint serial)` */
function savedFrame(serial: number): Uint8Array<ArrayBuffer> {
  const payload = varUint(serial)
  return Uint8Array.from([MESSAGE_SAVED, payload.length, ...payload])
}

/** `00 02 varBytes(update)` */
function updateFrame(update: Uint8Array): Uint8Array<ArrayBuffer> {
  const head = [MESSAGE_SYNC, SYNC_UPDATE, ...varUint(update.length)]
  const frame = new Uint8Array(head.length + update.length)
  frame.set(head)
  frame.set(update, head.length)
  return frame
}

/** lib0's varUint: seven bits per byte, lowest first. Division, since bit operations stop at 32 bits. */
function varUint(value: number): number[] {
  const bytes: number[] = []
  let rest = value
  while (rest > 127) {
    bytes.push(128 + (rest % 128))
    rest = Math.floor(rest / 128)
  }
  return [...bytes, rest]
}

/** The inverse of `varUint`; NaN if the bytes end too early, which equals no serial. */
function readVarUint(reader: Reader): number {
  let value = 0
  for (let factor = 1; ; factor *= 128) {
    const byte = reader.arr[reader.pos++]
    if (byte === undefined) return NaN
    value += (byte % 128) * factor
    if (byte < 128) return value
  }
}

function earlier(a: number | null, b: number | null): number | null {
  if (a === null) return b
  return b === null ? a : Math.min(a, b)
}

function unreachable(state: never): never {
  throw new Error(`unreachable: ${JSON.stringify(state)}`)
}
