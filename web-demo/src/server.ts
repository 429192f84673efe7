// Where the server is: every address that the page asks it for is made here, and nowhere else.
//
// The server may live below a prefix (`https://example.org/collab/`). The page finds it by where its own code came
// from: all of it lies in one folder below the prefix (`assets/` when built, `src/` while developing).

/** The path of the start page, with a slash at its end. */
export const BASE = new URL('..', import.meta.url).pathname

/** What this browser stores is named after it: two servers below one host have nothing in common. Empty at the root. */
export const SCOPE = BASE.slice(0, -1)

/** What providers connect to; the document's name is appended. */
export function socketAddress(): string {
  return `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}${BASE}ws`
}

/** The path of a page below the start page. */
export function pathBelow(path: string): string {
  return BASE + path
}

/** What of a path is below the start page. */
export function belowBase(path: string): string {
  return path.startsWith(BASE) ? path.slice(BASE.length) : path.replace(/^\//, '')
}

export interface About {
  /** Who may come: everybody who reaches it, or who shows a token. */
  readonly access: 'open' | 'tokens'
  /** Whether it makes links for whoever may share. */
  readonly share: boolean
  readonly version: string
  /** The process that a page may have killed; null if it may not. */
  readonly process: number | null
}

/** An answer over HTTP: `text` is what it says in plain words. */
export interface Answer {
  readonly status: number
  readonly text: string
}

/**
 * Asks over HTTP at the address of a document's WebSocket, without a token: addresses are kept by proxies. Null if nobody
 * answers. The server itself says 426, unless it has something else against it.
 */
export async function askForSocket(path: string, signal: AbortSignal): Promise<Answer | null> {
  try {
    const answer = await fetch(pathBelow(`ws/${path}`), { cache: 'no-store', signal })
    const isPlain = answer.headers.get('content-type')?.startsWith('text/plain') === true
    return { status: answer.status, text: isPlain ? (await answer.text()).trim().slice(0, 300) : '' }
  } catch {
    return null
  }
}

/** What the server says about itself; null if it does not say. */
export async function aboutServer(): Promise<About | null> {
  try {
    const about: unknown = await (await fetch(pathBelow('about.json'))).json()
    if (typeof about !== 'object' || about === null || !('access' in about) || !('version' in about)) return null
    const { access, version } = about
    const share = 'share' in about && about.share === true
    return (access === 'open' || access === 'tokens') && typeof version === 'string' ? { access, share, version, process: processOf(about) } : null
  } catch {
    return null
  }
}

/** What is asked for who shares: a link to a document, for so many seconds or else as long as may be. */
export interface LinkWanted {
  readonly document: string
  readonly access: 'read' | 'write'
  readonly seconds?: number
}

/** `expires` in s since 1970. */
export type LinkMade = { readonly ok: true; readonly token: string; readonly expires: number } | { readonly ok: false; readonly reason: string }

/** Has the server make the token of a link. One's own goes in a header: addresses are kept by proxies. */
export async function makeLink(token: string, wanted: LinkWanted): Promise<LinkMade> {
  try {
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
    const answer = await fetch(pathBelow('share'), { method: 'POST', headers, body: JSON.stringify(wanted) })
    if (!answer.ok) return { ok: false, reason: (await answer.text()).trim() }
    const made: unknown = await answer.json()
    if (typeof made === 'object' && made !== null && 'token' in made && 'expires' in made && typeof made.token === 'string' && typeof made.expires === 'number') {
      return { ok: true, token: made.token, expires: made.expires }
    }
    return { ok: false, reason: 'its answer is none' }
  } catch {
    return { ok: false, reason: 'it cannot be reached' }
  }
}

function processOf(about: object): number | null {
  const plug = 'plug' in about ? about.plug : null
  const process = typeof plug === 'object' && plug !== null && 'process' in plug ? plug.process : null
  return typeof process === 'number' ? process : null
}

/**
 * Has the server's process killed. Never resolves once that was asked for: the answer may be lost with the process.
 * Rejects with what the server says if it refuses.
 */
export async function pullThePlug(): Promise<never> {
  const answer = await fetch(pathBelow('demo/pull-the-plug'), { method: 'POST', headers: { 'X-Cowrite-Demo': 'pull-the-plug' } }).catch(() => null)
  if (answer !== null && !answer.ok) throw new Error(`The server refuses: ${(await answer.text()).trim()}`)
  return new Promise(() => {})
}
