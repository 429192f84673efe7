// A document that is too large for one message: it goes out in pieces, while others go on editing.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { House } from '../lib/rooms.js'
import { Watcher, answerTo } from '../lib/readers.js'
import { V136, V14, fed, fresh } from '../lib/yjs.js'
import { contentOf } from '../lib/content.js'
import * as wire from '../lib/wire.js'

let house
before(() => { house = new House() })
after(() => house.close())

for (const version of [V136, V14]) {
  for (const outboxBytesMax of [100_000, 4 << 20]) {
    test(`3 MB to newcomers with Yjs ${version.name}, an outbox of ${outboxBytesMax} bytes`, () => {
      const { Y, is14 } = version
      const room = house.document()
      const policy = { outboxBytesMax, snapshotBytes: 1 << 20 }
      room.open(policy)
      const doc = fresh(version)
      doc.clientID = 7
      const updates = []
      doc.on('update', update => updates.push(update))
      const text = is14 ? doc.get('text') : doc.getText('text')
      for (let i = 0; i < 60; i++) {
        text.insert(i * 7, `${i}:${'x'.repeat(50_000)}`)
        if (i % 3 === 0) text.delete(i, 20_000)
        if (i % 5 === 0) text.format(i, 1000, { bold: true })
      }
      room.join(1)
      for (const update of updates.splice(0)) {
        room.say(1, wire.edit(update))
        room.pass(50_000)
        room.take(1)
      }
      // One frame at a time, and an edit between any two.
      const slow = new Watcher(room, version)
      for (let i = 0; !slow.synced; i++) {
        assert.ok(i < 2000, 'it is never synced')
        slow.hears(1)
        text.insert(text.length, `|${i}`)
        for (const update of updates.splice(0)) room.say(1, wire.edit(update))
        room.take(1)
        room.pass(20_000)
      }
      for (let i = 0; i < 50; i++) {
        slow.hears()
        room.pass(20_000)
      }
      assert.equal(contentOf(slow.doc), contentOf(doc))
      assert.ok(slow.heard > 5)

      room.durable()
      room.kill()
      room.open(policy)
      for (const vector of [new Uint8Array([0]), Y.encodeStateVector(doc)]) {
        const { updates } = answerTo(room, vector)
        assert.equal(contentOf(fed(version, [...(vector.length > 1 ? [Y.encodeStateAsUpdate(doc)] : []), ...updates])), contentOf(doc))
        assert.ok(vector.length > 1 || updates.length > 3, 'pieces')
      }
      room.kill()
      assert.deepEqual(room.look().filter(({ kind }) => kind === 'ended'), [])
    })
  }
}
