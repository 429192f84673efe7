// Power loss of the real server: all its calls are recorded from outside (the shim), disks as they could be
// after losing power at random points are built from that, and the real server opens each of them, twice.
//
// POWER_LOSSES=300 tries so many; the ordinary run a few.
import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'

import { Dice } from '../lib/dice.js'
import { brittleServer } from '../lib/disk-server.js'
import { Ledger, judgeServer } from '../lib/oracle.js'
import { endLog, losePower, readLog } from '../lib/power.js'
import { folderFor, serverFor } from '../lib/server.js'
import { TINY, quiet, session } from '../lib/session.js'

const seed = Number(process.env.SEED ?? Date.now() % 2 ** 32)
const states = Number(process.env.POWER_LOSSES ?? 8)

test('what was acknowledged before the power went is there when the server starts, and when it starts again', async t => {
  t.diagnostic(`seed ${seed}`)
  const dice = new Dice(seed)
  const { server, disk, data, log } = brittleServer(t, { flags: TINY, log: true })
  const ledger = new Ledger()
  // Every acknowledgement with how long the log was when it arrived: a later cut has to hold it.
  const acknowledged = []
  ledger.onAcknowledged = (document, writer, number) => acknowledged.push({ document, writer, number, logBytes: disk.logBytes })
  for (let life = 0; life < 3; life++) {
    await server.start()
    assert.equal(await session(ledger, server.url, { dice, documents: 4, steps: 10 }), 'done')
    await quiet(disk, server)
    await session(ledger, server.url, { dice, documents: 4, steps: 3 })
    if (life === 1) await server.stop()
    else await server.kill()
    endLog(log)
  }
  const calls = readLog(log)
  const deleted = calls.filter(({ op, one }) => op === 6 && one.endsWith('.segment')).length
  t.diagnostic(`${calls.length} calls recorded, ${acknowledged.length} acknowledgements, ${deleted} segments deleted`)
  assert.ok(acknowledged.length >= 100 && deleted > 0, 'nothing happened')

  const folder = folderFor(t)
  let cutBetween = 0
  for (let i = 0; i < states; i++) {
    const cut = dice.from(1, calls.length)
    const before = calls.slice(0, cut)
    const end = before.at(-1).end
    const known = new Ledger()
    for (const [document, writers] of ledger.documents) {
      for (const [writer, { sent }] of writers) known.line(document, writer).sent = sent
    }
    let some = 0
    for (const { document, writer, number, logBytes } of acknowledged) {
      if (logBytes > end) continue
      const line = known.line(document, writer)
      line.acknowledged = Math.max(line.acknowledged, number)
      some++
    }
    cutBetween += some > 0 && some < acknowledged.length
    const survived = join(folder, 'data')
    rmSync(survived, { recursive: true, force: true })
    losePower(before, data, survived, dice)
    const next = serverFor(t, survived, { flags: TINY })
    try {
      await next.start()
      await judgeServer(known, next.url)
      assert.equal(await next.metric('cowrite_store_documents_damaged'), 0)
      await session(known, next.url, { dice, documents: 4, steps: 2 })
      await next.kill()
      await next.start()
      await judgeServer(known, next.url)
    } catch (error) {
      error.message = `seed ${seed}, cut at call ${cut} of ${calls.length}: ${error.message}\n${next.log.slice(-3_000)}`
      throw error
    } finally {
      await next.kill()
    }
  }
  t.diagnostic(`${states} states, ${cutBetween} of them in the middle`)
  assert.ok(cutBetween > 0, 'no cut was between acknowledgements')
})
