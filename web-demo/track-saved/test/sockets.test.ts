// The main road over real sockets, with every provider version.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'

import { WebSocket, WebSocketServer } from 'ws'
import { WebsocketProvider as Provider1 } from 'y-websocket-1'
import { WebsocketProvider as Provider2 } from 'y-websocket-2'
import { WebsocketProvider as Provider3 } from 'y-websocket-3'
import * as Y from 'yjs'

import { trackSaved } from '../track-saved.js'
import { type Peer, Server } from './model.js'

/** Resolves when `condition()` holds; the limit only ends a test that has already failed. */
async function until(what: string, condition: () => boolean): Promise<void> {
  const end = Date.now() + 20_000
  while (!condition()) {
    assert.ok(Date.now() < end, `still waiting after 20 s: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
}

for (const [version, Provider] of Object.entries({ '1.5': Provider1, '2.1': Provider2, '3.1': Provider3 })) {
  test(`w1_over_real_sockets_saved_is_said_when_it_is_true (y-websocket ${version})`, async (t) => {
    const server = new Server()
    const sockets = new WebSocketServer({ host: '127.0.0.1', port: 0 })
    sockets.on('connection', (socket) => {
      const peer: Peer = { send: (bytes) => socket.send(bytes) }
      server.accept(peer)
      socket.on('message', (bytes: Buffer) => server.receive(peer, new Uint8Array(bytes)))
      socket.on('close', () => server.leave(peer))
    })
    await once(sockets, 'listening')
    const { port } = sockets.address() as AddressInfo
    const doc = new Y.Doc()
    const provider = new Provider(`ws://127.0.0.1:${port}`, 'doc', doc, {
      WebSocketPolyfill: WebSocket as unknown as typeof globalThis.WebSocket,
      disableBc: true,
    })
    const saved = trackSaved(provider)
    t.after(() => {
      saved.destroy()
      provider.destroy()
      doc.destroy()
      sockets.close()
    })
    const reached = (state: string) => until(`it is ${state}`, () => saved.state === state)

    await reached('saved')
    doc.getMap('notes').set('a', '1')
    assert.equal(saved.state, 'saving')
    await until('it has asked again', () => server.questions.length === 2)
    assert.equal(saved.state, 'saving')
    server.store()
    await reached('saved')
    assert.equal(server.durable.getMap('notes').get('a'), '1')
    for (const socket of sockets.clients) socket.terminate()
    await reached('offline')
    doc.getMap('notes').set('b', '1')
    await until('the server has what was written offline', () => server.memory.getMap('notes').get('b') === '1')
    server.store()
    await reached('saved')

    assert.equal(server.durable.getMap('notes').get('b'), '1')
  })
}
