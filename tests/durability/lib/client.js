// One connection with the wire of y-websocket (sync, awareness, 102) and a real Yjs document, without a
// provider's reconnecting: a test decides when a connection begins and ends.
import WebSocket from 'ws'
import * as decoding from 'lib0/decoding'
import * as encoding from 'lib0/encoding'
import * as awarenessProtocol from 'y-protocols/awareness'
import * as sync from 'y-protocols/sync'
import * as Y from 'yjs'

import { Watched } from './watched.js'

const SYNC = 0
const AWARENESS = 1
const SAVED = 102

export class Client extends Watched {
  /** `doc` may be one that was connected before: what the server lacks of it is sent. */
  constructor(url, name, { doc = new Y.Doc(), awareness = false } = {}) {
    super(name, doc)
    this.asked = 0
    this.answered = 0
    this.pings = 0
    this.pongs = 0
    this.onSaved = () => {}
    // As they lie on the wire: what the server said its state is.
    this.serverUpdates = []
    this.onUpdate = (update, origin) => {
      if (origin !== this) this.send(SYNC, encoder => sync.writeUpdate(encoder, update))
    }
    doc.on('update', this.onUpdate)
    if (awareness) {
      this.awareness = new awarenessProtocol.Awareness(doc)
      this.awareness.on('update', ({ added, updated, removed }, origin) => {
        if (origin === this) return
        const changed = [...added, ...updated, ...removed]
        this.send(AWARENESS, encoder =>
          encoding.writeVarUint8Array(encoder, awarenessProtocol.encodeAwarenessUpdate(this.awareness, changed)))
      })
    }
    this.ws = new WebSocket(`${url}/${encodeURIComponent(name)}`, { perMessageDeflate: false })
    this.ws.binaryType = 'arraybuffer'
    this.ws.on('open', () => this.send(SYNC, encoder => sync.writeSyncStep1(encoder, doc)))
    this.ws.on('message', message => this.hear(new Uint8Array(message)))
    this.ws.on('pong', () => {
      this.pongs++
      this.changed()
    })
    this.ws.on('error', error => { this.error = error })
    this.ws.on('close', (code, reason) => {
      this.close = { code, reason: reason.toString() }
      doc.off('update', this.onUpdate)
      this.changed()
    })
  }

  send(type, write) {
    if (this.ws.readyState !== WebSocket.OPEN) return
    const encoder = encoding.createEncoder()
    encoding.writeVarUint(encoder, type)
    write(encoder)
    this.ws.send(encoding.toUint8Array(encoder))
  }

  hear(message) {
    const decoder = decoding.createDecoder(message)
    switch (decoding.readVarUint(decoder)) {
      case SYNC: {
        const step = decoding.readVarUint(decoder)
        const payload = decoding.readVarUint8Array(decoder)
        if (step === sync.messageYjsSyncStep1) {
          const missing = Y.encodeStateAsUpdate(this.doc, payload)
          this.send(SYNC, encoder => {
            encoding.writeVarUint(encoder, sync.messageYjsSyncStep2)
            encoding.writeVarUint8Array(encoder, missing)
          })
        } else {
          Y.applyUpdate(this.doc, payload, this)
          this.synced ||= step === sync.messageYjsSyncStep2
        }
        break
      }
      case AWARENESS:
        if (this.awareness) {
          awarenessProtocol.applyAwarenessUpdate(this.awareness, decoding.readVarUint8Array(decoder), this)
        }
        break
      case SAVED: {
        const version = decoding.readVarUint(decoding.createDecoder(decoding.readVarUint8Array(decoder)))
        this.answered = Math.max(this.answered, version)
        this.onSaved(version)
        break
      }
    }
    this.changed()
  }

  /** Asks to be told when all that was sent so far is durable; returns the number of the question. */
  askSaved() {
    const version = ++this.asked
    const payload = encoding.createEncoder()
    encoding.writeVarUint(payload, version)
    this.send(SAVED, encoder => encoding.writeVarUint8Array(encoder, encoding.toUint8Array(payload)))
    return version
  }

  async saved() {
    const version = this.askSaved()
    await this.when('what was sent is durable', () => this.answered >= version)
  }

  /** Resolves when the server has read all that was sent before: it answers a ping when its turn comes. */
  async whenRead(limitMs) {
    const number = ++this.pings
    this.ws.ping()
    await this.when('what was sent is read', () => this.pongs >= number, limitMs)
  }

  /** Hangs up; the document stays. */
  end() {
    this.awareness?.destroy()
    this.doc.off('update', this.onUpdate)
    this.ws.terminate()
  }
}
