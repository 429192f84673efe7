// y-sweet's client. It asks with message 102 for itself, and counts in its own way: its version is `ackedVersion`, the
// largest number that it hears. Ours is asked with the payload `varUint 0, varUint serial`, which the client takes for 0.

import { isReadOnlyNotice, MESSAGE_AUTH, MESSAGE_SAVED, MESSAGE_SYNC, type Reader, readVarUint, savedFrame, SOCKET_OPEN, SYNC_STEP_1 } from './bytes.js'
import { type Connection, type Tracker, unreachable, type Wire } from './tracker.js'
import type { Closed, YSweetProvider } from './track-saved.js'

export class YSweetWire implements Wire {
  private followed: WebSocket | null = null
  private unfollow = (): void => {}

  constructor(private readonly provider: YSweetProvider) {}

  connection(): Connection {
    const { status } = this.provider
    switch (status) {
      case 'connected':
        return { is: 'joined', readOnly: false, question: null, asked: { times: 1, againSince: null } }
      case 'handshaking':
        return { is: 'joining', readOnly: false, ended: null }
      case 'connecting':
        return { is: 'opening' }
      case 'offline':
      case 'error':
        return { is: 'idle' }
      default:
        return unreachable(status)
    }
  }

  ask(serial: number): boolean {
    const { socket } = this
    if (socket === null || socket.readyState !== SOCKET_OPEN) return false
    socket.send(savedFrame([0, serial]))
    return true
  }

  /** Its tabs speak to each other over IndexedDB, each with a connection of its own: nothing has to be passed on. */
  pass(): void {}

  listen(tracker: Tracker): () => void {
    const { provider } = this
    const { doc } = provider.awareness
    const onUpdate = (_update: Uint8Array, origin: unknown): void => {
      if (origin !== provider) tracker.changed()
    }
    const onStatus = (): void => this.onStatus(tracker)
    const onClose = (event: Closed | null): void => tracker.lost(event)
    if (this.socket?.readyState === SOCKET_OPEN) this.follow(tracker)
    doc.on('update', onUpdate)
    provider.on('connection-status', onStatus)
    provider.on('connection-close', onClose)
    return () => {
      this.unfollow()
      doc.off('update', onUpdate)
      provider.off('connection-status', onStatus)
      provider.off('connection-close', onClose)
    }
  }

  /** The client keeps it to itself; without it nothing is asked, and nothing is called saved. */
  private get socket(): WebSocket | null {
    return (this.provider as unknown as { websocket?: WebSocket | null }).websocket ?? null
  }

  private onStatus(tracker: Tracker): void {
    const { status } = this.provider
    switch (status) {
      case 'connecting':
        return tracker.opening()
      case 'handshaking':
        tracker.opened()
        return this.follow(tracker)
      case 'connected':
        // If the server was not listened to as it asked.
        return tracker.synced()
      case 'offline':
      case 'error':
        return tracker.lost(null)
      default:
        return unreachable(status)
    }
  }

  /** Reads along; the client has read each message before, and sent its answer. */
  private follow(tracker: Tracker): void {
    const { socket } = this
    if (socket === null || socket === this.followed) return
    this.unfollow()
    const onMessage = ({ data }: MessageEvent): void => {
      if (socket === this.socket) hear(new Uint8Array(data as ArrayBuffer), tracker)
    }
    socket.addEventListener('message', onMessage)
    this.followed = socket
    this.unfollow = () => socket.removeEventListener('message', onMessage)
  }
}

function hear(arr: Uint8Array, tracker: Tracker): void {
  const reader: Reader = { arr, pos: 0 }
  switch (readVarUint(reader)) {
    case MESSAGE_SYNC:
      if (readVarUint(reader) === SYNC_STEP_1) tracker.asked()
      return
    case MESSAGE_AUTH:
      if (isReadOnlyNotice(reader)) tracker.readOnly()
      return
    case MESSAGE_SAVED: {
      const length = readVarUint(reader)
      const end = reader.pos + length
      // The client's own question is one number.
      if (readVarUint(reader) === 0 && reader.pos < end) tracker.answered(readVarUint(reader))
    }
  }
}
