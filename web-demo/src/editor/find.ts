// Find and replace: Ctrl+F opens it; pressed once more, the browser's own search does.

import type { Editor } from '@tiptap/core'
import type { Command } from '@tiptap/pm/state'
import { ArrowDown, ArrowUp, X } from 'lucide'
import { SearchQuery, findNext, findPrev, getMatchHighlights, getSearchState, replaceAll, replaceNext, setSearchState } from 'prosemirror-search'

import { button, h, icon } from '../dom'

export interface Find {
  readonly element: HTMLElement
  open(): void
}

export function createFind(editor: Editor, signal: AbortSignal): Find {
  const wanted = h('input', { type: 'text', 'aria-label': 'Find', placeholder: 'Find', autocomplete: 'off', spellcheck: false })
  const instead = h('input', { type: 'text', 'aria-label': 'Replace with', placeholder: 'Replace with', autocomplete: 'off', spellcheck: false })
  const count = h('span', { class: 'soft count', role: 'status' })
  const run = (command: Command): void => {
    command(editor.state, (tr) => editor.view.dispatch(tr), editor.view)
    showCount()
  }
  const showCount = (): void => {
    const found = getMatchHighlights(editor.state).find()
    const { from, to } = editor.state.selection
    const at = found.findIndex((match) => match.from === from && match.to === to)
    count.textContent = wanted.value === '' ? '' : found.length === 0 ? 'Nothing' : at === -1 ? `${found.length}` : `${at + 1} of ${found.length}`
    // In the middle, since the search lies over the beginning.
    editor.view.dom.querySelector('.ProseMirror-active-search-match')?.scrollIntoView({ block: 'center' })
  }
  const search = (): void => {
    editor.view.dispatch(setSearchState(editor.state.tr, new SearchQuery({ search: wanted.value, replace: instead.value, literal: true })))
    showCount()
  }
  const close = (): void => {
    if (element.hidden) return
    element.hidden = true
    document.body.classList.remove('finding')
    wanted.value = ''
    search()
    editor.view.focus()
  }
  const small = (label: string, node: typeof X, onClick: () => void): HTMLElement => {
    const one = h('button', { type: 'button', class: 'icon-button', 'aria-label': label, title: label })
    one.append(icon(node))
    one.addEventListener('click', onClick)
    return one
  }
  const replacing = h('div', { class: 'row' }, instead, button('Replace', { class: 'quiet' }, () => run(replaceNext)), button('All', { class: 'quiet', title: 'Replace all' }, () => run(replaceAll)))
  const element = h('search', { class: 'panel find', hidden: true, 'aria-label': 'Find in this document' },
    h('div', { class: 'row' }, wanted, count, small('Previous', ArrowUp, () => run(findPrev)), small('Next', ArrowDown, () => run(findNext)), small('Close', X, close)),
    replacing)
  wanted.addEventListener('input', () => {
    search()
    if (wanted.value !== '') run(findNext)
  })
  instead.addEventListener('input', search)
  element.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') close()
    else if (event.key === 'Enter' && event.target === wanted) run(event.shiftKey ? findPrev : findNext)
    else if (event.key === 'Enter' && event.target === instead) run(replaceNext)
    else return
    event.preventDefault()
  })
  editor.on('update', () => {
    if (!element.hidden && getSearchState(editor.state) !== undefined) showCount()
  })
  const open = (): void => {
    const { from, to } = editor.state.selection
    const selected = editor.state.doc.textBetween(from, to, ' ')
    element.hidden = false
    document.body.classList.add('finding')
    replacing.hidden = !editor.isEditable
    if (selected !== '' && selected.length < 80) wanted.value = selected
    search()
    wanted.focus()
    wanted.select()
  }
  addEventListener('keydown', (event) => {
    const isOurs = (event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey && event.key.toLowerCase() === 'f'
    if (!isOurs || element.contains(document.activeElement)) return
    event.preventDefault()
    open()
  }, { signal })
  signal.addEventListener('abort', () => document.body.classList.remove('finding'))
  return { element, open }
}
