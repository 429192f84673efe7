// A short session that makes the store do everything that it does: commits, snapshots, roll-over, compaction,
// deletion, feeding sled. What went wrong in it is for the oracle to find.
import { setTimeout as sleep } from 'node:timers/promises'

import { Ended } from './watched.js'
import { Writer } from './oracle.js'

/** Flags with which a session of a few hundred kilobytes exercises the whole store. */
export const TINY = ['--snapshot-bytes', '1KiB', '--segment-bytes', '64KiB', '--idle-timeout', '100ms', '--threads', '2']

let people = 0

/**
 * Writes `steps` numbers, each acknowledged before the next, to `documents` documents, with ballast that
 * makes older records dead. Answers 'done', or 'ended' when the server was gone before.
 */
export async function session(ledger, url, { documents = 3, steps = 6, ballast = 9_000, dice } = {}) {
  const writers = Array.from({ length: documents }, (_, i) => new Writer(ledger, `doc-${i}`, `s${++people}`))
  try {
    await Promise.all(writers.map(writer => writer.connect(url)))
    for (let step = 0; step < steps; step++) {
      for (const writer of writers) writer.write({ place: step % 2, text: dice.text(ballast) })
      await Promise.all(writers.map(writer => writer.whenAcknowledged()))
    }
    return 'done'
  } catch (error) {
    if (error instanceof Ended || writers.some(({ client }) => client?.close)) return 'ended'
    throw error
  } finally {
    writers.forEach(writer => writer.end())
  }
}

/** Lets the store's upkeep run until it rests: `rests` polls in a row without a call. */
export async function quiet(disk, server, rests = 8) {
  let calls = -1
  let polls = 0
  for (let same = 0; same < rests && server.alive;) {
    if (++polls > 1_200) throw new Error(`upkeep does not rest within a minute: ${disk.calls} calls`)
    await sleep(50)
    same = disk.calls === calls ? same + 1 : 0
    calls = disk.calls
  }
}
