// The token of a document: it comes in the fragment of a link (`#token=…`), which browsers do not
// send to servers, moves to this window's session storage and leaves the address bar. A link that
// is copied from here carries none.

import { read, write } from './browser-store'

/** Takes the token out of the address, if there is one, and returns the one to use. */
export function takeToken(name: string): string | null {
  const fromLink = tokenIn(location.hash)
  if (fromLink === null) return read('session', `token:${name}`)
  keepToken(name, fromLink)
  history.replaceState(null, '', location.pathname + location.search)
  return fromLink
}

export function keepToken(name: string, token: string): void {
  write('session', `token:${name}`, token)
}

/** A token, or a whole link with one. */
export function tokenFromText(text: string): string | null {
  const trimmed = text.trim()
  const hash = trimmed.indexOf('#')
  const token = hash === -1 ? trimmed : tokenIn(trimmed.slice(hash))
  return token === '' ? null : token
}

function tokenIn(fragment: string): string | null {
  const token = new URLSearchParams(fragment.replace(/^#/, '')).get('token')
  return token === '' ? null : token
}

/** What a token says about its holder; the server has checked it, this page has not. */
export interface Identity {
  readonly name?: string
  readonly color?: string
}

export function whoIs(token: string): Identity {
  try {
    const [, payload = ''] = token.split('.')
    const bytes = Uint8Array.from(atob(payload.replaceAll('-', '+').replaceAll('_', '/')), (letter) => letter.charCodeAt(0))
    const claims: unknown = JSON.parse(new TextDecoder().decode(bytes))
    if (typeof claims !== 'object' || claims === null) return {}
    return {
      ...('name' in claims && typeof claims.name === 'string' ? { name: claims.name } : {}),
      ...('color' in claims && typeof claims.color === 'string' ? { color: claims.color } : {}),
    }
  } catch {
    return {}
  }
}
