// What the server says of a document: its figures and who is connected. Asked for while somebody looks.

import { pathBelow } from '../server'

export interface Figures {
  readonly bytes: number
  readonly memory_bytes: number
  readonly clients: number
  readonly structs: number
  readonly deleted: number
  readonly deleted_ranges: number
  readonly position: number
  readonly durable: number
  readonly unsaved_bytes: number
  readonly records: number
  readonly record_bytes: number
  readonly updates: number
  readonly updates_per_second: number
  readonly saved_after_ms: { readonly last: number; readonly mean: number } | null
  readonly sessions: number
}

export interface Seen {
  readonly session: number
  readonly user: string | null
  readonly access: 'read' | 'write'
  readonly wire: string
  readonly seconds: number
  readonly silent_seconds: number
  readonly reading: 'new' | 'live' | 'behind' | 'catching up'
  readonly behind: number
  readonly waiting_bytes: number
  readonly clients: readonly number[]
  /** The server that it is connected to, if there are several. */
  readonly node?: string
  /** For the operator; null is this machine, or a proxy that does not say. */
  readonly address?: string | null
}

/** `node`: the server that has it, if there are several. */
export type Insight =
  | { readonly document: string; readonly open: false; readonly node?: string }
  | { readonly document: string; readonly open: true; readonly node?: string; readonly figures: Figures; readonly sessions: readonly Seen[] }

/** How often the server is asked, in ms. */
const EVERY_MS = 1_000
/** After an answer that failed it is left alone for so many times as long: it may have been asked too much. */
const LONGER = 10

/** The server does not answer, or not with what was asked for. */
export class NotTold extends Error {
  constructor(message: string, readonly status: number) {
    super(message)
  }
}

export async function ask<T>(address: string, token: string | null): Promise<T> {
  return (await fetched(address, token)).json() as Promise<T>
}

export async function fetched(address: string, token: string | null): Promise<Response> {
  const response = await fetch(address, { cache: 'no-store', headers: token === null ? {} : { authorization: `Bearer ${token}` } }).catch(() => null)
  if (response === null) throw new NotTold('the server cannot be reached', 0)
  if (response.ok) return response
  const isSaid = response.headers.get('content-type')?.startsWith('text/plain') === true
  throw new NotTold(isSaid ? (await response.text()).trim() : `the server answers with ${response.status}`, response.status)
}

export function askAsReader(name: string, token: string | null): Promise<Insight> {
  return ask(`${pathBelow('inspect.json')}?document=${encodeURIComponent(name)}`, token)
}

/** Asks again and again until the signal is given, and only while the page is seen. */
export function keepAsking<T>(question: () => Promise<T>, on: { answer(answer: T): void; failure(why: NotTold): void }, signal: AbortSignal, every = EVERY_MS): void {
  let timer: ReturnType<typeof setTimeout> | undefined
  let isAsking = false
  const again = async (): Promise<void> => {
    clearTimeout(timer)
    if (isAsking || document.visibilityState !== 'visible') return
    isAsking = true
    let wait = every
    try {
      const answer = await question()
      if (!signal.aborted) on.answer(answer)
    } catch (why) {
      wait = LONGER * every
      if (!signal.aborted) on.failure(why instanceof NotTold ? why : new NotTold(String(why), 0))
    }
    isAsking = false
    if (!signal.aborted) timer = setTimeout(() => void again(), wait)
  }
  signal.addEventListener('abort', () => clearTimeout(timer))
  document.addEventListener('visibilitychange', () => void again(), { signal })
  void again()
}
