// What this browser remembers between visits. Storage may be refused (private windows, settings):
// then everything works for as long as the page is open. The documents themselves are kept by y-indexeddb; only
// `replaceCopy` touches its database.

export function read(storage: 'local' | 'session', key: string): string | null {
  try {
    return storageOf(storage).getItem(`cowrite:${key}`)
  } catch {
    return null
  }
}

/** `null` forgets. */
export function write(storage: 'local' | 'session', key: string, value: string | null): void {
  try {
    if (value === null) storageOf(storage).removeItem(`cowrite:${key}`)
    else storageOf(storage).setItem(`cowrite:${key}`, value)
  } catch {
    // Nothing to do: the value lives on in the page.
  }
}

/** The stored JSON, or null if there is none or it does not parse. What it holds is for the caller to check. */
export function readJson(storage: 'local' | 'session', key: string): unknown {
  try {
    return JSON.parse(read(storage, key) ?? 'null')
  } catch {
    return null
  }
}

/**
 * Replaces the copy of a document that y-indexeddb keeps under `name` with one update, in one transaction: whatever
 * ends this page, there is the old copy or the new one. Does nothing if there is no copy; rejects if the browser refuses.
 */
export async function replaceCopy(name: string, update: Uint8Array): Promise<void> {
  const db = await new Promise<IDBDatabase | null>((resolve, reject) => {
    const request = indexedDB.open(name)
    // There was none: an empty one would have stores that y-indexeddb does not expect.
    request.onupgradeneeded = () => {
      request.transaction?.abort()
      resolve(null)
    }
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => reject(request.error)
  })
  if (db === null) return
  try {
    await new Promise<void>((resolve, reject) => {
      const change = db.transaction(['updates'], 'readwrite', { durability: 'strict' })
      const updates = change.objectStore('updates')
      updates.clear()
      updates.add(update)
      change.oncomplete = () => resolve()
      change.onabort = () => reject(change.error)
    })
  } finally {
    db.close()
  }
}

function storageOf(storage: 'local' | 'session'): Storage {
  return storage === 'local' ? localStorage : sessionStorage
}
