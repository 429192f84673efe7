// What others wrote is shown as they wrote it.
//
// Plugins add to what they see: an address becomes a link, a table gets the cells that it lacks. That is meant for what is
// being written here. Of what others wrote, or wrote long ago, each page that merely looks at it would write the same.

import { Extension } from '@tiptap/core'
import { Plugin, PluginKey, type Transaction } from '@tiptap/pm/state'
import { ySyncPluginKey } from '@tiptap/y-tiptap'

export function asWritten(): Extension {
  /** What is being shown, if others wrote it. */
  let shown: Transaction | null = null
  return Extension.create({
    name: 'asWritten',
    dispatchTransaction({ transaction, next }) {
      const before = shown
      shown = transaction.getMeta(ySyncPluginKey) === undefined ? null : transaction
      // The search for addresses takes long when it is the first one, and what it finds would be refused below.
      if (shown !== null) transaction.setMeta('preventAutolink', true)
      try {
        next(transaction)
      } finally {
        shown = before
      }
    },
    addProseMirrorPlugins: () => [
      new Plugin({
        key: new PluginKey('asWritten'),
        filterTransaction: (transaction) => shown === null || transaction === shown || !transaction.docChanged,
      }),
    ],
  })
}
