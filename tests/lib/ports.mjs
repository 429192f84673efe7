// Ports for programs that cannot say which one they were given.
import { createServer } from 'node:net'

const given = new Set()

/** A port that nobody has, and that nobody is given who asks for any: systems give those from 32768 or 49152 on. */
export async function freePort() {
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 10_000)
    if (given.has(port)) continue
    given.add(port)
    const isFree = await new Promise(resolve => {
      const server = createServer().once('error', () => resolve(false))
      server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
    })
    if (isFree) return port
  }
}
