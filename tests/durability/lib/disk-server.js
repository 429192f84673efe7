// A server whose disk a test may slow down, break and watch.
import { join } from 'node:path'
import { mkdirSync } from 'node:fs'

import { Disk } from './disk.js'
import { folderFor, serverFor } from './server.js'

/** A server with the shim before it, on a new folder; both go when the test `t` ends. */
export function brittleServer(t, { flags, log = false } = {}) {
  const folder = folderFor(t, 'disk')
  const data = join(folder, 'data')
  mkdirSync(data)
  const disk = new Disk(data, join(folder, 'control'), log ? join(folder, 'log') : undefined)
  t.after(() => disk.close())
  return { server: serverFor(t, data, { flags, variables: disk.variables }), disk, data, log: join(folder, 'log') }
}
