// A connection of a document that a test waits for: each kind of client calls `changed` when something happened.
export class Watched {
  constructor(name, doc) {
    this.name = name
    this.doc = doc
    this.synced = false
    /** `{ code, reason }` when the connection has ended. */
    this.close = undefined
    this.error = undefined
    this.watchers = []
  }

  /** Resolves when `condition()` holds; rejects when the connection ends first. */
  when(what, condition, limitMs = 60_000) {
    if (condition()) return Promise.resolve()
    return new Promise((resolve, reject) => {
      const done = result => {
        clearTimeout(timer)
        this.watchers = this.watchers.filter(other => other !== watcher)
        result()
      }
      const watcher = () => {
        if (condition()) return done(resolve)
        if (this.close) done(() => reject(new Ended(this, what)))
      }
      const timer = setTimeout(() => done(() =>
        reject(new Error(`${this.name}: still waiting after ${limitMs} ms: ${what}`))), limitMs)
      this.watchers.push(watcher)
      watcher()
    })
  }

  changed() {
    for (const watcher of [...this.watchers]) watcher()
  }

  whenSynced(limitMs) {
    return this.when('synced', () => this.synced, limitMs)
  }
}

/** The connection ended while something was waited for. */
export class Ended extends Error {
  constructor(client, what) {
    super(`${client.name}: closed with ${client.close.code} ${client.close.reason} ${client.error ?? ''} before: ${what}`)
    this.close = client.close
  }
}
