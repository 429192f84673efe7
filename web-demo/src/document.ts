// A document of rich text: Tiptap bound to the Yjs document and to the others' carets.

import { Editor, Extension } from '@tiptap/core'
import { Collaboration } from '@tiptap/extension-collaboration'
import { Placeholder } from '@tiptap/extensions'
import { DOMSerializer } from '@tiptap/pm/model'
import { FileDown, FileUp, Search } from 'lucide'
import { search } from 'prosemirror-search'
import * as Y from 'yjs'

import { h } from './dom'
import { asWritten } from './editor/as-written'
import { createBubble, modifier } from './editor/bubble'
import { carets, watchCarets } from './editor/carets'
import { createFind } from './editor/find'
import { guardUnknown, holdsUnknown } from './editor/guard'
import { insertFile, markdownOf } from './editor/insert'
import { RULES, Signs, Typing } from './editor/keys'
import { openAddress } from './editor/link-dialog'
import { schemaExtensions } from './editor/schema'
import { keepsSelection } from './editor/selection'
import { Slash } from './editor/slash'
import { createToolbar } from './editor/toolbar'
import { chooseFile, fileNameOf, saveFile } from './files'
import type { Content, Stage, Steps } from './page'
import { howItIsMade } from './source'
import { say } from './toast'

/** Where Tiptap keeps its text in a Yjs document. */
const FIELD = 'default'

export function* showDocument({ session, presence, signal, left, changed, unreadable }: Stage): Steps<Content> {
  const paper = h('div', { class: 'paper', id: 'editor' })
  const fragment = session.doc.getXmlFragment(FIELD)
  const protectedNodes = new Set<string>()
  /** The editor of a Yjs document, which it leaves alone until it is mounted. */
  const editorOf = (doc: Y.Doc): Editor => new Editor({
    element: null,
    editable: false,
    // The stylesheet has these rules.
    injectCSS: false,
    enableInputRules: RULES,
    enablePasteRules: RULES,
    editorProps: {
      attributes: { 'aria-label': 'Document', 'aria-multiline': 'true', role: 'textbox', spellcheck: 'true' },
      // What lies over the text: the bar, the tools, and the search.
      scrollThreshold: { top: 130, bottom: 40, left: 0, right: 0 },
      scrollMargin: { top: 150, bottom: 60, left: 0, right: 0 },
      handleClick: (_view, _position, event) => openLink(event),
    },
    extensions: [
      ...schemaExtensions(),
      Placeholder.configure({
        showOnlyWhenEditable: false,
        placeholder: ({ node, editor: { isEditable, state: { doc } } }) => (isEditable ? hintFor(node.type.name, doc.childCount === 1) : doc.childCount === 1 ? 'Nothing is written here yet' : ''),
      }),
      Collaboration.configure({
        document: doc,
        field: FIELD,
        // Undoing that one has made a block leaves it where somebody else has written in it: a heading as well as a paragraph.
        yUndoOptions: { protectedNodes },
      }),
      carets(session),
      keepsSelection(session),
      asWritten(),
      Typing,
      Signs,
      Slash,
      Extension.create({ name: 'find', addProseMirrorPlugins: () => [search()] }),
    ],
  })
  const itsEditor = editorOf(session.doc)
  yield
  const isKnown = !holdsUnknown(fragment, itsEditor.schema)
  const editor = isKnown ? itsEditor : editorOf(new Y.Doc())
  for (const name of Object.keys(editor.schema.nodes)) protectedNodes.add(name)
  editor.mount(paper)
  if (isKnown) guardUnknown(editor, fragment, unreadable)
  else unreadable()
  yield
  const tools = h('div', { class: 'toolbar-row' }, createToolbar(editor))
  const seen = watchCarets(editor.view, session, presence, signal)
  const find = createFind(editor, signal)
  editor.on('update', changed)
  if (typeof left === 'number') {
    editor.commands.setTextSelection(left)
    // At once: `commands.focus` waits for the next frame, and a key pressed until then would be lost.
    queueMicrotask(() => editor.view.focus())
  }
  let isNew = left === null

  return {
    tools,
    body: paper,
    overlay: h('div', {}, seen.element, createBubble(editor, signal), find.element),
    commands: [
      { label: 'Find', icon: Search, keys: `${modifier()}+F`, run: find.open },
      { label: 'Save as Markdown', icon: FileDown, run: () => void saveMarkdown(editor) },
      { label: 'Save as HTML', icon: FileDown, run: () => saveHtml(editor, titleOf(editor)) },
      { label: 'Put a file in here', icon: FileUp, run: () => chooseFile('.md,.markdown,.txt,.html,.htm,text/markdown,text/plain,text/html', (file) => void insertFile(editor, file)) },
      howItIsMade('document', () => import('virtual:made-of/document')),
    ],
    isEmpty: () => editor.isEmpty,
    title: () => titleOf(editor),
    isEditable: () => editor.isEditable,
    setEditable(editable) {
      editor.setEditable(editable, false)
      // Who opens an empty page wants to write: the caret is there. Who opens a text wants to read it.
      if (editable && isNew && editor.isEmpty && document.activeElement === document.body) editor.view.focus()
      if (editable) isNew = false
    },
    download: (name) => saveHtml(editor, name),
    jumpTo: seen.jumpTo,
    leave: () => (editor.isFocused ? editor.state.selection.head : 'elsewhere'),
    end: () => editor.destroy(),
  }
}

function hintFor(type: string, isAlone: boolean): string {
  if (type === 'heading') return isAlone ? 'Title' : 'Heading'
  return type === 'paragraph' ? 'Write, or press / for more' : ''
}

/** The first heading, or else the first line; empty if nothing is written yet. */
function titleOf(editor: Editor): string {
  let heading: string | null = null
  let line: string | null = null
  editor.state.doc.descendants((node) => {
    if (heading !== null) return false
    if (!node.isTextblock) return true
    const isHeading = node.type.name === 'heading'
    const text = isHeading || line === null ? node.textContent.trim() : ''
    if (text !== '' && isHeading) heading = text
    if (text !== '') line ??= text
    return false
  })
  return (heading ?? line ?? '').slice(0, 120)
}

async function saveMarkdown(editor: Editor): Promise<void> {
  const text = await markdownOf(editor).catch(() => null)
  if (text === null) return say('The program that writes Markdown could not be loaded: try again with a connection.')
  saveFile(`${fileNameOf(titleOf(editor))}.md`, 'text/markdown', text)
}

function saveHtml(editor: Editor, title: string): void {
  const page = document.implementation.createHTMLDocument(title)
  page.documentElement.lang = document.documentElement.lang
  page.head.append(h('meta', { charset: 'utf-8' }))
  page.body.append(DOMSerializer.fromSchema(editor.schema).serializeFragment(editor.state.doc.content, { document: page }))
  // The policy of this page refuses them in a file that is put in again, and the browser says so.
  for (const styled of page.querySelectorAll('[style]')) styled.removeAttribute('style')
  saveFile(`${fileNameOf(title)}.html`, 'text/html', '<!doctype html>\n', page.documentElement.outerHTML)
}

/** Links open with Ctrl or Cmd while writing, with a plain click while reading. */
function openLink(event: MouseEvent): boolean {
  const link = event.target instanceof Element ? event.target.closest('a[href]') : null
  if (!(link instanceof HTMLAnchorElement)) return false
  const reading = link.closest('[contenteditable="false"]') !== null
  if (!reading && !event.ctrlKey && !event.metaKey) return false
  openAddress(link.href)
  return true
}
