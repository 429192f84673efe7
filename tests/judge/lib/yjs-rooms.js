// Rooms that are Yjs itself, with the calls of `rooms.js`: what judges the judge. Nothing may be wrong with them, and
// each `fault` must be found.
import * as decoding from 'lib0/decoding'
import * as wire from './wire.js'
import { fed, fresh, waits } from './yjs.js'

/** `fault` is `null`, or the name of something that a server can do wrong. */
export class YjsHouse {
  constructor (fault = null) {
    this.fault = fault
    /** The results of calls that are made together, or `null`. */
    this.results = null
  }

  document (version) {
    const noted = (target, name) => (...args) => {
      const result = target[name](...args)
      this.results?.push(result)
      return result
    }
    const get = (target, name) => typeof target[name] === 'function' ? noted(target, name) : target[name]
    return new Proxy(new YjsRoom(version, this.fault), { get })
  }

  together (calls) {
    this.results = []
    calls()
    const results = this.results
    this.results = null
    return results
  }

  close () {}
}

class YjsRoom {
  constructor (version, fault) {
    Object.assign(this, { version, fault, records: [], undurable: [], heard: 0 })
    this.counted = { updates: 0, known: 0, gaps: 0, readers: 0, conflicts: 0, others: 0, resyncs: 0 }
  }

  open ({ keepDeleted = false, snapshotBytes = 256 << 10 } = {}) {
    this.sessions = new Map()
    this.snapshotBytes = snapshotBytes
    this.doc = fed(this.version, this.records.map(record => record.bytes), { gc: !keepDeleted })
    this.doc.on('update', (update, from) => {
      for (const [session, inbox] of this.sessions) if (session !== from) inbox.push({ opcode: 2, payload: wire.edit(update) })
    })
  }

  join (session) {
    this.sessions.set(session, [{ opcode: 2, payload: wire.step1(this.version.Y.encodeStateVector(this.doc)) }])
  }

  say (session, message) {
    const { Y } = this.version
    const from = decoding.createDecoder(message)
    if (decoding.readVarUint(from) !== 0) return
    const step = decoding.readVarUint(from)
    const payload = decoding.readVarUint8Array(from)
    if (step === 0) {
      const had = this.fault === 'difference' ? shifted(Y, payload) : payload
      this.sessions.get(session).push({ opcode: 2, payload: wire.step2(Y.encodeStateAsUpdate(this.doc, had)) })
      return
    }
    this.heard++
    if (this.fault === 'update' && payload.length > 30 && this.heard % 10 === 0) return
    const before = Y.encodeStateVector(this.doc)
    Y.applyUpdate(this.doc, payload, session)
    const changed = !Buffer.from(before).equals(Buffer.from(Y.encodeStateVector(this.doc)))
    this.counted[changed ? 'updates' : 'known']++
    if (waits(this.doc)) {
      this.counted.gaps++
      this.sessions.get(session).push({ opcode: 2, payload: wire.step1(Y.encodeStateVector(this.doc)) })
    }
    if (this.fault !== 'record' || this.heard % 10 !== 0) this.undurable.push({ snapshot: false, bytes: payload.slice() })
    if (this.snapshotBytes === 0) this.undurable.push({ snapshot: true, bytes: Y.encodeStateAsUpdate(this.doc) })
  }

  leave (session) { this.sessions.delete(session) }
  lose (session) { this.sessions.delete(session) }
  pass () {}
  take (session, most = 1e6) { return this.sessions.get(session).splice(0, most) }

  durable () {
    for (const record of this.undurable.splice(0)) this.records = record.snapshot ? [record] : [...this.records, record]
  }

  kill () { this.undurable = [] }
  forget () { this.records = [] }
  dump () { return this.records }

  counts () {
    const counts = { ...this.counted }
    for (const key in this.counted) this.counted[key] = 0
    return counts
  }

  look () { return this.sessions.size === 0 ? [{ kind: 'unloaded', text: '' }] : [] }
}

/** A state vector in which one client is one further. */
const shifted = (Y, bytes) => {
  const vector = Y.decodeStateVector(bytes)
  const [client] = vector.keys()
  if (client === undefined) return bytes
  const doc = fresh({ Y })
  return Y.encodeStateVector(vector.set(client, vector.get(client) + 1), doc)
}
