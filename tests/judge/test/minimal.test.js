// The smallest inputs on which a server that keeps structs without integrating them can go wrong, one by one, as bytes.
// The names are those of the rules that each of them proves.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { update } from '../lib/bytes.js'
import { House } from '../lib/rooms.js'
import { judgeSmall, momentsOf } from '../lib/small.js'
import { V135, V136, V14, VERSIONS, fed } from '../lib/yjs.js'

let house
before(() => { house = new House() })
after(() => house.close())

const text = doc => doc.getText('text').toString()

/** Plays updates through the room for each of these versions; the moments on the way are read, too. */
const judged = (updates, { versions = [V136, V14], ...options } = {}) => {
  for (const version of versions) {
    const moments = momentsOf(version, updates)
    judgeSmall(house, version, updates, { moments, readers: VERSIONS.filter(one => one === version || !one.is14), ...options })
    if (!options.policy) judgeSmall(house, version, updates, { moments, policy: { keepDeleted: true }, ...options })
  }
  return judgeSmall(house, V136, updates, options)
}

const typed = (structs, deletions) => update(structs.map(one => (one.after || one.before || one.in ? one : { ...one, in: 'text' })), deletions)

test('j1_what_was_joined_is_split_again_where_somebody_writes', () => {
  const { control } = judged([typed([{ at: '1:0', text: 'a' }]), typed([{ at: '1:1', after: '1:0', text: 'b' }]), typed([{ at: '2:0', after: '1:0', before: '1:1', text: 'x' }])])

  assert.equal(text(control), 'axb')
})

test('j2_neighbours_with_other_right_origins_are_not_joined', () => {
  const { control } = judged([
    typed([{ at: '10:0', text: 'a' }]), typed([{ at: '5:0', after: '10:0', text: 'c' }]), typed([{ at: '10:1', after: '10:0', before: '5:0', text: 'b' }])
  ])

  assert.equal(text(control), 'abc')
})

test('j3_values_of_a_key_are_not_joined', () => {
  const { newcomer } = judged([
    update([{ at: '1:0', in: 'map', key: 'k', any: [1] }]), update([{ at: '1:1', after: '1:0', key: 'k', any: [2] }]), update([{ at: '1:2', after: '1:1', key: 'k', any: [3] }])
  ])

  const structs = newcomer.flatMap(one => V136.Y.decodeUpdate(one).structs)
  assert.ok(structs.every(({ content, length }) => content.constructor.name === 'ContentDeleted' || length === 1))
})

test('j4_nothing_is_joined_at_a_right_origin_that_lies_in_its_origin_s_chain', () => {
  const { control } = judged([
    typed([{ at: '10:0', text: 'a' }]), typed([{ at: '5:0', after: '10:0', text: 'w' }]), typed([{ at: '10:1', after: '10:0', text: 'bc' }]),
    typed([{ at: '10:3', after: '10:2', before: '10:1', text: 'X' }])
  ])

  assert.equal(text(control), 'awbcX')
})

test('j4_the_same_in_four_letters', () => {
  const letters = [
    typed([{ at: '1:0', text: 'a' }]), typed([{ at: '1:1', after: '1:0', text: 'b' }]), typed([{ at: '1:2', after: '1:0', text: 'c' }]),
    typed([{ at: '2:0', after: '1:1', before: '1:1', text: 'i' }])
  ]
  const { control } = judged(letters)
  assert.equal(text(control), 'acbi')

  for (const order of [[0, 1, 3, 2], [0, 1, 2, 3]]) judged(order.map(i => letters[i]))
})

test('j5_a_long_paste_is_cut_anywhere', () => {
  const paste = typed([{ at: '1:0', text: '0123456789'.repeat(2000) }])
  const deletions = Array.from({ length: 40 }, (_, i) => update([], [`1:${i * 499 + 3}+${1 + i % 5}`]))
  const between = [0, 1022, 1023, 1024, 4095, 4096, 19998].map((at, i) => typed([{ at: `2:${i}`, after: `1:${at}`, before: `1:${at + 1}`, text: '|' }]))

  const { control, newcomer } = judged([paste, ...between, ...deletions], { versions: [V136] })

  assert.equal(text(control).length, 20007 - 40 * 3)
  const pieces = newcomer.flatMap(one => V136.Y.decodeUpdate(one).structs)
  assert.ok(pieces.every(({ content, length }) => content.constructor.name === 'ContentDeleted' || length <= 1024))
})

test('j5_nor_is_what_was_typed_joined_without_end', () => {
  const letters = Array.from({ length: 3000 }, (_, i) => ({ at: `1:${i}`, ...(i === 0 ? { in: 'text' } : { after: `1:${i - 1}` }), text: 'x' }))
  const { newcomer } = judgeSmall(house, V136, [update(letters.slice(0, 2000)), ...letters.slice(2000).map(one => update([one]))])

  const pieces = newcomer.flatMap(one => V136.Y.decodeUpdate(one).structs)
  assert.ok(pieces.length < 10 && pieces.every(({ length }) => length <= 1024), `${pieces.length} pieces`)
})

test('j5_a_value_that_is_larger_than_a_block_stays_whole', () => {
  const bytes = new Uint8Array(5000).map((_, i) => i)
  judged([update([{ at: '1:0', in: 'list', any: [bytes] }]), update([{ at: '1:1', after: '1:0', any: [bytes, 'x'.repeat(70000)] }]), update([], ['1:1'])])
})

test('k1_neighbours_of_what_was_deleted_stay', () => {
  const { control } = judged([typed([{ at: '1:0', text: 'aX' }]), update([], ['1:1']), typed([{ at: '2:0', after: '1:1', text: 'c' }])])

  assert.equal(text(control), 'ac')
})

const inner = { at: '1:0', in: 'list', type: 2 }

test('k2_what_arrives_for_a_type_that_is_deleted_is_forgotten', () => {
  judged([
    update([inner]), update([{ at: '1:1', in: '1:0', text: 'in' }]), update([], ['1:0']), update([{ at: '2:0', after: '1:2', text: 'late' }]),
    update([{ at: '3:0', in: '1:0', text: 'later' }]), update([{ at: '3:5', in: '1:0', key: 'k', any: [1] }])
  ], { versions: [V136] })
})

test('k2_so_is_what_lies_deeper', () => {
  judged([
    update([inner, { at: '1:1', in: '1:0', type: 1 }, { at: '1:2', in: '1:1', key: 'k', type: 0 }]), update([{ at: '1:3', in: '1:2', any: [1, 2] }]),
    update([], ['1:0']), update([{ at: '2:0', after: '1:4', any: [3] }, { at: '2:1', in: '1:1', key: 'k', any: [4] }])
  ], { versions: [V136] })
})

test('k3_what_has_collected_neighbours_is_collected', () => {
  judged([update([{ at: '1:0', gc: 3 }]), update([{ at: '2:0', after: '1:1', text: 'x' }]), update([{ at: '3:0', before: '1:0', text: 'y' }]), update([{ at: '4:0', in: '1:2', text: 'z' }])])
})

test('k3_what_lies_in_something_that_is_no_type_is_collected', () => {
  judged([typed([{ at: '1:0', text: 'abc' }]), update([], ['1:1']), update([{ at: '2:0', in: '1:1', text: 'x' }])])
})

test('k4_a_deletion_of_what_is_deleted_or_collected_is_not_new', () => {
  const room = house.document(V136)
  room.open()
  room.join(1)
  const say = bytes => room.say(1, new Uint8Array([0, 2, bytes.length, ...bytes]))
  say(update([{ at: '1:0', gc: 2 }, { at: '1:2', in: 'text', text: 'ab' }, { at: '1:4', after: '1:3', deleted: 2 }], ['1:2']))
  room.pass(1e6)
  room.look()
  room.counts()

  for (const again of [['1:0+2'], ['1:0+3'], ['1:2'], ['1:4+2'], ['1:5']]) say(update([], again))
  room.pass(1e6)

  assert.deepEqual([room.look(), room.counts()], [[], { updates: 0, known: 5, gaps: 0, readers: 0, conflicts: 0, others: 0, resyncs: 0 }])
  room.kill()
})

test('k1_undo_brings_back_what_the_server_has_forgotten', () => {
  for (const version of [V136, V135, V14]) {
    for (const gc of [true, false]) {
      const doc = new version.Y.Doc({ gc })
      doc.clientID = 7
      const list = version.is14 ? doc.get('list') : doc.getArray('list')
      const undo = new version.Y.UndoManager(list, { captureTimeout: 0 })
      const updates = []
      doc.on('update', made => updates.push(made))
      list.insert(0, [1, version.is14 ? new version.Y.Type('p') : new version.Y.Map([['k', 'v']]), 3])
      list.delete(0, 2)
      undo.undo()
      undo.undo()
      undo.redo()

      for (const keepDeleted of [true, false]) judgeSmall(house, version, updates, { moments: momentsOf(version, updates), policy: { keepDeleted } })
    }
  }
})

test('k6_the_loser_of_two_values_of_a_key_is_a_deletion_that_nobody_tells', () => {
  const long = 'x'.repeat(1000)
  const updates = [update([{ at: '1:0', in: 'map', key: 'k', any: [long] }]), update([{ at: '2:0', in: 'map', key: 'k', any: ['won'] }])]
  judged(updates)

  // A client that was told all tells it with its answer, and from then on it is known.
  const room = house.document(V136)
  room.open()
  room.join(1)
  for (const one of updates) room.say(1, new Uint8Array([0, 2, ...varBytes(one)]))
  const all = fed(V136, updates)
  room.say(1, new Uint8Array([0, 1, ...varBytes(V136.Y.encodeStateAsUpdate(all, V136.Y.encodeStateVector(all)))]))
  room.durable()
  room.pass(1e6)
  room.counts()
  room.say(1, new Uint8Array([0, 2, ...varBytes(update([], ['1:0']))]))
  assert.deepEqual(room.counts(), { updates: 0, known: 1, gaps: 0, readers: 0, conflicts: 0, others: 0, resyncs: 0 })
  room.kill()
})

const varBytes = bytes => bytes.length < 128 ? [bytes.length, ...bytes] : [128 | bytes.length & 127, bytes.length >> 7, ...bytes]
