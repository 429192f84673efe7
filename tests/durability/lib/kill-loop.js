// SIGKILL at random moments on one folder; the oracle after each.
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import * as Y from 'yjs'

import { Ended } from './watched.js'
import { Dice } from './dice.js'
import { Ledger, Verdict, Writer, converge, equal, judgeServer } from './oracle.js'
import { HocuspocusWriter, YSweetWriter } from './provider-writers.js'
import { Server, diskBytes } from './server.js'
import { until } from './wait.js'

/** Who writes: y-websocket's wire with 102, and stock providers of the others. */
const WIRES = [Writer, HocuspocusWriter, YSweetWriter]
const MIB = 2 ** 20
/** What may lie on disk when nothing is written for a moment: the journal within three times what is live. */
const settled = live => 3 * live + 3 * MIB
/**
 * What may lie on disk at any moment: also what was written since the last upkeep, which a kill kept from being
 * tidied (the segment that is written to, up to eight small ones, a quarter of a second of writing). It must not
 * grow from round to round. sled has its own bound.
 */
const peak = live => ({ journal: 3 * live + 10 * MIB, sled: 4 * live + 72 * MIB })

export async function killLoop({ folder, seed, rounds, documents, writers, say = () => {}, rest = async () => {}, options }) {
  const dice = new Dice(seed)
  const ledger = new Ledger()
  const server = new Server(folder, options)
  const totals = {
    seed, rounds, documents, writers, killsWhileStarting: 0, roundsWithAcknowledged: 0,
    sent: 0, acknowledged: 0, unacknowledgedFound: 0, segmentsDeleted: 0, peakJournal: 0, peakDisk: 0,
  }
  let crew = []
  let people = 0
  // Each document has writers of all wires: places of one document are `documents` apart.
  const newcomer = place => {
    const Kind = WIRES[Math.floor(place / documents) % WIRES.length]
    return new Kind(ledger, `doc-${place % documents}`, `w${++people}`)
  }
  try {
    for (let round = 1; round <= rounds; round++) {
      if (dice.oneIn(6)) {
        server.spawn()
        await sleep(dice.from(0, 120))
        await server.kill()
        totals.killsWhileStarting++
      }
      await rest()
      await server.start()
      await judgeServer(ledger, server.url)

      const disk = await weigh(server, folder)
      totals.peakJournal = Math.max(totals.peakJournal, disk.journal)
      totals.peakDisk = Math.max(totals.peakDisk, disk.all)
      totals.segmentsDeleted = Math.max(totals.segmentsDeleted, disk.newest - disk.segments)
      if (disk.damaged > 0) throw new Verdict(`${disk.damaged} documents are damaged: ${server.log.slice(-4_000)}`)
      const most = peak(disk.live)
      if (disk.journal > most.journal) throw new Verdict(`the journal has ${disk.journal} bytes for ${disk.live} live`)
      if (disk.sled > most.sled) throw new Verdict(`sled has ${disk.sled} bytes for ${disk.live} live`)

      // Half of those who were there come back with what they have; the others are gone for good.
      crew = Array.from({ length: writers }, (_, place) =>
        crew[place] && dice.oneIn(2) ? crew[place] : newcomer(place))
      const acknowledgedBefore = ledger.acknowledged
      // One kill in four comes at any moment, also before anybody has joined; the others when so many were
      // acknowledged, however fast this machine is, and a little later.
      const enough = dice.oneIn(4) ? 0 : dice.from(20, 300)
      const waits = enough ? dice.from(0, 20) : dice.from(5, 500)
      let killed = false
      const loads = crew.map((writer, place) => load(writer, place, server.url, new Dice(dice.from(0, 2 ** 31)), () => killed))
      await Promise.race([
        until(`${enough} are acknowledged`, () => killed || ledger.acknowledged - acknowledgedBefore >= enough),
        Promise.all(loads),
      ])
      await sleep(waits)
      killed = true
      const ended = server.kill()
      await Promise.all(loads)
      await ended
      crew.forEach(writer => writer.end())

      const acknowledged = ledger.acknowledged - acknowledgedBefore
      totals.roundsWithAcknowledged += acknowledged > 0
      if (round % 10 === 0 || round === rounds) {
        say(`round ${round}: ${acknowledged} acknowledged in it, ${ledger.acknowledged} of ${ledger.sent} in all; ` +
          `live ${mb(disk.live)}, journal ${mb(disk.journal)} in ${disk.segments} segments ` +
          `(newest ${disk.newest}), sled ${mb(disk.sled)}`)
      }
    }
    await rest()
    await server.start()
    await judgeServer(ledger, server.url)
    await allConverge(ledger, server, crew)
    Object.assign(totals, { sent: ledger.sent, acknowledged: ledger.acknowledged, unacknowledgedFound: ledger.sum('found') - ledger.acknowledged })
    const disk = await whenSettled(server, folder)
    const { code } = await server.stop()
    if (code !== 0) throw new Verdict(`the last stop ended with ${code}: ${server.log.slice(-4_000)}`)
    await server.start()
    await judgeServer(ledger, server.url)
    return { ...totals, liveBytes: disk.live, diskBytes: disk.all }
  } catch (error) {
    error.message = `seed ${seed}: ${error.message}`
    throw error
  } finally {
    crew.forEach(writer => writer.end())
    await server.kill()
  }
}

/** Writes until the server is killed. */
async function load(writer, place, url, dice, killed) {
  const heavy = place % 3 === 0
  try {
    await writer.connect(url)
    while (!killed() && !writer.client.close) {
      const ballast = heavy && dice.oneIn(3) ? { place: place % 7, text: dice.text(dice.from(500, 24_000)) } : undefined
      writer.write(ballast)
      await sleep(dice.from(0, 12))
    }
  } catch (error) {
    // Only the kill may end a connection.
    if (!(error instanceof Ended && (killed() || error.close.code === 1006))) throw error
  }
}

/** All who were there last come back with what they have, and everybody becomes the same. */
async function allConverge(ledger, server, crew) {
  await Promise.all(crew.map(writer => writer.connect(server.url)))
  crew.forEach(writer => writer.ask())
  await Promise.all(crew.map(writer => writer.whenAcknowledged()))
  for (const document of ledger.documents.keys()) {
    await converge(ledger, server.url, document, crew.filter(writer => writer.document === document).map(({ client }) => client))
  }
}

/** The folder when upkeep has had its time: it must get there without anybody's help. */
async function whenSettled(server, folder) {
  for (let tries = 0; ; tries++) {
    const disk = await weigh(server, folder)
    if (disk.journal <= settled(disk.live)) return disk
    if (tries === 600) throw new Verdict(`the journal stays at ${disk.journal} bytes for ${disk.live} live`)
    await sleep(100)
  }
}

async function weigh(server, folder) {
  const inDatabase = !existsSync(join(folder, 'journal'))
  if (inDatabase) {
    const damaged = await server.metric('cowrite_store_documents_damaged')
    return { all: 0, journal: 0, sled: 0, segments: 0, newest: 0, live: 0, damaged }
  }
  const all = diskBytes(folder)
  const journal = diskBytes(join(folder, 'journal'))
  const numbers = readdirSync(join(folder, 'journal')).filter(name => name.endsWith('.segment')).map(name => parseInt(name, 10))
  return {
    all, journal, sled: all - journal, segments: numbers.length, newest: Math.max(0, ...numbers),
    live: await server.metric('cowrite_store_live_bytes'),
    damaged: await server.metric('cowrite_store_documents_damaged'),
  }
}

const mb = bytes => `${(bytes / 1e6).toFixed(1)} MB`
