// What a page is sent in several messages takes effect with the last of them. A part of a document is a state in which it
// never was, and a page that acts on one changes it for everybody: Yjs deletes format marks that are of no use for the
// text that has come so far, and bindings of editors delete blocks that lack what they have to hold.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { contentOf } from '../lib/content.js'
import { answerTo } from '../lib/readers.js'
import { House } from '../lib/rooms.js'
import * as wire from '../lib/wire.js'
import { V136, VERSIONS, fresh, waits } from '../lib/yjs.js'

const NOTHING = new Uint8Array([0])
const MS = 1000

let house
before(() => { house = new House() })
after(() => house.close())

const { Y } = V136

/** Long text that no encoding makes short. */
const filler = length => Array.from({ length }, (_, i) => `word ${i * 7919 % 1000003} `).join('')

/** An author whose updates are gathered. */
const author = id => {
  const doc = fresh(V136)
  doc.clientID = id
  const said = []
  doc.on('update', (update, origin) => { if (origin !== 'others') said.push(update) })
  return { doc, said, text: doc.getText('t'), list: doc.getXmlFragment('x'), words: doc.getText('words') }
}

const item = text => {
  const made = new Y.XmlElement('item')
  made.insert(0, [new Y.XmlText(text)])
  return made
}

/** Bold words, and a list with an item, as they were first. */
const begins = ({ text, list }) => {
  text.insert(0, 'abc', { bold: true })
  text.insert(3, 'def', { bold: null })
  const made = new Y.XmlElement('list')
  made.insert(0, [item('first')])
  list.insert(0, [made])
}

/** Much is written, and then both are replaced: what is first is deleted, and what is there now is much later. */
const goesOn = ({ text, list, words }, length = 20_000) => {
  for (let at = 0; at < length; at += 1000) words.insert(words.length, filler(1000))
  text.insert(1, 'XYZ')
  text.delete(0, 1)
  text.delete(3, 2)
  list.get(0).insert(1, [item('second')])
  list.get(0).delete(0, 1)
}

const living = type => {
  const items = []
  for (let item = type._start; item !== null; item = item.right) if (!item.deleted) items.push(item)
  return items
}

/** A page that had `state`, and what happens in it while it is sent `updates`. */
const page = (version, state, updates) => {
  const doc = fresh(version)
  if (version.is14) ['t', 'x', 'words'].forEach(name => doc.get(name))
  else [doc.getText('t'), doc.getXmlFragment('x'), doc.getText('words')]
  if (state) version.Y.applyUpdate(doc, state)
  const happened = { changes: 0, own: 0, emptyLists: 0 }
  doc.on('update', (_, origin) => { happened[origin === 'room' ? 'changes' : 'own']++ })
  const fragment = doc.share.get('x')
  fragment.observeDeep(() => {
    for (const { content } of living(fragment)) {
      if (content.type && living(content.type).length === 0) happened.emptyLists++
    }
  })
  for (const update of updates) version.Y.applyUpdate(doc, update, 'room')
  assert.ok(!waits(doc), 'all of it has come')
  return { doc, ...happened }
}

const isWhole = (version, state, updates, control, slow) => {
  const { doc, changes, own, emptyLists } = page(version, state, updates)
  // On a fast line all of it, and the end.
  if (slow) assert.ok(updates.length > 3, `${updates.length} messages`)
  else assert.equal(updates.length, 2)
  assert.deepEqual({ changes, own, emptyLists }, { changes: 1, own: 0, emptyLists: 0 }, `Yjs ${version.name}`)
  assert.equal(contentOf(doc), contentOf(control))
}

const says = (room, session, { said }, message = wire.edit) => {
  for (const update of said.splice(0)) {
    room.say(session, message(update))
    room.pass(20 * MS)
    room.take(session)
  }
}

for (const [keepDeleted, slow] of [[false, true], [true, true], [false, false], [true, false]]) {
  const how = `${keepDeleted ? '_also_with_what_was_deleted' : ''}_on_a_${slow ? 'slow' : 'fast'}_line`
  test(`g41_a_newcomer_sees_the_whole_document_at_once${how}`, () => {
    const room = house.document()
    room.open({ keepDeleted, slow })
    room.join(1)
    const writer = author(7)
    begins(writer)
    says(room, 1, writer)
    const [before, vector] = [Y.encodeStateAsUpdate(writer.doc), Y.encodeStateVector(writer.doc)]
    goesOn(writer)
    says(room, 1, writer)

    for (const version of VERSIONS) {
      isWhole(version, null, answerTo(room, NOTHING).updates, writer.doc, slow)
      // Somebody whose page slept meanwhile.
      isWhole(version, before, answerTo(room, vector).updates, writer.doc, slow)
    }
    room.kill()
  })
}

test('g41_who_is_there_sees_at_once_what_somebody_wrote_offline', () => {
  const room = house.document()
  room.open()
  room.join(1)
  room.join(2)
  const writer = author(7)
  begins(writer)
  says(room, 1, writer)
  room.say(2, wire.step1(NOTHING))
  room.pass(100 * MS)
  const before = Y.encodeStateAsUpdate(writer.doc)
  room.take(2)
  goesOn(writer)
  room.say(1, wire.step2(Y.mergeUpdates(writer.said.splice(0))))
  room.pass(100 * MS)

  const updates = room.take(2).map(wire.read).filter(({ kind }) => kind === 'edit').map(({ payload }) => payload)
  for (const version of VERSIONS) isWhole(version, before, updates, writer.doc, true)
  room.kill()
})

test('g41_many_authors_and_many_deletions_take_effect_at_once', () => {
  const room = house.document()
  room.open({ slow: true })
  room.join(1)
  const first = author(7)
  begins(first)
  says(room, 1, first)
  for (let n = 0; n < 300; n++) {
    const other = author(1000 + n)
    Y.applyUpdate(other.doc, Y.encodeStateAsUpdate(first.doc), 'others')
    other.words.insert(n * 13 % (other.words.length + 1), filler(30))
    for (let at = 0; at < 40; at++) other.words.delete(at * 3 % other.words.length, 1)
    other.said.forEach(update => Y.applyUpdate(first.doc, update, 'others'))
    // It passes on what others wrote.
    says(room, 1, other, wire.step2)
  }
  goesOn(first, 1000)
  says(room, 1, first)

  for (const version of VERSIONS) isWhole(version, null, answerTo(room, NOTHING).updates, first.doc, true)
  room.kill()
})
