// The y-websocket wire, message by message: which kind, about which clients, and what is in it. Pure.

import * as decoding from 'lib0/decoding'
import * as Y from 'yjs'

import { canonical } from './content'

/** One message of a frame. */
export interface Message {
  readonly kind: string
  /** Client ids that it is about. */
  readonly clients: readonly number[]
  /** What it says, without what people wrote. */
  readonly says: string
  /** What people wrote in it. */
  content(): string
}

/** Most client ids of one message that are told apart. */
const CLIENTS_MAX = 64
/** Most that is shown of what people wrote in a message, in UTF-16 units. */
const CONTENT_MAX = 2_000

/** The messages of a frame. What is not understood ends them, as one that says so. */
export function messagesOf(frame: Uint8Array): Message[] {
  const decoder = decoding.createDecoder(frame)
  const messages: Message[] = []
  do {
    try {
      messages.push(next(decoder))
    } catch {
      messages.push({ kind: 'not understood', clients: [], says: '', content: () => '' })
      break
    }
  } while (decoding.hasContent(decoder))
  return messages
}

function next(decoder: decoding.Decoder): Message {
  const type = decoding.readVarUint(decoder)
  switch (type) {
    case 0:
      return sync(decoding.readVarUint(decoder), decoding.readVarUint8Array(decoder))
    case 1:
      return presence(decoding.createDecoder(decoding.readVarUint8Array(decoder)))
    case 2: {
      const denied = decoding.readVarUint(decoder)
      const reason = decoding.readVarString(decoder)
      return plain('auth', denied === 0 ? reason : `${denied} ${reason}`)
    }
    case 3:
      return plain('who is here?', '')
    case 102: {
      const payload = decoding.readVarUint8Array(decoder)
      return plain('saved', [...payload].map((byte) => byte.toString(16).padStart(2, '0')).join(' '))
    }
    default:
      throw new Error('an unknown message')
  }
}

function plain(kind: string, says: string): Message {
  return { kind, clients: [], says, content: () => '' }
}

function sync(step: number, bytes: Uint8Array): Message {
  switch (step) {
    case 0: {
      const vector = Y.decodeStateVector(bytes)
      const clients = [...vector.keys()]
      return { kind: 'sync step 1', clients: clients.slice(0, CLIENTS_MAX), says: vector.size === 0 ? 'has nothing' : `has ${count(vector.size, 'client')}`, content: () => '' }
    }
    case 1:
      return update('sync step 2', bytes)
    case 2:
      return update('update', bytes)
    default:
      throw new Error('an unknown step')
  }
}

function update(kind: string, bytes: Uint8Array): Message {
  const { structs, ds } = Y.decodeUpdate(bytes)
  const clients = new Set<number>()
  for (const { id } of structs) clients.add(id.client)
  let deleted = 0
  for (const [client, ranges] of ds.clients) {
    clients.add(client)
    for (const { len } of ranges) deleted += len
  }
  const says = [structs.length > 0 ? count(structs.length, 'struct') : null, deleted > 0 ? `${deleted} deleted` : null].filter((text) => text !== null)
  return {
    kind,
    clients: [...clients].slice(0, CLIENTS_MAX),
    says: says.length === 0 ? 'nothing' : says.join(', '),
    content: () => {
      let text = ''
      for (const struct of structs) {
        if (text.length > CONTENT_MAX) break
        text += `${text === '' ? '' : '\n'}${struct.id.client}:${struct.id.clock} ${written(struct)}`
      }
      return text.slice(0, CONTENT_MAX)
    },
  }
}

function written(struct: Y.Item | Y.GC | Y.Skip): string {
  if (!(struct instanceof Y.Item)) return `${struct.length} collected`
  const { content, parentSub } = struct
  const key = parentSub === null ? '' : `${JSON.stringify(parentSub)}: `
  if (content instanceof Y.ContentString) return key + JSON.stringify(content.str)
  if (content instanceof Y.ContentFormat) return `${key}format ${content.key} ${canonical(content.value)}`
  if (content instanceof Y.ContentEmbed) return `${key}embed ${canonical(content.embed)}`
  if (content instanceof Y.ContentAny || content instanceof Y.ContentJSON) return key + content.arr.map(canonical).join(', ')
  if (content instanceof Y.ContentBinary) return `${key}${count(content.content.length, 'byte')}`
  if (content instanceof Y.ContentDoc) return `${key}document ${content.doc.guid}`
  if (content instanceof Y.ContentType) return `${key}a type${content.type instanceof Y.XmlElement ? ` ${content.type.nodeName}` : ''}`
  return `${key}${struct.length} deleted`
}

function presence(decoder: decoding.Decoder): Message {
  const states: { client: number; clock: number; state: string }[] = []
  const length = decoding.readVarUint(decoder)
  for (let at = 0; at < length; at++) {
    states.push({ client: decoding.readVarUint(decoder), clock: decoding.readVarUint(decoder), state: decoding.readVarString(decoder) })
  }
  const gone = states.filter(({ state }) => state === 'null').length
  const says = [states.length > gone ? `${states.length - gone} here` : null, gone > 0 ? `${gone} gone` : null].filter((text) => text !== null)
  return {
    kind: 'presence',
    clients: states.map(({ client }) => client).slice(0, CLIENTS_MAX),
    says: says.length === 0 ? 'nobody' : says.join(', '),
    content: () => states.map(({ client, clock, state }) => `${client} at ${clock} ${state}`).join('\n').slice(0, CONTENT_MAX),
  }
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? '' : 's'}`
}
