// What a document holds beside what a kind of page shows.

import type * as Y from 'yjs'

import type { Kind } from '../route'
import { guessOf, isEmpty, type Type } from './content'
import { SHOWN, type Root } from './shown'

/** The roots of a document that a kind of page does not show, and that hold something. */
export function foreignRoots(doc: Y.Doc, kind: Kind): Root[] {
  const all = [...doc.share] as unknown as [string, Type][]
  return all.filter(([name, type]) => !SHOWN[kind].includes(name) && !isEmpty(type)).map(([name, type]) => ({ name, seems: guessOf(type) }))
}
