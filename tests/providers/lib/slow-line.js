// A line that carries little.
import { connect as connectTcp, createServer } from 'node:net'
import WebSocket, { WebSocketServer } from 'ws'

const LOOKS_PER_SECOND = 10

/**
 * A way to the server that carries `rate` bytes a second towards the client, and of each connection the first `atOnce` bytes
 * without a pause.
 */
export async function slowLine(t, server, { rate = 15_000, atOnce = 0 } = {}) {
  const [host, port] = server.address.split(':')
  const proxy = createServer(client => {
    const upstream = connectTcp(Number(port), host)
    const close = () => { clearInterval(timer); client.destroy(); upstream.destroy() }
    let waiting = Buffer.alloc(0)
    let free = atOnce
    const carry = bytes => {
      client.write(waiting.subarray(0, bytes))
      waiting = waiting.subarray(bytes)
      if (waiting.length < rate) upstream.resume()
    }
    const timer = setInterval(() => carry(rate / LOOKS_PER_SECOND), 1_000 / LOOKS_PER_SECOND)
    upstream.on('data', part => {
      waiting = Buffer.concat([waiting, part])
      if (waiting.length >= rate) upstream.pause()
      const bytes = Math.min(free, waiting.length)
      free -= bytes
      if (bytes > 0) carry(bytes)
    })
    client.pipe(upstream)
    for (const end of [client, upstream]) end.on('error', close).on('close', close)
  })
  await new Promise(resolve => proxy.listen(0, '127.0.0.1', resolve))
  t.after(() => proxy.close())
  return `127.0.0.1:${proxy.address().port}`
}

/** A gateway to the server that ends WebSockets: it reads what the server sends as fast as that comes, and answers its pings. */
export async function gateway(t, server) {
  const front = new WebSocketServer({ host: '127.0.0.1', port: 0 })
  front.on('connection', (client, request) => {
    const upstream = new WebSocket(`ws://${server.address}${request.url}`, { headers: { 'user-agent': request.headers['user-agent'] ?? 'gateway' } })
    const early = []
    client.on('message', message => upstream.readyState === WebSocket.OPEN ? upstream.send(message) : early.push(message))
    upstream.on('open', () => early.forEach(message => upstream.send(message)))
    upstream.on('message', message => client.send(message))
    for (const [one, other] of [[client, upstream], [upstream, client]]) one.on('error', () => {}).on('close', () => other.terminate())
  })
  await new Promise(resolve => front.once('listening', resolve))
  t.after(() => front.close())
  return { address: `127.0.0.1:${front.address().port}` }
}
