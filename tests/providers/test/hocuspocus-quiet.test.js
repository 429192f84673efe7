import assert from 'node:assert/strict'
import { test } from 'node:test'

import { connect, settled, versions } from '../lib/hocuspocus.js'
import { startServer } from '../lib/server.js'
import { until } from '../../lib/wait.mjs'

test('x14 a quiet connection is kept alive for longer than Hocuspocus providers wait', { timeout: 90_000 }, async t => {
  const server = await startServer(t)
  // Nothing of its own keeps it alive: no awareness, hence no renewals and no echoes.
  const clients = Object.values(versions).map(version => connect(t, version, server, 'quiet', { awareness: null }))
  await settled(...clients)
  // A provider gives up when it has heard nothing for 30 s.
  const since = Date.now()
  await until('each heard something after more than 45 s', () =>
    clients.every(({ wire }) => wire.provider.lastMessageReceived - since > 45_000), 80_000)
  assert.deepEqual(clients.map(({ wire }) => [wire.opened, wire.closes]), clients.map(() => [1, []]))
  clients[0].text.insert(0, 'still here')
  await until('the others have it', () => clients.every(({ text }) => text.toString() === 'still here'))
})
