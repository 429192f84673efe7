// The judge is judged: nothing is wrong with rooms that are Yjs itself, and each thing that a server can do wrong is found.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { play } from '../history.js'
import { House } from '../lib/rooms.js'
import { Wrong } from '../lib/verdict.js'
import { YjsHouse } from '../lib/yjs-rooms.js'

const given = (index, family = index % 2 === 0 ? 13 : 14) => ({ seed: 20261126, index, family, odd: 100 })

let house
before(() => { house = new House() })
after(() => house.close())

test('nothing is wrong with rooms that are Yjs itself', () => {
  const sum = { edits: 0, updates: 0, threw: 0, moments: 0 }
  for (let index = 0; index < 40; index++) {
    const happened = play(new YjsHouse(), given(index))
    for (const key in sum) sum[key] += happened[key]
  }

  assert.ok(sum.updates > 300 && sum.moments > 100, JSON.stringify(sum))
  assert.ok(sum.threw < sum.edits / 10, 'most edits are edits')
})

for (const [fault, what] of Object.entries({ update: 'an update that is lost', record: 'a record that is not stored', difference: 'a difference that lacks a letter' })) {
  test(`${what} is found`, () => {
    const found = Array.from({ length: 20 }, (_, index) => {
      try {
        play(new YjsHouse(fault), given(index))
        return 0
      } catch (error) {
        if (!(error instanceof Wrong)) throw error
        return 1
      }
    })

    assert.ok(found.reduce((sum, one) => sum + one) > 5, String(found))
  })
}

test('a history plays the same way every time', () => {
  for (let index = 0; index < 6; index++) assert.deepEqual(play(house, given(index)), play(house, given(index)))
})
