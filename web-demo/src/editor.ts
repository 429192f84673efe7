// The rich text editor: Tiptap bound to the Yjs document and to the others' cursors.

import { Editor } from '@tiptap/core'
import { Collaboration } from '@tiptap/extension-collaboration'
import { CollaborationCaret } from '@tiptap/extension-collaboration-caret'
import { TaskItem, TaskList } from '@tiptap/extension-list'
import { Placeholder } from '@tiptap/extensions'
import { StarterKit } from '@tiptap/starter-kit'

import { h } from './dom'
import { NOBODY, inkOn, profileFrom, type Profile } from './profile'
import type { Session } from './session'

export function createEditor(element: HTMLElement, session: Session, me: Profile, onUnreadable: () => void): Editor {
  return new Editor({
    element,
    editable: false,
    // The stylesheet has these rules.
    injectCSS: false,
    enableContentCheck: true,
    onContentError: ({ disableCollaboration }) => {
      disableCollaboration()
      onUnreadable()
    },
    editorProps: {
      attributes: { 'aria-label': 'Document', 'aria-multiline': 'true', role: 'textbox', spellcheck: 'true' },
      handleClick: (_view, _position, event) => openLink(event),
    },
    extensions: [
      StarterKit.configure({
        // Yjs keeps the history, so that undo takes back one's own changes only.
        undoRedo: false,
        // It would write into a document that is merely looked at.
        trailingNode: false,
        link: { openOnClick: false, autolink: true, defaultProtocol: 'https', HTMLAttributes: { rel: 'noopener noreferrer nofollow', target: '_blank' } },
      }),
      TaskList,
      TaskItem.configure({ nested: true, a11y: { checkboxLabel: (node) => `Done: ${node.textContent || 'empty task'}` } }),
      Placeholder.configure({ placeholder: 'Start with a title, then write…', showOnlyWhenEditable: true }),
      Collaboration.configure({ document: session.doc }),
      CollaborationCaret.configure({ provider: session.provider, user: { ...me }, render: renderCaret, selectionRender: renderSelection }),
    ],
  })
}

/** The first heading, or else the first line; empty if nothing is written yet. */
export function titleOf(editor: Editor): string {
  let heading: string | null = null
  let line: string | null = null
  editor.state.doc.descendants((node) => {
    if (heading !== null) return false
    if (!node.isTextblock) return true
    const text = node.textContent.trim()
    if (text !== '' && node.type.name === 'heading') heading = text
    if (text !== '') line ??= text
    return false
  })
  return (heading ?? line ?? '').slice(0, 120)
}

function renderCaret(user: Record<string, unknown>): HTMLElement {
  const { name, color } = profileFrom(user) ?? NOBODY
  return h(
    'span',
    { class: 'caret', style: `--who: ${color}; --on-who: ${inkOn(color)}` },
    // Word joiners keep the line from breaking or widening at the caret.
    '\u2060',
    h('span', { class: 'caret-name' }, name),
    '\u2060',
  )
}

function renderSelection(user: Record<string, unknown>): { nodeName: string; class: string; style: string } {
  const { color } = profileFrom(user) ?? NOBODY
  return { nodeName: 'span', class: 'selection', style: `--who: ${color}` }
}

/** Links open with Ctrl or Cmd while writing, with a plain click while reading. */
function openLink(event: MouseEvent): boolean {
  const link = event.target instanceof Element ? event.target.closest('a[href]') : null
  if (!(link instanceof HTMLAnchorElement)) return false
  const reading = link.closest('[contenteditable="false"]') !== null
  if (!reading && !event.ctrlKey && !event.metaKey) return false
  window.open(link.href, '_blank', 'noopener,noreferrer')
  return true
}
