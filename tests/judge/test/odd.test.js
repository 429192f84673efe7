// Every kind of content and every odd value that Yjs can hold, one by one: each is admitted, and everybody reads it as
// it was written.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { update } from '../lib/bytes.js'
import { Watcher } from '../lib/readers.js'
import { House } from '../lib/rooms.js'
import { judgeSmall, momentsOf } from '../lib/small.js'
import { V135, V136, V14, VERSIONS, fresh } from '../lib/yjs.js'
import * as wire from '../lib/wire.js'

let house
before(() => { house = new House() })
after(() => house.close())

/** What a client of this version writes with `edits`, one update for each. */
const written = (version, edits, id = 7) => {
  const doc = fresh(version)
  doc.clientID = id
  const updates = []
  doc.on('update', made => updates.push(made))
  for (const edit of edits) edit(doc, version.Y)
  return updates
}

const judged = (version, edits, { id, ...options } = {}) => {
  const updates = written(version, edits, id)
  assert.ok(updates.length > 0)
  judgeSmall(house, version, updates, { moments: momentsOf(version, updates), ...options })
}

const deep = depth => Array.from({ length: depth }).reduce((value, _, i) => (i % 2 === 0 ? [value] : { in: value }), 'bottom')

const VALUES = {
  'BigInt, small': 5n,
  'BigInt, negative': -5n,
  'BigInt, 2^62': 1n << 62n,
  'BigInt, -2^63': -(1n << 63n),
  'BigInt, 2^53 + 1': 9007199254740993n,
  'the number 2^62': 2 ** 62,
  'the number 2^63': 2 ** 63,
  '-0': -0,
  NaN: NaN,
  Infinity,
  '-Infinity': -Infinity,
  undefined: [undefined],
  null: null,
  'no bytes': new Uint8Array(0),
  '5000 bytes': new Uint8Array(5000).map((_, i) => i * 7),
  'bytes in a list': [new Uint8Array([1, 2])],
  'half an emoji': '\ud83d',
  'the empty text': '',
  'U+0000': 'a\u0000b',
  'keys in their order': { z: 1, a: 2, constructor: 3, '': 4, 'ключ': 5 },
  'keys of every object': [{ constructor: 1, toString: 2, hasOwnProperty: 3, length: 4 }],
  'nested 100 deep': deep(100),
  'nested 400 deep': deep(400),
  'the largest float': 3.4028234663852886e38,
  'a tiny number': 5e-324
}

for (const [name, value] of Object.entries(VALUES)) {
  test(`the value ${name} in a map and in a list`, () => {
    const one = value !== null && typeof value === 'object' && Object.hasOwn(value, 'constructor') ? [value] : value
    // A list of Yjs 13 takes no BigInt but in a value.
    const listed = typeof one === 'bigint' ? [one] : one
    judged(V136, [doc => doc.getMap('map').set('k', one), doc => doc.getArray('array').insert(0, [listed])])
    judged(V14, [doc => doc.get('map').setAttr('k', one), doc => doc.get('array').insert(0, [one])])
  })
}

for (const key of ['', 'constructor', 'toString', '__proto__', '\u0000', '🔑', '7']) {
  test(`the key ${JSON.stringify(key)} of a map, an attribute, a format`, () => {
    judged(V136, [
      doc => doc.getMap('map').set(key, 1), doc => doc.getMap('map').set(key, 2),
      (doc, Y) => doc.getXmlFragment('xml').insert(0, [new Y.XmlElement('p')]), doc => doc.getXmlFragment('xml').get(0).setAttribute(key, 'v'),
      doc => doc.getText('text').insert(0, 'abc'), doc => doc.getText('text').format(0, 2, { [key]: true })
    ])
    if (key !== '__proto__') judged(V14, [doc => doc.get('map').setAttr(key, 1), doc => doc.get('text').insert(0, 'abc', { [key]: true })])
  })
}

test('embeds and formats hold any JSON as it was written', () => {
  for (const json of [1e19, -0, 12345678901234567890, { z: 1, a: [null, deep(90)] }, { half: '\ud83d' }, deep(300)]) {
    judged(V136, [doc => doc.getText('text').insertEmbed(0, { json }), doc => doc.getText('text').insert(0, 'abc'), doc => doc.getText('text').format(0, 2, { k: json })])
  }
})

test('old JSON content', () => {
  for (const versions of [V136, V135, V14]) {
    const updates = [update([{ at: '1:0', in: 'array', json: [1, undefined, { a: [null] }, 'x', deep(100)] }]), update([{ at: '1:5', after: '1:4', json: ['y'] }]), update([], ['1:1'])]
    judgeSmall(house, versions, updates, { moments: momentsOf(versions, updates) })
  }
})

test('XML hooks', () => {
  judged(V136, [
    (doc, Y) => doc.getXmlFragment('xml').insert(0, [new Y.XmlHook('hook')]), doc => doc.getXmlFragment('xml').get(0).set('k', 1n), doc => doc.getXmlFragment('xml').delete(0, 1)
  ])
  judged(V136, [(doc, Y) => doc.getXmlFragment('xml').insert(0, [new Y.XmlHook('')])])
})

test('sub-documents with their options as they were written', () => {
  for (const options of [{}, { autoLoad: true }, { gc: false }, { meta: { a: [1, null, 5n] } }]) {
    judged(V136, [(doc, Y) => doc.getMap('map').set('k', new Y.Doc({ guid: 'one', ...options })), (doc, Y) => doc.getArray('array').insert(0, [new Y.Doc({ guid: 'two', ...options })])])
  }
})

test('text, formats and values directly in an element of Yjs 14', () => {
  judged(V14, [
    (doc, Y) => doc.get('xml').insert(0, [new Y.Type('paragraph')]), doc => doc.get('xml').get(0).insert(0, 'hello'), doc => doc.get('xml').get(0).format(1, 2, { bold: true }),
    (doc, Y) => doc.get('xml').get(0).insert(2, [1, new Y.Type(), 2n]), doc => doc.get('xml').get(0).setAttr('k', 1), doc => doc.get('xml').get(0).delete(0, 3)
  ], { readers: VERSIONS })
})

test('an emoji that two people split', () => {
  const [typed] = written(V136, [doc => doc.getText('text').insert(0, 'a😀b')])
  const split = (id, at) => {
    const doc = fresh(V136)
    doc.clientID = id
    V136.Y.applyUpdate(doc, typed)
    const before = V136.Y.encodeStateVector(doc)
    doc.getText('text').insert(at, '|')
    doc.getText('text').delete(0, 1)
    return V136.Y.encodeStateAsUpdate(doc, before)
  }
  const updates = [typed, split(8, 2), split(9, 2), split(10, 1)]
  judgeSmall(house, V136, updates, { moments: momentsOf(V136, updates) })
})

test('what is kept of what was deleted where the document says so', () => {
  const updates = written(V136, [doc => doc.getText('text').insert(0, 'abc'), doc => doc.getText('text').delete(1, 1)])
  const { newcomer } = judgeSmall(house, V136, updates, { policy: { keepDeleted: true } })

  assert.match(Buffer.concat(newcomer).toString('latin1'), /abc|b/)
})

for (const [name, id] of Object.entries({ milliseconds: n => 1764165600000 + n, 'n × 65,536': n => (n + 1) * 65536, '2^53 - n': n => 2 ** 53 - 1 - n })) {
  test(`5,000 clients whose ids are ${name}`, () => {
    const updates = Array.from({ length: 50 }, (_, batch) => update(Array.from({ length: 100 }, (_, i) => ({ at: `${id(batch * 100 + i)}:0`, in: 'array', any: [i] }))))
    judgeSmall(house, V136, updates, {})
  })
}

test('g18_several_values_of_a_key_are_entries_of_it_also_old_json', () => {
  for (const keepDeleted of [false, true]) {
    for (const values of [{ any: [1, 2] }, { jsons: ['1', '2'] }]) {
      for (const [when, gone] of Object.entries({ 'of which one stands': [], 'that are deleted': ['1:0+2'] })) {
        const room = house.document(V136)
        room.open({ keepDeleted })
        const pages = VERSIONS.map(version => new Watcher(room, version))
        room.join(1)
        for (const said of [
          update([{ at: '9:0', in: 'map', key: 'holder', type: 1 }]),
          update([{ at: '1:0', in: '9:0', key: 'k', ...values }], gone),
          // Between the first and the second.
          update([{ at: '2:0', after: '1:0', key: 'k', any: ['between'] }]),
          update([], ['9:0'])
        ]) {
          room.say(1, wire.step2(said))
          room.pass(1e6)
          room.take(1)
          // Yjs throws where a deleted type holds an entry that is not deleted.
          assert.doesNotThrow(() => pages.forEach(page => page.hears()), `${Object.keys(values)[0]} ${when}`)
        }
        assert.deepEqual(room.look().filter(({ kind }) => kind === 'ended'), [])
        room.kill()
      }
    }
  }
})

/** An object with this key and this value, both as bytes. */
const object = (key, value) => [0x76, 1, key.length, ...Buffer.from(key), ...value]
const BYTES = [0x74, 2, 1, 2]

test('h1_a_key_proto_in_a_value_is_refused_wherever_a_value_can_be', () => {
  const poison = object('__proto__', BYTES)
  const places = {
    'in a map': { at: '7:0', in: 'map', key: 'k', anyBytes: poison },
    'in a list': { at: '7:0', in: 'array', anyBytes: poison },
    'in a list in a value': { at: '7:0', in: 'array', anyBytes: [0x75, 1, ...poison] },
    'in a value of a value': { at: '7:0', in: 'array', anyBytes: object('k', object('l', poison)) },
    'in an embed': { at: '7:0', in: 'text', embed: '{"__proto__":{"a":1}}' },
    'in an embed, escaped': { at: '7:0', in: 'text', embed: '[{"k":{"\\u005f_proto__":1}}]' },
    'in a format': { at: '7:0', in: 'text', mark: ['bold', '{"__proto__":[]}'] },
    'as a number': { at: '7:0', in: 'map', key: 'k', anyBytes: object('__proto__', [0x7d, 1]) },
    'in the options of a sub-document': { at: '7:0', in: 'map', key: 'k', doc: ['guid', object('meta', poison)] }
  }
  for (const [where, struct] of Object.entries(places)) {
    const room = house.document(V136)
    room.open()
    room.join(1)
    let refused = false
    try {
      room.say(1, wire.edit(update([struct])))
      refused = room.look().some(({ kind }) => kind === 'ended')
    } catch {
      refused = true
    }
    room.kill()
    assert.ok(refused, where)
  }
})
