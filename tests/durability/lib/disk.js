// The shim between a server and its disk (../shim/disk.c): compiled once, steered through a shared file.
import { execFileSync } from 'node:child_process'
import { closeSync, fstatSync, mkdirSync, openSync, readSync, renameSync, statSync, writeSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

export const OPEN = 1, WRITE = 2, SYNC = 4, RENAME = 8, UNLINK = 16, TRUNCATE = 32, FOLDER_SYNC = 64, READ = 128
/** Every call that changes something. */
export const CHANGES = OPEN | WRITE | SYNC | RENAME | UNLINK | TRUNCATE | FOLDER_SYNC
export const EIO = 5, ENOSPC = 28, EROFS = 30

const ACTIONS = { pass: 0, failOnce: 1, failFrom: 2, killBefore: 3, killAfter: 4, block: 5 }
const CONTROL_BYTES = 112

/** Compiles the shim unless it is there and newer than its source. */
function shim() {
  const source = fileURLToPath(new URL('../shim/disk.c', import.meta.url))
  const folder = fileURLToPath(new URL('../build', import.meta.url))
  const library = `${folder}/disk.so`
  const age = path => { try { return statSync(path).mtimeMs } catch { return 0 } }
  if (age(library) <= age(source)) {
    mkdirSync(folder, { recursive: true })
    // Under another name first: test files run side by side.
    const mine = `${library}.${process.pid}`
    execFileSync('cc', ['-shared', '-fPIC', '-O2', '-Wall', '-Wextra', '-Werror', '-o', mine, source, '-lpthread'])
    renameSync(mine, library)
  }
  return library
}

export class Disk {
  /** Stands between a server and the files under `folder`; `control` and `log` lie elsewhere. */
  constructor(folder, control, log) {
    this.fd = openSync(control, 'w+')
    this.logFd = log && openSync(log, 'w+')
    this.variables = { LD_PRELOAD: shim(), DISK_FOLDER: folder, DISK_CONTROL: control, ...(log && { DISK_LOG: log }) }
    this.state = Buffer.alloc(CONTROL_BYTES)
    writeSync(this.fd, this.state, 0, CONTROL_BYTES, 0)
  }

  /** How long each sync takes at least. */
  slow(ms) {
    this.state.writeUInt32LE(ms, 0)
    writeSync(this.fd, this.state, 0, 4, 0)
  }

  /**
   * What happens to the n-th of the calls of these `kinds` from now (and, for `failFrom` and `block`, to all
   * after it). Only paths with `part` in them count. Of a write `perMille` is written all the same.
   */
  meddle(action, { kinds = CHANGES, n = 1, error = EIO, part = '', perMille = 0 } = {}) {
    this.set('pass')
    this.state.writeUInt32LE(kinds, 8)
    this.state.writeUInt32LE(error, 12)
    this.state.writeBigUInt64LE(BigInt(n), 16)
    this.state.fill(0, 24, 40)
    this.state.writeUInt32LE(perMille, 40)
    this.state.fill(0, 48, 112)
    this.state.write(part, 48, 63)
    writeSync(this.fd, this.state, 8, CONTROL_BYTES - 8, 8)
    this.set(action)
  }

  /** Counts calls without meddling: the n of nothing. */
  count(options) { this.meddle('failOnce', { ...options, n: 2n ** 62n }) }

  /** From now on everything works. */
  heal() { this.set('pass') }

  set(action) {
    this.state.writeUInt32LE(ACTIONS[action], 4)
    writeSync(this.fd, this.state, 4, 4, 4)
  }

  read(at) {
    const bytes = Buffer.alloc(8)
    readSync(this.fd, bytes, 0, 8, at)
    return Number(bytes.readBigUInt64LE())
  }

  /** Calls counted since the last `meddle`. */
  get calls() { return this.read(24) }
  /** Of those, how many were meddled with. */
  get fired() { return this.read(32) }

  /** How long the log is: everything that returned to the server before now is within. */
  get logBytes() { return fstatSync(this.logFd).size }

  close() {
    closeSync(this.fd)
    if (this.logFd) closeSync(this.logFd)
  }
}
