// With an asynchronous standby that lags a primary that is killed takes along what it had acknowledged; the nodes that live
// have it, and give it back.
import assert from 'node:assert/strict'
import { test } from 'node:test'

import { Cluster } from '../lib/cluster.js'
import { does, hosts } from '../lib/failover.js'
import { play } from '../lib/faults.js'
import { Ledger, Writer, judge, read } from '../lib/oracle.js'
import { sql } from '../lib/cluster.js'
import { until } from '../lib/wait.js'

test('n52 what the standby had not heard of comes back from the nodes, also of documents that nobody writes to', async t => {
  const cluster = await Cluster.start(t, { hosts: hosts() })
  const quiet = new Ledger()
  let keeps
  const failOver = async ({ ledger }) => {
    await does('stop-standby')
    // Written behind the standby's back by somebody who has left; a reader keeps the document open.
    const author = new Writer(quiet, 'quiet', 'author')
    await author.connect(cluster.nodes[0].url)
    keeps = await read(cluster.nodes[1].url, 'quiet')
    for (let i = 0; i < 20; i++) author.write()
    await author.whenAcknowledged()
    author.end()
    await until('the reader has it', () => keeps.doc.getArray('numbers').length === 20)
    const before = ledger.acknowledged
    await until('people are acknowledged', () => ledger.acknowledged > before + 300)
    await does('kill-over')
    cluster.url = cluster.url.replace(new URL(cluster.url).host, new URL(hosts()[1]).host)
    const acknowledged = ledger.acknowledged
    await until('people are acknowledged again', () => ledger.acknowledged > acknowledged + 200)
    const stored = `select count(*) from cowrite_record r join cowrite_document d on d.id = r.document where d.name = 'quiet'`
    await until('it is stored again', async () => Number(await sql(cluster.url, stored)) > 0)
  }
  const { world, ...totals } = await play(cluster, Number(process.env.SEED ?? 1), { steps: 0, meanwhile: failOver })
  t.diagnostic(JSON.stringify(totals))
  const found = await read(cluster.nodes[2].url, 'quiet')
  judge(quiet, 'quiet', found.doc)
  assert.equal(found.doc.getArray('numbers').length, 20)
  found.end()
  keeps.end()
})
