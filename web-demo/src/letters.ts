// The letters of a document, each known by who wrote it and as its how-manieth: so letters that look alike are told apart.
// Pure: nothing here waits or asks.

import * as Y from 'yjs'

/** How many of some letters are in the page, and how many of these in another copy. */
export interface Count {
  here: number
  there: number
}

export interface Counts {
  /** What was written here and confirmed. */
  readonly confirmed: Count
  /** What was written here and not confirmed. */
  readonly unconfirmed: Count
  /** Everything, whoever wrote it. */
  readonly all: Count
}

/**
 * `authors`: who writes in this page; `confirmed`: how much of each client was confirmed; `held`: how much of each the page
 * had before the copy was asked for, which is all that is looked at.
 */
export function compareLetters(here: Y.Doc, there: Y.Doc, authors: ReadonlySet<number>, confirmed: ReadonlyMap<number, number>, held: ReadonlyMap<number, number>): Counts {
  const counts: Counts = { confirmed: { here: 0, there: 0 }, unconfirmed: { here: 0, there: 0 }, all: { here: 0, there: 0 } }
  for (const [client, end] of held) {
    const copied = lettersBy(there, client)
    for (const [clock, letter] of lettersBy(here, client)) {
      if (clock >= end) continue
      const own = clock < (confirmed.get(client) ?? 0) ? counts.confirmed : counts.unconfirmed
      for (const count of authors.has(client) ? [counts.all, own] : [counts.all]) {
        count.here++
        if (copied.get(clock) === letter) count.there++
      }
    }
  }
  return counts
}

/** What can be seen of a client's letters, by their numbers. */
function lettersBy(doc: Y.Doc, client: number): Map<number, string> {
  const letters = new Map<number, string>()
  for (const struct of doc.store.clients.get(client) ?? []) {
    if (!(struct instanceof Y.Item) || struct.deleted || !(struct.content instanceof Y.ContentString)) continue
    for (const [at, letter] of struct.content.str.split('').entries()) letters.set(struct.id.clock + at, letter)
  }
  return letters
}
