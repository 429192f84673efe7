// The start page: a new document in one click, and those opened here before.

import { FilePlus2, X } from 'lucide'

import { button, h, icon } from './dom'
import { invalidNameNotice } from './notice'
import { forgetDocument, recentDocuments, type RecentDocument } from './recent'
import { documentPath, parseName, randomName } from './route'
import { themeButton } from './theme'
import { wordmark } from './wordmark'

/** `invalid`: why the address that was asked for names no document. */
export function showLanding(root: HTMLElement, invalid: string | null): void {
  document.title = 'Cowrite'
  root.replaceChildren(
    h('header', { class: 'bar' }, wordmark(), h('div', { class: 'bar-end' }, themeButton())),
    h(
      'main',
      { class: 'landing' },
      invalid === null ? null : invalidNameNotice(invalid),
      h('h1', {}, 'Write it together.'),
      h('p', { class: 'lead' }, 'Open a document, send the link, and write in it at the same time. It keeps working when the connection does not.'),
      button('New document', { icon: FilePlus2, class: 'primary large' }, () => location.assign(documentPath(randomName()))),
      recentList(),
      openForm(),
    ),
  )
}

function recentList(): HTMLElement | null {
  const entries = recentDocuments()
  if (entries.length === 0) return null
  const list = h('ul', { class: 'recent' })
  const section = h('section', { 'aria-labelledby': 'recent-title' }, h('h2', { id: 'recent-title' }, 'Opened in this browser'), list)
  for (const entry of entries) list.append(recentItem(entry, () => (list.childElementCount === 0 ? section.remove() : undefined)))
  return section
}

function recentItem({ name, title, openedAt }: RecentDocument, onRemoved: () => void): HTMLElement {
  const item = h('li')
  const remove = h('button', { type: 'button', class: 'icon-button', 'aria-label': `Remove ${title} from this list`, title: 'Remove from this list' })
  remove.append(icon(X))
  remove.addEventListener('click', () => {
    forgetDocument(name)
    item.remove()
    onRemoved()
  })
  item.append(
    h('a', { href: documentPath(name) }, h('span', { class: 'recent-title' }, title), title === name ? null : h('span', { class: 'recent-name' }, name)),
    h('time', { datetime: new Date(openedAt).toISOString() }, ago(openedAt)),
    remove,
  )
  return item
}

function openForm(): HTMLElement {
  const input = h('input', { type: 'text', id: 'open-name', autocomplete: 'off', spellcheck: false, placeholder: 'team/minutes' })
  const problem = h('p', { class: 'problem', role: 'alert' })
  const form = h(
    'form',
    { class: 'open-form' },
    h('label', { for: 'open-name' }, 'Or open one by its name'),
    h('div', { class: 'row' }, input, h('button', { type: 'submit', class: 'quiet' }, 'Open')),
    problem,
  )
  form.addEventListener('submit', (event) => {
    event.preventDefault()
    const parsed = parseName(input.value.trim())
    if (parsed.ok) location.assign(documentPath(parsed.name))
    else problem.textContent = `Not a name for a document: ${parsed.reason}.`
  })
  return form
}

const UNITS: readonly [Intl.RelativeTimeFormatUnit, number][] = [['day', 86_400_000], ['hour', 3_600_000], ['minute', 60_000]]

function ago(at: number): string {
  const passed = Date.now() - at
  const [unit, ms] = UNITS.find(([, length]) => passed >= length) ?? ['second', 1_000]
  if (unit === 'second') return 'just now'
  return new Intl.RelativeTimeFormat('en', { numeric: 'auto' }).format(-Math.floor(passed / ms), unit)
}
