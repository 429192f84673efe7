// The lines for nginx in docs/scaling.md, as they stand there, in front of three nodes: only addresses are others.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'

import { connect, newest, saved, synced } from '../lib/clients.js'
import { startNodes } from '../lib/cluster.js'
import { connect as attach, newest as hocuspocus } from '../lib/hocuspocus.js'
import { freePort } from '../../lib/ports.mjs'
import { atEnd, folderFor } from '../lib/server.js'
import { until } from '../../lib/wait.mjs'
import { open } from '../lib/y-sweet.js'

/** Starts nginx with the documented lines. */
async function startNginx(t, nodes) {
  const docs = await readFile(new URL('../../../docs/scaling.md', import.meta.url), 'utf8')
  const [, recipe] = docs.match(/^```nginx recipe\n([\s\S]*?)^```$/m)
  const [folder, port] = [folderFor(t, 'nginx'), await freePort()]
  const own = ['10.0.0.5:8080', '10.0.0.6:8080', '10.0.0.7:8080'].reduce((text, documented, i) => {
    assert.ok(text.includes(documented))
    return text.replace(documented, nodes[i].address)
  }, recipe).replace('listen 80;', `listen 127.0.0.1:${port};`)
  const file = join(folder, 'nginx.conf')
  await writeFile(file, `daemon off; ${process.getuid() === 0 ? 'user root;' : ''} pid ${folder}/pid; error_log ${folder}/error.log; events {}
    http { client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/temp; fastcgi_temp_path ${folder}/f;
    uwsgi_temp_path ${folder}/u; scgi_temp_path ${folder}/s; access_log off;
    ${own} }`)
  const child = spawn('nginx', ['-c', file, '-e', join(folder, 'error.log')], { env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` } })
  let said = ''
  child.stderr.on('data', text => { said += text })
  const ended = new Promise(resolve => child.once('exit', resolve))
  atEnd(t, () => {
    child.kill('SIGTERM')
    return ended
  })
  const address = `127.0.0.1:${port}`
  await until('nginx answers', () => {
    if (child.exitCode !== null) throw new Error(`nginx ended: ${said}`)
    return fetch(`http://${address}/livez`).then(answer => answer.ok, () => false)
  })
  return { address, url: `ws://${address}/ws`, http: `http://${address}` }
}

test('n5 behind nginx by URI connections reach the node of their document, and another one when it dies', async t => {
  const nodes = await startNodes(t, 3)
  const front = await startNginx(t, nodes)
  const pairs = Array.from({ length: 12 }, (_, i) => [connect(t, newest, front, `doc-${i}`), open(t, front, `doc-${i}`, {}, { token: null })])
  await synced(...pairs.flat())
  pairs.forEach(([one, other], i) => {
    one.text.insert(0, `one ${i} `)
    other.text.insert(0, `other ${i} `)
  })
  const agree = more => pairs.every(([one, other], i) =>
    one.text.toString() === other.text.toString() && one.text.length === `${more}one ${i} other ${i} `.length)
  await until('each pair has both', () => agree(''))
  const counts = await Promise.all(nodes.map(node => node.metric('cowrite_connections')))
  assert.equal(counts.reduce((sum, count) => sum + count, 0), 24, 'none of them is carried')
  assert.equal((await Promise.all(nodes.map(node => node.metric('cowrite_connections_carried')))).join(), '0,0,0')

  const sockets = Array.from({ length: 24 }, (_, i) => attach(t, hocuspocus, front, `alone-${i}`))
  await until('they are there', () => sockets.every(({ provider }) => provider.synced))
  const grown = await Promise.all(nodes.map(async (node, i) => await node.metric('cowrite_connections') - counts[i]))
  assert.ok(grown.every(count => count > 0), `Hocuspocus’ sockets are not all on one node: ${grown}`)

  const victim = counts.indexOf(Math.max(...counts))
  await nodes[victim].stop('SIGKILL')
  pairs.forEach(([one]) => one.text.insert(0, 'more '))
  await until('all are back, and what is written reaches the other', () => agree('more '), 60_000)
  await Promise.all(pairs.map(([one]) => saved(one)))
})
