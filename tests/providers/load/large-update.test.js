// An update that takes long to read holds up nobody else.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as Y from 'yjs'

import { connect, newest, synced } from '../lib/clients.js'
import { conflicts } from '../lib/costly.js'
import { AS_FAST_AS_IT_GOES, startServer } from '../lib/server.js'
import { until } from '../../lib/wait.mjs'
import { confirmed, speaker, step1, update, varUint } from '../lib/wire.js'

test('e26 a large update delays nobody in other documents, and all of it is taken', async t => {
  const server = await startServer(t, ['--threads', '1', ...AS_FAST_AS_IT_GOES])
  const [ada, bob] = [1, 2].map(() => connect(t, newest, server, 'quick'))
  await synced(ada, bob)
  // Yjs compares each of these letters with all before it; a server need not.
  const letters = 1_450_000
  const [base, large] = conflicts(letters)
  assert.ok(large.length > 13e6 && large.length < 16 * 1024 * 1024, `${large.length} bytes`)
  const slow = await Promise.all([1, 2].map(i => speaker(t, server, `slow-${i}`)))
  let taken = 0
  const all = slow.map(async attacker => {
    attacker.say(update(base))
    attacker.say(update(large))
    await confirmed(attacker)
    taken++
  })

  let edits = 0
  let meanwhile = 0
  while (edits < 50 || taken < slow.length) {
    ada.text.insert(0, 'x')
    edits++
    await until('bob has it', () => bob.text.length === edits)
    if (taken === 0) meanwhile++
    // Who types without a pause leaves no processor for what is read aside.
    if (edits > 50) await new Promise(resolve => setTimeout(resolve, 50))
  }
  assert.ok(meanwhile > 0, 'edits went through before any of it was taken')

  await Promise.all(all)
  for (const attacker of slow) {
    const asked = attacker.heard.length
    attacker.say(step1([2, 1, ...varUint(letters + 2), 2, ...varUint(letters - 1)]))
    const rest = await until('it is there', () => attacker.heard.slice(asked).find(({ kind }) => kind === 'step2'))
    const ends = Y.decodeUpdate(rest.content).structs.map(struct => [struct.id.client, struct.id.clock + struct.length])
    assert.deepEqual(ends.find(([client]) => client === 2), [2, letters])
  }
  assert.deepEqual([ada.closes, bob.closes], [[], []])
})
