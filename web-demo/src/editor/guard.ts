// Nothing that people wrote is dropped by a page that does not know it.
//
// The binding between Yjs and ProseMirror deletes what the schema cannot hold: an element of another name, from another
// editor or from a later version of this page, would be gone for everybody as soon as this page is opened. So each
// change is looked at before the binding sees it, and the binding is cut when there is something unknown in it, or something
// where it may not be.

import type { Editor } from '@tiptap/core'
import type { ContentMatch, NodeType, Schema } from '@tiptap/pm/model'
import { ySyncPluginKey } from '@tiptap/y-tiptap'
import * as Y from 'yjs'

/** Most columns or rows of a cell. */
const CELLS_MAX = 1_000

/** Whether there is something unknown already: then the fragment must not be given to an editor at all. */
export function holdsUnknown(fragment: Y.XmlFragment, schema: Schema): boolean {
  return isUnknown(fragment, schema, fragment)
}

/** Calls `onUnknown` once, after the editor was cut off; from then on it shows what it showed before. */
export function guardUnknown(editor: Editor, fragment: Y.XmlFragment, onUnknown: () => void): void {
  const { doc } = fragment
  if (doc === null) return
  const { schema } = editor
  const cut = (): void => {
    doc.off('beforeObserverCalls', look)
    const state: unknown = ySyncPluginKey.getState(editor.state)
    const binding = typeof state === 'object' && state !== null && 'binding' in state ? (state.binding as Binding) : null
    if (binding !== null) {
      binding._prosemirrorChanged = () => {}
      binding.destroy()
    }
    onUnknown()
  }
  const look = ({ changed, beforeState }: Y.Transaction): void => {
    for (const [type, keys] of changed) {
      if (isWithin(type as Y.AbstractType<unknown>, fragment) && hasUnknown(type as Y.AbstractType<unknown>, schema, fragment, keys, beforeState)) return cut()
    }
  }
  doc.on('beforeObserverCalls', look)
}

interface Binding {
  _prosemirrorChanged(doc: unknown): void
  destroy(): void
}

function isWithin(type: Y.AbstractType<unknown>, fragment: Y.XmlFragment): boolean {
  for (let at: Y.AbstractType<unknown> | null = type; at !== null; at = at.parent as Y.AbstractType<unknown> | null) {
    if (at === (fragment as unknown)) return true
  }
  return false
}

/** Of what a transaction changed in a type: its attributes, its text, and the elements that are new in it. */
function hasUnknown(type: Y.AbstractType<unknown>, schema: Schema, fragment: Y.XmlFragment, keys: ReadonlySet<string | null>, before: ReadonlyMap<number, number>): boolean {
  if (type instanceof Y.XmlText) return isUnknown(type, schema, fragment)
  if (!(type instanceof Y.XmlFragment)) return true
  if (type instanceof Y.XmlElement && [...keys].some((key) => key !== null && type.getAttribute(key) !== undefined && !hasAttribute(schema, type, key))) return true
  if (isMisplaced(type, schema)) return true
  return type.toArray().some((child) => {
    const { client, clock } = child._item?.id ?? { client: 0, clock: 0 }
    return clock >= (before.get(client) ?? 0) && isUnknown(child, schema, fragment)
  })
}

function isUnknown(type: unknown, schema: Schema, fragment: Y.XmlFragment): boolean {
  if (type instanceof Y.XmlText) {
    const within = nodeTypeOf(type.parent, schema)
    return type.toDelta().some(({ insert, attributes }: { insert: unknown; attributes?: Record<string, unknown> }) =>
      typeof insert !== 'string' || Object.keys(attributes ?? {}).some((name) => {
        const mark = schema.marks[name.split('--')[0] ?? name]
        return name !== 'ychange' && (mark === undefined || within?.allowsMarkType(mark) === false)
      }))
  }
  if (!(type instanceof Y.XmlFragment)) return true
  if (type instanceof Y.XmlElement) {
    const { nodeName } = type
    if (schema.nodes[nodeName] === undefined || Object.keys(type.getAttributes()).some((key) => !hasAttribute(schema, type, key))) return true
  } else if (type !== fragment) return true
  return isMisplaced(type, schema) || type.toArray().some((child) => isUnknown(child, schema, fragment))
}

/** Whether something is in an element that may not be there: the binding deletes the element, with all that is in it. */
function isMisplaced(type: Y.XmlFragment, schema: Schema): boolean {
  let match: ContentMatch | null | undefined = nodeTypeOf(type, schema)?.contentMatch
  for (const child of type.toArray()) {
    const node = child instanceof Y.XmlText ? schema.nodes['text'] : nodeTypeOf(child, schema)
    if (node === undefined || (child instanceof Y.XmlText && child.length === 0)) continue
    match = match?.matchType(node)
    if (match === null) return true
  }
  return false
}

function nodeTypeOf(type: unknown, schema: Schema): NodeType | undefined {
  if (type instanceof Y.XmlElement) return schema.nodes[type.nodeName]
  return type instanceof Y.XmlFragment ? schema.topNodeType : undefined
}

/** An attribute that this page knows, with a value that it can show. */
function hasAttribute(schema: Schema, element: Y.XmlElement, attribute: string): boolean {
  if (attribute === 'ychange') return true
  if (!(attribute in (schema.nodes[element.nodeName]?.spec.attrs ?? {}))) return false
  if (attribute !== 'colspan' && attribute !== 'rowspan') return true
  // A table is as large as its cells say.
  const cells: unknown = element.getAttribute(attribute)
  return Number.isInteger(cells) && Number(cells) >= 1 && Number(cells) <= CELLS_MAX
}
