// The real server as a process of its own, on a port and a folder of its own.
import { spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const binary = process.env.SERVER_BINARY ?? fileURLToPath(new URL('../../../target/debug/cowrite', import.meta.url))

/** Starts a server; `flags` follow `cowrite serve`. It is stopped when the test `t` ends. `files`: as many may it open; `log`: its RUST_LOG; `variables`: of its environment. */
/** For tests in which one connection does what a thousand people do: it is not to wait for its turn. */
export const AS_FAST_AS_IT_GOES = ['--messages-per-second=1000000', '--presence-per-second=1000000', '--received-bytes-per-second=1GiB', '--cpu-percent=100']

export async function startServer(t, flags = [], { files, log, variables } = {}) {
  const data = await mkdtemp(join(tmpdir(), 'cowrite-test-'))
  const server = new Server(data, flags, files)
  server.variables = { ...variables, ...(log && { RUST_LOG: log }) }
  t.after(async () => {
    await server.stop('SIGKILL')
    await rm(data, { recursive: true, force: true })
  })
  await server.start()
  return server
}

class Server {
  constructor(data, flags, files) {
    this.data = data
    this.flags = flags
    this.files = files
    this.address = '127.0.0.1:0'
    this.log = ''
  }

  /** Starts it; after the first time on the port that it had. */
  async start() {
    const args = ['serve', '--listen', this.address, '--data', this.data, ...this.flags]
    const command = this.files ? ['sh', '-c', `ulimit -n ${this.files}; exec "$0" "$@"`, binary, ...args] : [binary, ...args]
    this.process = spawn(command[0], command.slice(1), { stdio: ['ignore', 'pipe', 'pipe'], env: { ...environment(), ...this.variables } })
    this.ended = new Promise(resolve => this.process.once('exit', (code, signal) => resolve({ code, signal })))
    this.process.stderr.on('data', text => { this.log += text })
    this.address = await new Promise((resolve, reject) => {
      let output = ''
      this.process.stdout.on('data', text => {
        output += text
        const found = output.match(/listening on https?:\/\/([^\s"]+)/)
        const admin = output.match(/admin on (https?:\/\/[^\s"]+)/)
        this.admin = admin?.[1]
        this.cluster = output.match(/nodes on ([^\s"]+)/)?.[1]
        const has = (flag, what) => what || !args.includes(flag)
        if (found && has('--admin-listen', admin) && has('--cluster-address', this.cluster)) resolve(found[1])
      })
      this.process.once('error', reject)
      this.process.once('exit', code => reject(new Error(`the server ended with ${code}: ${this.log}`)))
    })
  }

  /** Ends it and says how it ended. */
  async stop(signal = 'SIGTERM') {
    this.process.kill(signal)
    return await this.ended
  }

  get url() { return `ws://${this.address}/ws` }
  get http() { return `http://${this.address}` }

  /** The value of a metric: of the one with these labels, or summed over all. */
  async metric(name) {
    const text = await (await fetch(`${this.http}/metrics`)).text()
    const lines = text.split('\n').filter(line => line.startsWith(`${name} `) || line.startsWith(`${name}{`))
    return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
  }
}

/** Prints a token with the server's own command. */
export async function mintToken(secret, args) {
  const { code, output } = await run(['token', ...args], { COWRITE_JWT_SECRET: secret })
  if (code !== 0) throw new Error(output)
  return output.trim()
}

/** Runs the binary to its end. */
export function run(args, variables = {}) {
  const child = spawn(binary, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...environment(), ...variables } })
  let output = ''
  child.stdout.on('data', text => { output += text })
  child.stderr.on('data', text => { output += text })
  return new Promise(resolve => child.once('close', code => resolve({ code, output })))
}

/** This process's environment without the variables that are the server's or the tests' own. */
function environment() {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('COWRITE_')))
}
