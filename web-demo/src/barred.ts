// The server is there and does not let this page in, for now: that is told from having no network. What closes a WebSocket says
// why. What refuses to make one (429, 503, 426) a browser keeps from the page, as it does that nobody was there; then the server
// is asked once more over HTTP, whose answers can be read.
//
// What must stay true:
//  - Whoever cannot be let in costs the server little: it is asked after two vain attempts, then ever more seldom, only while
//    somebody looks at the page, and not for ever.
//  - What was answered counts until there is a connection, or nobody answers, or the network comes or goes.

import type { WebsocketProvider } from 'y-websocket'

import type { Closed } from '../track-saved/track-saved'
import { pathOfName } from './route'
import { askForSocket, type Answer } from './server'

export interface Barred {
  readonly how:
    /** The document cannot be served until a person has looked. */
    | 'broken'
    /** There is too much to do. */
    | 'busy'
    | 'restarts'
    /** For another reason. */
    | 'ended'
    /** The server answers over HTTP and makes no WebSocket. */
    | 'no-socket'
    /** What stands before the server says that the server is not there. */
    | 'away'
    /** What answers is no such server. */
    | 'strange'
  /** In the server's words; empty if there are none. */
  readonly said: string
  /** The status of the answer; null if it was no answer over HTTP. */
  readonly status: number | null
}

/** Between two questions at least, in ms; twice as long after each. */
const PAUSE_MS = 5_000
const PAUSE_MS_MAX = 60_000
/** A quarter of an hour or so. */
const TIMES_MAX = 20
const PATIENCE_MS = 5_000

/** What a close code that is not final says. */
export function barredBy({ code, reason }: Closed): Barred {
  const how = ({ 1011: 'broken', 1012: 'restarts', 1013: 'busy' } as const)[code] ?? 'ended'
  return { how, said: reason, status: null }
}

function barredAs({ status, text }: Answer): Barred {
  if (status === 426) return { how: 'no-socket', said: '', status }
  if (text !== '' && (status === 429 || status === 503)) return { how: 'busy', said: text, status }
  return { how: status === 429 ? 'busy' : status >= 500 ? 'away' : 'strange', said: text, status }
}

/** Asks who is there while a provider gets no connection. */
export class Doorbell {
  /** What is known of who answers; null if nobody does, or nobody was asked. */
  barred: Barred | null = null
  private times = 0
  private askedAt = -Infinity
  private isAsking = false
  /** How many connections came about. */
  private opened = 0

  constructor(provider: WebsocketProvider, private readonly name: string, private readonly changed: () => void, private readonly signal: AbortSignal) {
    provider.on('connection-close', (event) => {
      // An attempt that came to nothing, after one that did so or a connection that was lost: servers that restart are soon back.
      if (event?.code === 1006 && !provider.wsconnected && provider.wsUnsuccessfulReconnects > 0) void this.ring()
    })
    provider.on('status', ({ status }) => {
      if (status !== 'connected') return
      this.opened++
      this.know(null)
    })
    provider.on('sync', (synced) => {
      if (synced) this.times = 0
    })
    document.addEventListener('visibilitychange', () => (this.times = 0), { signal })
    // What was answered on another network says nothing of this one.
    for (const change of ['online', 'offline']) {
      addEventListener(change, () => {
        this.times = 0
        this.know(null)
      }, { signal })
    }
  }

  private async ring(): Promise<void> {
    const pauseMs = Math.min(PAUSE_MS * 2 ** Math.max(0, this.times - 1), PAUSE_MS_MAX)
    const now = performance.now()
    if (this.isAsking || this.times >= TIMES_MAX || now - this.askedAt < pauseMs || document.visibilityState === 'hidden') return
    this.isAsking = true
    this.times++
    this.askedAt = now
    const { opened } = this
    const answer = await askForSocket(pathOfName(this.name), AbortSignal.any([this.signal, AbortSignal.timeout(PATIENCE_MS)]))
    this.isAsking = false
    if (!this.signal.aborted && opened === this.opened) this.know(answer === null ? null : barredAs(answer))
  }

  private know(barred: Barred | null): void {
    if (barred === null && this.barred === null) return
    this.barred = barred
    this.changed()
  }
}
