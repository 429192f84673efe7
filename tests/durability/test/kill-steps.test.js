// Killed at the n-th call: in the middle of commits, snapshots, roll-over, compaction, deletion of segments,
// feeding and rebuilding sled. One folder for all; SWEEP=1 takes every n, otherwise a dozen of each sweep.
import assert from 'node:assert/strict'
import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'

import { Dice } from '../lib/dice.js'
import { CHANGES, FOLDER_SYNC, OPEN, RENAME, SYNC, TRUNCATE, UNLINK, WRITE } from '../lib/disk.js'
import { brittleServer } from '../lib/disk-server.js'
import { Ledger, judgeServer } from '../lib/oracle.js'
import { TINY, quiet, session } from '../lib/session.js'

const seed = Number(process.env.SEED ?? Date.now() % 2 ** 32)
const everyOne = process.env.SWEEP === '1'
const NAMES = { write: WRITE, sync: SYNC, create: OPEN, unlink: UNLINK, rename: RENAME, truncate: TRUNCATE, 'folder sync': FOLDER_SYNC }

for (const [title, action, perMille] of [
  ['before the n-th change', 'killBefore', 0],
  ['within the n-th change, a write half done', 'killBefore', 500],
  ['after the n-th change', 'killAfter', 0],
]) {
  test(`killed ${title}`, async t => {
    const dice = new Dice(seed)
    t.diagnostic(`seed ${seed}`)
    const { server, disk, data } = brittleServer(t, { flags: TINY })
    const ledger = new Ledger()
    // Some history first, so that there is something to compact, then a session is counted.
    await server.start()
    assert.equal(await session(ledger, server.url, { dice, steps: 12 }), 'done')
    await server.kill()
    disk.count({ kinds: CHANGES })
    await server.start()
    await session(ledger, server.url, { dice })
    await quiet(disk, server)
    const calls = disk.calls
    await server.kill()
    t.diagnostic(`${calls} changes in a session with its upkeep`)
    assert.ok(calls > 40)
    const all = Array.from({ length: calls }, (_, i) => i + 1)
    // A session is never twice the same: the last calls of one may not come in the next.
    const likely = all.slice(0, Math.ceil(all.length * 0.6))
    const some = everyOne ? all : Array.from({ length: 10 }, () => dice.pick(likely))
    let killed = 0

    for (const [index, n] of some.entries()) try {
      // Every fifth start has to rebuild sled as well.
      if (index % 5 === 4) spoilSled(data, dice)
      disk.meddle(action, { kinds: CHANGES, n, perMille })
      const started = await server.start().then(() => true, () => false)
      if (started) {
        await session(ledger, server.url, { dice })
        await quiet(disk, server)
      }
      killed += disk.fired > 0
      await server.kill()
      disk.heal()
      await server.start()
      await judgeServer(ledger, server.url)
      assert.equal(await server.metric('cowrite_store_documents_damaged'), 0)
      await server.kill()
    } catch (error) {
      error.message = `seed ${seed}, n = ${n}: ${error.message}\n${server.log.slice(-3_000)}`
      throw error
    }

    t.diagnostic(`${some.length} tries, killed in ${killed}`)
    assert.ok(killed >= some.length / 3, `${killed} of ${some.length} were killed`)
  })
}

test('killed at each kind of call by name', async t => {
  const dice = new Dice(seed)
  t.diagnostic(`seed ${seed}`)
  const { server, disk } = brittleServer(t, { flags: TINY })
  const ledger = new Ledger()
  const reached = {}
  await server.start()
  await session(ledger, server.url, { dice, steps: 12 })
  await server.kill()

  for (const [name, kind] of Object.entries(NAMES)) {
    for (let n = 1; n <= (everyOne ? 200 : 2); n++) {
      disk.meddle(dice.pick(['killBefore', 'killAfter']), { kinds: kind, part: '/journal', n: everyOne ? n : dice.from(1, 3) })
      const started = await server.start().then(() => true, () => false)
      if (started) {
        await session(ledger, server.url, { dice, steps: 10 })
        await quiet(disk, server)
      }
      const fired = disk.fired > 0
      reached[name] = (reached[name] ?? 0) + fired
      await server.kill()
      disk.heal()
      await server.start()
      await judgeServer(ledger, server.url)
      await server.kill()
      if (!fired) break
    }
  }

  t.diagnostic(JSON.stringify(reached))
  for (const name of ['write', 'sync', 'create', 'unlink', 'folder sync']) assert.ok(reached[name] > 0, `no ${name} was reached`)
})

function spoilSled(data, dice) {
  const folder = readdirSync(data).find(name => /^sled-\d+$/.test(name))
  if (!folder) return
  if (dice.oneIn(2)) return rmSync(join(data, folder), { recursive: true })
  const file = join(data, folder, 'db')
  if (existsSync(file)) writeFileSync(file, dice.text(5_000))
}
