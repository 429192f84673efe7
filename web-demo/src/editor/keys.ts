// Typing and pasting that Tiptap leaves to others.

import { Extension, markInputRule, markPasteRule } from '@tiptap/core'
import { GapCursor } from '@tiptap/pm/gapcursor'
import type { MarkType } from '@tiptap/pm/model'
import { Plugin, PluginKey } from '@tiptap/pm/state'
import type { EditorView } from '@tiptap/pm/view'

import { fitHtml, insertFile, insertMarkdown, insertPictures, looksLikeMarkdown } from './insert'

/** What begins a list or a quote. In a heading there can be none, and the first line is one. */
const BEGINS_A_BLOCK = /^\s*([-+*]|\d+\.|>|\[[ x]?\])$/

/**
 * Signs around words and what they mean. As in CommonMark, none has a blank on its inner side: `2 * 3 * 4` is a sum. Nor does
 * one stand in a word, as in `snake_case_name`, or behind a backslash.
 */
const SIGNS: readonly (readonly [string, string])[] = [
  ['bold', String.raw`(?<![\p{L}\p{N}\\*])\*\*(?=[^\s*])((?:[^*]|\*(?!\*))*?[^\s*\\])\*\*(?![\p{L}\p{N}*])`],
  ['bold', String.raw`(?<![\p{L}\p{N}\\_])__(?=[^\s_])((?:[^_]|_(?!_))*?[^\s_\\])__(?![\p{L}\p{N}_])`],
  ['italic', String.raw`(?<![\p{L}\p{N}\\*])\*(?=[^\s*])([^*]*[^\s*\\])\*(?![\p{L}\p{N}*])`],
  ['italic', String.raw`(?<![\p{L}\p{N}\\_])_(?=[^\s_])([^_]*[^\s_\\])_(?![\p{L}\p{N}_])`],
  ['strike', String.raw`(?<![\p{L}\p{N}\\~])~~(?=[^\s~])([^~]*[^\s~\\])~~(?![\p{L}\p{N}~])`],
]

function signRules<T>(marks: Readonly<Record<string, MarkType>>, end: string, flags: string, rule: (of: { find: RegExp; type: MarkType }) => T): T[] {
  return SIGNS.flatMap(([name, signs]) => {
    const type = marks[name]
    return type === undefined ? [] : [rule({ find: new RegExp(signs + end, flags), type })]
  })
}

/** In place of the rules that Tiptap's marks bring (see `RULES`). */
export const Signs = Extension.create({
  name: 'signs',
  addInputRules() {
    return signRules(this.editor.schema.marks, '$', 'u', markInputRule)
  },
  addPasteRules() {
    return signRules(this.editor.schema.marks, '', 'gu', markPasteRule)
  },
})

/** Whose rules for typing and pasting are used: all but those of bold, italic and strike. */
export const RULES = ['signs', 'code', 'link', 'image', 'blockquote', 'bulletList', 'orderedList', 'taskItem', 'codeBlock', 'heading', 'horizontalRule']

export const Typing = Extension.create({
  name: 'typing',
  // Before the rules that make the list.
  priority: 1_000,
  addProseMirrorPlugins() {
    const { editor } = this
    let isPlain = false
    return [
      new Plugin({
        key: new PluginKey('typing'),
        props: {
          handleTextInput(view, from, to, text) {
            const $from = view.state.doc.resolve(from)
            const { parent } = $from
            const before = parent.textBetween(0, $from.parentOffset)
            if (text !== ' ' || from !== to || parent.type.name !== 'heading' || $from.depth !== 1 || !BEGINS_A_BLOCK.test(before)) return false
            view.dispatch(view.state.tr.setBlockType(from, from, view.state.schema.nodes['paragraph'] ?? parent.type))
            return false
          },
          handleKeyDown(view, event) {
            // Ctrl+Shift+V: as it is.
            isPlain = event.shiftKey && (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'v'
            const edge = edgeOf(event)
            return edge !== null && goToEdge(view, edge)
          },
          transformPastedHTML: fitHtml,
          handlePaste(view, event, slice) {
            const data = event.clipboardData
            const asItIs = isPlain
            // What is pasted next may come from a menu, without a key.
            isPlain = false
            if (data === null || view.state.selection.$from.parent.type.spec.code) return false
            const html = data.getData('text/html')
            const pictures = picturesIn(data)
            if (pictures.length > 0 && (html === '' || isOnlyPicture(html))) {
              void insertPictures(editor, pictures)
              return true
            }
            const text = data.getData('text/plain')
            const isText = html === '' || data.types.includes('vscode-editor-data')
            if (asItIs) {
              // Not as a paste, in which the rules of Tiptap's marks would look for Markdown.
              view.dispatch(view.state.tr.replaceSelection(slice).scrollIntoView())
              return true
            }
            if (!isText || !looksLikeMarkdown(text)) return false
            void insertMarkdown(editor, text)
            return true
          },
          handleDrop(view, event) {
            const data = event.dataTransfer
            const files = [...(data?.files ?? [])]
            if (data === null || files.length === 0) return false
            event.preventDefault()
            const at = view.posAtCoords({ left: event.clientX, top: event.clientY })
            if (at !== null) editor.commands.setTextSelection(at.pos)
            const pictures = picturesIn(data)
            if (pictures.length > 0) void insertPictures(editor, pictures)
            else for (const file of files.slice(0, 1)) void insertFile(editor, file)
            return true
          },
        },
      }),
    ]
  },
})

/** The key goes to the beginning of the document (-1) or to its end (1). */
function edgeOf({ key, ctrlKey, metaKey, altKey, shiftKey }: KeyboardEvent): -1 | 1 | null {
  if (altKey || shiftKey || !(ctrlKey || metaKey)) return null
  if (key === 'Home' || (key === 'ArrowUp' && metaKey)) return -1
  return key === 'End' || (key === 'ArrowDown' && metaKey) ? 1 : null
}

/** Before what the document begins with or behind what it ends with, if that is no text: a browser puts the caret elsewhere. */
function goToEdge(view: EditorView, edge: -1 | 1): boolean {
  const { doc, tr } = view.state
  const last = edge === 1 ? doc.lastChild : doc.firstChild
  if (last === null || !(last.isLeaf || last.type.spec.isolating === true)) return false
  view.dispatch(tr.setSelection(new GapCursor(doc.resolve(edge === 1 ? doc.content.size : 0))).scrollIntoView())
  return true
}

function picturesIn({ files }: DataTransfer): File[] {
  return [...files].filter(({ type }) => type.startsWith('image/'))
}

/** "Copy picture" in a browser gives its address as HTML, too. */
function isOnlyPicture(html: string): boolean {
  const { body } = new DOMParser().parseFromString(html, 'text/html')
  return body.textContent.trim() === '' && body.querySelectorAll('img').length === 1 && body.querySelector('table') === null
}
