// y-sweet's Python SDK, in an environment of its own.
import assert from 'node:assert/strict'
import { execFile, spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

import WebSocket from 'ws'

import { startServer } from '../lib/server.js'
import { within } from '../../lib/wait.mjs'
import { connectionString, manager, open, saved, serverToken } from '../lib/y-sweet.js'

const path = relative => fileURLToPath(new URL(relative, import.meta.url))
const execute = promisify(execFile)

// On Debian the module is a package of its own, without which no environment can be made.
const hasPython = spawnSync('python3', ['-c', 'import venv, ensurepip']).status === 0
const skip = hasPython ? false : 'python3 with venv is missing (Debian: apt-get install python3-venv): y-sweet’s Python SDK is not tried'

test('x21 the Python SDK makes, reads and writes documents', { skip, timeout: 300_000 }, async t => {
  await execute(path('../../../scripts/python-install'), ['tests/providers/python'])
  const server = await startServer(t, ['--server-token', serverToken])
  const page = open(t, server, 'notes')
  await saved(page)
  const args = [path('../python/y_sweet.py'), connectionString(server), connectionString(server, 'wrong')]
  const { stdout } = await execute(path('../python/.venv/bin/python'), args)
  await saved(page)
  assert.equal(page.text.toString(), 'twice written in Python')
  assert.ok((await manager(server).getDocAsUpdate('notes')).length > 2)

  const socket = new WebSocket(stdout.trim())
  t.after(() => socket.terminate())
  await within('its address opens a session', new Promise((resolve, reject) => socket.once('message', resolve).once('error', reject)))
})
