// trackSaved against real providers. The network is a model whose every step a test decides, so
// that each order of events can be had; `sockets.test.ts` repeats the main road over real sockets.

import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, mock, test } from 'node:test'

import { WebsocketProvider as Provider1 } from 'y-websocket-1'
import { WebsocketProvider as Provider2 } from 'y-websocket-2'
import { WebsocketProvider as Provider3 } from 'y-websocket-3'
import * as Y from 'yjs'

import { type Saved, trackSaved } from '../track-saved.js'
import { frame, Network, Server, wire } from './model.js'

const PROVIDERS = { '1.5': Provider1, '2.1': Provider2, '3.1': Provider3 }
const RECONNECT_MS = 3_000

const opened: { destroy(): void }[] = []

beforeEach(() => mock.timers.enable({ apis: ['setTimeout', 'setInterval'] }))
afterEach(() => {
  for (const provider of opened.splice(0)) provider.destroy()
  mock.timers.reset()
})

/** Two updates of which the second builds on the first. */
function twoEdits(): [Uint8Array, Uint8Array] {
  const doc = new Y.Doc()
  const updates: Uint8Array[] = []
  doc.on('update', (update) => updates.push(update))
  doc.getText('text').insert(0, 'one')
  doc.getText('text').insert(3, ' two')
  return [updates[0]!, updates[1]!]
}

for (const [version, Provider] of Object.entries(PROVIDERS)) {
  describe(`y-websocket ${version}`, () => {
    function setup({ browser = 'a', server = new Server(), network = new Network(server), disableBc = true } = {}) {
      const doc = new Y.Doc()
      const provider = new Provider(`ws://${browser}`, 'doc', doc, { WebSocketPolyfill: network.WebSocket, disableBc })
      opened.push(provider)
      const clock = { ms: 1_000 }
      const saved = trackSaved(provider, { now: () => clock.ms })
      const states: string[] = []
      saved.subscribe(({ state }) => states.push(state))
      const notes = doc.getMap<string>('notes')
      return { doc, provider, server, network, clock, saved, states, notes }
    }

    /** Lets timers of up to `ms` fire, delivers all frames, and stores if asked to. */
    function run(network: Network, { ms = 20, store = true } = {}) {
      for (let round = 0; round < 4; round++) {
        network.settle()
        if (store) network.server.store()
        network.settle()
        mock.timers.tick(ms / 4)
      }
    }

    test('w1_saved_is_said_once_everything_is_durable_and_not_before', () => {
      const { network, server, saved, states, notes } = setup()
      run(network)
      assert.equal(saved.state, 'saved')

      notes.set('a', '1')
      assert.equal(saved.state, 'saving')
      run(network, { store: false })
      assert.equal(server.memory.getMap('notes').get('a'), '1')
      assert.equal(saved.state, 'saving')
      run(network)

      assert.equal(server.durable.getMap('notes').get('a'), '1')
      assert.deepEqual(states, ['connecting', 'saving', 'saved', 'saving', 'saved'])
    })

    test('w2_an_answer_to_an_older_question_is_no_answer', () => {
      const { network, server, saved, notes } = setup()
      run(network)
      const old = server.questions.at(-1)!

      notes.set('a', '1')
      run(network, { store: false })
      network.sockets[0]!.toClient.push(old)
      network.settle()

      assert.equal(saved.state, 'saving')
    })

    test('w3_one_question_is_under_way_and_the_next_covers_all_that_came_meanwhile', () => {
      const { network, server, saved, notes } = setup()
      run(network)
      const before = server.questions.length

      notes.set('a', '1')
      mock.timers.tick(10)
      for (let i = 0; i < 50; i++) {
        notes.set('b', `${i}`)
        mock.timers.tick(20)
        network.settle()
      }
      assert.equal(server.questions.length - before, 1)
      server.store()
      network.sockets[0]!.deliverToClient()
      notes.set('c', '1')
      assert.equal(saved.state, 'saving')
      run(network)

      assert.equal(server.questions.length - before, 2)
      assert.equal(saved.state, 'saved')
    })

    test('w3_an_edit_while_a_question_is_under_way_is_not_covered_by_it', () => {
      const { network, server, saved, notes } = setup()
      run(network)

      notes.set('a', '1')
      mock.timers.tick(10)
      notes.set('b', '1')
      const socket = network.sockets[0]!
      while (server.memory.getMap('notes').get('a') === undefined) socket.deliverToServer()
      socket.deliverToServer()
      server.store()
      while (socket.deliverToClient());

      assert.equal(server.durable.getMap('notes').get('b'), undefined)
      assert.equal(saved.state, 'saving')
    })

    test('w4_a_new_connection_knows_nothing_and_offline_edits_are_saved_when_they_are', () => {
      const { network, server, saved, notes } = setup()
      run(network)
      network.reachable = false
      network.drop()
      assert.equal(saved.state, 'offline')
      notes.set('offline', '1')

      network.reachable = true
      run(network, { ms: RECONNECT_MS * 4, store: false })
      assert.notEqual(saved.state, 'saved')
      run(network)

      assert.equal(server.durable.getMap('notes').get('offline'), '1')
      assert.equal(saved.state, 'saved')
    })

    test('w4_the_first_question_follows_the_answer_to_the_servers_sync_step_1', () => {
      const { network, server, saved, notes } = setup()
      server.answers = 'without waiting for SyncStep2'
      notes.set('before', '1')
      const socket = network.sockets[0]!
      socket.open()
      mock.timers.tick(100)
      while (socket.deliverToServer());
      assert.equal(server.questions.length, 0)
      assert.equal(saved.state, 'connecting')

      run(network)

      assert.equal(server.durable.getMap('notes').get('before'), '1')
      assert.equal(saved.state, 'saved')
    })

    test('w4_a_server_that_asks_again_has_not_confirmed', () => {
      const { network, server, saved } = setup()
      run(network)

      server.askForAll(wire(network.sockets[0]!))
      network.sockets[0]!.deliverToClient()
      assert.equal(saved.state, 'saving')
      run(network)

      assert.equal(saved.state, 'saved')
    })

    test('w4_what_the_server_lost_in_a_crash_is_saving_again_until_it_is_durable', () => {
      const { network, server, saved, notes } = setup()
      run(network)
      notes.set('a', '1')
      run(network, { store: false })

      server.crash()
      network.drop()
      run(network, { ms: RECONNECT_MS * 4, store: false })
      assert.notEqual(saved.state, 'saved')
      run(network)

      assert.equal(server.durable.getMap('notes').get('a'), '1')
      assert.equal(saved.state, 'saved')
    })

    test('w4_a_provider_that_is_already_open_can_be_handed_over', () => {
      const server = new Server()
      const network = new Network(server)
      const doc = new Y.Doc()
      const provider = new Provider('ws://a', 'doc', doc, { WebSocketPolyfill: network.WebSocket, disableBc: true })
      opened.push(provider)
      doc.getMap('notes').set('a', '1')
      network.settle()

      const saved = trackSaved(provider)
      assert.equal(saved.state, 'saving')
      run(network, { store: false })
      assert.equal(saved.state, 'saving')
      run(network)

      assert.equal(saved.state, 'saved')
    })

    test('w4_a_load_from_this_browser_is_unsaved_until_the_server_has_it', () => {
      const { doc, network, server, saved } = setup()
      run(network)
      const stored = new Y.Doc()
      stored.getMap('notes').set('kept', '1')

      Y.applyUpdate(doc, Y.encodeStateAsUpdate(stored), 'y-indexeddb')
      assert.equal(saved.state, 'saving')
      run(network)

      assert.equal(server.durable.getMap('notes').get('kept'), '1')
      assert.equal(saved.state, 'saved')
    })

    test('w5_what_another_tab_brought_is_passed_on_and_saved_when_it_is', () => {
      const unreachable = new Network(new Server())
      unreachable.reachable = false
      const cutOff = setup({ browser: 'tabs', network: unreachable, disableBc: false })
      const { network, server, saved, notes } = setup({ browser: 'tabs', disableBc: false })
      unreachable.settle()
      run(network)
      assert.equal(saved.state, 'saved')

      cutOff.notes.set('a', '1')
      assert.equal(notes.get('a'), '1')
      assert.equal(saved.state, 'saving')
      run(network)

      assert.equal(server.durable.getMap('notes').get('a'), '1')
      assert.equal(saved.state, 'saved')
      assert.equal(cutOff.saved.state, 'offline')
    })

    test('w5_an_answer_that_came_over_another_tab_is_no_answer', () => {
      const { provider, network, server, saved, notes } = setup()
      run(network)
      notes.set('a', '1')
      run(network, { store: false })
      const question = server.questions.at(-1)!

      provider._bcSubscriber(question.slice().buffer, 'another tab')

      assert.equal(saved.state, 'saving')
    })

    test('w5_edits_of_others_that_the_server_sent_are_not_ours_to_save', () => {
      const { network, server, states, notes } = setup()
      run(network)
      const other = setup({ browser: 'b', server, network })
      run(network)
      const before = states.length

      other.notes.set('theirs', '1')
      run(network, { store: false })

      assert.equal(notes.get('theirs'), '1')
      assert.equal(states.length, before)
    })

    test('w6_a_server_that_never_answers_is_never_taken_as_saved', () => {
      const server = new Server()
      server.answers = 'never'
      const { network, states, notes } = setup({ server })
      notes.set('a', '1')

      run(network, { ms: 20_000 })

      assert.deepEqual(states.filter((state, i) => state !== states[i - 1]), ['connecting', 'saving', 'unknown'])
    })

    test('w6_a_server_that_stops_storing_is_delayed_and_recovers', () => {
      const { network, saved, notes } = setup()
      run(network)

      notes.set('a', '1')
      mock.timers.tick(10)
      mock.timers.tick(4_999)
      assert.equal(saved.state, 'saving')
      mock.timers.tick(1)
      assert.equal(saved.state, 'delayed')
      run(network)

      assert.equal(saved.state, 'saved')
    })

    test('w7_a_reader_never_hears_saved', () => {
      const server = new Server()
      const network = new Network(server)
      network.readOnly = true
      const { states, notes, saved } = setup({ server, network })
      notes.set('left over', '1')

      run(network, { ms: 20_000 })
      notes.set('more', '1')
      run(network, { ms: 20_000 })

      assert.equal(server.questions.length, 0)
      assert.equal(saved.unsavedSince, 1_000)
      assert.deepEqual(states.filter((state, i) => state !== states[i - 1]), ['connecting', 'readonly'])
    })

    test('w7_a_refusal_for_another_reason_does_not_make_a_reader', () => {
      const { network, saved } = setup()
      run(network)

      const denied = Uint8Array.from([0, 4, ...new TextEncoder().encode('nope')])
      mock.method(console, 'warn', () => {})
      network.sockets[0]!.toClient.push(frame(2, (e) => denied.forEach((byte) => e.cbuf[e.cpos++] = byte)))
      run(network)

      assert.equal(saved.state, 'saved')
    })

    test('w8_a_lost_answer_is_asked_for_again', () => {
      const { network, server, saved, notes } = setup()
      run(network)
      notes.set('a', '1')
      run(network, { store: false })
      server.store()
      network.sockets[0]!.toClient.length = 0

      mock.timers.tick(5_000)
      run(network)

      assert.equal(saved.state, 'saved')
    })

    test('w45_an_answer_to_an_earlier_tracker_is_no_answer', () => {
      const { network, server, provider, saved, notes } = setup()
      run(network, { store: false })
      const old = server.questions.at(-1)!
      saved.destroy()

      const next = trackSaved(provider)
      notes.set('a', '1')
      run(network, { store: false })
      assert.equal(server.questions.length, 2)
      network.sockets[0]!.toClient.push(old)
      network.settle()
      assert.equal(next.state, 'saving')
      run(network)

      assert.equal(next.state, 'saved')
    })

    test('w45_a_tracker_that_has_ended_asks_nothing_although_another_goes_on', () => {
      const { network, server, provider, saved, notes } = setup()
      const other = trackSaved(provider)
      run(network)
      saved.destroy()
      const asked = server.questions.length

      notes.set('a', '1')
      server.askForAll(wire(network.sockets[0]!))
      run(network)

      assert.equal(other.state, 'saved')
      assert.equal(server.questions.length - asked, 1)
    })

    test('w9_destroy_leaves_the_provider_as_it_was', () => {
      const server = new Server()
      const network = new Network(server)
      const doc = new Y.Doc()
      const provider = new Provider('ws://a', 'doc', doc, { WebSocketPolyfill: network.WebSocket, disableBc: true })
      opened.push(provider)
      const handlers = [...provider.messageHandlers]
      const saved: Saved = trackSaved(provider)
      run(network)
      const asked = server.questions.length

      saved.destroy()
      doc.getMap('notes').set('a', '1')
      run(network, { ms: 20_000 })

      assert.deepEqual(Object.entries(provider.messageHandlers), Object.entries(handlers))
      assert.equal(server.questions.length, asked)
      assert.equal(server.durable.getMap('notes').get('a'), '1')
    })

    test('w11_a_gap_that_stays_is_incomplete_until_something_is_confirmed', () => {
      const { doc, network, server, saved, clock, notes } = setup()
      const [first, second] = twoEdits()
      Y.applyUpdate(doc, second)
      notes.set('a', '1')
      const ask = (ms: number): void => {
        clock.ms = ms
        server.askForAll(wire(network.sockets[0]!))
        run(network)
      }
      run(network)
      ask(2_000)
      assert.deepEqual([saved.state, saved.incompleteSince], ['saving', null])
      ask(12_000)
      assert.deepEqual([saved.state, saved.incompleteSince], ['incomplete', 2_000])
      ask(22_000)
      assert.deepEqual([saved.state, saved.incompleteSince], ['incomplete', 2_000])
      assert.equal(saved.unsavedSince, 1_000)

      Y.applyUpdate(server.memory, first)
      run(network)

      assert.equal(server.durable.getText('text').toString(), 'one two')
      assert.deepEqual([saved.state, saved.incompleteSince, saved.unsavedSince], ['saved', null, null])
    })

    test('w11_who_was_confirmed_is_incomplete_after_three_more_questions_of_the_server', () => {
      const { doc, network, server, saved, clock } = setup()
      run(network)
      assert.equal(saved.state, 'saved')
      const [, second] = twoEdits()
      Y.applyUpdate(doc, second)

      const states = [2_000, 12_000, 22_000].map((ms) => {
        clock.ms = ms
        server.askForAll(wire(network.sockets[0]!))
        run(network)
        return [saved.state, saved.incompleteSince]
      })

      assert.deepEqual(states, [['saving', null], ['saving', null], ['incomplete', 2_000]])
    })

    test('w11_a_new_connection_counts_anew', () => {
      const { doc, network, server, saved } = setup()
      Y.applyUpdate(doc, twoEdits()[1])
      run(network)
      for (let i = 0; i < 2; i++) {
        server.askForAll(wire(network.sockets[0]!))
        run(network)
      }
      assert.equal(saved.state, 'incomplete')

      network.drop()
      assert.deepEqual([saved.state, saved.incompleteSince], ['offline', null])
      run(network, { ms: RECONNECT_MS * 4 })

      assert.notEqual(saved.state, 'incomplete')
    })

    test('w12_a_final_code_is_refused_and_others_are_not', () => {
      for (const [code, state] of [[4399, 'offline'], [4400, 'refused'], [4499, 'refused'], [4500, 'offline'], [1009, 'offline']] as const) {
        const { network, saved, notes } = setup()
        run(network)
        notes.set('a', '1')

        network.drop({ code, reason: 'because' })

        assert.equal(saved.state, state, `${code}`)
        assert.deepEqual(saved.closed, { code, reason: 'because' })
        assert.equal(saved.unsavedSince, 1_000)
      }
    })

    test('w12_refused_lasts_until_the_server_lets_this_page_join', () => {
      const { network, provider, saved, states } = setup()
      network.refusal = { code: 4401, reason: 'expired' }
      // The older providers go on trying by themselves, the newest does when it is told to.
      for (let tries = 0; tries < 3; tries++) {
        run(network, { ms: RECONNECT_MS * 4 })
        provider.connect()
      }
      assert.deepEqual(states, ['connecting', 'refused'])

      network.refusal = null
      run(network, { ms: RECONNECT_MS * 4 })

      assert.deepEqual([saved.state, saved.closed], ['saved', null])
      assert.deepEqual(states.slice(2), ['saving', 'saved'])
    })

    test('w14_what_a_server_says_that_lets_nobody_in_for_now_is_told_until_it_does', () => {
      const { network, saved, states, notes } = setup()
      const busy = { code: 1013, reason: 'too many sessions of this document: come back in 10 s' }
      run(network)
      notes.set('a', '1')
      const before = states.length

      network.refusal = busy
      network.drop(busy)
      for (let tries = 0; tries < 3; tries++) {
        run(network, { ms: RECONNECT_MS * 4 })
        assert.deepEqual([saved.state, saved.closed, saved.unsavedSince], ['offline', busy, 1_000])
      }
      // It is being let in, and not yet.
      network.refusal = null
      mock.timers.tick(RECONNECT_MS)
      network.sockets[0]!.open()
      assert.deepEqual([saved.state, saved.closed], ['offline', busy])
      assert.deepEqual(states.slice(before).filter((state, i, all) => state !== all[i - 1]), ['offline'])
      run(network)

      assert.deepEqual([saved.state, saved.closed], ['saved', null])
    })

    test('w14_nobody_speaks_for_a_server_that_does_not_answer', () => {
      const { network, provider, saved } = setup()
      run(network)
      network.drop({ code: 1012, reason: 'the server restarts' })
      assert.deepEqual(saved.closed, { code: 1012, reason: 'the server restarts' })
      network.reachable = false
      run(network, { ms: RECONNECT_MS * 4 })
      assert.deepEqual([saved.state, saved.closed], ['offline', null])

      network.reachable = true
      run(network, { ms: RECONNECT_MS * 4 })
      assert.equal(saved.state, 'saved')
      provider.disconnect()
      assert.deepEqual([saved.state, saved.closed], ['offline', null])
    })

    test('w13_a_document_in_conflict_is_never_saved_again', () => {
      const { doc, network, provider, server, saved, states, notes } = setup()
      const why = { code: 4409, reason: 'another page writes under this client id' }
      run(network)
      notes.set('a', '1')
      network.drop(why)
      assert.deepEqual([saved.state, saved.closed, saved.unsavedSince], ['conflict', why, 1_000])
      const asked = server.questions.length
      const before = states.length

      // The server would believe that it has everything: its numbers are those of the other page.
      provider.connect()
      run(network, { ms: RECONNECT_MS * 4 })
      notes.set('b', '1')
      run(network, { ms: RECONNECT_MS * 4 })
      network.drop()
      const again = new Provider('ws://a', 'doc', doc, { WebSocketPolyfill: network.WebSocket, disableBc: true })
      opened.push(again)
      const savedAgain = trackSaved(again)
      run(network, { ms: RECONNECT_MS * 4 })

      assert.deepEqual([saved.state, savedAgain.state, savedAgain.closed], ['conflict', 'conflict', why])
      assert.deepEqual(states.slice(before), [])
      assert.equal(server.questions.length, asked)
    })

    test('w13_a_conflict_is_unsaved_also_if_nobody_knows_since_when', () => {
      const { network, saved, clock } = setup()
      run(network)
      assert.deepEqual([saved.state, saved.unsavedSince], ['saved', null])

      clock.ms = 7_000
      network.drop({ code: 4409, reason: '' })

      assert.equal(saved.unsavedSince, 7_000)
    })

    test('w10_unsaved_since_is_the_oldest_change_that_may_be_lost', () => {
      const { network, server, saved, clock, notes } = setup()
      run(network)
      assert.equal(saved.unsavedSince, null)

      clock.ms = 2_000
      notes.set('a', '1')
      mock.timers.tick(10)
      network.settle()
      clock.ms = 3_000
      notes.set('b', '1')
      clock.ms = 4_000
      notes.set('c', '1')
      assert.equal(saved.unsavedSince, 2_000)
      const socket = network.sockets[0]!
      server.store()
      while (socket.deliverToClient());
      assert.equal(saved.unsavedSince, 3_000)
      network.drop()
      assert.equal(saved.unsavedSince, 3_000)
      run(network, { ms: RECONNECT_MS * 4 })

      assert.equal(saved.unsavedSince, null)
    })
  })
}

test('w14_hocuspocus_what_a_server_says_that_takes_nobody_for_now_is_told', () => {
  const listeners = new Map<string, (event: unknown) => void>()
  const line = { send() {}, webSocket: null, configuration: { providerMap: new Map() } }
  const saved = trackSaved({
    document: new Y.Doc(),
    configuration: { name: 'doc', websocketProvider: line },
    unsyncedChanges: 0,
    synced: false,
    isAuthenticated: false,
    on: (name: string, listener: (event: unknown) => void) => listeners.set(name, listener),
    off() {},
  })
  const close = (code: number, reason: string): void => {
    listeners.get('open')?.({})
    listeners.get('close')?.({ event: { code, reason } })
    listeners.get('status')?.({ status: 'disconnected' })
  }

  close(1012, 'the server restarts')
  assert.deepEqual([saved.state, saved.closed], ['offline', { code: 1012, reason: 'the server restarts' }])
  close(1006, '')
  assert.deepEqual([saved.state, saved.closed], ['offline', null])
})
