// Which roots each kind of page shows. The start page needs this, and no Yjs.

import { kinds, type Kind } from '../route'

export const SHOWN: Readonly<Record<Kind, readonly string[]>> = {
  document: ['default'],
  code: ['code', 'file'],
  board: ['board'],
  room: ['chat', 'poll', 'fireflies'],
}

export interface Root {
  readonly name: string
  /** What it seems to be. */
  readonly seems: string
}

/** The kinds of pages that show something of these roots. */
export function kindsFor(names: readonly string[]): Kind[] {
  return kinds().filter((kind) => names.some((name) => SHOWN[kind].includes(name)))
}
