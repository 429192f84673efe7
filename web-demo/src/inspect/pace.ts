// How often a page that is costly to show is shown anew.

/** A page that took so long to show waits so many times as long, so that it can be used meanwhile. */
const LONGER = 10

/** Shows what changed: `later` asks for that, and `every` is the shortest time between two, in ms. */
export function createPace(show: () => void, every: number, signal: AbortSignal): { readonly later: () => void } {
  let timer: ReturnType<typeof setTimeout> | undefined
  let wait = every
  signal.addEventListener('abort', () => clearTimeout(timer))
  const later = (): void => {
    if (signal.aborted) return
    timer ??= setTimeout(() => {
      timer = undefined
      const began = performance.now()
      show()
      wait = Math.max(every, LONGER * (performance.now() - began))
    }, wait)
  }
  return { later }
}
