// The kill loop, short; the long one is `npm run kill`.
import assert from 'node:assert/strict'
import { test } from 'node:test'

import { killLoop } from '../lib/kill-loop.js'
import { folderFor } from '../lib/server.js'

test('eight SIGKILLs under load lose nothing that was acknowledged', async t => {
  const seed = Number(process.env.SEED ?? Date.now() % 2 ** 32)

  const totals = await killLoop({ folder: folderFor(t), seed, rounds: 8, documents: 8, writers: 24, say: text => t.diagnostic(text) })

  t.diagnostic(JSON.stringify(totals))
  assert.ok(totals.roundsWithAcknowledged >= 2, 'nothing happened')
})
