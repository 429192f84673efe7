// Nodes that die, stop, or are frozen and wake as ones that believe to have what others have by then; the long form is
// `npm run kill-nodes`.
import { test } from 'node:test'

import { Cluster } from '../lib/cluster.js'
import { DEATHS, play } from '../lib/faults.js'

test('n53 nodes that are killed, stopped and frozen under writers of all wires lose nothing', async t => {
  const cluster = await Cluster.start(t)
  const { world, ...totals } = await play(cluster, Number(process.env.SEED ?? 4), { faults: DEATHS, steps: 2, spanMs: [200, 1_200], say: text => t.diagnostic(text) })
  t.diagnostic(JSON.stringify(totals))
})

test('n53 a node that is frozen for eight seconds and wakes writes nothing that is another node\'s', async t => {
  const cluster = await Cluster.start(t)
  const { world, ...totals } = await play(cluster, 5, { faults: ['frozen'], steps: 1, spanMs: [8_000, 8_000], say: text => t.diagnostic(text) })
  t.diagnostic(JSON.stringify(totals))
})
