// The caret stays where somebody has just put it, whatever comes from others at that moment.
//
// A browser moves the caret at once and tells of it with the next frame, which on a slow machine takes long. What is shown
// of others in between makes ProseMirror put the caret back to where it knew it: a click is lost, and what is typed next
// lands elsewhere. So ProseMirror hears of the caret before anything of others is shown.

import { Extension } from '@tiptap/core'
import type { EditorView } from '@tiptap/pm/view'
import { yCursorPluginKey } from '@tiptap/y-tiptap'

import type { Session } from '../session'

export function keepsSelection(session: Session): Extension {
  return Extension.create({
    name: 'keepsSelection',
    onCreate({ editor }) {
      session.beforeOthers = () => {
        if (!editor.isDestroyed) tellSelection(editor.view)
      }
    },
    // The others' carets come a moment after what they wrote.
    dispatchTransaction({ transaction, next }) {
      // Carets are shown also while the view is only being made, and when it is gone.
      if (!this.editor.isDestroyed && transaction.getMeta(yCursorPluginKey) !== undefined) {
        const { view } = this.editor
        tellSelection(view)
        const { doc, selection } = view.state
        if (doc === transaction.doc && !selection.eq(transaction.selection)) transaction.setSelection(selection)
      }
      next(transaction)
    },
  })
}

/** ProseMirror looks where the caret is; if it has not moved, nothing happens. */
function tellSelection({ dom }: EditorView): void {
  dom.ownerDocument.dispatchEvent(new Event('selectionchange'))
}
