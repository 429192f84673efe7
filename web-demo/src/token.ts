// The tokens of this browser. One comes in the fragment of a link (`#token=…`), which browsers do not send to servers, or is
// pasted; it leaves the address bar, and is kept for this server until it ends or somebody forgets it. So it opens all that it
// covers, in every window. A link that is copied from here carries none.
//
// What must stay true:
//  - A window goes on with the token that it was given for a document, also when others would open more.
//  - Whoever forgets a token forgets it in all windows.
//  - What is no token that this page can read is for the server to judge, and is kept in this window alone.

import { canRemember, onRemembered, read, readJson, write } from './browser-store'
import { accessTo, lesser, newNameIn, type Access, type Grant } from './grants'

/** What a token says; the server has checked it, this page has not. */
export interface Holding {
  readonly token: string
  readonly name: string | null
  readonly color: string | null
  /** ms since 1970 */
  readonly ends: number
  readonly opens: readonly Grant[]
  readonly shares: Share | null
}

/** What of it may be passed on. */
interface Share {
  /** Null is all that it opens. */
  readonly grants: readonly Grant[] | null
  /** How long a link may live, in s; null is until the token ends. */
  readonly seconds: number | null
}

/** What a link to a document may be at most. */
export interface Shareable {
  readonly access: Access
  /** How long it may live, in s. */
  readonly seconds: number
}

const KEY = 'tokens'
const KEPT_MAX = 20
/** The clocks of this browser and of the server may differ, in ms. */
const LEEWAY_MS = 60_000
/** No link lives longer, in s. */
const LINK_S_MAX = 30 * 86_400

/** Takes the token out of the address, if there is one. */
export function takeFromAddress(): string | null {
  const token = tokenIn(location.hash)
  if (token !== null) history.replaceState(null, '', location.pathname + location.search)
  return token
}

/** The token to open a document with: that of the address, that of this window, or the best one of this browser. */
export function takeToken(name: string): string | null {
  const fromLink = takeFromAddress()
  if (fromLink !== null) {
    keepTokenFor(name, fromLink)
    return fromLink
  }
  const before = read('session', `token:${name}`)
  if (before === null) return tokenFor(name)
  const holding = readToken(before)
  if (holding === null || !canRemember() || keptTokens().some(({ token }) => token === before)) return before
  // It ended, or was forgotten.
  return tokenFor(name) ?? (isOver(holding) ? before : null)
}

/** Keeps a token, and goes on with it in this window for this document. */
export function keepTokenFor(name: string, token: string): void {
  write('session', `token:${name}`, token)
  keepToken(token)
}

/** Keeps a token in this browser; false if it is none that this page can read. */
export function keepToken(token: string): boolean {
  const holding = readToken(token)
  if (holding === null) return false
  keep([token, ...keptTokens().map((kept) => kept.token).filter((kept) => kept !== token)])
  return true
}

export function forgetToken(token: string): void {
  keep(keptTokens().map((kept) => kept.token).filter((kept) => kept !== token))
}

/** Those that have not ended, the latest first. */
export function keptTokens(): Holding[] {
  const stored = readJson('local', KEY)
  const texts = Array.isArray(stored) ? stored.filter((text) => typeof text === 'string') : []
  return texts.map(readToken).filter((holding) => holding !== null).filter((holding) => !isOver(holding))
}

/** Calls the listener when another window keeps or forgets a token. */
export function onTokens(listener: () => void, signal: AbortSignal): void {
  onRemembered(KEY, listener, signal)
}

/** The one of this browser that opens most of a document, for the longest time, of those that the server has not refused. */
export function tokenFor(name: string, refused: ReadonlySet<string> = new Set()): string | null {
  const rank = ({ opens }: Holding): number => [null, 'read', 'write'].indexOf(accessTo(opens, name))
  const opening = keptTokens().filter((holding) => rank(holding) > 0 && !refused.has(holding.token))
  return opening.toSorted((a, b) => rank(b) - rank(a) || b.ends - a.ends)[0]?.token ?? null
}

/** A name for something new that a token of this browser lets be written; null if there is none. */
export function newName(random: () => string): string | null {
  for (const { opens } of keptTokens()) {
    const name = newNameIn(opens, random)
    if (name !== null) return name
  }
  return null
}

/** What a holder may pass on of a document; null is nothing. */
export function shareable({ opens, shares, ends }: Holding, name: string): Shareable | null {
  if (shares === null) return null
  const own = accessTo(opens, name)
  const access = shares.grants === null ? own : lesser(own, accessTo(shares.grants, name))
  const seconds = Math.min(shares.seconds ?? Math.floor((ends - Date.now()) / 1_000), LINK_S_MAX)
  return access === null || seconds <= 0 ? null : { access, seconds }
}

/** A token, or a whole link with one. */
export function tokenFromText(text: string): string | null {
  const trimmed = text.trim()
  const hash = trimmed.indexOf('#')
  const token = hash === -1 ? trimmed : tokenIn(trimmed.slice(hash))
  return token === '' ? null : token
}

/** What a token says; null if it is none. */
export function readToken(token: string): Holding | null {
  try {
    const [, payload = ''] = token.split('.')
    const bytes = Uint8Array.from(atob(payload.replaceAll('-', '+').replaceAll('_', '/')), (letter) => letter.charCodeAt(0))
    const claims: unknown = JSON.parse(new TextDecoder().decode(bytes))
    if (!isObject(claims) || typeof claims['exp'] !== 'number') return null
    const { name, color, exp, documents, document: one, access } = claims
    return {
      token,
      name: typeof name === 'string' ? name : null,
      color: typeof color === 'string' ? color : null,
      ends: exp * 1_000,
      opens: typeof one === 'string' ? grantsOf({ [one]: access }, true) : grantsOf(documents, false),
      shares: shareOf(claims['share']),
    }
  } catch {
    return null
  }
}

/** Whether an address has a token, which it should not have for long. */
export function hasToken(fragment: string): boolean {
  return tokenIn(fragment) !== null
}

function tokenIn(fragment: string): string | null {
  const token = new URLSearchParams(fragment.replace(/^#/, '')).get('token')
  return token === '' ? null : token
}

/** The claim of an issuer's token is an object, that of a link's is true. */
function shareOf(claim: unknown): Share | null {
  if (claim === true) return { grants: null, seconds: null }
  if (!isObject(claim)) return null
  const { documents, seconds } = claim
  return { grants: isObject(documents) ? grantsOf(documents, false) : null, seconds: typeof seconds === 'number' ? seconds : null }
}

function grantsOf(documents: unknown, isName: boolean): Grant[] {
  if (!isObject(documents)) return []
  return Object.entries(documents).flatMap(([pattern, access]) => (access === 'read' || access === 'write' ? [{ pattern, access, isName }] : []))
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}

function isOver({ ends }: Holding): boolean {
  return ends + LEEWAY_MS < Date.now()
}

function keep(tokens: readonly string[]): void {
  write('local', KEY, tokens.length === 0 ? null : JSON.stringify(tokens.slice(0, KEPT_MAX)))
}
