// Nothing that people wrote is dropped by a page that does not know it.
//
// The binding between Yjs and ProseMirror deletes what the schema cannot hold: an element of another name, from another
// editor or from a later version of this page, would be gone for everybody as soon as this page is opened. So each
// change is looked at before the binding sees it, and the binding is cut when there is something unknown in it.

import type { Editor } from '@tiptap/core'
import type { Schema } from '@tiptap/pm/model'
import { ySyncPluginKey } from '@tiptap/y-tiptap'
import * as Y from 'yjs'

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
  if (type instanceof Y.XmlElement && [...keys].some((key) => key !== null && type.getAttribute(key) !== undefined && !hasAttribute(schema, type.nodeName, key))) return true
  return type.toArray().some((child) => {
    const { client, clock } = child._item?.id ?? { client: 0, clock: 0 }
    return clock >= (before.get(client) ?? 0) && isUnknown(child, schema, fragment)
  })
}

function isUnknown(type: unknown, schema: Schema, fragment: Y.XmlFragment): boolean {
  if (type instanceof Y.XmlText) {
    return type.toDelta().some(({ insert, attributes }: { insert: unknown; attributes?: Record<string, unknown> }) =>
      typeof insert !== 'string' || Object.keys(attributes ?? {}).some((name) => schema.marks[name.split('--')[0] ?? name] === undefined && name !== 'ychange'))
  }
  if (!(type instanceof Y.XmlFragment)) return true
  if (type instanceof Y.XmlElement) {
    const { nodeName } = type
    if (schema.nodes[nodeName] === undefined || Object.keys(type.getAttributes()).some((key) => !hasAttribute(schema, nodeName, key))) return true
  } else if (type !== fragment) return true
  return type.toArray().some((child) => isUnknown(child, schema, fragment))
}

function hasAttribute(schema: Schema, node: string, attribute: string): boolean {
  return attribute === 'ychange' || attribute in (schema.nodes[node]?.spec.attrs ?? {})
}
