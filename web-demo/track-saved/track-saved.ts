// trackSaved: is everything that was written here durable on the server?
//
// It is given a stock provider and keeps the answer as one small state. It needs nothing else. How the
// answer is had differs from wire to wire:
//
// - y-websocket (1.5, 2.1, 3.x; @y/websocket 4) carries edits but no acknowledgement. Cowrite answers
//   y-sweet's message 102: the client sends `66 varBytes(varUint serial)` and gets the same frame back once
//   everything that this connection sent before it would survive losing power. `y-websocket.ts` asks that.
// - y-sweet's client speaks the same wire and asks for itself. `y-sweet.ts` asks beside it.
// - Hocuspocus' providers (2, 3, 4) are told of each update that it is durable. `hocuspocus.ts` counts.
//
// `Tracker` is told what happens and decides what it means; these three are all that touches a provider.
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
//
// The public types are here and name no other file, so that the declarations are one file, too.

import { HocuspocusWire } from './hocuspocus.js'
import { Keeper } from './kept.js'
import { Tracker } from './tracker.js'
import { YSweetWire } from './y-sweet.js'
import { YWebsocketWire } from './y-websocket.js'

/**
 * What is known about the changes made here.
 *
 * - `connecting`: the first connection is being opened, or one is open and not yet synchronised.
 * - `offline`: there is no connection; the provider may be trying again. If the server is there and said why it ended the last
 *   one (it is busy, it restarts, the document is damaged), `closed` has that, until a server has let this page join again or
 *   nobody says anything any more.
 * - `saving`: connected; something is not known to be durable yet.
 * - `delayed`: like `saving`, but this server, which did answer before, has not for `delayedAfterMs`:
 *   it cannot store right now.
 * - `unknown`: like `saving`, but this server has never answered: it does not speak message 102, or
 *   cannot store.
 * - `incomplete`: like `saving`, but the server keeps asking (`incompleteSince`): it lacks edits on which
 *   edits of this page build, and confirms nothing until somebody who has them sends them.
 * - `readonly`: the server takes no changes from this connection; it never becomes `saved`.
 * - `refused`: the server ended the connection with a final code (`closed`). It stays so until a server
 *   has let this page join again. With another code than 4400 to 4499, which only a document on a socket with others has
 *   (Hocuspocus), it is refused for now: it is asked for again by itself, and the state goes on from there.
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

/**
 * How the server ended it: a WebSocket close code and its reason. Of 4400 to 4499 the code is final and the reason may be
 * empty; other codes are here if the server gave a reason. A document that is refused on Hocuspocus' wire has the code
 * that the reason ends with, or 4403 if it ends with none.
 */
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
  /** Why the server ended the connection: with `refused` and `conflict`, and with `offline` if it said why; else null. */
  readonly closed: Closed | null
  /** Whether the copy in this browser (`copy`) has everything that was written here; false without one. */
  readonly kept: boolean
}

export interface Saved extends SavedView {
  /** Calls the listener now and after every change of state; returns how to stop. */
  subscribe(listener: (view: SavedView) => void): () => void
  /** Stops asking and puts back what was changed of the provider, which itself is left alone. */
  destroy(): void
}

export interface TrackSavedOptions {
  /** Keeps the document in this browser: an `IndexeddbPersistence` of y-indexeddb. */
  readonly copy?: CopyInBrowser
  /** How long changes are collected before one question is sent, in ms. */
  readonly coalesceMs?: number
  /** How long the server may take to answer before the state says so, in ms. */
  readonly delayedAfterMs?: number
  /** How long an unanswered question waits before it is sent again, in ms. */
  readonly repeatAfterMs?: number
  /** The clock behind `unsavedSince` and `incompleteSince`, in ms since 1970. */
  readonly now?: () => number
}

/** What is used of an `IndexeddbPersistence` of y-indexeddb. */
export interface CopyInBrowser {
  readonly db: IDBDatabase | null
  readonly synced: boolean
  readonly whenSynced: Promise<unknown>
}

/** A provider of one of the wires. */
export type TrackableProvider = YWebsocketProvider | HocuspocusProvider | YSweetProvider

/** What is used of a Yjs document. */
export interface TrackableDoc {
  on(name: 'update', listener: (update: Uint8Array, origin: unknown) => void): unknown
  off(name: 'update', listener: (update: Uint8Array, origin: unknown) => void): unknown
}

export type Handler = (encoder: never, decoder: never, provider: never, overWebsocket: boolean, type: number) => void

/** What is used of a `WebsocketProvider` of y-websocket and of @y/websocket. */
export interface YWebsocketProvider {
  readonly doc: TrackableDoc
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

/** What is used of a `HocuspocusProvider` 2, 3 or 4; `any` is theirs. */
export interface HocuspocusProvider {
  readonly document: TrackableDoc
  readonly configuration: { readonly name: string; readonly websocketProvider: { send(message: never): void } }
  readonly unsyncedChanges: number
  readonly synced: boolean
  readonly isAuthenticated: boolean
  readonly authorizedScope?: string | undefined
  on(name: string, listener: any): unknown
  off(name: string, listener: any): unknown
}

/** What is used of the provider that `createYjsProvider` of @y-sweet/client makes; `any` is its own. */
export interface YSweetProvider {
  readonly status: 'offline' | 'connecting' | 'error' | 'handshaking' | 'connected'
  readonly hasLocalChanges: boolean
  readonly awareness: { readonly doc: TrackableDoc }
  on(name: 'connection-status' | 'connection-close', listener: (event: any) => void): void
  off(name: 'connection-status' | 'connection-close', listener: (event: any) => void): void
}

/**
 * Follows a provider from now on; best right after it was made.
 *
 * @throws TypeError if it is a provider of none of the wires.
 */
export function trackSaved(provider: TrackableProvider, options: TrackSavedOptions = {}): Saved {
  const { doc, wire } = wireOf(provider)
  const keeper = options.copy === undefined ? null : new Keeper(options.copy)
  const tracker = new Tracker(doc, wire, keeper, options)
  const stopListening = wire.listen(tracker)
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
    get kept() {
      return tracker.view.kept
    },
    subscribe: (listener) => tracker.subscribe(listener),
    destroy() {
      stopListening()
      keeper?.stop()
      tracker.stop()
    },
  }
}

/**
 * Has the browser ask before the page is left while something written here is neither saved nor kept in this browser;
 * returns how to stop. At other times nobody listens, so that the browser may keep the page for "back". Where pages are not
 * left (Node, React Native) it does nothing.
 */
export function warnBeforeLeaving(saved: Saved, page: Partial<Pick<EventTarget, 'addEventListener' | 'removeEventListener'>> = globalThis): () => void {
  const warn = (event: Event): void => {
    event.preventDefault()
    // Browsers before 2023.
    event.returnValue = true as never
  }
  const stop = saved.subscribe(({ unsavedSince, kept }) => {
    if (unsavedSince !== null && !kept) page.addEventListener?.('beforeunload', warn)
    else page.removeEventListener?.('beforeunload', warn)
  })
  return () => {
    stop()
    page.removeEventListener?.('beforeunload', warn)
  }
}

function wireOf(provider: TrackableProvider) {
  if ('messageHandlers' in provider) return { doc: provider.doc, wire: new YWebsocketWire(provider) }
  if ('unsyncedChanges' in provider) return { doc: provider.document, wire: new HocuspocusWire(provider) }
  if ('hasLocalChanges' in provider) return { doc: provider.awareness.doc, wire: new YSweetWire(provider) }
  throw new TypeError('trackSaved takes a WebsocketProvider of y-websocket, a HocuspocusProvider, or the provider of @y-sweet/client')
}
