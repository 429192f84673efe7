// Which page an address stands for, and the address of a document.
//
// A document's name is 1 to 512 bytes of UTF-8 without control characters; `/` is allowed. In an
// address each segment between slashes is percent-encoded by itself, so that names with slashes
// stay readable. Browsers normalise `.`, `..` and some servers collapse empty segments: a name
// with such a segment has its slashes encoded too, and so has one that ends with `/inspect`.

import { belowBase, pathBelow } from './server'

export const DOCUMENT_NAME_BYTES_MAX = 512

/** The kinds of pages that show a document, by the first segment of their address. */
const FOLDERS = { document: 'd', code: 'code', board: 'board', room: 'room' } as const

/** What the address of a document ends with that is looked into. */
const INSIDE = '/inspect'

export type Kind = keyof typeof FOLDERS

export type Route =
  | { readonly page: 'landing' }
  | { readonly page: 'document'; readonly kind: Kind; readonly name: string }
  /** What is inside a document. */
  | { readonly page: 'inspect'; readonly name: string }
  /** What is inside all that are open. */
  | { readonly page: 'admin' }
  | { readonly page: 'invalid'; readonly reason: string }

export type ParsedName = { readonly ok: true; readonly name: string } | { readonly ok: false; readonly reason: string }

export function parseRoute(path: string): Route {
  const below = belowBase(path)
  const kind = kinds().find((each) => below.startsWith(`${FOLDERS[each]}/`))
  if (below === 'inspect') return { page: 'admin' }
  if (kind === undefined) return { page: 'landing' }
  const raw = below.slice(FOLDERS[kind].length + 1)
  const looksInside = kind === 'document' && raw.length > INSIDE.length && raw.endsWith(INSIDE)
  const parsed = parseName(decoded(looksInside ? raw.slice(0, -INSIDE.length) : raw))
  if (parsed.ok && looksInside) return { page: 'inspect', name: parsed.name }
  return parsed.ok ? { page: 'document', kind, name: parsed.name } : { page: 'invalid', reason: parsed.reason }
}

/** `null` stands for bytes that are not UTF-8. */
export function parseName(name: string | null): ParsedName {
  if (name === null || !name.isWellFormed()) return { ok: false, reason: 'the name in the address is not UTF-8' }
  const bytes = new TextEncoder().encode(name).length
  if (bytes === 0) return { ok: false, reason: 'the name is empty' }
  if (bytes > DOCUMENT_NAME_BYTES_MAX) {
    return { ok: false, reason: `the name is ${bytes} bytes long, the longest allowed is ${DOCUMENT_NAME_BYTES_MAX}` }
  }
  // The same as \p{Cc}, which takes a browser ten milliseconds when it is asked first.
  if (/[\u0000-\u001f\u007f-\u009f]/.test(name)) return { ok: false, reason: 'the name holds a control character' }
  if (name === '.' || name === '..') return { ok: false, reason: 'a name of nothing but dots cannot be put into an address' }
  return { ok: true, name }
}

/** The name as the end of a path: of the page (`/d/…`) and of the websocket (`/ws/…`). */
export function pathOfName(name: string): string {
  const segments = name.split('/')
  const isPlain = !segments.some((segment) => segment === '' || segment === '.' || segment === '..') && !name.endsWith(INSIDE)
  const separator = isPlain ? '/' : '%2F'
  return segments.map(encodeURIComponent).join(separator)
}

export function documentPath(name: string, kind: Kind = 'document'): string {
  return pathBelow(`${FOLDERS[kind]}/${pathOfName(name)}`)
}

export function inspectPath(name: string): string {
  return documentPath(name) + INSIDE
}

export function kinds(): Kind[] {
  return Object.keys(FOLDERS) as Kind[]
}

/** A name that can be read aloud and not be guessed: two words and 50 bits. */
export function randomName(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(12))
  const letters = [...bytes.subarray(2)].map((byte) => ALPHABET[byte % ALPHABET.length]).join('')
  return `${wordOf(MOODS, bytes[0])}-${wordOf(PLACES, bytes[1])}-${letters}`
}

/** 32 letters and digits without those that look alike: a byte modulo 32 is uniform. */
const ALPHABET = 'abcdefghjkmnpqrstuvwxyz023456789'

const MOODS = ['amber', 'bold', 'brisk', 'calm', 'clear', 'gentle', 'golden', 'happy', 'kind', 'lively', 'mellow', 'open', 'quiet', 'silver', 'sunny', 'warm']
const PLACES = ['bay', 'brook', 'cove', 'field', 'forest', 'garden', 'glade', 'harbor', 'hill', 'island', 'lagoon', 'meadow', 'orchard', 'reef', 'river', 'shore']

function wordOf(words: readonly string[], byte: number | undefined): string {
  return words[(byte ?? 0) % words.length] ?? 'open'
}

function decoded(path: string): string | null {
  try {
    return decodeURIComponent(path)
  } catch {
    return null
  }
}
