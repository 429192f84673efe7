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
import { V135, V136 } from '../lib/yjs.js'

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
