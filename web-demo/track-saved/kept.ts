// Is everything that was written here in the copy in this browser?
//
// y-indexeddb does not say when an update is stored, nor that it could not be. A later transaction on the same store waits
// until it is; a transaction that fails tells its database so, and what it would have stored is not stored later.

import type { CopyInBrowser } from './track-saved.js'

/** Where y-indexeddb keeps the updates of a document. */
const UPDATES = 'updates'

export class Keeper {
  /** Whether everything is in the copy. */
  kept = false
  /** Is called when `kept` has changed. */
  changed = (): void => {}
  private updates = 0
  private busy = true
  private stopped = false
  private failed = false
  private stopListening = (): void => {}

  constructor(private readonly copy: CopyInBrowser) {
    void copy.whenSynced.then(() => this.open())
  }

  /** Something was written here. Whoever says so says that `kept` may have changed, too. */
  written(): void {
    this.updates += 1
    this.kept = false
    void this.follow()
  }

  stop(): void {
    this.stopped = true
    this.stopListening()
  }

  /** The copy holds what the document held before. */
  private open(): void {
    const { db } = this.copy
    if (this.stopped || db === null) return
    const onFailure = (): void => {
      this.failed = true
      this.set(false)
    }
    db.addEventListener('abort', onFailure)
    db.addEventListener('close', onFailure)
    this.stopListening = () => {
      db.removeEventListener('abort', onFailure)
      db.removeEventListener('close', onFailure)
    }
    this.busy = false
    void this.follow()
  }

  private async follow(): Promise<void> {
    if (this.busy || this.failed) return
    this.busy = true
    let seen: number
    do {
      seen = this.updates
      // The copy may hear of an update after us.
      await null
      if (!(await this.isStored())) return
    } while (seen !== this.updates)
    this.busy = false
    this.set(!this.failed)
  }

  /** Waits until all that was given to the database is in it. False if the database is being closed. */
  private async isStored(): Promise<boolean> {
    const { db } = this.copy
    if (db === null || this.stopped) return false
    try {
      const transaction = db.transaction([UPDATES], 'readonly')
      transaction.objectStore(UPDATES).getKey(0)
      await new Promise<void>((resolve, reject) => {
        transaction.oncomplete = () => resolve()
        transaction.onabort = () => reject(transaction.error)
      })
      return true
    } catch {
      return false
    }
  }

  private set(kept: boolean): void {
    if (this.kept === kept || this.stopped) return
    this.kept = kept
    this.changed()
  }
}
