// Real rooms, in a process of their own (`examples/room.rs`), which is talked to synchronously: a history is then a
// plain function, and it plays the same way every time.
//
// What must stay true: one answer is read for each frame of commands that was written, before the next is written.
import { spawn, execFileSync } from 'node:child_process'
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import * as decoding from 'lib0/decoding'
import * as encoding from 'lib0/encoding'

const BINARY = process.env.ROOM_BINARY ?? fileURLToPath(new URL('../../../target/debug/examples/room', import.meta.url))
const KINDS = ['ended', 'appended', 'snapshot', 'unloaded']

/** What operators may set, and `keepDeleted`: whether the document keeps what was deleted (`gc: false`). */
export const POLICY = {
  documentBytesMax: 64 << 20, outboxBytesMax: 4 << 20, unsavedBytesMax: 64 << 20, snapshotBytes: 256 << 10, idleMicros: 30e6, keepDeleted: false,
  /** Nobody answers pings that tell what a line carries. */
  slow: false
}

/** A named pipe whose two ends are file descriptors, neither of which blocks when it is opened. */
const pipe = path => {
  execFileSync('mkfifo', [path])
  const both = openSync(path, constants.O_RDWR)
  const [reads, writes] = [openSync(path, constants.O_RDONLY), openSync(path, constants.O_WRONLY)]
  closeSync(both)
  return { reads, writes }
}

const times = (count, make) => Array.from({ length: count }, make)

const readAll = (from, length) => {
  const bytes = new Uint8Array(length)
  for (let at = 0; at < length;) {
    const count = readSync(from, bytes, at, length - at, null)
    if (count === 0) throw new Error('the process with the rooms ended: its stderr says why')
    at += count
  }
  return bytes
}

/** The process with the rooms. `close` ends it. */
export class House {
  constructor () {
    const folder = mkdtempSync(join(tmpdir(), 'cowrite-judge-'))
    const [commands, answers] = [pipe(join(folder, 'commands')), pipe(join(folder, 'answers'))]
    this.process = spawn(BINARY, [], { stdio: [commands.reads, answers.writes, 'inherit'] })
    this.process.on('error', error => { throw error })
    this.process.unref()
    closeSync(commands.reads)
    closeSync(answers.writes)
    rmSync(folder, { recursive: true })
    this.writes = commands.writes
    this.reads = answers.reads
    this.documents = 0
    /** Commands that wait to leave together, or `null`. */
    this.queue = null
  }

  close () {
    closeSync(this.writes)
    closeSync(this.reads)
  }

  /** A document that nobody has used yet; it is to be opened first. */
  document () { return new Room(this, ++this.documents) }

  /** Sends one command: its number, then its arguments (numbers, texts, bytes); `read` makes of the answer what it is. */
  obey (room, command, args, read) {
    if (this.queue !== null) return void this.queue.push({ room, command, args, read })
    return this.ask([{ room, command, args, read }])[0]
  }

  /** Runs `calls`, whose commands leave as one frame; the results, in the order of the calls. */
  together (calls) {
    this.queue = []
    calls()
    const commands = this.queue
    this.queue = null
    return this.ask(commands)
  }

  ask (commands) {
    const out = encoding.createEncoder()
    encoding.writeUint32(out, 0)
    for (const { command, args } of commands) {
      encoding.writeVarUint(out, command)
      for (const arg of args) {
        if (typeof arg === 'number') encoding.writeVarUint(out, arg)
        else if (typeof arg === 'string') encoding.writeVarString(out, arg)
        else encoding.writeVarUint8Array(out, arg)
      }
    }
    const bytes = encoding.toUint8Array(out)
    new DataView(bytes.buffer, bytes.byteOffset).setUint32(0, bytes.length - 4, true)
    for (let at = 0; at < bytes.length;) at += writeSync(this.writes, bytes, at)
    const length = new DataView(readAll(this.reads, 4).buffer).getUint32(0, true)
    const answer = decoding.createDecoder(readAll(this.reads, length))
    return commands.map(({ room, read }) => {
      if (decoding.readVarUint(answer) !== 0) throw new RoomRefused(decoding.readVarString(answer))
      for (let happened = decoding.readVarUint(answer); happened > 0; happened--) {
        room.happened.push({ kind: KINDS[decoding.readVarUint(answer)], session: decoding.readVarUint(answer), text: decoding.readVarString(answer) })
      }
      return read(answer)
    })
  }
}

/** A command failed: the document cannot be opened, the message is none, the room panicked. */
export class RoomRefused extends Error {}

/** One document and its room. All calls are those of `examples/room.rs`. */
export class Room {
  constructor (house, number) {
    this.house = house
    this.number = number
    /** Everything that happened since it was last looked at, oldest first. */
    this.happened = []
  }

  obey (command, args = [], read = () => {}) { return this.house.obey(this, command, [this.number, ...args], read) }

  open (policy = {}) {
    const all = { ...POLICY, ...policy }
    this.obey(0, [all.documentBytesMax, all.outboxBytesMax, all.unsavedBytesMax, all.snapshotBytes, all.idleMicros, all.keepDeleted ? 1 : 0, all.slow ? 1 : 0])
  }

  join (session, { reads = false, subject = '' } = {}) { this.obey(1, [session, reads ? 1 : 0, subject]) }
  say (session, message) { this.obey(2, [session, message]) }
  leave (session) { this.obey(3, [session]) }
  pass (micros) { this.obey(4, [Math.floor(micros)]) }

  /** Up to `most` frames that wait for a session, as `{ opcode, payload }` of each message in them. */
  take (session, most = 1e6) {
    return this.obey(5, [session, most], answer => times(decoding.readVarUint(answer), () => ({
      opcode: decoding.readVarUint(answer), payload: decoding.readVarUint8Array(answer).slice()
    })))
  }

  durable () { this.obey(6) }
  kill () { this.obey(7) }

  /** The stored records: `{ snapshot, seq, bytes }` of each. */
  dump () {
    return this.obey(8, [], answer => times(decoding.readVarUint(answer), () => ({
      snapshot: decoding.readVarUint(answer) === 1, seq: decoding.readVarUint(answer), bytes: decoding.readVarUint8Array(answer).slice()
    })))
  }

  counts () {
    return this.obey(9, [], answer => {
      const [updates, known, gaps, readers, conflicts, others, resyncs] = times(7, () => decoding.readVarUint(answer))
      return { updates, known, gaps, readers, conflicts, others, resyncs }
    })
  }

  /** Stores an update as an older server did, while the document is not open. */
  put (bytes) { this.obey(10, [bytes]) }
  /** From now on nothing is heard of a session, and nobody tells the room. */
  lose (session) { this.obey(11, [session]) }

  /** The document is over: its room and its records go. */
  forget () { this.obey(12) }

  /** What happened since the last call. */
  look () { return this.happened.splice(0) }
}
