// What this browser remembers between visits. Storage may be refused (private windows, settings):
// then everything works for as long as the page is open. The documents themselves are in `shared-copy.ts`.

import { SCOPE } from './server'

export function read(storage: 'local' | 'session', key: string): string | null {
  try {
    return storageOf(storage).getItem(`cowrite${SCOPE}:${key}`)
  } catch {
    return null
  }
}

/** `null` forgets. */
export function write(storage: 'local' | 'session', key: string, value: string | null): void {
  try {
    if (value === null) storageOf(storage).removeItem(`cowrite${SCOPE}:${key}`)
    else storageOf(storage).setItem(`cowrite${SCOPE}:${key}`, value)
  } catch {
    // Nothing to do: the value lives on in the page.
  }
}

/** Whether what is written is there in other windows, and the next time. */
export function canRemember(): boolean {
  try {
    localStorage.setItem(`cowrite${SCOPE}:probe`, '')
    localStorage.removeItem(`cowrite${SCOPE}:probe`)
    return true
  } catch {
    return false
  }
}

/** Calls the listener when another window changes what is remembered under a key. */
export function onRemembered(key: string, listener: () => void, signal: AbortSignal): void {
  addEventListener('storage', (event) => {
    // A storage that was cleared names no key.
    if (event.key === null || event.key === `cowrite${SCOPE}:${key}`) listener()
  }, { signal })
}

/** The stored JSON, or null if there is none or it does not parse. What it holds is for the caller to check. */
export function readJson(storage: 'local' | 'session', key: string): unknown {
  try {
    return JSON.parse(read(storage, key) ?? 'null')
  } catch {
    return null
  }
}

function storageOf(storage: 'local' | 'session'): Storage {
  return storage === 'local' ? localStorage : sessionStorage
}
