// What floats at the selection: tools for selected text, and what a link leads to. All of it can be done from the keyboard
// elsewhere: the toolbar, and Ctrl+K. It goes with the selection: what stays while one writes would cover what one reads.

import { posToDOMRect, type Editor } from '@tiptap/core'
import { Bold, Code, ExternalLink, Italic, Link, Pencil, Strikethrough, Underline, Unlink, type IconNode } from 'lucide'

import { h, icon } from '../dom'
import { editLink, openAddress } from './link-dialog'
import { placeAt } from './place'

const MARKS: readonly [string, IconNode, string, (editor: Editor) => void][] = [
  ['Bold', Bold, 'bold', (editor) => void editor.chain().focus().toggleBold().run()],
  ['Italic', Italic, 'italic', (editor) => void editor.chain().focus().toggleItalic().run()],
  ['Underline', Underline, 'underline', (editor) => void editor.chain().focus().toggleUnderline().run()],
  ['Strikethrough', Strikethrough, 'strike', (editor) => void editor.chain().focus().toggleStrike().run()],
  ['Code', Code, 'code', (editor) => void editor.chain().focus().toggleCode().run()],
  ['Link', Link, 'link', editLink],
]

type Shown = { readonly is: 'marks' } | { readonly is: 'link'; readonly href: string }

export function createBubble(editor: Editor, signal: AbortSignal): HTMLElement {
  const element = h('div', { class: 'panel bubble', hidden: true, role: 'group' })
  let isPressed = false
  let key = ''

  const due = (): Shown | null => {
    const { selection, doc } = editor.state
    if (!editor.isFocused || isPressed) return null
    const { from, to, empty } = selection
    if (!empty && editor.isEditable && !editor.isActive('codeBlock') && !editor.isActive('image') && doc.textBetween(from, to).trim() !== '') return { is: 'marks' }
    const href: unknown = editor.getAttributes('link')['href']
    if (empty && editor.isActive('link') && typeof href === 'string') return { is: 'link', href }
    return null
  }
  const refresh = (): void => {
    const shown = due()
    element.hidden = shown === null
    if (shown === null) return
    const next = JSON.stringify(shown)
    if (next !== key) {
      key = next
      build(element, editor, shown)
    }
    for (const [label, , name] of MARKS) element.querySelector(`[aria-label="${label}"]`)?.setAttribute('aria-pressed', String(editor.isActive(name)))
    const { from, to } = editor.state.selection
    void placeAt(element, posToDOMRect(editor.view, from, to), 'top')
  }
  editor.on('transaction', refresh)
  editor.on('focus', refresh)
  editor.on('blur', refresh)
  // It comes when the selection is made, not while it is.
  editor.view.dom.addEventListener('pointerdown', () => {
    isPressed = true
    refresh()
  }, { signal })
  for (const event of ['pointerup', 'pointercancel'] as const) {
    addEventListener(event, () => {
      isPressed = false
      setTimeout(() => {
        if (!editor.isDestroyed) refresh()
      })
    }, { signal })
  }
  for (const event of ['scroll', 'resize'] as const) addEventListener(event, refresh, { signal, passive: true })
  return element
}

function build(element: HTMLElement, editor: Editor, shown: Shown): void {
  switch (shown.is) {
    case 'marks':
      element.setAttribute('aria-label', 'Selected text')
      element.replaceChildren(...MARKS.map(([label, node, , run]) => tool(label, node, () => run(editor))))
      break
    case 'link': {
      element.setAttribute('aria-label', 'Link')
      const open = tool('Open the link', ExternalLink, () => openAddress(shown.href))
      const address = h('span', { class: 'bubble-text' }, h('span', { class: 'bubble-address' }, shown.href.replace(/^https?:\/\//, '')), h('span', { class: 'soft' }, `${modifier()}+click opens it`))
      element.replaceChildren(address, open, ...(editor.isEditable ? [tool('Change the link', Pencil, () => editLink(editor)), tool('Remove the link', Unlink, () => void editor.chain().focus().extendMarkRange('link').unsetLink().run())] : []))
      break
    }
  }
}

function tool(label: string, node: IconNode, run: () => void): HTMLElement {
  const element = h('button', { type: 'button', class: 'tool', tabindex: -1, 'aria-label': label, title: label })
  element.append(icon(node))
  element.addEventListener('mousedown', (event) => event.preventDefault())
  element.addEventListener('click', run)
  return element
}

export function modifier(): string {
  return /Mac|iPhone|iPad/.test(navigator.userAgent) ? '⌘' : 'Ctrl'
}
