// A disk that refuses: full, failing writes, failing syncs.
//
// The sweeps let the n-th call of a session fail, for one n after the other; SWEEP=1 takes every n, otherwise
// a dozen are drawn from the seed.
import assert from 'node:assert/strict'
import { test } from 'node:test'

import { Client } from '../lib/client.js'
import { Dice } from '../lib/dice.js'
import { CHANGES, EIO, ENOSPC, EROFS, FOLDER_SYNC, OPEN, SYNC, WRITE } from '../lib/disk.js'
import { brittleServer } from '../lib/disk-server.js'
import { Ledger, Writer, converge, judgeServer } from '../lib/oracle.js'
import { TINY, session } from '../lib/session.js'
import { until } from '../lib/wait.js'

const seed = Number(process.env.SEED ?? Date.now() % 2 ** 32)
const everyOne = process.env.SWEEP === '1'

const failures = [
  { name: 'full', kinds: WRITE | OPEN, error: ENOSPC, perMille: 400, says: /No space left/ },
  { name: 'write errors', kinds: WRITE, error: EIO, perMille: 0, says: /Input\/output/ },
  { name: 'sync errors', kinds: SYNC | FOLDER_SYNC, error: EIO, perMille: 0, says: /Input\/output/ },
  { name: 'read only', kinds: CHANGES, error: EROFS, perMille: 0, says: /Read-only/ },
  { name: 'everything fails', kinds: CHANGES, error: EIO, perMille: 500, says: /Input\/output/ },
]
for (const { name, says, ...how } of failures) {
  test(`${name}: nothing acknowledged, /readyz says why, people go on, saving resumes by itself`, async t => {
    const { server, disk } = brittleServer(t, { flags: TINY })
    const ledger = new Ledger()
    const names = ['read in outage 1', 'read in outage 2', 'read in outage 3']
    await server.start()
    for (const name of names) {
      const before = new Writer(ledger, name, `before ${name}`)
      await before.connect(server.url)
      before.write()
      await before.whenAcknowledged()
      before.end()
    }
    await server.stop()
    await server.start()
    const writer = new Writer(ledger, 'doc', 'writer')
    await writer.connect(server.url)
    const reader = new Client(server.url, 'doc', { awareness: true })
    const person = new Client(server.url, 'doc', { awareness: true })
    t.after(() => { writer.end(); reader.end(); person.end() })
    await reader.whenSynced()
    await person.whenSynced()
    writer.write()
    await writer.whenAcknowledged()
    assert.deepEqual(await server.ready(), { ready: true })

    for (let outage = 1; outage <= 3; outage++) {
      const acknowledged = writer.line.acknowledged
      disk.meddle('failFrom', { part: '/journal/', ...how })
      writer.write()
      const sorry = await until('not ready', async () => { const said = await server.ready(); return !said.ready && said })
      assert.match(sorry.reason, says)
      assert.equal(await server.metric('cowrite_store_writable'), 0)
      writer.write()
      await reader.when('edits arrive', () => reader.doc.getArray('numbers').length === writer.line.sent)
      person.awareness.setLocalState({ outage })
      await reader.when('presence arrives', () => [...reader.awareness.getStates().values()].some(state => state.outage === outage))
      // A document that nobody has open is read, from a file that nobody has open in the first outage.
      await judgeServer(ledger, server.url, { documents: [names[outage - 1], 'doc'] })
      // Several more tries, each of which the disk refuses.
      const tries = disk.fired
      await until('tried again', () => disk.fired >= tries + 3)
      assert.equal(writer.line.acknowledged, acknowledged)

      disk.heal()
      await writer.whenAcknowledged()
      await until('ready', async () => (await server.ready()).ready)
      assert.equal(await server.metric('cowrite_store_writable'), 1)
    }

    await converge(ledger, server.url, 'doc', [writer.client, reader, person])
    disk.meddle('failFrom', { part: '/journal/', ...how })
    writer.write()
    await until('not ready', async () => !(await server.ready()).ready)
    await server.kill()
    disk.heal()
    await server.start()
    await judgeServer(ledger, server.url)
  })
}

for (const [name, action, how] of [
  ['the n-th call fails once, with EIO', 'failOnce', { error: EIO, perMille: 0 }],
  ['the n-th call and all after it fail for a while, with ENOSPC, half written', 'failFrom', { error: ENOSPC, perMille: 500 }],
]) {
  test(`${name}: saving resumes by itself and nothing acknowledged is lost`, async t => {
    const dice = new Dice(seed)
    t.diagnostic(`seed ${seed}`)
    const { server, disk } = brittleServer(t, { flags: TINY })
    const ledger = new Ledger()
    // What a session does from its start on.
    disk.count({ kinds: CHANGES })
    await server.start()
    assert.equal(await session(ledger, server.url, { dice }), 'done')
    await server.kill()
    const calls = disk.calls
    t.diagnostic(`${calls} calls in a session`)
    assert.ok(calls > 40, `only ${calls} calls: the shim sees nothing`)
    const all = Array.from({ length: calls }, (_, i) => i + 1)
    const some = everyOne ? all : Array.from({ length: 12 }, () => dice.pick(all))
    let meddled = 0, refusedToStart = 0

    for (const n of some) {
      disk.meddle(action, { kinds: CHANGES, n, ...how })
      try {
        await server.start()
      } catch {
        // What the lock or the folder needs was refused: it says so and ends.
        refusedToStart++
        disk.heal()
        await server.start()
      }
      const writing = session(ledger, server.url, { dice })
      if (action === 'failFrom') {
        let over = false
        writing.finally(() => { over = true }).catch(() => {})
        await until('it fails', () => over || disk.fired >= 3)
        disk.heal()
      }
      assert.equal(await writing, 'done', `n = ${n}: ${server.log.slice(-2_000)}`)
      meddled += disk.fired > 0
      disk.heal()
      await until('ready', async () => (await server.ready()).ready)
      await judgeServer(ledger, server.url)
      await server.kill()
      await server.start()
      await judgeServer(ledger, server.url)
      assert.equal(await server.metric('cowrite_store_documents_damaged'), 0, `n = ${n}`)
      await server.kill()
    }

    t.diagnostic(`${some.length} tries, the disk was meddled with in ${meddled}, ${refusedToStart} did not start at first`)
    assert.ok(meddled >= some.length / 2, 'the calls were not reached')
  })
}
