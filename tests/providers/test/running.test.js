import assert from 'node:assert/strict'
import { chmod, readdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'

import WebSocket from 'ws'

import { connect, newest, saved, synced } from '../lib/clients.js'
import { folderFor, run, startServer } from '../lib/server.js'
import { until } from '../../lib/wait.mjs'

test('e19 healthy, then stopping on SIGTERM and SIGINT: 1012, everything saved, exit 0', async t => {
  for (const signal of ['SIGTERM', 'SIGINT']) {
    const server = await startServer(t)
    assert.equal((await fetch(`${server.http}/livez`)).status, 200)
    assert.deepEqual(await (await fetch(`${server.http}/readyz`)).json(), { ready: true })
    const clients = Array.from({ length: 20 }, (_, i) => connect(t, newest, server, `doc-${i % 5}`))
    await synced(...clients)
    clients.forEach(({ text }, i) => text.insert(0, `<${i}>`))
    await Promise.all(clients.map(saved))
    // Not asked about, but sent: a clean stop saves it all the same.
    const last = clients[0]
    last.text.insert(0, 'last words ')
    await until('the last words arrived', () => clients[5].text.toString().startsWith('last words'))

    const ended = await server.stop(signal)

    assert.deepEqual(ended, { code: 0, signal: null }, server.log)
    await until('all have heard of it', () => clients.every(({ closes }) => closes.length > 0))
    assert.ok(clients.every(({ closes }) => closes[0].code === 1012), JSON.stringify(clients.map(c => c.closes)))
    clients.forEach(({ provider }) => provider.destroy())
    await server.start()
    const reader = connect(t, newest, server, 'doc-0')
    await synced(reader)
    assert.match(reader.text.toString(), /last words/)
    await server.stop('SIGKILL')
  }
})

test('e29 what the server writes is its owner’s alone', async t => {
  const server = await startServer(t)
  const ada = connect(t, newest, server, 'private')
  await synced(ada)
  ada.text.insert(0, 'a secret')
  await saved(ada)
  const modes = async folder => (await readdir(folder, { recursive: true, withFileTypes: true })).map(async entry => {
    const path = join(entry.parentPath, entry.name)
    return [path, (await stat(path)).mode & 0o777, entry.isDirectory() ? 0o700 : 0o600]
  })
  const backup = join(folderFor(t), 'backup')
  assert.equal((await run(['backup', '--data', server.data, backup])).code, 0)
  const all = await Promise.all((await Promise.all([server.data, backup].map(modes))).flat())
  assert.ok(all.length > 4)
  assert.deepEqual(all.filter(([, mode, expected]) => mode !== expected), [])
})

test('l38 a server that may open few files refuses connections and goes on saving', async t => {
  const server = await startServer(t, ['--segment-bytes', '64KiB'], { files: 300 })
  await until('it says so', () => /300 files: 151 connections at most/.test(server.log))
  const ada = connect(t, newest, server, 'first')
  await synced(ada)
  const others = Array.from({ length: 200 }, (_, i) => {
    const socket = new WebSocket(`${server.url}/other-${i}`)
    t.after(() => socket.terminate())
    return new Promise(resolve => {
      socket.once('open', () => resolve(101))
      socket.once('unexpected-response', (_, { statusCode }) => resolve(statusCode))
      socket.once('error', () => resolve('error'))
    })
  })
  const answers = await Promise.all(others)
  const count = answer => answers.filter(other => other === answer).length
  assert.equal(count(101), 150)
  assert.equal(count(503), 50)
  for (let i = 0; i < 30; i++) {
    ada.text.insert(0, 'x'.repeat(10_000))
    await saved(ada)
  }
  assert.equal((await fetch(`${server.http}/readyz`)).status, 200)
  assert.deepEqual(ada.closes, [])
})

test('e20 a second server on the same folder, a port in use, a bad folder: one sentence, not zero', async t => {
  const server = await startServer(t)
  const second = await run(['serve', '--listen', '127.0.0.1:0', '--data', server.data])
  assert.equal(second.code, 1)
  assert.match(second.output, /error: .*(in use|locked|another)/)

  const data = folderFor(t)
  const port = await run(['serve', '--listen', server.address, '--data', data])
  assert.equal(port.code, 1)
  assert.match(port.output, /error: cannot listen on/)

  const file = join(data, 'file')
  await writeFile(file, 'not a folder')
  await chmod(file, 0o444)
  const folder = await run(['serve', '--listen', '127.0.0.1:0', '--data', file])
  assert.equal(folder.code, 1)
  assert.match(folder.output, /error: .*file/)

  const unknown = await run(['serve', '--lisen', '127.0.0.1:0'])
  assert.equal(unknown.code, 2)
  assert.match(unknown.output, /--lisen/)
})

test('e21 metrics count what happened', async t => {
  const server = await startServer(t)
  const client = connect(t, newest, server, 'counted')
  await synced(client)
  client.text.insert(0, 'x')
  await saved(client)

  assert.equal(await server.metric('cowrite_connections'), 1)
  assert.equal(await server.metric('cowrite_documents_open'), 1)
  assert.ok(await server.metric('cowrite_updates_total') >= 1)
  assert.ok(await server.metric('cowrite_update_to_durable_seconds_count') >= 1)
  client.provider.destroy()
  await until('the connection is counted out', async () => await server.metric('cowrite_connections') === 0)
})

test('e22 idle documents leave memory and come back', async t => {
  const server = await startServer(t, ['--idle-timeout', '200ms'])
  const client = connect(t, newest, server, 'idle')
  await synced(client)
  client.text.insert(0, 'kept')
  await saved(client)
  client.provider.destroy()
  await until('it left memory', async () => await server.metric('cowrite_documents_open') === 0)

  const again = connect(t, newest, server, 'idle')
  await synced(again)
  assert.equal(again.text.toString(), 'kept')
})
