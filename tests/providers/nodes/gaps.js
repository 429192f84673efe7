// How long editors are without service while nodes come and go: reported, never asserted.
//
//   scripts/with-postgres npm --prefix tests/providers run gaps -- --runs 10
//
// Three nodes behind a balancer, 24 editors of 12 documents (y-websocket's provider) that write 40 times a second each and ask
// with every edit whether it is saved. Without service is the longest time between two such answers around an event.
import { parseArgs } from 'node:util'

import { connect, newest, synced } from '../lib/clients.js'
import { Writer, balance, ownerOf, startNodes } from '../lib/cluster.js'
import { until } from '../../lib/wait.mjs'

const { values } = parseArgs({ options: { runs: { type: 'string', default: '10' }, documents: { type: 'string', default: '12' } } })
const pause = ms => new Promise(resolve => setTimeout(resolve, ms))
const gaps = { 'nothing happens': [], 'a node is restarted': [], 'a node is killed': [] }

async function measured(t) {
  const nodes = await startNodes(t, 3)
  const front = await balance(t, nodes)
  const writers = []
  for (let i = 0; i < 2 * Number(values.documents); i++) {
    const client = connect(t, newest, front, `doc-${i >> 1}`)
    await synced(client)
    writers.push(new Writer(client, `w${i}`))
  }
  t.after(() => writers.forEach(writer => writer.stop()))
  const goesOn = () => {
    const before = writers.map(writer => writer.acknowledged)
    return until('all are acknowledged', () => writers.every((writer, i) => writer.acknowledged > before[i] + 20), 60_000)
  }
  const around = async (name, event) => {
    await goesOn()
    writers.forEach(writer => { writer.longest = 0 })
    const closes = writers.map(({ client }) => client.closes.length)
    await event()
    await goesOn()
    gaps[name].push(...writers.map((writer, i) => ({ ms: writer.longest, closed: writer.client.closes.length - closes[i] })))
  }
  await around('nothing happens', () => pause(2_000))
  for (const node of nodes) {
    await around('a node is restarted', async () => {
      await node.stop('SIGTERM')
      await node.start()
    })
  }
  await around('a node is killed', () => nodes[1].stop('SIGKILL'))
  // Documents of a node that died have a new one.
  const owners = await Promise.all(Array.from({ length: Number(values.documents) }, (_, i) => ownerOf(nodes, `doc-${i}`)))
  if (owners.includes(1)) throw new Error(`owners ${owners}`)
}

for (let run = 0; run < Number(values.runs); run++) {
  const after = []
  try {
    await measured({ after: undo => after.unshift(undo) })
  } finally {
    for (const undo of after) await undo()
  }
}
const at = (sorted, part) => sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))]
for (const [name, all] of Object.entries(gaps)) {
  for (const [who, some] of [['all', all], ['whose connection was closed', all.filter(({ closed }) => closed > 0)]]) {
    const sorted = some.map(({ ms }) => ms).toSorted((a, b) => a - b)
    console.log(`${name}, ${who}: ${sorted.length} editors, p50 ${at(sorted, 0.5)} ms, p99 ${at(sorted, 0.99)} ms, most ${sorted.at(-1)} ms`)
  }
}
process.exit()
