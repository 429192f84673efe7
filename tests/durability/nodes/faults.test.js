// Short plans of faults on three servers and their database; the long ones are `npm run faults`.
import { test } from 'node:test'

import { Cluster } from '../lib/cluster.js'
import { play } from '../lib/faults.js'

const SEEDS = process.env.SEED ? [Number(process.env.SEED)] : [1, 2]

for (const seed of SEEDS) {
  test(`n50 faults between nodes and to the database lose nothing, and no document has two owners (seed ${seed})`, async t => {
    const cluster = await Cluster.start(t)
    const { world, ...totals } = await play(cluster, seed, { steps: 3, spanMs: [200, 1_200], say: text => t.diagnostic(text) })
    t.diagnostic(JSON.stringify(totals))
  })
}
