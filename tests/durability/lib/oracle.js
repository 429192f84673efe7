// The one judge of all durability tests.
//
// A writer has a name of its own, ever, and writes the numbers 1, 2, 3, … each as one item at the end of
// an array of its document. The ledger knows of each writer which numbers were sent, which were
// acknowledged on the wire (102), and which a fresh reader has found after a fault. After every fault:
//
// * each acknowledged number is in the document exactly once;
// * nothing is doubled, nothing is out of its writer's order, no number is there without all before it,
//   and nothing is there that was never sent;
// * what was found after an earlier fault is still there (unless the caller says that power was lost);
// * the server's state decodes in Yjs and waits for nothing;
// * all who are connected converge: equal state vectors and contents.
import { setTimeout as sleep } from 'node:timers/promises'

import * as Y from 'yjs'

import { Client } from './client.js'
import { until } from './wait.js'

/** The array of a document that holds the numbers. */
const NUMBERS = 'numbers'

export class Ledger {
  constructor() {
    /** By document, by writer: { sent, acknowledged, found }, each the highest number. */
    this.documents = new Map()
    /** Called with document, writer and number at each acknowledgement. */
    this.onAcknowledged = () => {}
  }

  writers(document) {
    let writers = this.documents.get(document)
    if (!writers) this.documents.set(document, writers = new Map())
    return writers
  }

  line(document, writer) {
    const writers = this.writers(document)
    let line = writers.get(writer)
    if (!line) writers.set(writer, line = { sent: 0, acknowledged: 0, found: 0 })
    return line
  }

  get sent() { return this.sum('sent') }
  get acknowledged() { return this.sum('acknowledged') }

  sum(what) {
    let sum = 0
    for (const writers of this.documents.values()) for (const line of writers.values()) sum += line[what]
    return sum
  }
}

/** Writes numbers through a client and logs what was sent and what was acknowledged. */
export class Writer {
  constructor(ledger, document, name, doc = new Y.Doc()) {
    this.document = document
    this.name = name
    this.doc = doc
    this.ledger = ledger
    this.line = ledger.line(document, name)
    /** Called with each number when it is acknowledged. */
    this.onAcknowledged = () => {}
  }

  connect(url) {
    this.client = new Client(url, this.document, { doc: this.doc })
    const asked = new Map()
    this.client.onSaved = version => {
      const number = asked.get(version)
      asked.delete(version)
      if (number === undefined) throw new Error(`${this.name} was told ${version}, which it did not ask`)
      this.acknowledge(number)
    }
    this.asked = asked
    return this.client.whenSynced()
  }

  /** Everything up to `number` was called saved. */
  acknowledge(number) {
    if (number <= this.line.acknowledged) return
    this.line.acknowledged = number
    this.ledger.onAcknowledged(this.document, this.name, number)
    this.onAcknowledged(number)
    this.client.changed()
  }

  /** Writes the next number; `ballast` replaces what this writer put beside its numbers before. */
  write(ballast) {
    const number = this.line.sent + 1
    this.doc.transact(() => {
      this.doc.getArray(NUMBERS).push([`${this.name}:${number}`])
      if (ballast !== undefined) this.doc.getMap('ballast').set(`${ballast.place}`, ballast.text)
    })
    this.line.sent = number
    this.ask()
    return number
  }

  /** Asks for the acknowledgement of everything written so far. */
  ask() {
    if (this.client.close || this.client.ws.readyState !== 1) return
    const version = this.client.askSaved()
    this.asked.set(version, this.line.sent)
  }

  whenAcknowledged(number = this.line.sent, limitMs) {
    return this.client.when(`${number} acknowledged`, () => this.line.acknowledged >= number, limitMs)
  }

  end() { this.client?.end() }
}

/** What is wrong. */
export class Verdict extends Error {}

/** Judges a document's numbers; with `powerLost` what was found before but never acknowledged may be gone. */
export function judge(ledger, document, doc, { powerLost = false } = {}) {
  const wrong = text => { throw new Verdict(`${document}: ${text}`) }
  if (doc.store.pendingStructs || doc.store.pendingDs) wrong('the state waits for something that is missing')
  const found = new Map()
  for (const item of doc.getArray(NUMBERS).toArray()) {
    const colon = String(item).lastIndexOf(':')
    const writer = String(item).slice(0, colon)
    const number = Number(String(item).slice(colon + 1))
    const line = ledger.writers(document).get(writer)
    if (!line || !(number <= line.sent)) wrong(`${item} was never sent`)
    const before = found.get(writer) ?? 0
    if (number <= before) wrong(`${item} is there twice or after ${before}`)
    if (number !== before + 1) wrong(`${writer} lost ${before + 1} to ${number - 1} before ${number}`)
    found.set(writer, number)
  }
  for (const [writer, line] of ledger.writers(document)) {
    const last = found.get(writer) ?? 0
    if (last < line.acknowledged) {
      wrong(`${writer} was acknowledged ${line.acknowledged} and has ${last} (${line.sent} sent)`)
    }
    if (last < line.found && !powerLost) wrong(`${writer} had ${line.found} after an earlier fault and has ${last}`)
    line.found = last
  }
}

/** A fresh reader judges each document on the server. Returns how many bytes of numbers it saw. */
export async function judgeServer(ledger, url, { documents = [...ledger.documents.keys()], powerLost, together = 16 } = {}) {
  const rest = [...documents]
  const judgeNext = async () => {
    for (let name; (name = rest.pop()) !== undefined;) {
      const reader = await read(url, name)
      try {
        judge(ledger, name, reader.doc, { powerLost })
        // What a newcomer would be given is a state that Yjs decodes and encodes the same.
        Y.decodeUpdate(Y.encodeStateAsUpdate(reader.doc))
      } finally {
        reader.end()
        reader.doc.destroy()
      }
    }
  }
  await Promise.all(Array.from({ length: together }, judgeNext))
}

/** A fresh reader, synced. A server that says "come back" or has no time for a handshake is asked again. */
export async function read(url, document) {
  for (let tries = 1; ; tries++) {
    const reader = new Client(url, document)
    try {
      await reader.whenSynced()
      return reader
    } catch (error) {
      reader.end()
      const busy = error.close && ([1012, 1013].includes(error.close.code) || /response: (408|503)/.test(reader.error))
      if (!busy || tries === 20) throw error
      // A database that was cut off is not there again at once.
      await sleep(Math.min(50 * tries, 1_000))
    }
  }
}

/** Whether documents are the same: state vectors and contents. */
export function equal(...docs) {
  const states = docs.map(doc => JSON.stringify([
    [...Y.decodeStateVector(Y.encodeStateVector(doc))].sort(([a], [b]) => a - b),
    doc.getArray(NUMBERS).toArray(),
    Object.entries(doc.getMap('ballast').toJSON()).sort(([a], [b]) => a < b ? -1 : 1),
  ]))
  return states.every(state => state === states[0])
}

/** Waits until all clients of a document are the same as a fresh reader, and has it judged. */
export async function converge(ledger, url, document, clients) {
  const reader = await read(url, document)
  try {
    // Anybody may be the one who hears last.
    await until('all converge', () => equal(reader.doc, ...clients.map(({ doc }) => doc)))
    judge(ledger, document, reader.doc)
  } finally {
    reader.end()
    reader.doc.destroy()
  }
}
