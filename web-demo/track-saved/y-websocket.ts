// The wire of y-websocket, as its own provider speaks it: message 102 is asked and heard beside the provider's messages.

import { isReadOnlyNotice, MESSAGE_AUTH, MESSAGE_SAVED, MESSAGE_SYNC, type Reader, readVarUint, savedFrame, SOCKET_OPEN, SYNC_STEP_1, updateFrame } from './bytes.js'
import { share } from './shared.js'
import { type Connection, type Tracker, unreachable, type Wire } from './tracker.js'
import type { Closed, Handler, YWebsocketProvider } from './track-saved.js'

type Status = { status: 'connected' | 'disconnected' | 'connecting' }

export class YWebsocketWire implements Wire {
  constructor(private readonly provider: YWebsocketProvider) {}

  /** A provider that is already synchronised has answered the server's SyncStep1, which comes first. */
  connection(): Connection {
    const { wsconnected, wsconnecting, synced } = this.provider
    if (wsconnected && synced) return { is: 'joined', readOnly: false, question: null, asked: { times: 1, againSince: null } }
    if (wsconnected) return { is: 'joining', readOnly: false, ended: null }
    return wsconnecting ? { is: 'opening' } : { is: 'idle' }
  }

  ask(serial: number): boolean {
    return this.send(savedFrame([serial]))
  }

  pass(update: Uint8Array): void {
    this.send(updateFrame(update))
  }

  listen(tracker: Tracker): () => void {
    const { provider } = this
    // What the server said before it was listened to has gone by; only "synchronised" can still be heard.
    const attachedWhileJoining = provider.wsconnected && !provider.synced
    const reading: Reading = { tracker, broadcasts: false }
    const onUpdate = (update: Uint8Array, origin: unknown): void => {
      if (reading.broadcasts) tracker.changedElsewhere(update)
      else if (origin !== provider) tracker.changed()
    }
    const onStatus = (event: Status): void => this.onStatus(event, tracker)
    const onClose = (event: Closed | null): void => tracker.lost(event)
    const onSynced = (synced: boolean): void => {
      if (synced && attachedWhileJoining) tracker.synced()
    }
    const { messageHandlers } = provider
    const stopHandling = share(messageHandlers, reading, (all) => handleMessages(messageHandlers, all))
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

  private onStatus({ status }: Status, tracker: Tracker): void {
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

  private send(frame: Uint8Array<ArrayBuffer>): boolean {
    const { ws, wsconnected } = this.provider
    if (!wsconnected || ws === null || ws.readyState !== SOCKET_OPEN) return false
    ws.send(frame)
    return true
  }
}

/** Who reads along. */
interface Reading {
  readonly tracker: Tracker
  /** Whether a message of another tab is being read. */
  broadcasts: boolean
}

/** Reads along with the provider's own handlers; returns how to stop. */
function handleMessages(messageHandlers: Handler[], all: ReadonlySet<Reading>): () => void {
  const handleSync = messageHandlers[MESSAGE_SYNC]
  const handleAuth = messageHandlers[MESSAGE_AUTH]
  const handleSaved = messageHandlers[MESSAGE_SAVED]
  const tell = (what: (tracker: Tracker) => void): void => {
    for (const { tracker } of [...all]) what(tracker)
  }
  const setBroadcasts = (broadcasts: boolean): void => {
    for (const reading of all) reading.broadcasts = broadcasts
  }
  const onSync: Handler = (encoder, decoder, self, overWebsocket, type) => {
    const { arr, pos }: Reader = decoder
    setBroadcasts(!overWebsocket)
    try {
      handleSync?.(encoder, decoder, self, overWebsocket, type)
    } finally {
      setBroadcasts(false)
    }
    // The provider sends the answer when this handler returns.
    if (overWebsocket && arr[pos] === SYNC_STEP_1) tell((tracker) => tracker.asked())
  }
  const onAuth: Handler = (encoder, decoder, self, overWebsocket, type) => {
    const { arr, pos }: Reader = decoder
    handleAuth?.(encoder, decoder, self, overWebsocket, type)
    if (overWebsocket && isReadOnlyNotice({ arr, pos })) tell((tracker) => tracker.readOnly())
  }
  const onAnswer: Handler = (encoder, decoder, self, overWebsocket, type) => {
    const { arr, pos }: Reader = decoder
    handleSaved?.(encoder, decoder, self, overWebsocket, type)
    if (!overWebsocket) return
    const reader = { arr, pos }
    readVarUint(reader)
    const serial = readVarUint(reader)
    tell((tracker) => tracker.answered(serial))
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

/** Puts a handler back, unless somebody else has wrapped ours since. */
function restore(handlers: Handler[], type: number, ours: Handler, before: Handler | undefined): void {
  if (handlers[type] !== ours) return
  if (before === undefined) delete handlers[type]
  else handlers[type] = before
}
