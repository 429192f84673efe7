// The messages of y-websocket, as y-protocols writes and reads them. They are written here and not taken from
// y-protocols because that belongs to one version of Yjs, and several versions sit at one table here.
import * as decoding from 'lib0/decoding'
import * as encoding from 'lib0/encoding'

const message = (step, payload) => {
  const out = encoding.createEncoder()
  encoding.writeVarUint(out, 0)
  encoding.writeVarUint(out, step)
  encoding.writeVarUint8Array(out, payload)
  return encoding.toUint8Array(out)
}

/** "I have this": a state vector. */
export const step1 = vector => message(0, vector)
/** "You lack this": the answer to a SyncStep1. */
export const step2 = update => message(1, update)
/** An edit. */
export const edit = update => message(2, update)

/** "I am here": the awareness of one client, whose state is empty. */
export const presence = (client, clock) => {
  const states = encoding.createEncoder()
  encoding.writeVarUint(states, 1)
  encoding.writeVarUint(states, client)
  encoding.writeVarUint(states, clock)
  encoding.writeVarString(states, '{}')
  const out = encoding.createEncoder()
  encoding.writeVarUint(out, 1)
  encoding.writeVarUint8Array(out, encoding.toUint8Array(states))
  return encoding.toUint8Array(out)
}

const STEPS = ['step1', 'step2', 'edit']

/**
 * What the server said: `{ kind: 'step1' | 'step2' | 'edit', payload }`, `{ kind: 'denied', text }`,
 * `{ kind: 'closed', code, text }` or `{ kind: 'other' }`.
 */
export const read = ({ opcode, payload }) => {
  if (opcode === 8) {
    const code = payload.length < 2 ? 1005 : payload[0] * 256 + payload[1]
    return { kind: 'closed', code, text: Buffer.from(payload.subarray(2)).toString() }
  }
  if (opcode !== 2) return { kind: 'other' }
  const from = decoding.createDecoder(payload)
  const type = decoding.readVarUint(from)
  if (type === 0) return { kind: STEPS[decoding.readVarUint(from)], payload: decoding.readVarUint8Array(from).slice() }
  if (type === 2) {
    decoding.readVarUint(from)
    return { kind: 'denied', text: decoding.readVarString(from) }
  }
  return { kind: 'other' }
}
