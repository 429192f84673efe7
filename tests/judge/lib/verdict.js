// Whether two documents hold the same, and which differences are nobody's fault.
//
// Yjs alone does not always agree with itself: a client that once split an emoji keeps half of it, a client that hears
// edits live deletes format marks that do nothing, and undo can write items that land elsewhere when they are loaded.
// A server cannot be better than that. So what is read through the room must hold, bit by bit, what *some* Yjs holds
// that never met the server; else the same but for marks without effect; else the same but for halves of emoji.
import { contentOf, withoutPairs } from './content.js'

/** Something is not as Yjs alone would have it. */
export class Wrong extends Error {}

/** How a comparison ended, best first. */
export const ENDS = ['same', 'as another Yjs', 'but for marks', 'but for halves']

/** All that Yjs may hold without a server. `make()` yields documents, and is asked only when it must be. */
export class Allowed {
  /** `first` is the one that is expected. */
  constructor (first, others = function * () {}) {
    this.docs = [first]
    this.others = others()
    this.texts = []
  }

  text (index, level) {
    while (this.docs.length <= index) {
      const { value, done } = this.others.next()
      if (done) return null
      this.docs.push(value)
    }
    const texts = (this.texts[index] ??= {})
    return (texts[level] ??= contentOf(this.docs[index], level))
  }

  /** How `doc` compares with these; `null` when none of them holds that. */
  judge (doc, more = []) {
    const has = (level, change = text => text) => {
      const own = change(contentOf(doc, level))
      for (let i = 0; ; i++) {
        const text = this.text(i, level)
        if (text === null) break
        if (change(text) === own) return i
      }
      return more.some(other => change(contentOf(other, level)) === own) ? this.docs.length : -1
    }
    if (contentOf(doc) === this.text(0, 'exact')) return ENDS[0]
    if (has('exact') >= 0) return ENDS[1]
    if (has('effective') >= 0) return ENDS[2]
    if (has('effective', withoutPairs) >= 0) return ENDS[3]
    return null
  }
}

/** The first line in which two documents differ, around the place. */
export const difference = (expected, found) => {
  const [a, b] = [contentOf(expected), contentOf(found)]
  let at = 0
  while (at < a.length && a[at] === b[at]) at++
  const around = text => JSON.stringify(text.slice(Math.max(0, at - 60), at + 100))
  return `at ${at} of ${a.length} and ${b.length}\n  without a server ${around(a)}\n  through the room ${around(b)}`
}
