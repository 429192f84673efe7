// Waiting for conditions, never for the clock.
import { setTimeout as sleep } from 'node:timers/promises'

/**
 * Longer than anything takes on a busy machine: it only ends a test that has already failed. And less than the 30 s after
 * which providers that hear nothing connect again, which would put right what is wrong.
 */
const LIMIT_MS = 25_000

/** Resolves with the first truthy answer of `condition()`. `what` may be a function, which is called when the wait was in vain. */
export async function until(what, condition, limitMs = LIMIT_MS) {
  const start = Date.now()
  for (;;) {
    const value = await condition()
    if (value) return value
    if (Date.now() - start > limitMs) throw new Error(`still waiting after ${limitMs} ms: ${typeof what === 'function' ? what() : what}`)
    await sleep(10)
  }
}

/** What `promise` resolves with. */
export async function within(what, promise, limitMs = LIMIT_MS) {
  let timer
  const late = new Promise((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`still waiting after ${limitMs} ms: ${what}`)), limitMs)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}
