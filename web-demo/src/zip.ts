// Files as one: a ZIP archive that stores them as they are.

import type { SourceFile } from './source'

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte
  for (let bit = 0; bit < 8; bit++) value = (value & 1) === 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1
  return value
})

function checksum(bytes: Uint8Array): number {
  let value = 0xffffffff
  for (const byte of bytes) value = (TABLE[(value ^ byte) & 0xff] ?? 0) ^ (value >>> 8)
  return ~value >>> 0
}

/** Numbers of two (`s`) or four (`l`) bytes. */
function record(sizes: string, ...values: readonly number[]): Uint8Array<ArrayBuffer> {
  const bytes = new DataView(new ArrayBuffer([...sizes].reduce((sum, size) => sum + (size === 's' ? 2 : 4), 0)))
  let at = 0
  for (const [index, size] of [...sizes].entries()) {
    if (size === 's') bytes.setUint16(at, values[index] ?? 0, true)
    else bytes.setUint32(at, values[index] ?? 0, true)
    at += size === 's' ? 2 : 4
  }
  return new Uint8Array(bytes.buffer)
}

/** 1 January 1980, and names in UTF-8. */
const [FLAGS, TIME, DATE] = [0x800, 0, 0x21]

export function zipped(files: readonly SourceFile[]): Blob {
  const encoder = new TextEncoder()
  const parts: Uint8Array<ArrayBuffer>[] = []
  const list: Uint8Array<ArrayBuffer>[] = []
  let at = 0
  for (const file of files) {
    const [name, bytes] = [encoder.encode(file.name), encoder.encode(file.text)]
    const common = [20, FLAGS, 0, TIME, DATE, checksum(bytes), bytes.length, bytes.length, name.length, 0] as const
    list.push(record('lsssssslllsssssll', 0x02014b50, 20, ...common, 0, 0, 0, 0, at), name)
    const head = record('lssssslllss', 0x04034b50, ...common)
    parts.push(head, name, bytes)
    at += head.length + name.length + bytes.length
  }
  const size = list.reduce((sum, { length }) => sum + length, 0)
  return new Blob([...parts, ...list, record('lsssslls', 0x06054b50, 0, 0, files.length, files.length, size, at, 0)])
}
