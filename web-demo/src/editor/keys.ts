// Typing and pasting that Tiptap leaves to others.

import { Extension } from '@tiptap/core'
import { Plugin, PluginKey } from '@tiptap/pm/state'

import { fitHtml, insertFile, insertMarkdown, insertPictures, looksLikeMarkdown } from './insert'

/** What begins a list or a quote. In a heading there can be none, and the first line is one. */
const BEGINS_A_BLOCK = /^\s*([-+*]|\d+\.|>|\[[ x]?\])$/

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
          handleKeyDown(_view, event) {
            // Ctrl+Shift+V: as it is.
            isPlain = event.shiftKey && (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'v'
            return false
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

function picturesIn({ files }: DataTransfer): File[] {
  return [...files].filter(({ type }) => type.startsWith('image/'))
}

/** "Copy picture" in a browser gives its address as HTML, too. */
function isOnlyPicture(html: string): boolean {
  const { body } = new DOMParser().parseFromString(html, 'text/html')
  return body.textContent.trim() === '' && body.querySelectorAll('img').length === 1 && body.querySelector('table') === null
}
