// Waiting for what no message announces.
import { setTimeout as sleep } from 'node:timers/promises'

/** Resolves with the first truthy answer of `condition()`; the limit only ends a test that has already failed. */
export async function until(what, condition, limitMs = 60_000) {
  const start = Date.now()
  for (;;) {
    const value = await condition()
    if (value) return value
    if (Date.now() - start > limitMs) throw new Error(`still waiting after ${limitMs} ms: ${what}`)
    await sleep(10)
  }
}
