// What real clients wrote, through the same judge: `tests/fixtures/yjs/updates.bin` and the traces of `tests/data`.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import * as decoding from 'lib0/decoding'
import { House } from '../lib/rooms.js'
import { judgeSmall, momentsOf } from '../lib/small.js'
import { contentOf } from '../lib/content.js'
import { answerTo } from '../lib/readers.js'
import { V135, V136, fed } from '../lib/yjs.js'

const FIXTURES = fileURLToPath(new URL('../../fixtures/yjs/', import.meta.url))

let house
before(() => { house = new House() })
after(() => house.close())

/** The cases of a file in the format of `generate.js`: `{ name, updates }`. */
const casesOf = path => {
  const input = decoding.createDecoder(readFileSync(path))
  assert.equal(decoding.readVarString(input), 'cowrite fixture 1')
  return Array.from({ length: decoding.readVarUint(input) }, () => {
    const name = decoding.readVarString(input)
    const updates = Array.from({ length: decoding.readVarUint(input) }, () => decoding.readVarUint8Array(input).slice())
    decoding.readVarString(input)
    return { name, updates }
  })
}

for (const { name, updates } of casesOf(join(FIXTURES, 'updates.bin'))) {
  test(`fixture ${name}`, () => {
    judgeSmall(house, V136, updates, { moments: momentsOf(V136, updates, 8), readers: [V136, V135] })
  })
}

test('what an older server stored opens', () => {
  for (const { name, updates } of casesOf(join(FIXTURES, 'updates.bin'))) {
    const all = fed(V136, updates)
    const half = V136.Y.encodeStateAsUpdate(fed(V136, updates.slice(0, updates.length / 2)))
    for (const records of [updates, [V136.Y.encodeStateAsUpdate(all)], [half, ...updates.slice(updates.length / 2)]]) {
      const room = house.document()
      records.forEach(record => room.put(record))
      room.open()
      assert.equal(contentOf(fed(V136, answerTo(room, new Uint8Array([0])).updates)), contentOf(fed(V136, records)), name)
      room.forget()
    }
  }
})

test('traces', async t => {
  const folder = mkdtempSync(join(tmpdir(), 'cowrite-traces-'))
  execFileSync(process.execPath, [join(FIXTURES, 'traces.js'), join(folder, 'traces.bin')], { stdio: 'inherit' })
  const cases = casesOf(join(folder, 'traces.bin'))
  rmSync(folder, { recursive: true })
  assert.equal(cases.length, 2)
  for (const { name, updates } of cases) {
    await t.test(name, () => judgeSmall(house, V136, updates, { moments: momentsOf(V136, updates, 5) }))
  }
})
