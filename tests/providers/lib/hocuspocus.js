// The stock providers of Hocuspocus, unmodified, three major versions of them, and their wire byte by byte.
import * as version2 from 'hocuspocus-2'
import * as version3 from 'hocuspocus-3'
import * as version4 from 'hocuspocus-4'
import WebSocket from 'ws'
import * as Y from 'yjs'

import { until, within } from '../../lib/wait.mjs'
import { string } from './wire.js'

export const versions = { 'hocuspocus 2.15.3': version2, 'hocuspocus 3.4.4': version3, 'hocuspocus 4.8.0': version4 }
export const newest = version4

/** Kinds of message, after the address. */
export const SYNC = 0
export const AWARENESS = 1
export const AUTH = 2
export const STATELESS = 5
export const BROADCAST_STATELESS = 6
export const CLOSE = 7
export const SYNC_STATUS = 8
export const PING = 9

/** Where the server speaks Hocuspocus; `below` is a path below that. */
export const address = (server, below = '') => `ws://${server.address}/hocuspocus${below}`

/** A message: to or from which document, of which kind, and the bytes that follow. */
function read(data) {
  const bytes = Buffer.from(data)
  let [length, at] = [0, 0]
  for (let shift = 0; ; shift += 7) {
    length |= (bytes[at] & 127) << shift
    if (bytes[at++] < 128) break
  }
  return { name: bytes.toString('utf8', at, at + length), type: bytes[at + length], content: bytes.subarray(at + length + 1) }
}

/** A message to a document: its kind, and what follows. */
export const frame = (name, type, content = []) => Buffer.from([...string(name), type, ...content])

/** The same for the messages of `wire.js`, which begin with their kind. */
export const addressed = (name, message) => Buffer.concat([Buffer.from(string(name)), message])

export const auth = (name, token) => frame(name, AUTH, [0, ...string(token)])

/** A provider's socket, for any number of documents, with all that went over its connections. */
export function connectSocket(t, { HocuspocusProviderWebsocket }, url) {
  const wire = { opened: 0, closes: [], said: [], heard: [] }
  class Tapped extends WebSocket {
    constructor(...args) {
      super(...args)
      wire.socket = this
      this.on('open', () => { wire.opened++ })
      this.on('message', data => wire.heard.push(read(data)))
      this.on('close', (code, reason) => wire.closes.push({ code, reason: reason.toString() }))
      this.on('error', () => {})
    }

    send(data, ...rest) {
      wire.said.push(read(data))
      super.send(data, ...rest)
    }
  }
  wire.provider = new HocuspocusProviderWebsocket({ url, WebSocketPolyfill: Tapped, quiet: true })
  wire.end = () => {
    // Of version 3, a timer that it does not stop would connect it again.
    wire.provider.connect = async () => {}
    wire.provider.destroy()
  }
  t.after(wire.end)
  return wire
}

/** A document with a provider on it, on a socket of its own unless `wire` is given; the other options are the provider's. */
export function connect(t, version, server, name, { wire, ...options } = {}) {
  const doc = options.document ?? new Y.Doc()
  wire ??= connectSocket(t, version, address(server))
  const provider = new version.HocuspocusProvider({
    websocketProvider: wire.provider, name, document: doc, broadcast: false, quiet: true, ...options,
  })
  const client = { doc, provider, wire, text: doc.getText('text'), counts: [], granted: 0, refusals: [], stateless: [] }
  provider.on('unsyncedChanges', event => client.counts.push(event.number ?? event))
  provider.on('authenticated', () => { client.granted++ })
  provider.on('authenticationFailed', ({ reason }) => client.refusals.push(reason))
  provider.on('stateless', ({ payload }) => client.stateless.push(payload))
  client.leave = () => {
    client.leave = () => {}
    provider.destroy()
    doc.destroy()
  }
  t.after(() => client.leave())
  // Version 2 attaches itself.
  provider.attach?.()
  return client
}

export const synced = (...clients) => until('all are synced', () => clients.every(({ provider }) => provider.synced))

/** Resolves when the server has acknowledged all that these clients wrote. */
export const settled = (...clients) => until('all is acknowledged', () =>
  clients.every(({ provider }) => provider.synced && provider.unsyncedChanges === 0))

/** The acknowledgements that have come for a document: 1 is saved, 0 is not taken. */
export const statuses = ({ heard }, document) =>
  heard.filter(({ name, type }) => name === document && type === SYNC_STATUS).map(({ content }) => content[0])

/** What `client` knows of the presence of `other`. */
export const seen = (client, other) => client.provider.awareness.getStates().get(other.doc.clientID)

/** A socket that says what a test tells it, with all that it heard; ended when the test ends. */
export async function speaker(t, server, url = address(server)) {
  const socket = new WebSocket(url)
  const speaker = { socket, heard: [], say: bytes => socket.send(bytes) }
  speaker.closed = new Promise(resolve => socket.once('close', (code, reason) => {
    speaker.code = code
    resolve({ code, reason: reason.toString() })
  }))
  socket.on('message', data => speaker.heard.push(read(data)))
  socket.on('error', () => {})
  t.after(() => socket.terminate())
  await within('the connection is open', new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject)))
  return speaker
}
