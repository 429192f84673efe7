// Updates written by hand, byte by byte, where no client of today would write them or where the bytes are the point.
import * as encoding from 'lib0/encoding'

/** `[client, clock]` from '10:2'. */
const id = text => text.split(':').map(Number)

const CONTENT = {
  deleted: [1, (out, length) => encoding.writeVarUint(out, length)],
  json: [2, (out, list) => {
    encoding.writeVarUint(out, list.length)
    list.forEach(one => encoding.writeVarString(out, one === undefined ? 'undefined' : JSON.stringify(one)))
  }],
  text: [4, (out, text) => encoding.writeVarString(out, text)],
  format: [6, (out, [key, value]) => {
    encoding.writeVarString(out, key)
    encoding.writeVarString(out, JSON.stringify(value))
  }],
  type: [7, (out, ref) => encoding.writeVarUint(out, ref)],
  any: [8, (out, list) => {
    encoding.writeVarUint(out, list.length)
    list.forEach(one => encoding.writeAny(out, one))
  }],
  // One value as its bytes.
  anyBytes: [8, (out, bytes) => {
    encoding.writeVarUint(out, 1)
    encoding.writeUint8Array(out, Uint8Array.from(bytes))
  }],
  // The same of several, of JSON as its texts, of a type with its name, of bytes.
  anys: [8, (out, list) => {
    encoding.writeVarUint(out, list.length)
    list.forEach(bytes => encoding.writeUint8Array(out, Uint8Array.from(bytes)))
  }],
  jsons: [2, (out, list) => {
    encoding.writeVarUint(out, list.length)
    list.forEach(text => encoding.writeVarString(out, text))
  }],
  embed: [5, (out, text) => encoding.writeVarString(out, text)],
  mark: [6, (out, texts) => texts.forEach(text => encoding.writeVarString(out, text))],
  typed: [7, (out, bytes) => encoding.writeUint8Array(out, Uint8Array.from(bytes))],
  binary: [3, (out, bytes) => encoding.writeVarUint8Array(out, Uint8Array.from(bytes))],
  // A sub-document, and its options as bytes.
  doc: [9, (out, [guid, bytes]) => {
    encoding.writeVarString(out, guid)
    encoding.writeUint8Array(out, Uint8Array.from(bytes))
  }]
}

/**
 * One struct: `at` is its id ('client:clock'), `after` and `before` its origin and right origin, `in` its parent (a
 * root's name, or the id of a type) where it has neither, `key` where it lies under one; then one of `text`, `any`,
 * `anyBytes`, `anys`, `type`, `typed`, `format`, `mark`, `embed`, `json`, `jsons`, `binary`, `doc`, `deleted`, or `gc` with a length.
 */
const writeStruct = (out, struct) => {
  if (struct.gc !== undefined) {
    encoding.writeUint8(out, 0)
    encoding.writeVarUint(out, struct.gc)
    return
  }
  const [name] = Object.keys(CONTENT).filter(one => one in struct)
  const [ref, write] = CONTENT[name]
  encoding.writeUint8(out, ref | (struct.after ? 0x80 : 0) | (struct.before ? 0x40 : 0) | (struct.key !== undefined ? 0x20 : 0))
  for (const neighbour of [struct.after, struct.before].filter(Boolean)) id(neighbour).forEach(part => encoding.writeVarUint(out, part))
  if (!struct.after && !struct.before) {
    const isId = /^\d+:\d+$/.test(struct.in)
    encoding.writeVarUint(out, isId ? 0 : 1)
    if (isId) id(struct.in).forEach(part => encoding.writeVarUint(out, part))
    else encoding.writeVarString(out, struct.in)
    if (struct.key !== undefined) encoding.writeVarString(out, struct.key)
  }
  write(out, struct[name])
}

/** An update (v1) with these structs, each run of one client's in the order of clocks, and deletions `'client:clock'` or `'client:clock+length'`. */
export const update = (structs, deletions = []) => {
  const out = encoding.createEncoder()
  const clients = [...new Set(structs.map(struct => id(struct.at)[0]))].sort((a, b) => b - a)
  encoding.writeVarUint(out, clients.length)
  for (const client of clients) {
    const own = structs.filter(struct => id(struct.at)[0] === client)
    encoding.writeVarUint(out, own.length)
    encoding.writeVarUint(out, client)
    encoding.writeVarUint(out, id(own[0].at)[1])
    own.forEach(struct => writeStruct(out, struct))
  }
  encoding.writeVarUint(out, deletions.length)
  for (const deletion of deletions) {
    const [at, length = '1'] = deletion.split('+')
    const [client, clock] = id(at)
    encoding.writeVarUint(out, client)
    encoding.writeVarUint(out, 1)
    encoding.writeVarUint(out, clock)
    encoding.writeVarUint(out, Number(length))
  }
  return encoding.toUint8Array(out)
}
