// The server as these tests start it: on a folder that outlives it.
import { readFileSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'

import * as shared from '../../lib/server.mjs'

/** So small that a minute's writing makes the store snapshot, roll over, compact and delete. */
export const SMALL = ['--snapshot-bytes', '4KiB', '--segment-bytes', '128KiB', '--idle-timeout', '300ms',
  '--threads', '2']

/** An empty folder, where DURABILITY_FOLDER says, that is removed when the test `t` ends. */
export const folderFor = (t, kind = 'durability') => shared.folderFor(t, kind, process.env.DURABILITY_FOLDER)

/** A server that is killed when the test `t` ends. */
export const serverFor = (t, data, options) => shared.endedWith(t, new Server(data, options))

/** It has another port after each start: nobody reaches it by accident. */
export class Server extends shared.Server {
  constructor(data, { flags = SMALL, variables } = {}) {
    super(data, { flags, variables, keepsAddress: false })
  }

  /** Memory that the process has resident, in bytes. */
  get residentBytes() {
    return 1024 * Number(readFileSync(`/proc/${this.process.pid}/status`, 'utf8').match(/VmRSS:\s+(\d+)/)[1])
  }
}

/** Bytes on disk (blocks, as `du` counts) of a folder. */
export function diskBytes(folder) {
  let bytes = 0
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    try {
      if (entry.isFile()) bytes += statSync(join(entry.parentPath ?? entry.path, entry.name)).blocks * 512
    } catch (error) {
      if (error.code !== 'ENOENT') throw error
    }
  }
  return bytes
}
