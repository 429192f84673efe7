// Writers whose edits a stock provider carries and calls saved: what it says is what the oracle holds the server to.
import { HocuspocusProvider, HocuspocusProviderWebsocket } from '@hocuspocus/provider'
import { createYjsProvider } from '@y-sweet/client'
import WebSocket from 'ws'

import { Writer } from './oracle.js'
import { Watched } from './watched.js'

/** What a provider's connection looks like to a writer. */
class Connection extends Watched {
  /** `starts` is given a WebSocket that is watched, and returns what ends the provider. */
  constructor(name, doc, starts) {
    super(name, doc)
    const connection = this
    this.ws = { readyState: WebSocket.OPEN }
    this.stop = starts(class extends WebSocket {
      constructor(...args) {
        super(...args)
        this.on('error', error => { connection.error = error })
        this.on('close', (code, reason) => connection.ended(code, reason.toString()))
      }
    })
  }

  /** The first connection counts: a provider that came back by itself would be judged by the next round. */
  ended(code, reason) {
    if (this.close) return
    this.close = { code, reason }
    this.ws.readyState = WebSocket.CLOSED
    this.changed()
  }

  end() {
    this.stop()
    this.ended(1006, 'the test hung up')
  }
}

/** Through Hocuspocus' provider: saved is what leaves no unsynced changes. */
export class HocuspocusWriter extends Writer {
  connect(url) {
    this.client = new Connection(this.document, this.doc, WebSocketPolyfill => {
      const websocketProvider = new HocuspocusProviderWebsocket({
        url: url.replace(/\/ws$/, '/hocuspocus'), WebSocketPolyfill, autoConnect: false,
      })
      const provider = new HocuspocusProvider({ websocketProvider, name: this.document, document: this.doc, awareness: null, token: null })
      provider.on('synced', () => {
        this.client.synced = true
        this.client.changed()
      })
      provider.on('unsyncedChanges', ({ number }) => {
        if (number === 0 && !this.client.close) this.acknowledge(this.line.sent)
      })
      provider.attach()
      websocketProvider.connect()
      return () => {
        websocketProvider.connect = async () => {}
        provider.destroy()
        websocketProvider.destroy()
      }
    })
    return this.client.whenSynced()
  }

  /** The provider asks by itself. */
  ask() {}
}

/** Ends a provider of y-sweet, which has no end of its own: what is destroyed connects again. */
export function endYSweet(provider) {
  provider.connect = async () => {}
  provider.ensureClientToken = () => new Promise(() => {})
  provider.reconnectSleeper?.wake()
  provider.disconnect()
  provider.destroy()
  provider.awareness.destroy()
  provider.clearHeartbeat()
  provider.clearConnectionTimeout()
}

/** Through y-sweet's client: saved is what leaves no local changes. */
export class YSweetWriter extends Writer {
  connect(url) {
    this.client = new Connection(this.document, this.doc, WebSocketPolyfill => {
      const address = url.replace(/\/ws$/, `/d/${encodeURIComponent(this.document)}/ws`)
      const clientToken = { url: address, docId: this.document }
      const provider = createYjsProvider(this.doc, this.document, async () => clientToken, {
        WebSocketPolyfill, connect: false, showDebuggerLink: false,
      })
      provider.on('synced', isSynced => {
        if (!isSynced) return
        this.client.synced = true
        this.client.changed()
      })
      provider.on('local-changes', hasChanges => {
        if (!hasChanges && !this.client.close) this.acknowledge(this.line.sent)
      })
      provider.connect()
      return () => endYSweet(provider)
    })
    return this.client.whenSynced()
  }

  /** The provider asks by itself. */
  ask() {}
}
