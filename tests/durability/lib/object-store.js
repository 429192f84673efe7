// A real S3 server (moto, in Python), and a line to it that cuts, delays and swallows.
import { execFile, spawn, spawnSync } from 'node:child_process'
import { connect, createServer } from 'node:net'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const path = relative => fileURLToPath(new URL(relative, import.meta.url))

// On Debian the module is a package of its own, without which no environment can be made.
const hasPython = spawnSync('python3', ['-c', 'import venv, ensurepip']).status === 0
export const skip = hasPython ? false : 'python3 with venv is missing (Debian: apt-get install python3-venv)'

/** A store with the bucket `backups`, which checks signatures; it ends with the test `t`. */
export async function objectStore(t) {
  await promisify(execFile)(path('../../../scripts/python-install'), ['tests/durability/python'])
  const child = spawn(path('../python/.venv/bin/python'), [path('../python/object_store.py')], { stdio: ['pipe', 'pipe', 'pipe'] })
  t.after(() => child.kill('SIGKILL'))
  let said = ''
  child.stderr.on('data', text => { said += text })
  const about = await new Promise((resolve, reject) => {
    let line = ''
    child.stdout.on('data', text => {
      line += text
      if (line.includes('\n')) resolve(JSON.parse(line))
    })
    child.once('exit', code => reject(new Error(`the store ended with ${code}: ${said}`)))
  })
  return { ...about, variables: variables(about) }
}

/** What `cowrite` is told of a store, or of a line to it. */
export function variables({ port, key, secret }) {
  return {
    AWS_ENDPOINT_URL: `http://127.0.0.1:${port}`,
    AWS_ALLOW_HTTP: 'true',
    AWS_ACCESS_KEY_ID: key,
    AWS_SECRET_ACCESS_KEY: secret,
    AWS_REGION: 'us-east-1',
    AWS_TIMEOUT: '1s',
  }
}

/**
 * A line to a port. `fate()` is asked for each connection and answers nothing, or: `cutUp` and `cutDown`, after so many
 * bytes of the requests or of the answers both ends hear a reset; `swallow`, answers are lost; `delayMs`, they come late;
 * `request`, a function of a request's first line: 'cut', 'swallow' and 'flip' (a byte of the answer's body) concern it alone.
 */
export async function lineTo(t, port, fate) {
  const sockets = new Set()
  let faults = 0
  const server = createServer(near => {
    const far = connect(port, '127.0.0.1')
    const { cutUp = Infinity, cutDown = Infinity, swallow = false, delayMs = 0, request } = fate() ?? {}
    let [up, down] = [0, 0]
    let fault
    const cut = () => {
      faults++
      near.resetAndDestroy()
      far.destroy()
    }
    near.on('data', bytes => {
      up += bytes.length
      const line = request && bytes.toString('latin1').match(/^[A-Z]+ \S+ HTTP/)?.[0]
      if (line) fault = request(line)
      if (fault === 'cut') return cut()
      if (up <= cutUp) return far.write(bytes)
      far.write(bytes.subarray(0, Math.max(0, bytes.length - (up - cutUp))))
      cut()
    })
    far.on('data', bytes => {
      down += bytes.length
      if (swallow || fault === 'swallow') return faults++
      // The head of an answer may come alone.
      const head = bytes.subarray(0, 5).toString('latin1') === 'HTTP/' ? bytes.indexOf('\r\n\r\n') + 4 : 0
      if (fault === 'flip' && bytes.length > head) {
        faults++
        bytes[bytes.length - 1] ^= 1
      }
      if (down > cutDown) {
        near.write(bytes.subarray(0, Math.max(0, bytes.length - (down - cutDown))), cut)
      } else {
        setTimeout(() => near.write(bytes), delayMs)
      }
    })
    for (const [one, other] of [[near, far], [far, near]]) {
      sockets.add(one)
      one.on('error', () => {})
      one.on('close', () => {
        sockets.delete(one)
        setTimeout(() => other.destroy(), delayMs)
      })
    }
  })
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    server.close()
    sockets.forEach(socket => socket.destroy())
  })
  return { port: server.address().port, get faults() { return faults } }
}
