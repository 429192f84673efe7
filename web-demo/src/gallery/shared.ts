// What each page of the gallery is given: a Yjs document and its awareness, from whichever provider.

import type { Awareness } from 'y-protocols/awareness'
import type { Doc } from 'yjs'

export interface Shared {
  readonly doc: Doc
  /** Carets, pointers, whatever is true only now. Each has a `user` with `name` and `color`. */
  readonly awareness: Awareness
  /** Who one is, also in one's next window. */
  readonly person: string
  me(): { readonly name: string; readonly color: string }
  /** Says something for a moment. */
  say(text: string): void
}

export interface Mounted {
  /** Tools above it; null if it has none. */
  readonly tools: HTMLElement | null
  readonly element: HTMLElement
  title(): string
  isEmpty(): boolean
  setEditable(editable: boolean): void
  /** Shows where somebody is; false if they are nowhere. */
  jumpTo(client: number): boolean
  /** As a file: its name and what is in it. */
  file(): { readonly name: string; readonly type: string; readonly text: string }
  destroy(): void
}
