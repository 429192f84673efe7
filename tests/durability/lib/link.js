// A TCP link that does to what passes through it what networks do: it delays, holds, cuts, refuses, and loses answers, in
// both directions or in one.
import { connect, createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

/** One direction of all connections of a link. */
class Direction {
  constructor() {
    /** Milliseconds that bytes take. */
    this.delayMs = 0
    /** Resolves when bytes may go on; what came meanwhile goes then, in its order. */
    this.held = undefined
    /** So many bytes more go before it is held. */
    this.left = Infinity
  }

  hold() {
    if (this.held) return
    this.held = new Promise(resolve => { this.free = resolve })
  }

  /** Holds what comes behind so many bytes. */
  holdAfter(bytes) {
    this.left = bytes
  }

  heal() {
    this.delayMs = 0
    this.left = Infinity
    this.held = undefined
    this.free?.()
  }

  /** Carries from one socket to the other; `each` may look at bytes, replace them, or say that they end here. */
  async carry(from, to, each) {
    try {
      for await (const bytes of from) {
        let passed = each(bytes)
        if (!passed) break
        if (passed.length > this.left) {
          if (!to.destroyed) to.write(passed.subarray(0, this.left))
          passed = passed.subarray(this.left)
          this.left = Infinity
          this.hold()
        } else {
          this.left -= passed.length
        }
        // It may be held again while it waits.
        while (this.delayMs || this.held) {
          if (this.held) await this.held
          else { await sleep(this.delayMs); break }
        }
        if (to.destroyed) break
        if (!to.write(passed)) await new Promise(resolve => to.once('drain', resolve).once('close', resolve))
      }
    } catch {
      // The connection broke.
    }
    to.end()
  }
}

/** From a port of its own to where `target()` says, as `HOST:PORT`. `rewrites(bytes)` may change what comes from there. */
export class Link {
  constructor(target, rewrites = bytes => bytes) {
    Object.assign(this, { target, rewrites, there: new Direction(), back: new Direction(), pairs: new Set() })
    /** Of so many answers one is lost, and its connection with it; 0 is none. */
    this.loses = 0
    this.words = 0
    /** Faults that happened to something. */
    this.lost = 0
  }

  async start() {
    await this.listen(0)
    return this
  }

  listen(port) {
    this.server = createServer(client => this.join(client))
    return new Promise((resolve, reject) => {
      this.server.once('error', reject)
      this.server.listen(port, '127.0.0.1', () => {
        this.port = this.server.address().port
        resolve()
      })
    })
  }

  get address() { return `127.0.0.1:${this.port}` }

  join(client) {
    if (this.isCut) return client.destroy()
    const [host, port] = this.target().split(':')
    const server = connect({ host, port })
    const pair = [client, server]
    this.pairs.add(pair)
    for (const socket of pair) {
      socket.setNoDelay(true)
      socket.on('error', () => {})
      socket.on('close', () => {
        this.pairs.delete(pair)
        // What was written before it closed is read first.
        setTimeout(() => pair.forEach(one => one.destroy()), 50)
      })
    }
    let losesAnswer = false
    this.there.carry(client, server, bytes => {
      losesAnswer ||= this.loses > 0 && ++this.words % this.loses === 0
      return bytes
    })
    this.back.carry(server, client, bytes => {
      if (!losesAnswer) return this.rewrites(bytes)
      this.lost++
      pair.forEach(socket => socket.destroy())
    })
  }

  /** Ends all connections; new ones are ended at once. */
  cut() {
    this.isCut = true
    for (const pair of this.pairs) pair.forEach(socket => socket.destroy())
  }

  /** The same, and new ones are refused, as by a machine on which nobody listens. */
  async refuse() {
    this.cut()
    this.isRefusing = true
    await new Promise(resolve => this.server.close(resolve))
  }

  async heal() {
    this.isCut = false
    this.loses = 0
    this.there.heal()
    this.back.heal()
    if (!this.isRefusing) return
    this.isRefusing = false
    await this.listen(this.port)
  }

  end() {
    this.cut()
    this.there.heal()
    this.back.heal()
    this.server.close()
  }
}
