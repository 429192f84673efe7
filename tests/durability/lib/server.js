// The real server on a folder that outlives it.
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const binary = process.env.SERVER_BINARY ?? fileURLToPath(new URL('../../../target/debug/cowrite', import.meta.url))

/** So small that a minute's writing makes the store snapshot, roll over, compact and delete. */
export const SMALL = ['--snapshot-bytes', '4KiB', '--segment-bytes', '128KiB', '--idle-timeout', '300ms',
  '--threads', '2']

/** An empty folder that is removed when the test `t` ends. */
export function folderFor(t) {
  const folder = mkdtempSync(join(process.env.DURABILITY_FOLDER ?? tmpdir(), 'cowrite-durability-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** A server that is killed when the test `t` ends. */
export function serverFor(t, data, options) {
  const server = new Server(data, options)
  t.after(() => server.kill())
  return server
}

export class Server {
  constructor(data, { flags = SMALL, variables = {} } = {}) {
    this.data = data
    this.flags = flags
    this.variables = variables
    this.log = ''
  }

  /** Starts it; resolves when it listens, rejects when it ends before. */
  async start() {
    await this.spawn()
    await this.listening
    return this
  }

  /** Starts the process without waiting for anything. */
  spawn() {
    this.address = undefined
    const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('COWRITE_'))
    const variables = { ...Object.fromEntries(inherited), ...this.variables }
    const args = ['serve', '--listen', '127.0.0.1:0', '--data', this.data, ...this.flags]
    const child = spawn(binary, args, { stdio: ['ignore', 'pipe', 'pipe'], env: variables })
    this.process = child
    this.ended = new Promise(resolve => child.once('exit', (code, signal) => resolve({ code, signal })))
    child.stderr.on('data', text => { this.log = (this.log + text).slice(-1_000_000) })
    this.listening = new Promise((resolve, reject) => {
      let output = ''
      child.stdout.on('data', text => {
        output += text
        const found = output.match(/listening on http:\/\/(\S+)/)
        if (!found) return
        this.address = found[1]
        resolve()
      })
      child.once('error', reject)
      child.once('close', (code, signal) =>
        reject(new Error(`the server ended with ${code ?? signal}: ${this.log.slice(-4_000)}`)))
    })
    this.listening.catch(() => {})
    return this.process
  }

  /** SIGKILL, and waits until it is gone. */
  async kill() {
    this.process?.kill('SIGKILL')
    return await this.ended
  }

  async stop() {
    this.process.kill('SIGTERM')
    return await this.ended
  }

  get url() { return `ws://${this.address}/ws` }
  get http() { return `http://${this.address}` }
  get alive() { return this.process.exitCode === null && this.process.signalCode === null }

  async ready() { return await (await fetch(`${this.http}/readyz`)).json() }

  /** The value of a metric, summed over its labels unless they are said. */
  async metric(name) {
    const text = await (await fetch(`${this.http}/metrics`)).text()
    const lines = text.split('\n').filter(line => line.startsWith(`${name} `) || line.startsWith(`${name}{`))
    return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
  }

  /** Memory that the process has resident, in bytes. */
  get residentBytes() {
    return 1024 * Number(readFileSync(`/proc/${this.process.pid}/status`, 'utf8').match(/VmRSS:\s+(\d+)/)[1])
  }
}

/** Bytes on disk (blocks, as `du` counts) of a folder. */
export function diskBytes(folder) {
  let bytes = 0
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    try {
      if (entry.isFile()) bytes += statSync(join(entry.parentPath ?? entry.path, entry.name)).blocks * 512
    } catch (error) {
      if (error.code !== 'ENOENT') throw error
    }
  }
  return bytes
}
