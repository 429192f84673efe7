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
// What must stay true:
//  - "saved" is said only when the connection is open, the server has asked for and been sent what
//    it lacked (SyncStep1, SyncStep2), and the newest question of this connection was answered
//    after the last change.
//  - A new connection knows nothing: what was confirmed on an older one is asked for again.
//  - What another tab brought over BroadcastChannel counts as a change of ours: it is passed on to
//    the server, because the tab that wrote it may be offline.
//  - A connection that may only read never says "saved".

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
 * - `readonly`: the server takes no changes from this connection; it never becomes `saved`.
 * - `saved`: everything written here is durable on the server.
 */
export type SavedState = 'connecting' | 'offline' | 'saving' | 'delayed' | 'unknown' | 'readonly' | 'saved'

/** One consistent look at the store. */
export interface SavedView {
  readonly state: SavedState
  /** When the oldest change that is not known to be durable was made, in ms since 1970; else null. */
  readonly unsavedSince: number | null
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
  /** The clock behind `unsavedSince`, in ms since 1970. */
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
  on(name: 'connection-close', listener: () => void): unknown
  on(name: 'sync', listener: (synced: boolean) => void): unknown
  off(name: 'status', listener: (event: { status: 'connected' | 'disconnected' | 'connecting' }) => void): unknown
  off(name: 'connection-close', listener: () => void): unknown
  off(name: 'sync', listener: (synced: boolean) => void): unknown
}

const MESSAGE_SYNC = 0
const MESSAGE_AUTH = 2
const MESSAGE_SAVED = 102
const SYNC_STEP_1 = 0
const SYNC_UPDATE = 2
const AUTH_DENIED = 0
const SOCKET_OPEN = 1

/** The socket's life, seen from the question "what does the server hold?". */
type Connection =
  | { readonly is: 'idle' }
  | { readonly is: 'opening' }
  | { readonly is: 'lost' }
  /** Open, but the server has not asked what it lacks. */
  | { readonly is: 'joining'; readonly readOnly: boolean }
  /** Open, and SyncStep2 was sent: what follows is covered by questions. */
  | { readonly is: 'joined'; readonly readOnly: boolean; readonly question: Question | null }

interface Question {
  readonly serial: number
  /** Oldest change that it covers; null if it covers no known change (the first of a connection). */
  readonly since: number | null
}

/** What no question covers. `null` is: nothing. */
type Unasked = { readonly since: number | null } | null

/** The part of lib0's decoder that is read here. */
interface Reader {
  readonly arr: Uint8Array
  pos: number
}

export function trackSaved(provider: TrackableProvider, options: TrackSavedOptions = {}): Saved {
  const { coalesceMs = 10, delayedAfterMs = 5_000, repeatAfterMs = 5_000, now = Date.now } = options

  let connection: Connection = connectionOf(provider)
  let unasked: Unasked = { since: null }
  let serial = 0
  let answeredEver = false
  let late = false
  let broadcasting = false
  let view: SavedView = { state: stateOf(), unsavedSince: null }
  let askTimer: ReturnType<typeof setTimeout> | undefined
  let lateTimer: ReturnType<typeof setTimeout> | undefined
  let repeatTimer: ReturnType<typeof setInterval> | undefined
  const listeners = new Set<(view: SavedView) => void>()

  function stateOf(): SavedState {
    switch (connection.is) {
      case 'idle':
      case 'lost':
        return 'offline'
      case 'opening':
        return 'connecting'
      case 'joining':
        return connection.readOnly ? 'readonly' : 'connecting'
      case 'joined':
        if (connection.readOnly) return 'readonly'
        if (connection.question === null && unasked === null) return 'saved'
        if (late) return answeredEver ? 'delayed' : 'unknown'
        return 'saving'
      default:
        return unreachable(connection)
    }
  }

  function publish(): void {
    const question = connection.is === 'joined' ? connection.question : null
    const next: SavedView = { state: stateOf(), unsavedSince: earlier(question?.since ?? null, unasked?.since ?? null) }
    if (next.state === view.state && next.unsavedSince === view.unsavedSince) return
    view = next
    for (const listener of [...listeners]) listener(next)
  }

  function isReadOnly(): boolean {
    return (connection.is === 'joining' || connection.is === 'joined') && connection.readOnly
  }

  /** Something here may not be on the server, since that moment if it is known. */
  function addUnasked(since: number | null): void {
    unasked = { since: earlier(unasked?.since ?? null, since) }
  }

  function forgetQuestion(): void {
    clearTimeout(lateTimer)
    clearInterval(repeatTimer)
    late = false
    if (connection.is !== 'joined' || connection.question === null) return
    addUnasked(connection.question.since)
    connection = { ...connection, question: null }
  }

  function enter(next: Connection): void {
    forgetQuestion()
    clearTimeout(askTimer)
    askTimer = undefined
    addUnasked(null)
    connection = next
    publish()
  }

  function askSoon(delayMs: number): void {
    if (askTimer !== undefined || unasked === null) return
    if (connection.is !== 'joined' || connection.readOnly || connection.question !== null) return
    askTimer = setTimeout(ask, delayMs)
  }

  function ask(): void {
    askTimer = undefined
    if (connection.is !== 'joined' || connection.question !== null || unasked === null) return
    if (!send(savedFrame(serial + 1))) return
    serial += 1
    connection = { ...connection, question: { serial, since: unasked.since } }
    unasked = null
    const frame = savedFrame(serial)
    repeatTimer = setInterval(() => send(frame), repeatAfterMs)
    lateTimer = setTimeout(() => {
      late = true
      publish()
    }, delayedAfterMs)
    publish()
  }

  /** False if there is no open socket: the next connection's SyncStep2 will carry it. */
  function send(frame: Uint8Array<ArrayBuffer>): boolean {
    const { ws } = provider
    if (!provider.wsconnected || ws === null || ws.readyState !== SOCKET_OPEN) return false
    ws.send(frame)
    return true
  }

  const onUpdate = (update: Uint8Array, origin: unknown): void => {
    if (origin === provider && !broadcasting) return
    if (broadcasting && !isReadOnly()) send(updateFrame(update))
    addUnasked(now())
    askSoon(coalesceMs)
    publish()
  }

  const onStatus = ({ status }: { status: 'connected' | 'disconnected' | 'connecting' }): void => {
    switch (status) {
      case 'connecting':
        if (connection.is === 'idle') enter({ is: 'opening' })
        return
      case 'connected':
        return enter({ is: 'joining', readOnly: false })
      case 'disconnected':
        return enter({ is: 'lost' })
      default:
        return unreachable(status)
    }
  }

  const onClose = (): void => enter({ is: 'lost' })

  // Only for a provider that was already open when it was handed over: its SyncStep1 may have gone by.
  const attachedWhileJoining = connection.is === 'joining'
  const onSynced = (synced: boolean): void => {
    if (!synced || !attachedWhileJoining || connection.is !== 'joining') return
    enter({ is: 'joined', readOnly: connection.readOnly, question: null })
    askSoon(0)
  }

  const onSync: Handler = (encoder, decoder, self, overWebsocket, type) => {
    if (!overWebsocket) {
      broadcasting = true
      try {
        handleSync?.(encoder, decoder, self, overWebsocket, type)
      } finally {
        broadcasting = false
      }
      return
    }
    const { arr, pos }: Reader = decoder
    const asksWhatItLacks = arr[pos] === SYNC_STEP_1
    handleSync?.(encoder, decoder, self, overWebsocket, type)
    if (!asksWhatItLacks || (connection.is !== 'joining' && connection.is !== 'joined')) return
    // The provider sends the answer when this handler returns: a question asked from a timer follows it.
    enter({ is: 'joined', readOnly: connection.readOnly, question: null })
    askSoon(0)
  }

  const onAuth: Handler = (encoder, decoder, self, overWebsocket, type) => {
    const { arr, pos }: Reader = decoder
    handleAuth?.(encoder, decoder, self, overWebsocket, type)
    if (!overWebsocket || (connection.is !== 'joining' && connection.is !== 'joined')) return
    if (!isReadOnlyNotice({ arr, pos })) return
    forgetQuestion()
    connection = { ...connection, readOnly: true }
    publish()
  }

  const onAnswer: Handler = (_encoder, decoder, _self, overWebsocket) => {
    if (!overWebsocket || connection.is !== 'joined' || connection.question === null) return
    const reader: Reader = decoder
    readVarUint(reader)
    if (readVarUint(reader) !== connection.question.serial) return
    answeredEver = true
    connection = { ...connection, question: null }
    forgetQuestion()
    askSoon(0)
    publish()
  }

  const { messageHandlers } = provider
  const handleSync = messageHandlers[MESSAGE_SYNC]
  const handleAuth = messageHandlers[MESSAGE_AUTH]
  const handleSaved = messageHandlers[MESSAGE_SAVED]
  messageHandlers[MESSAGE_SYNC] = onSync
  messageHandlers[MESSAGE_AUTH] = onAuth
  messageHandlers[MESSAGE_SAVED] = onAnswer
  provider.doc.on('update', onUpdate)
  provider.on('status', onStatus)
  provider.on('connection-close', onClose)
  provider.on('sync', onSynced)
  askSoon(0)

  return {
    get state() {
      return view.state
    },
    get unsavedSince() {
      return view.unsavedSince
    },
    subscribe(listener) {
      listeners.add(listener)
      listener(view)
      return () => listeners.delete(listener)
    },
    destroy() {
      clearTimeout(askTimer)
      clearTimeout(lateTimer)
      clearInterval(repeatTimer)
      listeners.clear()
      provider.doc.off('update', onUpdate)
      provider.off('status', onStatus)
      provider.off('connection-close', onClose)
      provider.off('sync', onSynced)
      restore(messageHandlers, MESSAGE_SYNC, onSync, handleSync)
      restore(messageHandlers, MESSAGE_AUTH, onAuth, handleAuth)
      restore(messageHandlers, MESSAGE_SAVED, onAnswer, handleSaved)
    },
  }
}

/** A provider that is already synchronised has answered the server's SyncStep1, which comes first. */
function connectionOf(provider: TrackableProvider): Connection {
  if (provider.wsconnected && provider.synced) return { is: 'joined', readOnly: false, question: null }
  if (provider.wsconnected) return { is: 'joining', readOnly: false }
  return provider.wsconnecting ? { is: 'opening' } : { is: 'idle' }
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
