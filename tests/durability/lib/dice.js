// Numbers that are the same for the same seed (mulberry32).
export class Dice {
  constructor(seed) { this.state = seed >>> 0 }

  /** From 0 up to, not including, 1. */
  fraction() {
    this.state = (this.state + 0x6d2b79f5) >>> 0
    let t = this.state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }

  /** A whole number from `low` to `high`, both included. */
  from(low, high) { return low + Math.floor(this.fraction() * (high - low + 1)) }

  /** True once in `times`. */
  oneIn(times) { return this.fraction() * times < 1 }

  pick(list) { return list[this.from(0, list.length - 1)] }

  /** Text of `length` characters that does not compress to nothing. */
  text(length) {
    let text = ''
    while (text.length < length) text += this.from(0, 2 ** 31).toString(36)
    return text.slice(0, length)
  }
}
