// Setting, changing and removing the link under the cursor.

import type { Editor } from '@tiptap/core'

import { button, h } from '../dom'

export function editLink(editor: Editor): void {
  const current: unknown = editor.getAttributes('link')['href']
  const had = typeof current === 'string' ? current : ''
  const input = h('input', { type: 'text', inputmode: 'url', autocomplete: 'off', spellcheck: false, id: 'link-address', placeholder: 'example.org/page', value: had })
  const problem = h('p', { class: 'problem', role: 'alert' })
  const form = h(
    'form',
    { method: 'dialog', class: 'stack' },
    h('label', { for: 'link-address' }, 'Where should it lead?'),
    input,
    problem,
  )
  const dialog = h('dialog', { class: 'dialog', 'aria-label': 'Link' }, form)
  const actions = h('div', { class: 'actions' }, button('Cancel', { class: 'quiet' }, () => dialog.close()))
  if (had !== '') {
    actions.append(button('Remove link', { class: 'quiet' }, () => {
      dialog.close()
      editor.chain().focus().extendMarkRange('link').unsetLink().run()
    }))
  }
  actions.append(h('button', { type: 'submit', class: 'primary' }, 'Set link'))
  form.append(actions)
  form.addEventListener('submit', (event) => {
    event.preventDefault()
    const href = addressFrom(input.value)
    if (href === null) {
      problem.textContent = 'This is not a web, mail or phone address.'
      return
    }
    dialog.close()
    setLink(editor, href)
  })
  dialog.addEventListener('close', () => {
    dialog.remove()
    editor.commands.focus()
  })
  document.body.append(dialog)
  dialog.showModal()
  input.select()
}

function setLink(editor: Editor, href: string): void {
  const chain = editor.chain().focus().extendMarkRange('link')
  if (editor.state.selection.empty && !editor.isActive('link')) {
    chain.insertContent({ type: 'text', text: href, marks: [{ type: 'link', attrs: { href } }] }).run()
    return
  }
  chain.setLink({ href }).run()
}

/** Null for what cannot be an address, and for schemes that run code. */
function addressFrom(text: string): string | null {
  const trimmed = text.trim()
  if (trimmed === '') return null
  const withScheme = /^[a-z][a-z0-9+.-]*:/i.test(trimmed) && !/^[^:/]+:\d+(\/|$)/.test(trimmed) ? trimmed : `https://${trimmed}`
  if (!URL.canParse(withScheme)) return null
  return ['http:', 'https:', 'mailto:', 'tel:'].includes(new URL(withScheme).protocol) ? withScheme : null
}

export function openAddress(href: string): void {
  if (addressFrom(href) !== null) window.open(href, '_blank', 'noopener,noreferrer')
}
