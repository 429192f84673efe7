// The stock providers, unmodified, three major versions of them.
import WebSocket from 'ws'
import * as Y from 'yjs'
import { WebsocketProvider as Version1 } from 'y-websocket-1'
import { WebsocketProvider as Version2 } from 'y-websocket-2'
import { WebsocketProvider as Version3 } from 'y-websocket-3'

import { until } from '../../lib/wait.mjs'

export const versions = { 'y-websocket 1.5.4': Version1, 'y-websocket 2.1.0': Version2, 'y-websocket 3.1.0': Version3 }
export const newest = Version3

/** A document with a provider on it, destroyed when the test ends; `options` are the provider's. */
export function connect(t, Provider, server, name, options = {}, docOptions = {}) {
  const doc = new Y.Doc(docOptions)
  const provider = new Provider(server.url, name, doc, { WebSocketPolyfill: WebSocket, disableBc: true, ...options })
  const client = { doc, provider, closes: [], text: doc.getText('text') }
  provider.on('connection-close', event => { if (event) client.closes.push({ code: event.code, reason: event.reason }) })
  provider.on('connection-error', () => {})
  t.after(() => { provider.destroy(); doc.destroy() })
  return client
}

export const synced = (...clients) => until('all are synced', () => clients.every(({ provider }) => provider.synced))

export const same = (...clients) => until('all have the same text', () =>
  new Set(clients.map(({ text }) => text.toString())).size === 1)

/** Answers message 102: resolves when all that this client sent so far is durable. */
export function saved(client) {
  client.asked ??= 0
  client.answered ??= -1
  const version = client.asked++
  const { provider } = client
  provider.messageHandlers[102] = (_encoder, decoder) => {
    const length = decoder.arr[decoder.pos++]
    let value = 0
    for (let i = 0; i < length; i++) value |= (decoder.arr[decoder.pos++] & 127) << (7 * i)
    client.answered = Math.max(client.answered, value)
  }
  const bytes = []
  for (let rest = version; ; rest >>>= 7) {
    if (rest < 128) { bytes.push(rest); break }
    bytes.push((rest & 127) | 128)
  }
  provider.ws.send(new Uint8Array([102, bytes.length, ...bytes]))
  return until(`version ${version} is durable`, () => client.answered >= version)
}
