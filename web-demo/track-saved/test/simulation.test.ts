// Whatever the order of events: who says "saved" is right.
//
// Two browsers, one of them with two tabs, real providers of all versions, and a server that stores
// when it likes and loses power at any moment. The seed is in every message; a seed that ever failed
// becomes a test of its own.

import assert from 'node:assert/strict'
import { afterEach, beforeEach, mock, test } from 'node:test'

import { WebsocketProvider as Provider1 } from 'y-websocket-1'
import { WebsocketProvider as Provider2 } from 'y-websocket-2'
import { WebsocketProvider as Provider3 } from 'y-websocket-3'
import * as Y from 'yjs'

import { trackSaved } from '../track-saved.js'
import { type Answers, Network, Server } from './model.js'

// More after a change: CONTRIBUTING.md.
const SEEDS = Number(process.env['SEEDS'] ?? 60)
const STEPS = 400

beforeEach(() => mock.timers.enable({ apis: ['setTimeout', 'setInterval'] }))
afterEach(() => mock.timers.reset())

for (const [version, Provider] of Object.entries({ '1.5': Provider1, '2.1': Provider2, '3.1': Provider3 })) {
  for (const answers of ['honestly', 'without waiting for SyncStep2'] satisfies Answers[]) {
    test(`w1_in_every_order_of_events_saved_is_true (y-websocket ${version}, answering ${answers})`, () => {
      let saidSaved = 0
      for (let seed = 1; seed <= SEEDS; seed++) saidSaved += simulate(seed, Provider, answers)
      assert.ok(saidSaved > SEEDS * 10, `a simulation in which nothing is saved proves nothing: ${saidSaved}`)
    })
  }
}

/** Returns how often "saved" was said and true. */
function simulate(seed: number, Provider: typeof Provider3 | typeof Provider2 | typeof Provider1, answers: Answers): number {
  const random = randomOf(seed)
  const server = new Server()
  server.answers = answers
  const network = new Network(server)
  const names = [`x${seed}`, `x${seed}`, `y${seed}`]
  const tabs = names.map((browser, index) => {
    const doc = new Y.Doc()
    doc.clientID = index + 1
    const provider = new Provider(`ws://${browser}`, 'doc', doc, { WebSocketPolyfill: network.WebSocket })
    return { doc, provider, saved: trackSaved(provider), written: [] as string[], browser }
  })
  const log: string[] = []
  let keys = 0
  let saidSaved = 0

  const events: [string, number, () => void][] = [
    ['edit', 6, () => {
      const tab = pick(tabs, random)
      const key = `k${keys++}`
      // Tabs of one browser hear of it at once.
      for (const other of tabs) if (other.browser === tab.browser) other.written.push(key)
      tab.doc.getMap('notes').set(key, true)
    }],
    ['network', 30, () => void (network.sockets.length > 0 && pick(network.sockets, random).step())],
    ['to server', 20, () => void (network.sockets.length > 0 && pick(network.sockets, random).deliverToServer())],
    ['to client', 20, () => void (network.sockets.length > 0 && pick(network.sockets, random).deliverToClient())],
    ['store', 5, () => server.store()],
    ['time', 20, () => mock.timers.tick(pick([1, 5, 20, 300, 6_000], random))],
    ['drop', 1, () => void (network.sockets.length > 0 && pick(network.sockets, random).drop())],
    ['cut', 1, () => { network.reachable = !network.reachable }],
    ['crash', 1, () => { server.crash(); network.drop() }],
  ]
  const weighted = events.flatMap(([name, weight, run]) => Array.from({ length: weight }, () => [name, run] as const))

  const check = (): void => {
    for (const [index, { saved, written }] of tabs.entries()) {
      if (saved.state !== 'saved') continue
      saidSaved++
      const durable = server.durable.getMap('notes')
      const missing = written.filter((key) => !durable.has(key))
      assert.deepEqual(missing, [], `seed ${seed}: tab ${index} says saved; ${log.slice(-40).join(', ')}`)
    }
  }

  for (let step = 0; step < STEPS; step++) {
    const [name, run] = pick(weighted, random)
    log.push(name)
    run()
    check()
  }

  network.reachable = true
  for (let round = 0; round < 30; round++) {
    mock.timers.tick(1_000)
    network.settle()
    server.store()
    network.settle()
    check()
  }
  assert.deepEqual(tabs.map(({ saved }) => saved.state), ['saved', 'saved', 'saved'], `seed ${seed}: all is well, all is saved`)
  for (const { provider, saved } of tabs) {
    saved.destroy()
    provider.destroy()
  }
  return saidSaved
}

/** mulberry32 */
function randomOf(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

function pick<T>(items: readonly T[], random: () => number): T {
  return items[Math.floor(random() * items.length)]!
}
