// Kills the server at random moments under load, again and again on the same folder.
//
//   npm run kill -- --rounds 300 [--seed N] [--documents 40] [--writers 60] [--keep] [--database URL]
//
// A round: start (one in six is killed again while it starts); a fresh reader judges every document; writers
// connect, half of them with what they had not saved, and write; SIGKILL when 20 to 300 edits are acknowledged, in
// one round of four after 5 to 500 ms instead. A third of the documents has writers who overwrite tens of
// kilobytes, so that snapshots and compaction are always under way.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'

import { killLoop } from './lib/kill-loop.js'
import { SMALL } from './lib/server.js'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '300' },
    seed: { type: 'string' },
    documents: { type: 'string', default: '40' },
    writers: { type: 'string', default: '60' },
    keep: { type: 'boolean', default: false },
    database: { type: 'string' },
  },
})
const folder = mkdtempSync(join(process.env.DURABILITY_FOLDER ?? tmpdir(), 'cowrite-kill-'))
const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 32))
console.log(`seed ${seed}, folder ${folder}`)
let failed = false
try {
  const totals = await killLoop({
    folder,
    seed,
    rounds: Number(values.rounds),
    documents: Number(values.documents),
    writers: Number(values.writers),
    say: text => console.log(text),
    // A server that was killed keeps its documents for five seconds.
    rest: () => sleep(values.database ? 5_500 : 0),
    options: values.database && { flags: [...SMALL, '--database-url', values.database] },
  })
  console.log(totals)
} catch (error) {
  failed = true
  console.error(error)
  console.error(`again: npm run kill -- --rounds ${values.rounds} --seed ${seed}`)
  process.exitCode = 1
} finally {
  if (values.keep || failed) console.log(`the folder is kept: ${folder}`)
  else rmSync(folder, { recursive: true, force: true })
}
