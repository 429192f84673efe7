// A model of a server that keeps its word, and of a socket whose every step the test decides.
//
// The server holds two documents: `memory`, what it was told, and `durable`, what would survive
// losing power. `store()` makes the one the other and answers every 102 that was waiting for it.

import * as decoding from 'lib0/decoding'
import * as encoding from 'lib0/encoding'
import * as sync from 'y-protocols/sync'
import * as Y from 'yjs'

/** One accepted connection, as the server sees it. */
export interface Peer {
  send(frame: Uint8Array): void
}

/** How a server treats message 102. */
export type Answers =
  /** After the peer's SyncStep2 and everything before is durable, and not while anything is missing. */
  | 'honestly'
  /** As above, but without waiting for SyncStep2: what y-sweet does. */
  | 'without waiting for SyncStep2'
  | 'never'

interface Session {
  readonly readOnly: boolean
  joined: boolean
  waiting: Uint8Array[]
}

export class Server {
  memory = new Y.Doc()
  durable = new Y.Doc()
  answers: Answers = 'honestly'
  /** All 102 frames that came in, oldest first. */
  questions: Uint8Array[] = []
  private sessions = new Map<Peer, Session>()

  accept(peer: Peer, { readOnly = false } = {}): void {
    this.sessions.set(peer, { readOnly, joined: false, waiting: [] })
    if (readOnly) peer.send(frame(2, (e) => {
      encoding.writeVarUint(e, 0)
      encoding.writeVarString(e, 'read-only: this token may read')
    }))
    peer.send(frame(0, (e) => sync.writeSyncStep1(e, this.memory)))
  }

  receive(peer: Peer, bytes: Uint8Array): void {
    const session = this.sessions.get(peer)
    if (session === undefined) return
    const decoder = decoding.createDecoder(bytes)
    switch (decoding.readVarUint(decoder)) {
      case 0:
        return this.receiveSync(peer, session, decoder)
      case 102:
        this.questions.push(bytes)
        session.waiting.push(bytes)
        return this.answerWhatIsDurable(peer, session, false)
    }
  }

  private receiveSync(peer: Peer, session: Session, decoder: decoding.Decoder): void {
    const type = decoding.readVarUint(decoder)
    const payload = decoding.readVarUint8Array(decoder)
    if (type === 0) return peer.send(frame(0, (e) => sync.writeSyncStep2(e, this.memory, payload)))
    if (type === 1) session.joined = true
    if (session.readOnly) return
    Y.applyUpdate(this.memory, payload)
    for (const other of this.sessions.keys()) other.send(frame(0, (e) => sync.writeUpdate(e, payload)))
  }

  /** An fsync: everything in memory is durable, and those who waited hear it. */
  store(): void {
    Y.applyUpdate(this.durable, Y.encodeStateAsUpdate(this.memory))
    for (const [peer, session] of this.sessions) this.answerWhatIsDurable(peer, session, true)
  }

  private answerWhatIsDurable(peer: Peer, session: Session, stored: boolean): void {
    if (this.answers === 'never') return
    if (this.answers === 'honestly' && (!session.joined || this.memory.store.pendingStructs !== null)) return
    if (!stored && !same(this.memory, this.durable)) return
    const { waiting } = session
    session.waiting = []
    for (const question of waiting) peer.send(question)
  }

  /** Asks a peer again for what may be missing. */
  askForAll(peer: Peer): void {
    peer.send(frame(0, (e) => sync.writeSyncStep1(e, this.memory)))
  }

  leave(peer: Peer): void {
    this.sessions.delete(peer)
  }

  /** Losing power: what was only in memory is gone, and so are the connections. */
  crash(): void {
    this.sessions.clear()
    this.memory = new Y.Doc()
    Y.applyUpdate(this.memory, Y.encodeStateAsUpdate(this.durable))
  }
}

/** A network in one process: frames wait in queues until the test delivers them. */
export class Network {
  readonly sockets: FakeSocket[] = []
  reachable = true
  readOnly = false
  /** How each new connection is closed as soon as it is open; null lets it be. */
  refusal: { code: number; reason: string } | null = null

  constructor(readonly server: Server) {}

  /** A WebSocket class whose sockets belong to this network. */
  get WebSocket(): typeof WebSocket {
    const network = this
    return class extends FakeSocket {
      constructor() {
        super(network)
      }
    } as unknown as typeof WebSocket
  }

  /** Delivers everything, in both directions, until nothing is under way. */
  settle(): void {
    for (let moved = true; moved; ) {
      moved = false
      for (const socket of [...this.sockets]) {
        while (socket.step()) moved = true
      }
    }
  }

  drop(how?: { code: number; reason: string }): void {
    for (const socket of [...this.sockets]) socket.drop(how)
  }
}

export class FakeSocket implements Peer {
  static readonly OPEN = 1
  readonly OPEN = 1
  readyState = 0
  binaryType = 'arraybuffer'
  onopen: (() => void) | null = null
  onmessage: ((event: { data: ArrayBuffer }) => void) | null = null
  onclose: ((event: { code: number; reason: string }) => void) | null = null
  onerror: ((event: unknown) => void) | null = null
  readonly toServer: Uint8Array[] = []
  readonly toClient: Uint8Array[] = []

  constructor(private readonly network: Network) {
    network.sockets.push(this)
  }

  /** One step of the network for this socket; false if there is nothing to do. */
  step(): boolean {
    return this.open() || this.deliverToServer() || this.deliverToClient()
  }

  open(): boolean {
    if (this.readyState !== 0) return false
    if (!this.network.reachable) return this.drop()
    this.readyState = 1
    if (this.network.refusal !== null) {
      this.onopen?.()
      return this.drop(this.network.refusal)
    }
    this.network.server.accept(wire(this), { readOnly: this.network.readOnly })
    this.onopen?.()
    return true
  }

  deliverToServer(): boolean {
    const bytes = this.toServer.shift()
    if (bytes === undefined) return false
    this.network.server.receive(wire(this), bytes)
    return true
  }

  deliverToClient(): boolean {
    const bytes = this.toClient.shift()
    if (bytes === undefined || this.readyState !== 1) return false
    this.onmessage?.({ data: bytes.slice().buffer })
    return true
  }

  drop(how = { code: 1006, reason: '' }): true {
    this.readyState = 3
    this.network.sockets.splice(this.network.sockets.indexOf(this), 1)
    this.network.server.leave(wire(this))
    this.onclose?.(how)
    return true
  }

  /** As a browser's socket: the provider's frame. */
  send(bytes: Uint8Array): void {
    if (this.readyState === 1) this.toServer.push(bytes)
  }

  close(): void {
    if (this.readyState !== 3) this.drop()
  }
}

const wires = new WeakMap<FakeSocket, Peer>()

/** The server's end of a fake socket. */
export function wire(socket: FakeSocket): Peer {
  const known = wires.get(socket)
  if (known !== undefined) return known
  const peer: Peer = { send: (bytes) => void socket.toClient.push(bytes) }
  wires.set(socket, peer)
  return peer
}

export function same(a: Y.Doc, b: Y.Doc): boolean {
  return Y.equalSnapshots(Y.snapshot(a), Y.snapshot(b))
}

export function frame(type: number, write: (encoder: encoding.Encoder) => void): Uint8Array {
  const encoder = encoding.createEncoder()
  encoding.writeVarUint(encoder, type)
  write(encoder)
  return encoding.toUint8Array(encoder)
}
