// HAProxy as deploy/haproxy.cfg says, in front of three servers: only addresses are others.
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

import { until } from '../../lib/wait.mjs'
import { freePort } from '../../lib/ports.mjs'

const file = fileURLToPath(new URL('../../../deploy/haproxy.cfg', import.meta.url))

/** Starts it; it ends with the test. `isUp(i)` says whether it gives connections to the node of that index, `sockets(i)` how many of Hocuspocus it has. */
export async function startHaproxy(t, nodes) {
  const [bind, stats] = [`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`]
  const names = Object.fromEntries(nodes.map((node, i) => [`COWRITE_NODE_${i + 1}`, node.address]))
  const child = spawn('haproxy', ['-db', '-f', file], {
    env: { PATH: `${process.env.PATH}:/usr/sbin`, HAPROXY_BIND: bind, HAPROXY_STATS: stats, ...names },
  })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', text => { said += text })
  const ended = new Promise(resolve => child.once('exit', resolve))
  t.after(async () => {
    child.kill('SIGTERM')
    await ended
  })
  const row = async (backend, i) => {
    const [head, ...rows] = (await (await fetch(`http://${stats}/;csv`)).text()).trim().split('\n').map(line => line.split(','))
    const found = rows.find(([name, server]) => name === backend && server === `node-${i + 1}`)
    return Object.fromEntries(head.map((name, column) => [name.replace('# ', ''), found[column]]))
  }
  const front = {
    address: bind,
    url: `ws://${bind}/ws`,
    http: `http://${bind}`,
    isUp: async i => (await row('documents', i)).status.startsWith('UP'),
    sockets: async i => Number((await row('sockets', i)).scur),
  }
  await until('HAProxy gives connections to all nodes', async () => {
    if (child.exitCode !== null) throw new Error(`HAProxy ended: ${said}`)
    return (await Promise.all(nodes.map((_, i) => front.isUp(i).catch(() => false)))).every(Boolean)
  })
  return front
}
