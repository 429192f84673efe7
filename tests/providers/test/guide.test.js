// docs/tokens.md and docs/python.md. What the back-end programs sign opens what the page says, and its table names what is
// read. They are in one file, since both install Python's packages.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

import { connections, follow, secret as itsSecret, token } from '../lib/followed.js'
import { page, program, tags } from '../lib/documented.js'
import { interpreter, skip } from '../lib/python.js'
import { folderFor, startServer } from '../lib/server.js'
import { until } from '../../lib/wait.mjs'

const execute = promisify(execFile)
const connect = connections['y-websocket 3.1.0']
const tokens = await page('tokens.md')
const python = await page('python.md')
const secret = randomBytes(32).toString('hex')

/** Runs a program of the page, in an empty folder with those of `files`, and returns what it prints. */
async function runProgram(t, tag, command, files = {}) {
  const folder = folderFor(t, 'tokens')
  for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), content)
  const run = await command(program(tokens, tag), tag)
  const { stdout } = await execute(run[0], run.slice(1), { cwd: folder, env: { ...process.env, COWRITE_JWT_SECRET: secret } })
  return { folder, printed: stdout.trim() }
}

/** Where the packages of this folder are found. */
async function inNode(source, tag) {
  const folder = fileURLToPath(new URL('../dist/', import.meta.url))
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, `${tag}.mjs`), source)
  return [process.execPath, join(folder, `${tag}.mjs`)]
}
const inPython = async source => [await interpreter(), '-c', source]
const inShell = async source => ['sh', '-euc', source]

/** What the programs of the page say that their user may. */
async function opensWhatThePageSays(t, server, token) {
  for (const [document, state] of [
    ['team/minutes', 'saved'], ['team/handbook', 'readonly'], ['private/ada/diary', 'saved'], ['private/bob/diary', 'refused'],
  ]) {
    const client = connect(t, server, document, token)
    await follow(t, client).until(state)
    client.provider.destroy()
  }
}

for (const [tag, command, options] of [
  ['token-node', inNode, {}], ['token-python', inPython, { skip, timeout: 300_000 }], ['token-shell', inShell, {}],
]) {
  test(`t8 ${tag}: the program as printed signs what the server believes`, options, async t => {
    const server = await startServer(t, ['--jwt-secret', secret])
    const { printed } = await runProgram(t, tag, command)
    await opensWhatThePageSays(t, server, printed)
    const claims = JSON.parse(Buffer.from(printed.split('.')[1], 'base64url'))
    assert.equal(claims.exp - claims.iat, 15 * 60)
  })

  test(`t7 ${tag}: with the secret decoded it is refused, and the reason says why`, options, async t => {
    const server = await startServer(t, ['--jwt-secret', secret])
    const decoded = {
      'token-node': source => source.replace('new TextEncoder().encode(process.env.COWRITE_JWT_SECRET)', "Buffer.from(process.env.COWRITE_JWT_SECRET, 'hex')"),
      'token-python': source => source.replace('os.environ["COWRITE_JWT_SECRET"]', 'bytes.fromhex(os.environ["COWRITE_JWT_SECRET"])'),
      'token-shell': source => source.replace('-hmac "$COWRITE_JWT_SECRET"', '-mac HMAC -macopt "hexkey:$COWRITE_JWT_SECRET"'),
    }[tag]
    const { printed } = await runProgram(t, tag, (source, name) => {
      assert.notEqual(decoded(source), source)
      return command(decoded(source), `${name}-decoded`)
    })
    const { saved, until: reached } = follow(t, connect(t, server, 'team/minutes', printed))
    await reached('refused')
    assert.equal(saved.closed.code, 4401)
    assert.match(saved.closed.reason, /decoded secret/)
  })
}

test('t8 token-node-public: a private key signs, and the server has only the public one', async t => {
  const { folder } = await runProgram(t, 'token-keys', inShell)
  const server = await startServer(t, ['--jwt-public-key', join(folder, 'public.pem')])
  const { printed } = await runProgram(t, 'token-node-public', inNode, { 'private.pem': await readFile(join(folder, 'private.pem')) })
  await opensWhatThePageSays(t, server, printed)
})

test('t8 the table names the claims that are read, and no others', async () => {
  const source = await readFile(new URL('../../../src/access/mod.rs', import.meta.url), 'utf8')
  const read = [...source.matchAll(/take\("(\w+)"\)/g)].map(([, claim]) => claim)
  const table = tokens.slice(tokens.indexOf('## What a token says'), tokens.indexOf('In a pattern'))
  const named = [...table.matchAll(/^\| `(\w+)` \|/gm)].map(([, claim]) => claim)
  assert.deepEqual(named.toSorted(), read.toSorted())
})

test('t8 every program of the page is run', () => {
  const here = ['token-node', 'token-python', 'token-shell', 'token-keys', 'token-node-public']
  const inTheBrowser = ['token-y-websocket', 'token-hocuspocus']
  assert.deepEqual(tags(tokens).toSorted(), [...here, ...inTheBrowser].toSorted())
})

test('w40 the program for Python writes, and ends when that is durable', { skip, timeout: 300_000 }, async t => {
  const server = await startServer(t, ['--jwt-secret', itsSecret])
  const TOKEN = await token('team/*=write')
  const client = connections['y-websocket 3.1.0'](t, server, 'team/minutes', TOKEN)
  client.text.insert(0, 'written in a page\n')
  await follow(t, client).until('saved')
  const source = program(python, 'python-editor').replaceAll('127.0.0.1:8080', server.address)
  const { stdout } = await execute(await interpreter(), ['-c', source], { env: { ...process.env, TOKEN } })
  await server.stop('SIGKILL')
  await server.start()

  assert.match(stdout, /written in a page\nwritten in Python/)
  await until('the page has it', () => client.text.toString() === 'written in a page\nwritten in Python\n')
  const newcomer = connections['y-websocket 3.1.0'](t, server, 'team/minutes', TOKEN)
  await until('it was kept', () => newcomer.text.toString() === 'written in a page\nwritten in Python\n')
})

test('w40 the program for Python is told why it may not', { skip, timeout: 300_000 }, async t => {
  const server = await startServer(t, ['--jwt-secret', itsSecret])
  const source = program(python, 'python-editor').replaceAll('127.0.0.1:8080', server.address)
  await assert.rejects(execute(await interpreter(), ['-c', source], { env: { ...process.env, TOKEN: 'rubbish' } }), /4401/)
})

test('w40 every program for Python is run', () => {
  assert.deepEqual(tags(python), ['python-editor'])
})
