// A line that carries little.
import { connect as connectTcp, createServer } from 'node:net'

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
