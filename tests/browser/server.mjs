// The server under test: the real binary, started and killed as an operator (or a power cut) would.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

// The server refuses settings that it does not know, and ours are not its.
const ENV = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('COWRITE_')))
const BIN = process.env.SERVER_BINARY ?? fileURLToPath(new URL('../../target/debug/cowrite', import.meta.url))

/**
 * Starts a server on a free port with an empty folder; `t.after` stops it and removes the folder.
 *
 * @param {import('node:test').TestContext} t
 * @param {{ command?: 'serve' | 'demo', flags?: string[], env?: Record<string, string> }} [options]
 */
export async function startServer(t, { command = 'serve', flags = [], env = {} } = {}) {
  const data = await mkdtemp(path.join(tmpdir(), 'cowrite-browser-'))
  const server = new Server(data, command, flags, env)
  t.after(async () => {
    await server.kill()
    await rm(data, { recursive: true, force: true })
  })
  await server.start()
  return server
}

/** What `cowrite token` prints: for one `PATTERN=write` or `PATTERN=read`. */
export async function mintToken(secret, grant, expires = '1h') {
  return mintTokenWith(secret, ['--expires', expires], grant)
}

/** The same with more of what the token says, such as `--name=Ada`. */
export async function mintTokenWith(secret, flags, grant) {
  return run(['token', '--sub', 'tester', ...flags, '--document', grant], { COWRITE_JWT_SECRET: secret })
}

/** What people wrote into a document of a server that has stopped (`cowrite doc export --as text`). */
export async function exportText(server, name) {
  return run(['doc', 'export', name, '--as', 'text', '--data', server.data])
}

async function run(args, env = {}) {
  const child = spawn(BIN, args, { env: { ...ENV, ...env }, stdio: ['ignore', 'pipe', 'inherit'] })
  let text = ''
  child.stdout.on('data', (bytes) => (text += bytes))
  const [code] = await once(child, 'close')
  if (code !== 0) throw new Error(`cowrite ${args.join(' ')} ended with ${code}`)
  return text.trim()
}

class Server {
  /** @type {string} */
  origin = 'http://127.0.0.1:0'
  #child = null

  constructor(data, command, flags, env) {
    this.data = data
    this.command = command
    this.flags = flags
    this.env = env
  }

  /** Starts on the same address as before, if there was one. */
  async start() {
    const args = [this.command, '--listen', new URL(this.origin).host, '--data', this.data, ...this.flags]
    const child = spawn(BIN, args, { env: { RUST_LOG: 'warn', ...ENV, ...this.env }, stdio: ['ignore', 'pipe', process.env.SERVER_LOG ? 'inherit' : 'ignore'] })
    this.#child = child
    const lines = createInterface({ input: child.stdout })
    this.origin = await new Promise((resolve, reject) => {
      lines.on('line', (line) => {
        const found = /listening on (http:\/\/\S+?)\/?$/.exec(line)
        if (found !== null) resolve(found[1])
      })
      lines.on('close', () => reject(new Error(`${BIN} ended before it was listening (SERVER_BINARY names the binary; SERVER_LOG=1 shows its log)`)))
      child.on('error', reject)
    })
  }

  /** SIGKILL: no goodbye, no flush. */
  async kill() {
    const child = this.#child
    this.#child = null
    if (child === null || child.exitCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
}
