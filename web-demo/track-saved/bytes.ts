// What is read and written of the wires, in lib0's encoding.

export const MESSAGE_SYNC = 0
export const MESSAGE_AUTH = 2
export const MESSAGE_SAVED = 102
export const SYNC_STEP_1 = 0
export const SYNC_UPDATE = 2
export const SOCKET_OPEN = 1

const AUTH_TOKEN = 0
const AUTH_DENIED = 0

/** The part of lib0's decoder that is read here. */
export interface Reader {
  readonly arr: Uint8Array
  pos: number
}

/** lib0's varUint: seven bits per byte, lowest first. Division, since bit operations stop at 32 bits. */
function varUint(value: number): number[] {
  const bytes: number[] = []
  let rest = value
  while (rest > 127) {
    bytes.push(128 + (rest % 128))
    rest = Math.floor(rest / 128)
  }
  return [...bytes, rest]
}

/** The inverse of `varUint`; NaN if the bytes end too early, which equals no serial. */
export function readVarUint(reader: Reader): number {
  let value = 0
  for (let factor = 1; ; factor *= 128) {
    const byte = reader.arr[reader.pos++]
    if (byte === undefined) return NaN
    value += (byte % 128) * factor
    if (byte < 128) return value
  }
}

/** The inverse of lib0's `writeVarString`: a length in bytes, and UTF-8. */
export function readVarString(reader: Reader): string {
  const length = readVarUint(reader)
  const text = reader.arr.subarray(reader.pos, reader.pos + length)
  reader.pos += length
  return new TextDecoder().decode(text)
}

/** What `readVarString` reads. */
function varString(text: string): number[] {
  const bytes = new TextEncoder().encode(text)
  return [...varUint(bytes.length), ...bytes]
}

/** `varString(address) 02 00 varString(token)`, on Hocuspocus' wire. */
export function authFrame(address: string, token: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from([...varString(address), MESSAGE_AUTH, AUTH_TOKEN, ...varString(token)])
}

/** `02 00 varString(reason)`, where the reason opens with "read-only". */
export function isReadOnlyNotice(reader: Reader): boolean {
  return readVarUint(reader) === AUTH_DENIED && readVarString(reader).startsWith('read-only')
}

/** `66 varBytes(payload)`, where the payload is these numbers. */
export function savedFrame(numbers: number[]): Uint8Array<ArrayBuffer> {
  const payload = numbers.flatMap(varUint)
  return Uint8Array.from([MESSAGE_SAVED, payload.length, ...payload])
}

/** `00 02 varBytes(update)` */
export function updateFrame(update: Uint8Array): Uint8Array<ArrayBuffer> {
  const head = [MESSAGE_SYNC, SYNC_UPDATE, ...varUint(update.length)]
  const frame = new Uint8Array(head.length + update.length)
  frame.set(head)
  frame.set(update, head.length)
  return frame
}
