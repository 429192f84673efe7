// Which roots each kind of page shows.

import type * as Y from 'yjs'

import { kinds, type Kind } from '../route'
import { guessOf, isEmpty, type Type } from './content'

const SHOWN: Readonly<Record<Kind, readonly string[]>> = {
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

/** The roots of a document that a kind of page does not show, and that hold something. */
export function foreignRoots(doc: Y.Doc, kind: Kind): Root[] {
  const all = [...doc.share] as unknown as [string, Type][]
  return all.filter(([name, type]) => !SHOWN[kind].includes(name) && !isEmpty(type)).map(([name, type]) => ({ name, seems: guessOf(type) }))
}

/** The kinds of pages that show something of these roots. */
export function kindsFor(names: readonly string[]): Kind[] {
  return kinds().filter((kind) => names.some((name) => SHOWN[kind].includes(name)))
}
