// Several real servers on one real Postgres, which `scripts/with-postgres` starts, and what stands in front of them.
import { execFile } from 'node:child_process'
import { createHmac } from 'node:crypto'
import { connect as dial, createServer } from 'node:net'
import { promisify } from 'node:util'

import { run, startServer } from './server.js'
import { until } from '../../lib/wait.mjs'

// Each provider listens to the end of the process.
process.setMaxListeners(0)

export const secret = 'cluster-secret-of-at-least-32-bytes'
let schemas = 0

/** A schema of its own in the database, with tables unless it `isEmpty`; its URL. */
export async function startDatabase({ isEmpty = false } = {}) {
  const server = process.env.TEST_POSTGRES
  if (!server) throw new Error('run by scripts/with-postgres')
  const schema = `nodes_${process.pid}_${schemas++}`
  await sql(server, `create schema ${schema}`)
  const url = `${server}?options=-csearch_path%3D${schema}`
  if (isEmpty) return url
  const { code, output } = await run(['db', 'init', '--database-url', url])
  if (code !== 0) throw new Error(output)
  return url
}

/** Runs SQL; its rows, as text. */
export async function sql(url, text) {
  const { stdout } = await promisify(execFile)('psql', [url, '-XAtq', '-v', 'ON_ERROR_STOP=1', '-c', text])
  return stdout.trim()
}

/** One more node on a database. */
export const startNode = (t, url, flags = [], options = {}) => startServer(t, [
  '--database-url', url, '--cluster-address', '127.0.0.1:0', '--cluster-secret', options.secret ?? secret, '--threads', '2', ...flags
], options)

/** So many nodes that know of each other. */
export async function startNodes(t, count, flags = [], options = {}) {
  const url = await startDatabase()
  const nodes = await Promise.all(Array.from({ length: count }, () => startNode(t, url, flags, options)))
  nodes.database = url
  return nodes
}

/**
 * A link to the database that can be cut; its URL. An address `from` that the database tells is replaced by one as long, `to`:
 * of a link to the node that is there.
 */
export async function startLink(t, url, { from, to } = {}) {
  const { hostname, port } = new URL(url)
  const link = { isCut: false, sockets: new Set() }
  const server = createServer(socket => {
    const behind = dial({ host: hostname, port })
    for (const one of [socket, behind]) {
      link.sockets.add(one)
      one.on('error', () => {}).on('close', () => { socket.destroy(); behind.destroy(); link.sockets.delete(one) })
    }
    if (link.isCut) return socket.destroy()
    socket.pipe(behind)
    behind.on('data', bytes => {
      for (let at = from ? bytes.indexOf(from) : -1; at >= 0; at = bytes.indexOf(from, at)) bytes.write(to, at)
    })
    behind.pipe(socket)
  })
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
  link.cut = () => { link.isCut = true; link.sockets.forEach(socket => socket.destroy()) }
  link.heal = () => { link.isCut = false }
  t.after(() => { link.cut(); server.close() })
  link.url = url.replace(`:${port}/`, `:${server.address().port}/`)
  return link
}

/** Which node has a document: its index among `nodes`, by the port that others reach it at. */
export async function ownerOf(nodes, name) {
  const address = await sql(nodes.database,
    `select n.address from cowrite_document d join cowrite_node n on n.id = d.node where d.name = '${name}'`)
  return nodes.findIndex(node => node.cluster === address)
}

/** A connection to a node as another node makes one, on behalf of `said`; sends a request and returns the whole answer. */
export function askAsNode(node, said, request) {
  return new Promise((resolve, reject) => {
    const [host, port] = node.cluster.split(':')
    const socket = dial({ host, port })
    const proof = words => createHmac('sha256', secret).update(words).digest('base64url')
    let [answer, step] = ['', 0]
    socket.on('data', data => {
      answer += data.toString('latin1')
      if (step < 2 && answer.includes('\n')) {
        const line = answer.slice(0, answer.indexOf('\n'))
        answer = answer.slice(line.length + 1)
        const rest = `11111111-1111-1111-1111-111111111111 nonce ${said}`
        if (step++ === 0) {
          socket.opening = line
          socket.write(`${rest} ${proof(`sender\n${line}\n${rest}`)}\n`)
        } else {
          if (line !== proof(`owner\n${socket.opening}\n${rest}`)) reject(new Error('the node did not prove the secret'))
          socket.write(request)
        }
      }
      if (answer.startsWith('HTTP/1.1 101')) socket.destroy()
    })
    socket.on('close', () => resolve(answer)).on('error', reject)
  })
}

/** The head of a request to become a WebSocket. */
export const upgrade = (path, headers = []) => [
  `GET ${path} HTTP/1.1`, 'Host: 127.0.0.1', 'Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==', ...headers, '', ''
].join('\r\n')

/** Sends a request to a server and returns the whole answer. */
export function askRaw(server, request) {
  return new Promise((resolve, reject) => {
    const [host, port] = server.address.split(':')
    const socket = dial({ host, port }, () => socket.write(request))
    let answer = ''
    socket.on('data', data => {
      answer += data.toString('latin1')
      if (answer.includes('\r\n\r\n')) socket.destroy()
    }).on('close', () => resolve(answer)).on('error', reject)
  })
}

/** A balancer that gives each connection to the next node that is ready. */
export async function balance(t, nodes) {
  const ready = new Set(nodes)
  let turn = 0
  const looks = setInterval(() => {
    for (const node of nodes) {
      fetch(`${node.http}/readyz`, { signal: AbortSignal.timeout(500) })
        .then(answer => answer.ok, () => false)
        .then(is => is ? ready.add(node) : ready.delete(node))
    }
  }, 100)
  const sockets = new Set()
  const server = createServer(socket => {
    sockets.add(socket)
    socket.on('error', () => {}).on('close', () => sockets.delete(socket))
    const choice = [...ready]
    pass(socket, choice.map((_, i) => choice[(turn + i) % choice.length]))
    turn++
  })
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    clearInterval(looks)
    sockets.forEach(socket => socket.destroy())
    server.close()
  })
  const address = `127.0.0.1:${server.address().port}`
  return { address, url: `ws://${address}/ws`, http: `http://${address}` }
}

function pass(socket, [node, ...others]) {
  if (!node) return socket.destroy()
  const [host, port] = node.address.split(':')
  const behind = dial({ host, port })
  behind.once('error', () => others.length && behind.bytesRead === 0 ? pass(socket, others) : socket.destroy())
  behind.once('connect', () => {
    socket.pipe(behind).pipe(socket)
    socket.on('close', () => behind.destroy())
    behind.on('close', () => socket.destroy())
  })
}

/**
 * Somebody who writes words into the document of `client` until told to stop, one each few milliseconds, and knows which of
 * them were acknowledged (message 102, on y-websocket's wire).
 */
export class Writer {
  constructor(client, name, everyMs = 25) {
    Object.assign(this, { client, name, written: 0, acknowledged: 0, longest: 0, last: Date.now() })
    this.words = client.doc.getArray('words')
    client.provider.messageHandlers[102] = (_encoder, decoder) => {
      decoder.arr[decoder.pos++]
      let value = 0
      for (let shift = 0; ; shift += 7) {
        const byte = decoder.arr[decoder.pos++]
        value |= (byte & 127) << shift
        if (byte < 128) break
      }
      this.acknowledged = Math.max(this.acknowledged, value)
      this.longest = Math.max(this.longest, Date.now() - this.last)
      this.last = Date.now()
    }
    this.timer = setInterval(() => this.write(), everyMs)
  }

  write() {
    this.words.push([`${this.name}-${++this.written}`])
    this.ask()
  }

  ask() {
    const { provider } = this.client
    if (!provider.synced || provider.ws?.readyState !== 1) return
    const bytes = []
    for (let rest = this.written; ; rest >>>= 7) {
      if (rest < 128) { bytes.push(rest); break }
      bytes.push((rest & 127) | 128)
    }
    provider.ws.send(new Uint8Array([102, bytes.length, ...bytes]))
  }

  stop() { clearInterval(this.timer) }

  /** All that was written is acknowledged. */
  async settled() {
    this.stop()
    await until(`all of ${this.name} is acknowledged`, () => {
      this.ask()
      return this.acknowledged === this.written
    }, 60_000)
  }

  /** The words that were acknowledged and are missing in an array. */
  missingIn(words) {
    const there = new Set(words.toArray())
    return Array.from({ length: this.acknowledged }, (_, i) => `${this.name}-${i + 1}`).filter(word => !there.has(word))
  }
}
