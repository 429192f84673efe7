// Hocuspocus' providers 2, 3 and 4: the server answers each SyncStep2 and each Update with a SyncStatus when it is durable.
//
// A provider counts that itself (`unsyncedChanges`), but sets its count to 1 as it connects, also when edits of the time before
// are still to be sent: it is 0 a moment too early then. So what goes out on this connection is counted here. With a SyncStep1
// of the provider's the server counts anew, and asks back: the answer to that will be acknowledged, and each Update that went out
// after the SyncStep1. What the server asks of its own accord is not acknowledged, and does not count.
//
// A document that is refused for now (1013) while its connection stays is asked for again here: no provider does that.

import { authFrame, MESSAGE_SYNC, type Reader, readVarString, readVarUint, SOCKET_OPEN, SYNC_STEP_1, SYNC_UPDATE } from './bytes.js'
import { share } from './shared.js'
import { type Connection, type Tracker, type Wire } from './tracker.js'
import type { Closed, HocuspocusProvider } from './track-saved.js'

const MESSAGE_SYNC_STATUS = 8
const CLOSE_FORBIDDEN = 4403
const CLOSE_RESET = 4205

/** When a document that is refused for now is asked for again, in ms, if the server does not say. */
const AGAIN_AFTER_MS = 5_000

/** What is used of the socket of a provider, of which it shows only some. */
interface Line {
  send(message: Uint8Array): void
  /** Of a provider that it has: begins its session on the connection that is open, or does nothing. */
  attach(provider: HocuspocusProvider): unknown
  readonly configuration: { readonly providerMap: ReadonlyMap<string, unknown> }
  readonly webSocket?: { readonly readyState: number } | null
}

/** When providers whose document is refused for now ask again. */
const timers = new WeakMap<object, ReturnType<typeof setTimeout>>()

export class HocuspocusWire implements Wire {
  /** How many acknowledgements the server owes since it counts anew, and how many have come. */
  private owed: number
  private confirmed = 0
  /** The provider has sent a SyncStep1, which the server has not answered: it may still acknowledge what was before. */
  private isAsking: boolean
  /** We came while it was joining: the server's answer may have gone by, and only "synchronised" can still be heard. */
  private mayHaveMissed = false
  /** Updates that went out since the last SyncStep1. */
  private sinceAsking: number
  /** Updates that the provider has sent, or keeps for the next connection, since the last change. */
  private updates = 0
  /** An update was not sent, and is in no SyncStep2 of this connection. */
  private isUnsent = false
  /** The provider collects updates (`flushDelay`) and has not sent the last ones. */
  private isCollecting = false
  private question: { readonly serial: number; readonly owed: number } | null = null
  private tracker: Tracker | null = null

  constructor(private readonly provider: HocuspocusProvider) {
    this.owed = provider.unsyncedChanges
    this.sinceAsking = Math.max(0, this.owed - 1)
    this.isAsking = !provider.synced
  }

  connection(): Connection {
    if (!this.isOpen) return { is: 'opening' }
    const readOnly = this.provider.authorizedScope === 'readonly'
    if (!this.provider.synced) return { is: 'joining', readOnly, ended: null }
    return { is: 'joined', readOnly, question: null, asked: { times: 1, againSince: null } }
  }

  ask(serial: number): boolean {
    if (!this.isOpen || this.isUnsent) return false
    if (this.question?.serial !== serial) this.question = { serial, owed: this.owed + (this.isCollecting ? 1 : 0) }
    queueMicrotask(() => this.answer())
    return true
  }

  /** Providers 2 speak to other tabs. What came from there goes out, and is counted, like an edit of this page. */
  pass(update: Uint8Array): void {
    const { documentUpdateHandler } = this.provider as unknown as { documentUpdateHandler(update: Uint8Array, origin: unknown): void }
    documentUpdateHandler.call(this.provider, update, 'another tab')
  }

  listen(tracker: Tracker): () => void {
    this.tracker = tracker
    const { provider } = this
    this.mayHaveMissed = this.isOpen && !provider.synced
    let isFromServer = false
    const onUpdate = (update: Uint8Array, origin: unknown): void => {
      if (origin !== provider) this.changed(tracker)
      else if (!isFromServer) tracker.changedElsewhere(update)
    }
    const listeners: Record<string, (event: never) => void> = {
      status: ({ status }: { status: string }) => {
        if (status === 'connecting') tracker.opening()
        if (status === 'disconnected') this.ended(() => tracker.lost(null))
      },
      open: () => this.begin(() => tracker.opened()),
      close: ({ event }: { event: Closed }) => this.ended(() => tracker.lost(finalOf(event))),
      authenticated: () => this.admitted(tracker),
      destroy: () => clearTimeout(timers.get(provider)),
      authenticationFailed: ({ reason }: { reason: string }) => {
        const why = closedOf(reason)
        this.ended(() => tracker.refused(why))
        if (!isFinal(why.code)) this.askAgainAfter(why.reason)
      },
      synced: ({ state }: { state: boolean }) => {
        if (!state || !this.mayHaveMissed) return
        this.answeredBack()
        tracker.synced()
      },
      message: ({ event }: { event: { data: ArrayBuffer } }) => {
        isFromServer = true
        // The provider reads it, and answers it, as soon as we return.
        queueMicrotask(() => {
          isFromServer = false
        })
        this.hear(new Uint8Array(event.data), tracker)
      },
    }
    const { line } = this
    const stopAsking = share(provider, this, () => () => clearTimeout(timers.get(provider)))
    const stopReading = share(line, (message: Uint8Array) => this.count(message), (all) => readAlong(line, all))
    provider.document.on('update', onUpdate)
    for (const [name, listener] of Object.entries(listeners)) provider.on(name, listener)
    return () => {
      provider.document.off('update', onUpdate)
      for (const [name, listener] of Object.entries(listeners)) provider.off(name, listener)
      stopReading()
      stopAsking()
      this.tracker = null
    }
  }

  private get line(): Line {
    return this.provider.configuration.websocketProvider as Line
  }

  private get isOpen(): boolean {
    return this.line.webSocket?.readyState === SOCKET_OPEN
  }

  private changed(tracker: Tracker): void {
    const { flushDelay } = this.provider.configuration as { flushDelay?: number | false }
    if (flushDelay) this.isCollecting = true
    // The provider hears of an update before us.
    else if (this.updates === 0) this.isUnsent = true
    this.updates = 0
    tracker.changed()
  }

  /** A session begins on this connection: what comes before its SyncStep1 is in the answer to the server's. */
  private begin(then: () => void): void {
    this.owed = 0
    this.confirmed = 0
    this.isAsking = true
    this.mayHaveMissed = false
    this.sinceAsking = 0
    this.updates = 0
    this.isUnsent = false
    this.isCollecting = false
    this.question = null
    then()
  }

  private ended(then: () => void): void {
    this.question = null
    then()
  }

  private admitted(tracker: Tracker): void {
    const { authorizedScope } = this.provider
    // It was refused, and its page has sent another token.
    if (tracker.isRefused) this.begin(() => tracker.opened())
    if (authorizedScope === 'readonly') tracker.readOnly()
    else tracker.writable()
  }

  /** `reason` may say when. */
  private askAgainAfter(reason: string): void {
    const { provider } = this
    const [, seconds] = /come back in (\d+) s/.exec(reason) ?? []
    const afterMs = seconds === undefined ? AGAIN_AFTER_MS : Number(seconds) * 1_000
    clearTimeout(timers.get(provider))
    // Not all at once: many are refused at the same moment.
    timers.set(provider, setTimeout(() => this.askAgain(), afterMs * (1 + Math.random() / 2)))
  }

  private askAgain(): void {
    const { provider, line } = this
    if (!this.isOpen || (provider as { isAuthenticated?: boolean }).isAuthenticated === true) return
    const { isAuthenticationRequired } = provider as { isAuthenticationRequired?: boolean }
    if (isAuthenticationRequired === undefined) {
      if ([...line.configuration.providerMap.values()].includes(provider)) line.attach(provider)
      return
    }
    // Providers 2 have left their connection after a refusal. Without a token they send none, for which the server would wait.
    if (!isAuthenticationRequired) line.send(authFrame(this.address, ''))
    void (provider as unknown as { connect(): unknown }).connect()
  }

  private hear(arr: Uint8Array, tracker: Tracker): void {
    const reader: Reader = { arr, pos: 0 }
    readVarString(reader)
    switch (readVarUint(reader)) {
      case MESSAGE_SYNC:
        if (readVarUint(reader) !== SYNC_STEP_1) return
        if (this.isAsking) this.answeredBack()
        queueMicrotask(() => tracker.asked())
        return
      case MESSAGE_SYNC_STATUS:
        if (readVarUint(reader) !== 1) return
        this.confirmed += 1
        this.answer()
    }
  }

  /** From here on the server acknowledges what is counted from the SyncStep1 on, and the answer that it now gets. */
  private answeredBack(): void {
    this.isAsking = false
    this.mayHaveMissed = false
    this.owed = this.sinceAsking + 1
    this.confirmed = 0
  }

  private answer(): void {
    const { question } = this
    if (question === null || this.isAsking || this.confirmed < question.owed) return
    this.question = null
    this.tracker?.answered(question.serial)
  }

  private count(message: Uint8Array): void {
    const reader: Reader = { arr: message, pos: 0 }
    if (readVarString(reader) !== this.address || readVarUint(reader) !== MESSAGE_SYNC) return
    const step = readVarUint(reader)
    if (step === SYNC_UPDATE) {
      this.updates += 1
      this.isCollecting = false
    }
    // What is written without a connection waits, and goes out with the next one.
    if (!this.isOpen) return
    if (step === SYNC_UPDATE) {
      this.owed += 1
      this.sinceAsking += 1
    } else if (step === SYNC_STEP_1) {
      this.isAsking = true
      this.sinceAsking = 0
    }
  }

  private get address(): string {
    const { effectiveName } = this.provider as { effectiveName?: string }
    return effectiveName ?? this.provider.configuration.name
  }
}

/** Tells all of what goes out; returns how to stop. */
function readAlong(line: Line, all: ReadonlySet<(message: Uint8Array) => void>): () => void {
  const before = line.send
  const isOwn = Object.hasOwn(line, 'send')
  const send = (message: Uint8Array): void => {
    for (const count of [...all]) count(message)
    before.call(line, message)
  }
  line.send = send
  return () => {
    // Somebody else may have wrapped ours since.
    if (line.send !== send) return
    if (isOwn) line.send = before
    else delete (line as Partial<Line>).send
  }
}

/** The reason of a refusal ends with its code: "the token has expired: get a new one (4401)". */
function closedOf(text: string): Closed {
  const [, reason, code] = /^(.*) \((\d{4})\)$/s.exec(text) ?? [null, text, CLOSE_FORBIDDEN]
  return { code: Number(code), reason: reason! }
}

function isFinal(code: number): boolean {
  return code >= 4400 && code < 4500
}

/** Providers 2 and 3 cannot be refused one document: their connection is closed with 4205 and the reason of the refusal. */
function finalOf({ code, reason }: Closed): Closed {
  return code === CLOSE_RESET && / \(44\d\d\)$/.test(reason) ? closedOf(reason) : { code, reason }
}
