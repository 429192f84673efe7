// A server whose disk a test may slow down, break and watch.
import { join } from 'node:path'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'

import { Disk } from './disk.js'
import { SMALL, Server } from './server.js'

/** A server with the shim before it, on a new folder; both go when the test `t` ends. */
export function brittleServer(t, { flags = SMALL, log = false } = {}) {
  const folder = mkdtempSync(join(process.env.DURABILITY_FOLDER ?? tmpdir(), 'cowrite-disk-'))
  const data = join(folder, 'data')
  mkdirSync(data)
  const disk = new Disk(data, join(folder, 'control'), log ? join(folder, 'log') : undefined)
  const server = new Server(data, { flags, variables: disk.variables })
  t.after(async () => {
    await server.kill()
    disk.close()
    rmSync(folder, { recursive: true, force: true })
  })
  return { server, disk, data, log: join(folder, 'log') }
}
