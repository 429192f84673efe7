// A document as a tree that follows it. What is unfolded stays so; what is not seen is not looked at.

import type * as Y from 'yjs'

import { button, h } from '../dom'
import { canonical, entriesOf, guessOf, kindOf, listOf, rootsOf, type Marks, type Part, type Type } from './content'
import { createPace } from './pace'
import { number } from './units'

/** One line of the tree. */
interface Node {
  /** The same for as long as it is the same thing. */
  readonly key: string
  readonly label: string
  readonly kind: string
  readonly text: string
  readonly marks: Marks
  /** What is below it; null: nothing can be. */
  readonly children: (() => Iterable<Node>) | null
}

/** As many children of one node are shown, and so many more each time that one asks. */
const CHILDREN_MAX = 100
/** Most of a value or a text that is shown on its line, in UTF-16 units. */
const TEXT_MAX = 240
/** How much of the text in a type is on its line, in UTF-16 units. */
const PREVIEW_MAX = 60
/** A document that changes without a pause is shown anew this often, in ms. */
const EVERY_MS = 100
/** Of so many roots each is unfolded from the start. */
const UNFOLDED_MAX = 4

export function createTree(doc: Y.Doc, signal: AbortSignal): { readonly element: HTMLElement; refresh(): void } {
  const list = createList(true)
  const empty = h('p', { class: 'soft' }, 'Nothing is in it yet.')
  const element = h('div', { class: 'tree' }, empty, list.element)
  const refresh = (): void => {
    const roots = rootsOf(doc)
    empty.hidden = roots.length > 0
    list.show(() => roots.map(([name, type]) => rootNode(name, type)))
  }
  const { later } = createPace(() => {
    if (element.isConnected && !element.hidden) refresh()
  }, EVERY_MS, signal)
  doc.on('update', later)
  signal.addEventListener('abort', () => doc.off('update', later))
  refresh()
  return { element, refresh }
}

function rootNode(name: string, type: Type): Node {
  return { key: name, label: name, kind: guessOf(type), text: sizeOf(type), marks: {}, children: () => below(type) }
}

function sizeOf(type: Type): string {
  const keys = type._map.size === 0 ? 0 : entriesOf(type).length
  const parts = [keys > 0 ? `${number(keys)} key${keys === 1 ? '' : 's'}` : null, type._length > 0 ? `length ${number(type._length)}` : null]
  return parts.filter((part) => part !== null).join(', ')
}

function* below(type: Type): Generator<Node> {
  for (const [key, part] of entriesOf(type)) yield nodeOf(part, key)
  let at = 0
  for (const part of listOf(type)) yield nodeOf(part, String(at++))
}

function nodeOf(part: Part, label: string): Node {
  const { id: key, marks } = part
  switch (part.is) {
    case 'text':
      return { key, label, kind: 'text', text: part.text, marks, children: null }
    case 'value':
      return { key, label, kind: kindOfValue(part.value), text: part.value instanceof Uint8Array ? `${number(part.value.length)} bytes` : canonical(part.value), marks, children: null }
    case 'embed':
      return { key, label, kind: 'embed', text: canonical(part.value), marks, children: null }
    case 'document':
      return { key, label, kind: 'document', text: part.guid, marks, children: null }
    case 'type': {
      const { kind, name } = kindOf(part.type)
      return { key, label, kind: name !== null ? `${kind} ${name}` : kind === 'xmltext' ? 'text' : kind, text: previewOf(part.type), marks, children: () => below(part.type) }
    }
  }
}

function kindOfValue(value: unknown): string {
  if (value === null) return 'null'
  if (value instanceof Uint8Array) return 'binary'
  return Array.isArray(value) ? 'list' : typeof value
}

/** The beginning of the text in a type, or else how large it is. */
function previewOf(type: Type): string {
  const text = beginningOf(type, PREVIEW_MAX + 1, 2 * PREVIEW_MAX).text
  return text === '' ? sizeOf(type) : `“${text.slice(0, PREVIEW_MAX)}${text.length > PREVIEW_MAX ? '…' : ''}”`
}

/** The first text in a type and in what is in it, looking at so many things at most. */
function beginningOf(type: Type, max: number, looks: number): { readonly text: string; readonly looks: number } {
  let text = ''
  for (const part of listOf(type)) {
    if (text.length >= max || looks-- <= 0) break
    if (part.is === 'text') text += part.text
    if (part.is !== 'type') continue
    const below = beginningOf(part.type, max - text.length, looks)
    text += text === '' || below.text === '' ? below.text : ` ${below.text}`
    looks = below.looks
  }
  return { text, looks }
}

interface List {
  readonly element: HTMLUListElement
  show(nodes: () => Iterable<Node>): void
}

function createList(isRoot: boolean): List {
  const element = h('ul', isRoot ? { 'aria-label': 'What it holds' } : {})
  const more = h('li', { class: 'more' })
  const rows = new Map<string, Row>()
  let max = CHILDREN_MAX
  let latest: () => Iterable<Node> = () => []

  const show = (nodes: () => Iterable<Node>): void => {
    latest = nodes
    const shown: Node[] = []
    let isWhole = true
    for (const node of nodes()) {
      if (shown.length === max) {
        isWhole = false
        break
      }
      shown.push(node)
    }
    const keys = new Set(shown.map(({ key }) => key))
    for (const [key, row] of rows) {
      if (keys.has(key)) continue
      row.element.remove()
      rows.delete(key)
    }
    for (const [at, node] of shown.entries()) {
      let row = rows.get(node.key)
      if (row === undefined || row.hasChildren !== (node.children !== null)) {
        row?.element.remove()
        row = createRow(node, isRoot && shown.length <= UNFOLDED_MAX)
        rows.set(node.key, row)
      }
      if (element.children[at] !== row.element) element.insertBefore(row.element, element.children[at] ?? null)
      row.show(node)
    }
    if (isWhole) more.remove()
    else element.append(more)
  }
  more.append(button('Show more', { class: 'quiet small' }, () => {
    max += CHILDREN_MAX
    show(latest)
  }))
  return { element, show }
}

interface Row {
  readonly element: HTMLLIElement
  readonly hasChildren: boolean
  show(node: Node): void
}

function createRow(first: Node, isUnfolded: boolean): Row {
  const [label, kind, text, marks] = [h('span', { class: 'tree-label' }), h('span', { class: 'tree-kind' }), h('span', { class: 'tree-text' }), h('span', { class: 'tree-marks' })]
  // Spaces, for who copies it and for who hears it.
  const line = [label, ' ', kind, ' ', text, ' ', marks]
  let node = first
  const list = first.children === null ? null : createList(false)
  const fold = list === null ? null : h('details', isUnfolded ? { open: true } : {}, h('summary', {}, ...line), list.element)
  const element = h('li', {}, fold ?? h('div', { class: 'leaf' }, ...line))
  const showChildren = (): void => {
    if (fold?.open === true && node.children !== null) list?.show(node.children)
  }
  fold?.addEventListener('toggle', showChildren)
  let known = false
  return {
    element,
    hasChildren: list !== null,
    show(next) {
      node = next
      const shown = next.text.length > TEXT_MAX ? `${next.text.slice(0, TEXT_MAX)}…` : next.text
      const marked = Object.entries(next.marks).map(([name, value]) => (value === true || canonical(value) === '{}' ? name : `${name} ${canonical(value)}`)).join(', ')
      const changes = [[label, next.label], [kind, next.kind], [text, shown], [marks, marked]] as const
      let changed = false
      for (const [target, words] of changes) {
        if (target.textContent === words) continue
        target.textContent = words
        changed = true
      }
      if (known && changed) flash(element)
      known = true
      showChildren()
    },
  }
}

/** What changed is seen for a moment. */
function flash(element: HTMLElement): void {
  if (matchMedia('(prefers-reduced-motion: no-preference)').matches) element.animate([{ backgroundColor: 'var(--accent-soft)' }, {}], 900)
}
