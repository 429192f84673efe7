// Waiting for conditions, never for the clock.

/** Resolves when `condition()` is truthy; the limit only ends a test that has already failed. */
export async function until(what, condition, limitMs = 20_000) {
  const start = Date.now()
  for (;;) {
    const value = await condition()
    if (value) return value
    if (Date.now() - start > limitMs) throw new Error(`still waiting after ${limitMs} ms: ${what}`)
    await sleep(10)
  }
}

/** What `promise` resolves with; the limit only ends a test that has already failed. */
export async function within(what, promise, limitMs = 20_000) {
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

const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))
