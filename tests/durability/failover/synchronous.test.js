// With a synchronous standby a primary that is killed takes nothing along that was acknowledged.
import assert from 'node:assert/strict'
import { test } from 'node:test'

import { Cluster, sql } from '../lib/cluster.js'
import { does, hosts, waitForStandby } from '../lib/failover.js'
import { play } from '../lib/faults.js'
import { until } from '../lib/wait.js'

test('n51 three nodes go on with the standby, and nothing is lost that was acknowledged', async t => {
  const cluster = await Cluster.start(t, { hosts: hosts() })
  await waitForStandby()
  const failOver = async ({ ledger }) => {
    const before = ledger.acknowledged
    await until('people are acknowledged', () => ledger.acknowledged > before + 200)
    // The way of the first node to the dying primary loses answers: it does not know what it has committed.
    cluster.nodes[0].database[0].loses = 3
    await does('kill-over')
    cluster.url = cluster.url.replace(new URL(cluster.url).host, new URL(hosts()[1]).host)
    const acknowledged = ledger.acknowledged
    t.diagnostic(`${acknowledged} are acknowledged when the standby is the primary`)
    await until('people are acknowledged again', () => ledger.acknowledged > acknowledged + 200)
  }
  const { world, ...totals } = await play(cluster, Number(process.env.SEED ?? 1), { steps: 0, meanwhile: failOver })
  t.diagnostic(JSON.stringify(totals))
  assert.equal(await sql(cluster.url, 'select pg_is_in_recovery()'), 'f')
})
