// One document as this window has it: the Yjs document, its copy in this browser (IndexedDB), the
// connection to the server, and what is known about saving and access. It has no elements.
//
// What must stay true:
//  - What the server cannot take because another page writes under the same client id (4409) goes on in
//    another session, under a new id, and in the browser's copy: no edit is left behind in between.
//  - The copy in this browser is loaded before the server is asked, so that only differences travel.
//  - `access` says `refused` only after the server said so; then nothing is editable any more.
//  - Somebody who was told "read-only" stays a reader until the server confirms a save.

import * as decoding from 'lib0/decoding'
import * as encoding from 'lib0/encoding'
import { IndexeddbPersistence } from 'y-indexeddb'
import * as sync from 'y-protocols/sync'
import { WebsocketProvider } from 'y-websocket'
import * as Y from 'yjs'

import { trackSaved, type Saved, type SavedView } from '../track-saved/track-saved'
import { read, readJson, replaceCopy, write } from './browser-store'
import { rewritten, takenFrom, watchForeign, type Taken } from './rewrite'
import { pathOfName } from './route'
import type { LocalCopy } from './status'
import { keepToken, takeToken } from './token'

export type Refusal =
  | 'token-missing'
  | 'token-refused'
  | 'forbidden'
  | 'deleted'
  | 'document-too-large'
  | 'message-too-big'
  | 'conflict'
  | 'refused'

/** What another session goes on with. */
export interface Continued {
  /** The whole document as an update (v1), with new numbers for what the server could not take. */
  readonly update: Uint8Array
  /** How many sessions in a row ended so, without anything being saved. */
  readonly times: number
}

export type Access =
  | { readonly is: 'writer' }
  | { readonly is: 'reader' }
  /** Another page writes under the client id: this session has ended, another one goes on. */
  | { readonly is: 'conflict'; readonly next: Continued }
  | { readonly is: 'refused'; readonly why: Refusal; readonly reason: string }

export interface SessionView {
  readonly saved: SavedView
  readonly access: Access
  readonly copy: LocalCopy
  /** False until it is known what the document holds, here or on the server. */
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
  readonly provider: WebsocketProvider
  private readonly saved: Saved
  private readonly life = new AbortController()
  private readonly foreign: ReturnType<typeof watchForeign>
  /** The client id under which this page writes, and how much of that is known to be durable. */
  private readonly author = this.doc.clientID
  private confirmed = 0
  private times: number
  private readonly listeners = new Set<(view: SessionView) => void>()
  private access: Access
  private copy: LocalCopy = 'opening'
  private ready = false
  private ahead = false
  private token: string | null

  /** `continued`: what an earlier session of this document left to this one. */
  constructor(readonly name: string, private readonly continued: Continued | null = null) {
    this.times = continued?.times ?? 0
    if (continued !== null) Y.applyUpdate(this.doc, continued.update, 'continued')
    this.ready = continued !== null
    this.token = takeToken(name)
    this.access = read('local', `reader:${name}`) === null ? { is: 'writer' } : { is: 'reader' }
    const address = `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/ws`
    this.provider = new WebsocketProvider(address, pathOfName(name), this.doc, {
      connect: false,
      params: this.params(),
      shouldReconnect: (event) => refusalOf(event.code, this.token !== null) === null,
    })
    this.foreign = watchForeign(this.doc, this.provider)
    this.compareWithServer()
    this.saved = trackSaved(this.provider)
    this.saved.subscribe(() => this.onSaved())
    this.provider.on('closed', ({ code, reason }) => {
      const why = refusalOf(code, this.token !== null) ?? 'refused'
      if (why === 'conflict' && this.times < CONTINUED_TIMES_MAX) return this.endInConflict(this.takenBy(reason))
      this.access = { is: 'refused', why, reason }
      this.publish()
    })
    this.provider.on('sync', (synced) => {
      if (synced) this.onSynced()
    })
    const { signal } = this.life
    addEventListener('online', () => this.reconnect(), { signal })
    addEventListener('offline', () => this.reconnect(), { signal })
    void this.open()
  }

  get view(): SessionView {
    const { state, unsavedSince, incompleteSince, closed } = this.saved
    return { saved: { state, unsavedSince, incompleteSince, closed }, access: this.access, copy: this.copy, ready: this.ready, ahead: this.ahead }
  }

  /** Calls the listener now and after every change. */
  subscribe(listener: (view: SessionView) => void): void {
    this.listeners.add(listener)
    listener(this.view)
  }

  /** Ends it: nothing is sent, kept or told any more. */
  end(): void {
    this.life.abort()
    this.listeners.clear()
    this.saved.destroy()
    this.provider.destroy()
    void this.persistence?.destroy()
  }

  /** Tries again after a refusal, with another token if there is one. */
  retry(token: string | null): void {
    if (this.access.is === 'refused' && this.access.why === 'conflict') {
      this.times = 0
      return this.endInConflict(this.takenBy(this.access.reason))
    }
    if (token !== null) {
      keepToken(this.name, token)
      this.token = token
      this.provider.params = this.params()
    }
    this.access = { is: 'writer' }
    this.provider.connect()
    this.publish()
  }

  /** Deletes the copy in this browser. */
  async forgetCopy(): Promise<void> {
    this.provider.destroy()
    await this.persistence?.clearData()
    this.copy = 'unavailable'
  }

  private persistence: IndexeddbPersistence | null = null
  /** Updates that went to the copy. */
  private updates = 0

  private async open(): Promise<void> {
    this.copy = await this.openCopy()
    if (this.life.signal.aborted) return
    const taken = this.continued === null ? takenBefore(this.name) : null
    if (taken !== null) return this.endInConflict(taken)
    if (this.doc.store.clients.size > 0) this.ready = true
    this.provider.connect()
    this.publish()
  }

  private async openCopy(): Promise<LocalCopy> {
    if (!(await indexedDbWorks())) return 'unavailable'
    if (this.continued !== null) {
      // y-indexeddb would merge the old copy in, and with it what the server will never take.
      const isReplaced = await replaceCopy(`cowrite:${this.name}`, Y.encodeStateAsUpdate(this.doc)).then(() => true, () => false)
      if (!isReplaced) return 'unavailable'
      rememberTaken(this.name, null)
    }
    if (this.life.signal.aborted) return 'unavailable'
    const persistence = new IndexeddbPersistence(`cowrite:${this.name}`, this.doc)
    this.persistence = persistence
    addEventListener('unhandledrejection', ({ reason }) => {
      if (!(reason instanceof DOMException) || reason.name !== 'QuotaExceededError') return
      this.copy = 'unavailable'
      this.publish()
    }, { signal: this.life.signal })
    const loaded = persistence.whenSynced.then((): LocalCopy => 'kept')
    const late = new Promise<LocalCopy>((resolve) => setTimeout(resolve, COPY_WAIT_MS_MAX, 'unavailable'))
    void loaded.then(() => {
      this.copy = 'kept'
      this.publish()
      this.doc.on('update', (_, origin) => {
        if (origin !== persistence) this.onCopyBehind()
      })
    })
    return Promise.race([loaded, late])
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
      const behind = db.transaction(['updates'], 'readonly')
      behind.objectStore('updates').getKey(0)
      behind.oncomplete = () => {
        if (this.copy !== 'writing') return
        if (this.updates !== updates) return follow()
        this.copy = 'kept'
        this.publish()
      }
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
        this.confirmed = Y.getState(this.doc.store, this.author)
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

  /** Listens for the server's SyncStep1, `00 00 varBytes(stateVector)`: what it has. */
  private compareWithServer(): void {
    const { messageHandlers } = this.provider
    const handleSync = messageHandlers[0]
    messageHandlers[0] = (encoder, decoder, provider, overWebsocket, type) => {
      if (overWebsocket && decoder.arr[decoder.pos] === 0) {
        const theirs = Y.decodeStateVector(decoding.readVarUint8Array(decoding.createDecoder(decoder.arr.subarray(decoder.pos + 1))))
        const ours = Y.decodeStateVector(Y.encodeStateVector(this.doc))
        this.ahead = [...ours].some(([client, clock]) => clock > (theirs.get(client) ?? 0))
        this.showOwnEdits(ours, theirs)
      }
      handleSync?.(encoder, decoder, provider, overWebsocket, type)
    }
  }

  /**
   * What this page wrote and nobody has confirmed, although the server claims to have it: somebody else may have
   * taken those numbers while there was no connection. Yjs would never send it; sent, the server compares it.
   */
  private showOwnEdits(ours: Map<number, number>, theirs: Map<number, number>): void {
    const { author, confirmed, provider } = this
    if (this.access.is !== 'writer') return
    if ((ours.get(author) ?? 0) <= confirmed || (theirs.get(author) ?? 0) <= confirmed) return
    const unconfirmed = Y.encodeStateAsUpdate(this.doc, Y.encodeStateVector(new Map([...ours, [author, confirmed]])))
    const encoder = encoding.createEncoder()
    encoding.writeVarUint(encoder, 0)
    sync.writeUpdate(encoder, unconfirmed)
    provider.ws?.send(encoding.toUint8Array(encoder))
  }

  /** Which numbers a 4409 is about; what its reason does not say is taken to be all that nobody has confirmed. */
  private takenBy(reason: string): Taken {
    return { client: this.author, clock: this.confirmed, ...takenFrom(reason) }
  }

  /** Leaves everything to another session, in which the edits under these numbers have new ones. */
  private endInConflict(taken: Taken): void {
    rememberTaken(this.name, taken)
    const update = rewritten(this.doc, taken, new Y.Doc().clientID, this.foreign(taken.client))
    this.access = { is: 'conflict', next: { update, times: this.times + 1 } }
    this.publish()
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
function refusalOf(code: number, hasToken: boolean): Refusal | null {
  switch (code) {
    case 4401:
      return hasToken ? 'token-refused' : 'token-missing'
    case 4403:
      return 'forbidden'
    case 4404:
      return 'deleted'
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

/** Numbers that were taken, of a document whose copy in this browser still has the edits under them. */
function takenBefore(name: string): Taken | null {
  const stored = readJson('local', `taken:${name}`)
  if (typeof stored !== 'object' || stored === null) return null
  if (!('client' in stored) || typeof stored.client !== 'number') return null
  if (!('clock' in stored) || typeof stored.clock !== 'number') return null
  return { client: stored.client, clock: stored.clock }
}

function rememberTaken(name: string, taken: Taken | null): void {
  write('local', `taken:${name}`, taken === null ? null : JSON.stringify(taken))
}

/** Private windows and settings can refuse IndexedDB, some by never answering. */
async function indexedDbWorks(): Promise<boolean> {
  return new Promise((resolve) => {
    setTimeout(resolve, COPY_WAIT_MS_MAX, false)
    try {
      const request = indexedDB.open('cowrite-probe')
      request.onerror = () => resolve(false)
      request.onsuccess = () => {
        request.result.close()
        indexedDB.deleteDatabase('cowrite-probe')
        resolve(true)
      }
    } catch {
      resolve(false)
    }
  })
}
