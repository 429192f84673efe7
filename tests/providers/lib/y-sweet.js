// y-sweet's client, unmodified, and the connections that it makes.
import WebSocket from 'ws'
import * as Y from 'yjs'
import { createYjsProvider } from '@y-sweet/client'
import { DocumentManager } from '@y-sweet/sdk'

import { until } from '../../lib/wait.mjs'

export const serverToken = 'server-token-of-thirty-two-bytes+/='

/** What an application's back end is given: `ys://TOKEN@host`. */
export const connectionString = (server, token = serverToken) =>
  `ys://${token ? `${encodeURIComponent(token)}@` : ''}${server.address}`

export const manager = (server, token) => new DocumentManager(connectionString(server, token))

/**
 * A document with a provider on it, destroyed when the test ends. `authEndpoint` is the provider's: a function that
 * returns a client token.
 */
export function connect(t, name, authEndpoint, options = {}) {
  const doc = options.doc ?? new Y.Doc()
  const client = { doc, text: doc.getText('text'), opened: 0, closes: [], heard: [], said: [], asked: 0, statuses: [] }
  class Tapped extends WebSocket {
    constructor(url) {
      super(url)
      client.socket = this
      client.url = url
      this.on('open', () => { client.opened++ })
      this.on('message', data => client.heard.push(Buffer.from(data)))
      this.on('close', (code, reason) => client.closes.push({ code, reason: reason.toString() }))
      this.on('error', () => {})
    }

    send(data) {
      client.said.push(Buffer.from(data))
      super.send(data)
    }
  }
  const ask = () => { client.asked++; return authEndpoint() }
  const provider = createYjsProvider(doc, name, ask, { WebSocketPolyfill: Tapped, showDebuggerLink: false, ...options })
  client.provider = provider
  provider.on('connection-status', status => client.statuses.push(status))
  client.leave = () => {
    client.leave = () => {}
    end(provider)
    doc.destroy()
  }
  t.after(() => client.leave())
  return client
}

/** Ends a provider, which has no end of its own: what is destroyed connects again. */
export function end(provider) {
  provider.connect = async () => {}
  provider.ensureClientToken = () => new Promise(() => {})
  provider.reconnectSleeper?.wake()
  provider.disconnect()
  provider.destroy()
  provider.awareness.destroy()
  provider.clearHeartbeat()
  provider.clearConnectionTimeout()
}

/** The same for a page that an application's back end gives a client token, with what it asks for. */
export function open(t, server, name, asks = {}, options = {}) {
  const { token, ...rest } = options
  return connect(t, name, () => manager(server, token).getOrCreateDocAndToken(name, asks), rest)
}

export const synced = (...clients) => until('all are synced', () => clients.every(({ provider }) => provider.synced))

/** Resolves when the server has confirmed all that these clients wrote. */
export const saved = (...clients) => until('all is saved', () =>
  clients.every(({ provider }) => provider.synced && !provider.hasLocalChanges))

/** What `client` knows of the presence of `other`. */
export const seen = (client, other) => client.provider.awareness.getStates().get(other.doc.clientID)

/** The questions whether all is saved that a client has sent, and the answers that have come. */
export const questions = ({ said }) => said.filter(message => message[0] === 102).length
export const answers = ({ heard }) => heard.filter(message => message[0] === 102).length
