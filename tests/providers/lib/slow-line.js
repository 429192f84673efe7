// A line that carries little.
import { connect as connectTcp, createServer } from 'node:net'

const BYTES_PER_SECOND = 15_000

/** A way to the server that carries so much towards the client. */
export async function slowLine(t, server) {
  const [host, port] = server.address.split(':')
  const proxy = createServer(client => {
    const upstream = connectTcp(Number(port), host)
    const close = () => { clearInterval(timer); client.destroy(); upstream.destroy() }
    let waiting = Buffer.alloc(0)
    const timer = setInterval(() => {
      client.write(waiting.subarray(0, BYTES_PER_SECOND / 10))
      waiting = waiting.subarray(BYTES_PER_SECOND / 10)
      if (waiting.length < BYTES_PER_SECOND) upstream.resume()
    }, 100)
    upstream.on('data', part => {
      waiting = Buffer.concat([waiting, part])
      if (waiting.length >= BYTES_PER_SECOND) upstream.pause()
    })
    client.pipe(upstream)
    for (const end of [client, upstream]) end.on('error', close).on('close', close)
  })
  await new Promise(resolve => proxy.listen(0, '127.0.0.1', resolve))
  t.after(() => proxy.close())
  return `127.0.0.1:${proxy.address().port}`
}
