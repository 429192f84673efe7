// The disk after losing power, built from what the shim recorded of the real server: every write with its
// bytes, every name, every sync, of the journal and of sled.
//
// * What a file got after its last fsync or fdatasync is there in part: cut at 512 or 4,096 bytes, each block
//   or none, in any order; the length may have come without the bytes.
// * A name is as at the last fsync of its folder, or as it was last, each name for itself.
// * sync_file_range makes nothing durable.
import { mkdirSync, readFileSync, writeFileSync, truncateSync } from 'node:fs'
import { join } from 'node:path'

const CREATED = 1, WROTE = 2, TRUNCATED = 3, SYNCED = 4, RENAMED = 5, UNLINKED = 6, MADE_FOLDER = 7, REMOVED_FOLDER = 8, SYNCED_FOLDER = 9

/** A record's bytes before its paths and data. */
const HEAD = 33

/** The recorded calls, each with where its record ends in the log. */
export function readLog(path) {
  const log = readFileSync(path)
  const calls = []
  for (let at = 0; at + HEAD <= log.length;) {
    const total = log.readUInt32LE(at)
    const end = at + total
    if (total < HEAD) throw new Error(`no record begins at byte ${at} of ${path}`)
    if (end > log.length) break
    const one = log.readUInt32LE(at + 21), two = log.readUInt32LE(at + 25)
    calls.push({
      end,
      op: log[at + 4],
      inode: log.readBigUInt64LE(at + 5),
      at: Number(log.readBigUInt64LE(at + 13)),
      one: log.toString('utf8', at + HEAD, at + HEAD + one),
      two: log.toString('utf8', at + HEAD + one, at + HEAD + one + two),
      data: log.subarray(at + HEAD + one + two, end),
    })
    at = end
  }
  return calls
}

/** A server that is killed may leave half a record, behind which the next one would write: cuts it off. */
export function endLog(path) {
  truncateSync(path, readLog(path).at(-1)?.end ?? 0)
}

class Folder {
  entries = new Map()
  durable = new Map()
}

class File {
  durable = Buffer.alloc(0)
  pending = []
}

/** Lays out in `target` what survives of `calls` on the folder `root`. */
export function losePower(calls, root, target, dice) {
  const top = new Folder()
  const inodes = new Map()
  const folderOf = path => {
    const names = path.slice(root.length + 1).split('/')
    const name = names.pop()
    const folder = names.reduce((folder, part) => folder?.entries.get(part), top)
    return { folder, name }
  }
  for (const { op, inode, at, one, two, data } of calls) {
    switch (op) {
      case CREATED: {
        const { folder, name } = folderOf(one)
        const file = new File()
        inodes.set(inode, file)
        folder.entries.set(name, file)
        break
      }
      case WROTE: inodes.get(inode).pending.push({ at, data }); break
      case TRUNCATED: inodes.get(inode).pending.push({ length: at }); break
      case SYNCED: {
        const file = inodes.get(inode)
        // The lock file of an earlier life, say, that nothing was recorded of.
        if (!file) break
        file.pending.forEach(change => apply(file, change))
        file.pending = []
        break
      }
      case RENAMED: {
        const from = folderOf(one), to = folderOf(two)
        to.folder.entries.set(to.name, from.folder.entries.get(from.name))
        from.folder.entries.delete(from.name)
        break
      }
      case UNLINKED: case REMOVED_FOLDER: {
        const { folder, name } = folderOf(one)
        folder?.entries.delete(name)
        break
      }
      case MADE_FOLDER: {
        const { folder, name } = folderOf(one)
        folder.entries.set(name, new Folder())
        break
      }
      case SYNCED_FOLDER: {
        const folder = one === root ? top : folderOf(one).folder?.entries.get(folderOf(one).name)
        if (folder) folder.durable = new Map(folder.entries)
        break
      }
      default: throw new Error(`the log has the unknown call ${op}`)
    }
  }
  mkdirSync(target, { recursive: true })
  layOut(top, target, dice)
}

function layOut(folder, path, dice) {
  for (const name of new Set([...folder.entries.keys(), ...folder.durable.keys()])) {
    const node = (dice.oneIn(2) ? folder.entries : folder.durable).get(name)
    if (!node) continue
    if (node instanceof Folder) {
      mkdirSync(join(path, name))
      layOut(node, join(path, name), dice)
    } else {
      tear(node, dice)
      writeFileSync(join(path, name), node.durable)
    }
  }
}

function apply(file, { at, data, length }) {
  if (data === undefined) {
    resize(file, length)
    return
  }
  if (file.durable.length < at + data.length) resize(file, at + data.length)
  data.copy(file.durable, at)
}

function resize(file, length) {
  const bytes = Buffer.alloc(length)
  file.durable.copy(bytes, 0, 0, Math.min(length, file.durable.length))
  file.durable = bytes
}

/** Takes in what is pending, in part. */
function tear(file, dice) {
  if (file.pending.length === 0) return
  const block = dice.pick([512, 4096])
  const blocksOf = ({ at, data }) => data ? Math.ceil((at + data.length) / block) - Math.floor(at / block) : 0
  let prefix = dice.oneIn(2) ? dice.from(0, file.pending.reduce((sum, change) => sum + blocksOf(change), 0)) : undefined
  const keeps = dice.from(2, 4)
  for (const change of file.pending) {
    const { at, data } = change
    if (data === undefined) {
      if (dice.oneIn(2)) apply(file, change)
      continue
    }
    const end = at + data.length
    if (dice.oneIn(2) && file.durable.length < end) resize(file, end)
    for (let from = at; from < end;) {
      const to = Math.min(end, (Math.floor(from / block) + 1) * block)
      const kept = prefix === undefined ? !dice.oneIn(keeps) : prefix-- > 0
      if (kept) apply(file, { at: from, data: data.subarray(from - at, to - at) })
      from = to
    }
  }
  file.pending = []
}
