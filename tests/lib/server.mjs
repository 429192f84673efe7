// The real server as a process of its own: started, stopped and killed as an operator or a power cut would.
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { until } from './wait.mjs'

export const BINARY = process.env.SERVER_BINARY ?? fileURLToPath(new URL('../../target/debug/cowrite', import.meta.url))
const LOG_LENGTH_MAX = 100_000_000

const ends = new WeakMap()

/** Calls `end` when the test `t` ends, the last one first: a folder goes when the server on it has gone. */
export function atEnd(t, end) {
  if (!ends.has(t)) {
    ends.set(t, [])
    t.after(async () => {
      for (const end of ends.get(t).reverse()) await end()
    })
  }
  ends.get(t).push(end)
}

/** An empty folder that is removed when the test `t` ends. */
export function folderFor(t, kind = 'test', parent = tmpdir()) {
  const folder = mkdtempSync(join(parent, `cowrite-${kind}-`))
  atEnd(t, () => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** This process's environment without what is the server's or the tests' own, and `variables`. */
function environment(variables) {
  const inherited = Object.entries(process.env).filter(([name]) => !/^(COWRITE|AWS)_/.test(name))
  return { ...Object.fromEntries(inherited), ...variables }
}

/** Runs the binary to its end: its code, what it printed (`out`), what it said of itself (`err`), and both in their order. */
export function run(args, variables = {}, { killAfterMs } = {}) {
  const child = spawn(BINARY, args, { stdio: ['ignore', 'pipe', 'pipe'], env: environment(variables) })
  let [out, err, output] = ['', '', '']
  child.stdout.on('data', text => { out += text; output += text })
  child.stderr.on('data', text => { err += text; output += text })
  const timer = killAfterMs && setTimeout(() => child.kill('SIGKILL'), killAfterMs)
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', code => {
      clearTimeout(timer)
      resolve({ code, out, err, output })
    })
  })
}

/** Prints a token with the server's own command. */
export async function mintToken(secret, args) {
  const { code, out, err } = await run(['token', ...args], { COWRITE_JWT_SECRET: secret })
  if (code !== 0) throw new Error(err)
  return out.trim()
}

export class Server {
  /**
   * A server on the folder `data`, not started yet. `flags` follow the command, `variables` are of its environment; it may
   * open so many `files`. It comes back at the address that it had, unless `keepsAddress` is false.
   */
  constructor(data, { command = 'serve', flags = [], variables = {}, files, keepsAddress = true } = {}) {
    Object.assign(this, { data, command, flags, variables, files, keepsAddress, log: '' })
  }

  /** Starts it; resolves when it listens, rejects when it ends before. */
  async start() {
    // While it was away, somebody else may have been given its port.
    await until(`${this.address} is free`, () => this.spawn().then(() => true, error => {
      if (this.address && /cannot listen on/.test(error.message)) return false
      throw error
    }))
    return this
  }

  /** Starts the process; the promise is for the moment when it listens. */
  spawn() {
    if (!this.keepsAddress) this.address = undefined
    const args = [this.command, '--listen', this.address ?? '127.0.0.1:0', '--data', this.data, ...this.flags]
    const command = this.files ? ['sh', '-c', `ulimit -n ${this.files}; exec "$0" "$@"`, BINARY, ...args] : [BINARY, ...args]
    const child = spawn(command[0], command.slice(1), { stdio: ['ignore', 'pipe', 'pipe'], env: environment(this.variables) })
    this.process = child
    // With all that it said.
    this.ended = new Promise(resolve => child.once('close', (code, signal) => resolve({ code, signal })))
    child.stderr.on('data', text => {
      this.log = (this.log + text).slice(-LOG_LENGTH_MAX)
      if (process.env.SERVER_LOG) process.stderr.write(text)
    })
    const listening = new Promise((resolve, reject) => {
      let output = ''
      child.stdout.on('data', text => {
        output += text
        const found = what => output.match(new RegExp(`${what} on ([^\\s"]+)`))?.[1]
        const has = (flag, what) => what !== undefined || !args.includes(flag)
        const [address, admin, cluster] = ['listening', 'admin', 'nodes'].map(found)
        if (address === undefined || !has('--admin-listen', admin) || !has('--cluster-address', cluster)) return
        Object.assign(this, { address: address.replace(/^https?:\/\//, ''), admin, cluster })
        resolve()
      })
      child.once('error', reject)
      child.once('close', (code, signal) => reject(new Error(
        `the server ended with ${code ?? signal} (SERVER_BINARY names the binary): ${this.log.slice(-4_000)}`)))
    })
    listening.catch(() => {})
    return listening
  }

  /** Ends it and says how it ended. */
  async stop(signal = 'SIGTERM') {
    this.process?.kill(signal)
    return await this.ended
  }

  /** SIGKILL: no goodbye, no flush. */
  kill() { return this.stop('SIGKILL') }

  /** SIGSTOP; resolves when none of its threads runs any more, which is some time after the signal was sent. */
  async freeze() {
    this.process.kill('SIGSTOP')
    const threads = `/proc/${this.process.pid}/task`
    await until('it is frozen', () => {
      try {
        // The state follows the name, which is in brackets.
        return readdirSync(threads).every(thread => readFileSync(`${threads}/${thread}/stat`, 'utf8').split(') ').at(-1).startsWith('T'))
      } catch (error) {
        // A thread had ended meanwhile.
        if (!this.alive || error.code !== 'ENOENT' && error.code !== 'ESRCH') throw error
        return false
      }
    })
  }

  thaw() { this.process.kill('SIGCONT') }

  get origin() { return this.http }
  get url() { return `ws://${this.address}/ws` }
  get http() { return `http://${this.address}` }
  get alive() { return this.process.exitCode === null && this.process.signalCode === null }

  async ready() { return await (await fetch(`${this.http}/readyz`)).json() }

  /** The value of a metric: of the one with these labels, or summed over all. */
  async metric(name) {
    const text = await (await fetch(`${this.http}/metrics`)).text()
    const lines = text.split('\n').filter(line => line.startsWith(`${name} `) || line.startsWith(`${name}{`))
    return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
  }
}

/** `server`, which is killed when the test `t` ends. */
export function endedWith(t, server) {
  atEnd(t, () => server.kill())
  return server
}
