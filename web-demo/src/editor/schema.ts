// What a document may hold. Everything that any version of this page has written must stay in here: what the schema
// does not know would be lost (see `guard.ts`).

import type { Extensions } from '@tiptap/core'
import { Document } from '@tiptap/extension-document'
import { TaskItem, TaskList } from '@tiptap/extension-list'
import { TableKit } from '@tiptap/extension-table'
import { liftTarget } from '@tiptap/pm/transform'
import { StarterKit } from '@tiptap/starter-kit'

import { CodeBlock } from './code-block'
import { Picture } from './picture'

/**
 * Any blocks, as ever; but of an empty document the first is a heading: what is written first is the title. (A choice
 * in which everything is allowed is still made by the first that is named.)
 */
const TitledDocument = Document.extend({
  content: '(heading | block) block*',
  addCommands: () => ({
    // As Tiptap's own, but what is cleared is a paragraph, also in the first line.
    clearNodes: () => ({ state: { selection, schema }, tr, dispatch }) => {
      if (!dispatch) return true
      for (const { $from, $to } of selection.ranges) {
        tr.doc.nodesBetween($from.pos, $to.pos, (node, position) => {
          if (node.isText) return
          const from = tr.doc.resolve(tr.mapping.map(position))
          const range = from.blockRange(tr.doc.resolve(tr.mapping.map(position + node.nodeSize)))
          if (range === null) return
          const depth = liftTarget(range)
          if (node.isTextblock) tr.setNodeMarkup(range.start, schema.nodes['paragraph'])
          if (depth !== null) tr.lift(range, depth)
        })
      }
      return true
    },
  }),
})

export function schemaExtensions(): Extensions {
  return [
    TitledDocument,
    StarterKit.configure({
      document: false,
      codeBlock: false,
      // Yjs keeps the history, so that undo takes back one's own changes only.
      undoRedo: false,
      // It would write into a document that is merely looked at.
      trailingNode: false,
      link: { openOnClick: false, autolink: true, defaultProtocol: 'https', HTMLAttributes: { rel: 'noopener noreferrer nofollow', target: '_blank' } },
    }),
    CodeBlock,
    Picture,
    TaskList,
    TaskItem.configure({ nested: true, a11y: { checkboxLabel: (node) => `Done: ${node.textContent || 'empty task'}` } }),
    // Widths in pixels would be those of one person's window.
    TableKit.configure({ table: { resizable: false } }),
  ]
}
