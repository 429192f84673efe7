// One document as this window has it: the Yjs document, its copy in this browser (IndexedDB), the
// connection to the server, and what is known about saving and access. It has no elements.
//
// What must stay true:
//  - What the server cannot take because another page writes under the same client id (4409) goes on in
//    another session, under a new id, and in another copy: no edit is left behind in between.
//  - All windows of this browser go on so, by the moves on which they have agreed, and share nothing with one
//    that has not gone on yet. Who cannot agree (no IndexedDB) shares nothing at all.
//  - The copy in this browser is loaded before the server is asked, so that only differences travel.
//  - `access` says `refused` only after the server said so; then nothing is editable any more.
//  - Somebody who was told "read-only" stays a reader until the server confirms a save.

import * as decoding from 'lib0/decoding'
import * as encoding from 'lib0/encoding'
import { IndexeddbPersistence } from 'y-indexeddb'
import { removeAwarenessStates } from 'y-protocols/awareness'
import * as sync from 'y-protocols/sync'
import { WebsocketProvider } from 'y-websocket'
import * as Y from 'yjs'

import { trackSaved, type Saved, type SavedView } from '../track-saved/track-saved'
import { barredBy, Doorbell, type Barred } from './barred'
import { read, write } from './browser-store'
import { addWritten, builtUpon, knownFrom, movedOn, noteWritten, partOf, takenFrom, type Known, type Move, type Own, type Range, type Taken } from './rewrite'
import { pathOfName } from './route'
import { SCOPE, socketAddress } from './server'
import { Tap } from './tap'
import { addMove, copyName, empty, forgetOwn, isStored, keepOwn, movesOf, readCopy, readOwn, type Copy } from './shared-copy'
import type { LocalCopy } from './status'
import { keepTokenFor, keptTokens, onTokens, readToken, takeToken, tokenFor, type Holding } from './token'

export type Refusal =
  | 'token-missing'
  | 'token-refused'
  | 'forbidden'
  | 'document-too-large'
  | 'message-too-big'
  | 'conflict'
  | 'refused'

/** What another session goes on with. */
export interface Continued {
  /** The whole document, with new numbers for what the server could not take. */
  readonly known: Known
  /** How much of each client is known to be durable. */
  readonly confirmed: ReadonlyMap<number, number>
  /** The moves that are in it; null if this window shares nothing with others of this browser. */
  readonly moves: readonly Move[] | null
  /** How many sessions in a row ended so, without anything being saved. */
  readonly times: number
}

export type Access =
  | { readonly is: 'writer' }
  | { readonly is: 'reader' }
  /** Another page writes under a client id of this browser: this session has ended, another one goes on. */
  | { readonly is: 'conflict'; readonly next: Continued }
  | { readonly is: 'refused'; readonly why: Refusal; readonly reason: string }

export interface SessionView {
  readonly saved: SavedView
  readonly access: Access
  /** Why the server does not let this page in, although it is there; null if it does, or nobody is there. */
  readonly barred: Barred | null
  readonly copy: LocalCopy
  /** False until it is known what the document holds, here or on the server; of one that the server cannot open, nothing is. */
  readonly ready: boolean
  /** This window shows insertions that the server did not have when it was joined last. */
  readonly ahead: boolean
}

/** The copy must not hold up the page: after this long, in ms, the server is asked without it. */
const COPY_WAIT_MS_MAX = 3_000

/** Who loses so many client ids in a row is told. */
const CONTINUED_TIMES_MAX = 5

export class Session {
  readonly doc = new Y.Doc()
  /** What went over the connection. */
  readonly tap = new Tap()
  readonly provider: WebsocketProvider
  /** Called before anything of others comes into the document. */
  beforeOthers = (): void => {}
  private readonly saved: Saved
  private readonly doorbell: Doorbell
  private readonly life = new AbortController()
  /** What was written in this browser: here, in its other windows, and in those that are gone. */
  private readonly written: Map<number, readonly Range[]>
  private readonly windows: BroadcastChannel
  private moves: readonly Move[] | null = null
  /** What is being read comes from another window, where it was written. */
  private isFromWindow = false
  /** The client id under which this page writes. */
  private readonly author = this.doc.clientID
  /** All client ids under which this page has written, also in the sessions before. */
  readonly authors: Set<number>
  /** How much of each client is known to be durable; another map each time. */
  confirmed: ReadonlyMap<number, number>
  private times: number
  private readonly listeners = new Set<(view: SessionView) => void>()
  private access: Access
  private copy: LocalCopy = 'opening'
  private ready = false
  private ahead = false
  private token: string | null
  /** Tokens that the server has not taken. */
  private readonly refused = new Set<string>()

  /** `continued`: what an earlier session of this document left to this one. */
  constructor(readonly name: string, private readonly continued: Continued | null = null) {
    this.times = continued?.times ?? 0
    this.written = new Map(continued?.known.written)
    this.authors = new Set([...(continued?.known.upon.keys() ?? []), this.author])
    this.confirmed = continued?.confirmed ?? new Map()
    if (continued !== null) Y.applyUpdate(this.doc, continued.known.update, 'continued')
    this.ready = continued !== null
    this.token = takeToken(name)
    this.access = read('local', `reader:${name}`) === null ? { is: 'writer' } : { is: 'reader' }
    this.provider = new WebsocketProvider(socketAddress(), pathOfName(name), this.doc, {
      connect: false,
      params: this.params(),
      WebSocketPolyfill: this.tap.socket,
      shouldReconnect: (event) => refusalOf(event.code, this.token !== null) === null,
    })
    this.doc.on('afterTransaction', (transaction) => {
      if (transaction.local || this.isFromWindow) noteWritten(this.written, transaction)
    })
    this.doc.on('afterTransactionCleanup', () => this.followClientId())
    // Before y-indexeddb hears of it: what is in the copy is known to be written here.
    this.doc.on('update', (update, _origin, _doc, { local }) => {
      if (local) this.keepOwn({ update, upon: builtUpon(update, this.written) })
    })
    this.compareWithServer()
    this.doorbell = new Doorbell(this.provider, name, () => this.publish(), this.life.signal)
    this.saved = trackSaved(this.provider)
    this.saved.subscribe(() => this.onSaved())
    this.provider.on('closed', ({ code, reason }) => {
      const why = refusalOf(code, this.token !== null) ?? 'refused'
      if (why === 'conflict' && this.times < CONTINUED_TIMES_MAX) return void this.endInConflict(this.takenBy(reason))
      this.access = { is: 'refused', why, reason }
      if (why === 'token-refused' && this.hasOther()) return
      this.publish()
    })
    this.provider.on('sync', (synced) => {
      if (synced) this.onSynced()
    })
    const { signal } = this.life
    addEventListener('online', () => this.reconnect(), { signal })
    addEventListener('offline', () => this.reconnect(), { signal })
    onTokens(() => this.followTokens(), signal)
    const opened = this.open()
    this.windows = new BroadcastChannel(`cowrite${SCOPE}:${name}`)
    this.windows.onmessage = () => void opened.then(() => this.follow())
    void opened.then(() => this.follow())
  }

  get view(): SessionView {
    const { state, unsavedSince, incompleteSince, closed, kept } = this.saved
    const saved = { state, unsavedSince, incompleteSince, closed, kept }
    return { saved, access: this.access, barred: this.barred, copy: this.copy, ready: this.ready && !this.isLost, ahead: this.ahead }
  }

  /** The server has it and cannot give it, and nothing of it is here: what was written now would be written beside it. */
  private get isLost(): boolean {
    return this.barred?.how === 'broken' && this.doc.store.clients.size === 0
  }

  private get barred(): Barred | null {
    const { state, closed } = this.saved
    if (state !== 'offline') return null
    return closed === null ? this.doorbell.barred : barredBy(closed)
  }

  /** What one's token says, also who one is: the server tells the others so, whatever this page says. */
  get holding(): Holding | null {
    return this.token === null ? null : readToken(this.token)
  }

  /** Whether the server was shown a token, readable or not. */
  get holdsToken(): boolean {
    return this.token !== null
  }

  /** Calls the listener now and after every change. */
  subscribe(listener: (view: SessionView) => void): void {
    this.listeners.add(listener)
    listener(this.view)
  }

  /** It was ended. */
  get isOver(): boolean {
    return this.life.signal.aborted
  }

  /** Ends it: nothing is sent, kept or told any more. */
  end(): void {
    this.life.abort()
    this.windows.close()
    this.listeners.clear()
    this.saved.destroy()
    this.provider.destroy()
    void this.persistence?.destroy()
  }

  /** Tries again after a refusal, with another token if there is one. */
  retry(token: string | null): void {
    if (this.access.is === 'refused' && this.access.why === 'conflict') {
      this.times = 0
      return void this.endInConflict(this.takenBy(this.access.reason))
    }
    if (token !== null) {
      keepTokenFor(this.name, token)
      this.token = token
      this.provider.params = this.params()
    }
    this.access = { is: 'writer' }
    this.provider.connect()
    this.publish()
  }

  /** The token is no good any more: goes on with another one of this browser, if there is one. */
  private hasOther(): boolean {
    if (this.token !== null) this.refused.add(this.token)
    const other = tokenFor(this.name, this.refused)
    if (other === null) return false
    // The provider has to be done with the connection that was closed.
    queueMicrotask(() => this.retry(other))
    return true
  }

  /** Another window has got a token, or has forgotten one. */
  private followTokens(): void {
    const { access, token, holding } = this
    const other = tokenFor(this.name, this.refused)
    const isForgotten = holding !== null && !keptTokens().some((kept) => kept.token === token)
    const lacksOne = access.is === 'refused' && ['token-missing', 'token-refused', 'forbidden'].includes(access.why)
    if (other !== null && other !== token && (isForgotten || lacksOne)) return this.retry(other)
    if (!isForgotten || access.is === 'conflict') return
    this.token = null
    this.provider.params = this.params()
    this.provider.disconnect()
    this.access = { is: 'refused', why: 'token-missing', reason: '' }
    this.publish()
  }

  /** The document as the server gives it to somebody who has nothing of it. Rejects after `patience` ms. */
  async freshCopy(patience: number): Promise<Y.Doc> {
    const doc = new Y.Doc()
    const provider = new WebsocketProvider(socketAddress(), pathOfName(this.name), doc, { disableBc: true, params: this.params() })
    // It is nobody, and nobody sees it come.
    provider.awareness.setLocalState(null)
    try {
      await new Promise<void>((resolve, reject) => {
        provider.on('sync', (synced) => {
          if (synced) resolve()
        })
        setTimeout(() => reject(new Error('The server gives no copy of the document.')), patience)
      })
      return doc
    } finally {
      provider.destroy()
    }
  }

  private persistence: IndexeddbPersistence | null = null
  /** Updates that went to the copy. */
  private updates = 0
  /** What was written here before the copy could keep it. */
  private notKept: Own[] = []
  /** Under which keys the copy keeps what was written here and is not confirmed. */
  private ownKeys: string[] = []
  private ownCount = 0

  private async open(): Promise<void> {
    this.copy = await this.openCopy()
    if (this.life.signal.aborted) return
    if (this.doc.store.clients.size > 0) this.ready = true
    if (this.moves === null) this.provider.disableBc = true
    else this.provider.bcChannel += `#${this.moves.length}`
    this.provider.connect()
    this.publish()
  }

  private async openCopy(): Promise<LocalCopy> {
    this.moves = this.continued === null ? await inTime(movesOf(this.name)) : this.continued.moves
    if (this.moves === null || this.life.signal.aborted) return 'unavailable'
    addEventListener('unhandledrejection', ({ reason }) => {
      if (!(reason instanceof DOMException) || reason.name !== 'QuotaExceededError') return
      this.copy = 'unavailable'
      this.publish()
    }, { signal: this.life.signal })
    return (await inTime(this.loadCopy(this.moves).then((): LocalCopy => 'kept'))) ?? 'unavailable'
  }

  private async loadCopy(moves: readonly Move[]): Promise<void> {
    const { doc, life: { signal } } = this
    const name = copyName(this.name, moves.length)
    const before = await this.bringOver(moves)
    const { updates, own, ownKeys } = await readCopy(name)
    if (signal.aborted) return
    // First what was written here: the copy may hold what others wrote under the same numbers.
    if (own.length > 0) this.load(knownFrom(updates, own))
    this.ownKeys.push(...ownKeys)
    const persistence = new IndexeddbPersistence(name, doc)
    this.persistence = persistence
    await persistence.whenSynced
    for (const own of this.notKept.splice(0)) this.keepOwn(own)
    this.copy = 'kept'
    this.publish()
    doc.on('update', (_, origin) => {
      if (origin !== persistence) this.onCopyBehind()
    })
    if (persistence.db !== null) void takeOut(before, persistence.db)
  }

  /** Takes over what the copies before the last moves still hold, and returns them. */
  private async bringOver(moves: readonly Move[]): Promise<(readonly [string, Copy])[]> {
    const before: (readonly [string, Copy])[] = []
    for (let known = 0; known < moves.length; known++) {
      const database = copyName(this.name, known)
      const copy = await readCopy(database)
      if (this.life.signal.aborted) return []
      if (copy.updates.length + copy.own.length === 0) continue
      before.push([database, copy])
      this.load(movedOn(knownFrom(copy.updates, copy.own), moves.slice(known)))
    }
    return before
  }

  private load({ update, written }: Known): void {
    Y.applyUpdate(this.doc, update, 'copy')
    addWritten(this.written, written)
  }

  private keepOwn(own: Own): void {
    const db = this.persistence?.db
    if (!db) return void this.notKept.push(own)
    const key = `${this.author} ${performance.timeOrigin} ${this.ownCount++}`
    keepOwn(db, key, own)
    this.ownKeys.push(key)
  }

  /** y-indexeddb does not say when an update is stored; a transaction on the same store waits until it is. */
  private onCopyBehind(): void {
    this.updates++
    const db = this.persistence?.db
    if (this.copy !== 'kept' || !db) return
    this.copy = 'writing'
    this.publish()
    const follow = () => {
      // The database is being closed.
      if (this.life.signal.aborted) return
      const { updates } = this
      void isStored(db).then(() => {
        if (this.copy !== 'writing') return
        if (this.updates !== updates) return follow()
        this.copy = 'kept'
        this.publish()
      }, () => {
        // It was refused, of which the page hears otherwise, or the database is being closed.
      })
    }
    follow()
  }

  private onSaved(): void {
    switch (this.saved.state) {
      case 'readonly':
        this.setReader(true)
        break
      case 'saved':
        this.setReader(false)
        this.times = 0
        this.onConfirmed()
        break
      case 'offline':
        // Only after the copy was opened is "offline" an answer to "what does the document hold?".
        if (this.copy !== 'opening') this.ready = true
        break
      case 'connecting':
      case 'saving':
      case 'delayed':
      case 'unknown':
      case 'incomplete':
      case 'refused':
      case 'conflict':
        break
    }
    this.publish()
  }

  /** All that is here is durable on the server. */
  private onConfirmed(): void {
    this.confirmed = Y.decodeStateVector(Y.encodeStateVector(this.doc))
    this.notKept = []
    const db = this.persistence?.db
    if (db && this.ownKeys.length > 0) forgetOwn(db, this.ownKeys.splice(0))
  }

  /**
   * Listens for the server's SyncStep1, `00 00 varBytes(stateVector)`: what it has; and for the updates of other
   * windows, `00 02 varBytes(update)`: what was written there.
   */
  private compareWithServer(): void {
    const { messageHandlers } = this.provider
    const handleSync = messageHandlers[0]
    messageHandlers[0] = (encoder, decoder, provider, overWebsocket, type) => {
      const kind = decoder.arr[decoder.pos]
      if (overWebsocket && kind === 0) {
        const theirs = Y.decodeStateVector(decoding.readVarUint8Array(decoding.createDecoder(decoder.arr.subarray(decoder.pos + 1))))
        const ours = Y.decodeStateVector(Y.encodeStateVector(this.doc))
        this.ahead = [...ours].some(([client, clock]) => clock > (theirs.get(client) ?? 0))
        this.showOwnEdits(theirs)
      }
      this.isFromWindow = !overWebsocket && kind === 2
      this.beforeOthers()
      try {
        handleSync?.(encoder, decoder, provider, overWebsocket, type)
      } finally {
        this.isFromWindow = false
      }
    }
  }

  /**
   * What was written in this browser and nobody has confirmed, although the server claims to have it: somebody else
   * may have taken those numbers while there was no connection. Yjs would never send it; sent, the server compares it.
   */
  private showOwnEdits(theirs: ReadonlyMap<number, number>): void {
    if (this.access.is !== 'writer') return
    const claimed = new Map<number, readonly Range[]>()
    for (const [client, ranges] of this.written) {
      const [from, to] = [this.confirmed.get(client) ?? 0, theirs.get(client) ?? 0]
      const some = ranges.map((range) => ({ from: Math.max(range.from, from), to: Math.min(range.to, to) })).filter((range) => range.from < range.to)
      if (some.length > 0) claimed.set(client, some)
    }
    if (claimed.size > 0) this.show(partOf(Y.encodeStateAsUpdate(this.doc), claimed))
    void this.showEditsOfOthers(theirs)
  }

  /** The same for what windows wrote that are gone: this one may have what others wrote under those numbers. */
  private async showEditsOfOthers(theirs: ReadonlyMap<number, number>): Promise<void> {
    const { ws } = this.provider
    const db = this.persistence?.db
    if (!db || this.life.signal.aborted) return
    const claimed = new Map([...theirs].filter(([client]) => !this.authors.has(client)).map(([client, to]) => [client, [{ from: 0, to }]]))
    const own = await readOwn(db).catch(() => [])
    if (own.length > 0 && this.provider.ws === ws) this.show(partOf(Y.mergeUpdates(own.map(({ update }) => update)), claimed))
  }

  private show(update: Uint8Array | null): void {
    if (update === null) return
    const encoder = encoding.createEncoder()
    encoding.writeVarUint(encoder, 0)
    sync.writeUpdate(encoder, update)
    this.provider.ws?.send(encoding.toUint8Array(encoder))
  }

  /** Which numbers a 4409 is about; what its reason does not say is taken to be all that nobody has confirmed. */
  private takenBy(reason: string): Taken {
    return { client: this.author, clock: this.confirmed.get(this.author) ?? 0, ...takenFrom(reason) }
  }

  /** Agrees with the other windows on new numbers for what this browser wrote under these. */
  private async endInConflict(taken: Taken): Promise<void> {
    const move = { ...taken, author: new Y.Doc().clientID }
    const { moves } = this
    const agreed = moves === null ? null : await inTime(addMove(this.name, moves.length, move))
    if (this.life.signal.aborted) return
    this.windows.postMessage('moved')
    this.goOn([move], agreed, this.times + 1)
  }

  /** Goes on as another window has decided. */
  private async follow(): Promise<void> {
    if (this.moves === null || this.life.signal.aborted) return
    const agreed = await inTime(movesOf(this.name))
    if (agreed !== null && agreed.length > this.moves.length && !this.life.signal.aborted) this.goOn([], agreed, this.times)
  }

  /** Leaves everything to another session, with the moves that the windows agreed on, or else with `alone`. */
  private goOn(alone: readonly Move[], agreed: readonly Move[] | null, times: number): void {
    const moves = agreed === null ? alone : agreed.slice(this.moves?.length ?? 0)
    const upon = new Map([...this.authors].map((client) => [client, this.written]))
    const known = movedOn({ update: Y.encodeStateAsUpdate(this.doc), written: this.written, upon }, moves)
    this.access = { is: 'conflict', next: { known, confirmed: this.confirmed, moves: agreed, times } }
    this.publish()
  }

  /** Yjs takes another client id when it sees that somebody else writes under this one; the awareness has to, too. */
  private followClientId(): void {
    const { doc: { clientID }, provider: { awareness } } = this
    if (awareness.clientID === clientID) return
    this.authors.add(clientID)
    const state = awareness.getLocalState()
    removeAwarenessStates(awareness, [awareness.clientID], 'another client id')
    awareness.clientID = clientID
    awareness.setLocalState(state)
  }

  private setReader(reader: boolean): void {
    if (this.access.is === 'refused' || this.access.is === 'conflict') return
    this.access = { is: reader ? 'reader' : 'writer' }
    write('local', `reader:${this.name}`, reader ? 'yes' : null)
  }

  private onSynced(): void {
    this.ready = true
    // The others saw this client leave at its present clock, and ignore it until the clock moves on.
    const { awareness } = this.provider
    awareness.setLocalState(awareness.getLocalState())
    this.publish()
  }

  /** The network came or went: find out now, not after the provider's 30 s without a message. */
  private reconnect(): void {
    if (this.access.is === 'refused' || this.access.is === 'conflict' || this.copy === 'opening') return
    this.provider.disconnect()
    this.provider.connect()
  }

  private params(): Record<string, string> {
    return this.token === null ? {} : { token: this.token }
  }

  private publish(): void {
    for (const listener of this.listeners) listener(this.view)
  }
}

/** What a close code says about trying again: null is yes. */
export function refusalOf(code: number, hasToken: boolean): Refusal | null {
  switch (code) {
    case 4401:
      return hasToken ? 'token-refused' : 'token-missing'
    case 4403:
      return 'forbidden'
    case 4409:
      return 'conflict'
    case 4413:
      return 'document-too-large'
    case 1009:
      return 'message-too-big'
    default:
      return code >= 4400 && code < 4500 ? 'refused' : null
  }
}

/** Takes out of the copies before what was brought over, when it is in the copy of now. */
async function takeOut(before: readonly (readonly [string, Copy])[], now: IDBDatabase): Promise<void> {
  try {
    await isStored(now)
    for (const [database, copy] of before) await empty(database, copy)
  } catch {
    // It stays there, and is brought over again: that changes nothing.
  }
}

/** What a promise gives within the time that the page can wait; null if that is nothing, or not in time. */
async function inTime<T>(promise: Promise<T>): Promise<T | null> {
  const late = new Promise<null>((resolve) => setTimeout(resolve, COPY_WAIT_MS_MAX, null))
  return Promise.race([promise.catch(() => null), late])
}
