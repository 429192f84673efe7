// One document as this window has it: the Yjs document, its copy in this browser (IndexedDB), the
// connection to the server, and what is known about saving and access. It has no elements.
//
// What must stay true:
//  - The copy in this browser is loaded before the server is asked, so that only differences travel.
//  - `access` says `refused` only after the server said so; then nothing is editable any more.
//  - Somebody who was told "read-only" stays a reader until the server confirms a save.

import * as decoding from 'lib0/decoding'
import { IndexeddbPersistence } from 'y-indexeddb'
import { WebsocketProvider } from 'y-websocket'
import * as Y from 'yjs'

import { trackSaved, type Saved, type SavedView } from '../track-saved/track-saved'
import { read, write } from './browser-store'
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
  | 'refused'

export type Access =
  | { readonly is: 'writer' }
  | { readonly is: 'reader' }
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

export class Session {
  readonly doc = new Y.Doc()
  readonly provider: WebsocketProvider
  private readonly saved: Saved
  private readonly listeners = new Set<(view: SessionView) => void>()
  private access: Access
  private copy: LocalCopy = 'opening'
  private ready = false
  private ahead = false
  private token: string | null

  constructor(readonly name: string) {
    this.token = takeToken(name)
    this.access = read('local', `reader:${name}`) === null ? { is: 'writer' } : { is: 'reader' }
    const address = `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/ws`
    this.provider = new WebsocketProvider(address, pathOfName(name), this.doc, {
      connect: false,
      params: this.params(),
      shouldReconnect: (event) => refusalOf(event.code, this.token !== null) === null,
    })
    this.compareWithServer()
    this.saved = trackSaved(this.provider)
    this.saved.subscribe(() => this.onSaved())
    this.provider.on('closed', ({ code, reason }) => {
      this.access = { is: 'refused', why: refusalOf(code, this.token !== null) ?? 'refused', reason }
      this.publish()
    })
    this.provider.on('sync', (synced) => {
      if (synced) this.onSynced()
    })
    addEventListener('online', () => this.reconnect())
    addEventListener('offline', () => this.reconnect())
    void this.open()
  }

  get view(): SessionView {
    const { state, unsavedSince } = this.saved
    return { saved: { state, unsavedSince }, access: this.access, copy: this.copy, ready: this.ready, ahead: this.ahead }
  }

  /** Calls the listener now and after every change. */
  subscribe(listener: (view: SessionView) => void): void {
    this.listeners.add(listener)
    listener(this.view)
  }

  /** Tries again after a refusal, with another token if there is one. */
  retry(token: string | null): void {
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
    if (this.doc.store.clients.size > 0) this.ready = true
    this.provider.connect()
    this.publish()
  }

  private async openCopy(): Promise<LocalCopy> {
    if (!(await indexedDbWorks())) return 'unavailable'
    const persistence = new IndexeddbPersistence(`cowrite:${this.name}`, this.doc)
    this.persistence = persistence
    addEventListener('unhandledrejection', ({ reason }) => {
      if (!(reason instanceof DOMException) || reason.name !== 'QuotaExceededError') return
      this.copy = 'unavailable'
      this.publish()
    })
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
        break
      case 'offline':
        // Only after the copy was opened is "offline" an answer to "what does the document hold?".
        if (this.copy !== 'opening') this.ready = true
        break
      case 'connecting':
      case 'saving':
      case 'delayed':
      case 'unknown':
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
      }
      handleSync?.(encoder, decoder, provider, overWebsocket, type)
    }
  }

  private setReader(reader: boolean): void {
    if (this.access.is === 'refused') return
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
    if (this.access.is === 'refused' || this.copy === 'opening') return
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
    case 4413:
      return 'document-too-large'
    case 1009:
      return 'message-too-big'
    default:
      return code >= 4400 && code < 4500 ? 'refused' : null
  }
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
