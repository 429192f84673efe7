// Randomness that a seed decides: the same seed throws the same numbers on every machine.

/** A run of numbers in [0, 1) from a 32-bit seed (mulberry32). */
const numbers = seed => () => {
  seed = (seed + 0x6d2b79f5) | 0
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296
}

/** A seed made of several numbers, so that step 7 of history 3 throws the same whatever step 6 threw. */
export const mixed = (...parts) => parts.reduce((hash, part) => {
  hash = Math.imul(hash ^ (part | 0), 0x9e3779b1)
  hash ^= hash >>> 15
  return Math.imul(hash, 0x85ebca6b) ^ (hash >>> 13)
}, 0x2545f491)

export class Dice {
  constructor (seed) { this.next = numbers(seed) }
  /** A whole number from 0 to `n` - 1. */
  below (n) { return Math.floor(this.next() * n) }
  of (list) { return list[this.below(list.length)] }
  chance (p) { return this.next() < p }

  /** One of `[weight, value]`, as often as its weight says. */
  weighted (list) {
    let at = this.next() * list.reduce((sum, [weight]) => sum + weight, 0)
    for (const [weight, value] of list) {
      at -= weight
      if (at < 0) return value
    }
    return list[0][1]
  }

  shuffled (list) {
    const out = [...list]
    for (let i = out.length - 1; i > 0; i--) {
      const j = this.below(i + 1)
      ;[out[i], out[j]] = [out[j], out[i]]
    }
    return out
  }
}
