// Plans of faults, drawn from a seed, on several real servers and their database, under people on all wires.
//
//   npm run faults -- --plans 100 [--seed N] [--steps 8] [--people 18] [--documents 6] [--only killed,frozen]
//
// Run by scripts/with-postgres. Each plan has a seed of its own, which a failure prints; `--plans 1 --seed` plays it again.
// `npm run kill-nodes` is the same with deaths alone: a random node is killed, stopped, or frozen for up to eight seconds.
import { parseArgs } from 'node:util'

import { Cluster } from './lib/cluster.js'
import { DEATHS, FAULTS, play } from './lib/faults.js'

const { values } = parseArgs({
  options: {
    plans: { type: 'string', default: '100' },
    seed: { type: 'string' },
    steps: { type: 'string', default: '8' },
    people: { type: 'string', default: '18' },
    documents: { type: 'string', default: '6' },
    only: { type: 'string' },
    deaths: { type: 'boolean', default: false },
    longest: { type: 'string', default: '8000' },
  },
})
const first = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31))
const faults = values.only?.split(',') ?? (values.deaths ? DEATHS : Object.keys(FAULTS))
const totals = { first, plans: 0, failed: [], sent: 0, acknowledged: 0, people: 0 }
// Providers of y-sweet say that they connect already.
console.warn = () => {}
for (let i = 0; i < Number(values.plans); i++) {
  const after = []
  const t = { after: undo => after.unshift(undo) }
  const seed = first + i
  try {
    const cluster = await Cluster.start(t)
    const { world: _, ...played } = await play(cluster, seed, {
      faults,
      steps: Number(values.steps),
      people: Number(values.people),
      documents: Number(values.documents),
      spanMs: [200, Number(values.longest)],
    })
    totals.plans++
    for (const name of ['sent', 'acknowledged', 'people']) totals[name] += played[name]
    console.log(`seed ${seed}: ${played.acknowledged} of ${played.sent} acknowledged before the end`)
  } catch (error) {
    totals.failed.push(seed)
    process.exitCode = 1
    console.error(error)
  } finally {
    for (const undo of after) await undo()
  }
}
console.log(totals)
process.exit()
