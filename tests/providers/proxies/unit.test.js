// The unit of systemd, as systemd judges it; nothing is started.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'

import { folderFor } from '../lib/server.js'

const run = promisify(execFile)
const binary = process.env.SERVER_BINARY ?? new URL('../../../target/debug/cowrite', import.meta.url).pathname

test('e38 the systemd unit is understood, and gives little away', async t => {
  const folder = folderFor(t, 'unit')
  const unit = join(folder, 'cowrite.service')
  const text = await readFile(new URL('../../../deploy/cowrite.service', import.meta.url), 'utf8')
  // Installed, the binary is somewhere else.
  await writeFile(unit, text.replace('/usr/local/bin/cowrite', binary))

  const verified = await run('systemd-analyze', ['verify', '--man=no', unit])
  assert.equal(`${verified.stdout}${verified.stderr}`, '')
  // Above 1.5 of 10 it fails.
  const { stdout } = await run('systemd-analyze', ['security', '--offline=yes', '--threshold=15', unit])
  assert.match(stdout, /Overall exposure level for cowrite\.service: [01]\.\d/)
  // What it starts are words and settings that the binary has.
  const [, ...words] = text.match(/^ExecStart=(.*)$/m)[1].split(' ')
  const settings = [...text.matchAll(/^Environment=(COWRITE_\w+)=(.*)$/gm)].map(([, name, value]) => [name, value])
  assert.ok(settings.length > 0)
  await run(binary, [...words, '--help'], { env: { ...Object.fromEntries(settings), PATH: process.env.PATH } })
})
