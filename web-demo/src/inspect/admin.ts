// All documents that are open, for whoever has the admin token: `/inspect`.

import * as Y from 'yjs'

import { read, write } from '../browser-store'
import { button, h } from '../dom'
import { pathBelow } from '../server'
import '../style/inspect.css'
import { themeButton } from '../theme'
import { wordmark } from '../wordmark'
import { createContentView } from './content-view'
import { createConnections, createFigures } from './figures'
import { NotTold, ask, fetched, keepAsking, type Figures, type Insight } from './insight'
import { createNodes } from './nodes'
import { sectionsOf } from './page'
import { bytes, milliseconds, number } from './units'

/** What operators ask for is at the server's root, whatever the base path. */
const ADMIN = '/admin/'
const TOKEN = 'admin-token'
/** How often the list is asked for, in ms. */
const EVERY_MS = 2_000

interface Listed {
  readonly open: number
  readonly documents: readonly { readonly document: string; readonly figures: Figures }[]
  /** Other servers on the database that did not answer. */
  readonly unanswered?: readonly { readonly address: string; readonly reason: string }[]
}

export function showAdmin(root: HTMLElement): void {
  document.title = 'Inside all documents'
  document.body.dataset['page'] = 'inspect'
  const name = new URLSearchParams(location.search).get('document')
  const token = read('session', TOKEN)
  if (token === null) return showForm(root, '')
  if (name === null) showList(root, token)
  else showOne(root, token, name)
}

function frame(root: HTMLElement, title: string, end: HTMLElement | null, ...body: (HTMLElement | null)[]): void {
  root.replaceChildren(
    h('header', { class: 'bar' }, wordmark(), h('div', { class: 'bar-title' }, h('h1', { class: 'title' }, title)), h('div', { class: 'bar-end' }, end, themeButton())),
    h('main', { class: 'inspect-page' }, ...body.filter((part) => part !== null)),
  )
}

function showForm(root: HTMLElement, said: string): void {
  const input = h('input', { type: 'password', id: 'admin-token', autocomplete: 'off', required: true })
  const problem = h('p', { class: 'problem', role: 'alert' }, said)
  const form = h('form', { class: 'paper section stack admin-form' },
    h('label', { for: 'admin-token' }, 'The admin token of this server'), input,
    h('p', { class: 'soft' }, 'It is what COWRITE_ADMIN_TOKEN holds. This tab keeps it until it is closed.'),
    h('div', { class: 'actions' }, h('button', { type: 'submit', class: 'primary' }, 'Look inside')), problem)
  form.addEventListener('submit', (event) => {
    event.preventDefault()
    const token = input.value.trim()
    ask<Listed>(`${ADMIN}documents`, token).then(() => {
      write('session', TOKEN, token)
      showAdmin(root)
    }, (why: unknown) => {
      problem.textContent = failure(why)
      input.select()
    })
  })
  frame(root, 'Inside all documents', null, form)
  input.focus()
  // Who asks without one is told whether there is any that would do.
  fetched(`${ADMIN}documents`, null).catch((why: unknown) => {
    if (!(why instanceof NotTold) || why.status !== 404) return
    form.replaceChildren(h('p', { class: 'soft' }, failure(why)))
  })
}

function failure(why: unknown): string {
  if (!(why instanceof NotTold)) return String(why)
  if (why.status === 401) return 'That is not the admin token of this server.'
  if (why.status === 404) return 'There is no /admin at this address: the server was started without COWRITE_ADMIN_TOKEN (--admin-token), or keeps it at --admin-listen, where /inspect is as well.'
  return `It cannot be asked: ${why.message}.`
}

/** What failed is said; a token that is no longer good is asked for again. */
function onFailure(root: HTMLElement, problem: HTMLElement): (why: NotTold) => void {
  return (why) => {
    if (why.status === 401) {
      write('session', TOKEN, null)
      location.reload()
    }
    problem.textContent = failure(why)
    root.dataset['failed'] = String(why.status)
  }
}

function forgetButton(): HTMLElement {
  return button('Forget the token', { class: 'quiet' }, () => {
    write('session', TOKEN, null)
    location.assign(pathBelow('inspect'))
  })
}

const COLUMNS: readonly { readonly name: string; text(figures: Figures): string }[] = [
  { name: 'Connections', text: ({ sessions }) => number(sessions) },
  { name: 'Updates', text: ({ updates_per_second }) => `${updates_per_second.toFixed(1)}/s` },
  { name: 'Size', text: (figures) => bytes(figures.bytes) },
  { name: 'In memory', text: ({ memory_bytes }) => bytes(memory_bytes) },
  { name: 'Structs', text: ({ structs }) => number(structs) },
  { name: 'Not durable', text: ({ unsaved_bytes }) => (unsaved_bytes === 0 ? 'nothing' : bytes(unsaved_bytes)) },
  { name: 'Time to saved', text: ({ saved_after_ms }) => (saved_after_ms === null ? '–' : milliseconds(saved_after_ms.mean)) },
]

function showList(root: HTMLElement, token: string): void {
  const holding = h('input', { type: 'text', id: 'holding', autocomplete: 'off', spellcheck: false, placeholder: 'all of them' })
  const counted = h('p', { class: 'soft', role: 'status' })
  const problem = h('p', { class: 'problem', role: 'status' })
  const body = h('tbody')
  const table = h('table', {}, h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Document'), ...COLUMNS.map(({ name }) => h('th', { scope: 'col' }, name)))), body)
  frame(root, 'Inside all documents', forgetButton(), h('section', { class: 'paper section', 'aria-label': 'Open documents' },
    h('div', { class: 'admin-tools' }, h('label', { for: 'holding' }, 'Names that hold'), holding), problem, counted,
    h('div', { class: 'table', tabindex: '0', role: 'group', 'aria-label': 'Open documents' }, table)))
  const rows = new Map<string, { readonly element: HTMLElement; readonly cells: readonly HTMLElement[] }>()
  const show = ({ open, documents, unanswered = [] }: Listed): void => {
    const silent = unanswered.map(({ address, reason }) => `Of the server at ${address} nothing is shown: ${reason}.`).join(' ')
    if (problem.textContent !== silent) problem.textContent = silent
    const text = open === 0 ? 'No document is open.' : `${number(open)} open${documents.length < open ? `, the busiest ${number(documents.length)} are shown` : ''}`
    if (counted.textContent !== text) counted.textContent = text
    const here = new Set(documents.map((one) => one.document))
    for (const [name, { element }] of rows) {
      if (here.has(name)) continue
      element.remove()
      rows.delete(name)
    }
    for (const [at, { document: name, figures }] of documents.entries()) {
      let row = rows.get(name)
      if (row === undefined) {
        const link = h('a', { href: `${pathBelow('inspect')}?document=${encodeURIComponent(name)}` }, name)
        const cells = COLUMNS.map(() => h('td'))
        row = { cells, element: h('tr', {}, h('th', { scope: 'row' }, link), ...cells) }
        rows.set(name, row)
      }
      for (const [column, cell] of row.cells.entries()) {
        const words = COLUMNS[column]?.text(figures) ?? ''
        if (cell.textContent !== words) cell.textContent = words
      }
      // A link that has the focus stays where it is.
      if (body.children[at] !== row.element && !row.element.contains(document.activeElement)) body.insertBefore(row.element, body.children[at] ?? null)
    }
  }
  const question = (): Promise<Listed> => ask(`${ADMIN}documents?holding=${encodeURIComponent(holding.value)}`, token)
  holding.addEventListener('input', () => void question().then(show, onFailure(root, problem)))
  keepAsking(question, { answer: show, failure: onFailure(root, problem) }, new AbortController().signal, EVERY_MS)
}

function showOne(root: HTMLElement, token: string, name: string): void {
  const life = new AbortController()
  const doc = new Y.Doc()
  const figures = createFigures()
  const connections = createConnections(() => null, true)
  const nodes = createNodes(null)
  const problem = h('p', { class: 'problem', role: 'status' })
  const back = h('a', { class: 'button quiet', href: pathBelow('inspect') }, 'All documents')
  frame(root, name, back, sectionsOf(createContentView(doc, life.signal), figures.element, connections.element, [problem, nodes.element], null))
  const query = `?document=${encodeURIComponent(name)}`
  let known = ''
  const look = async (): Promise<Insight> => {
    const insight = await ask<Insight>(`${ADMIN}document${query}`, token)
    const now = insight.open ? `${insight.figures.updates} ${insight.figures.bytes} ${insight.figures.deleted}` : known
    if (now !== known) {
      Y.applyUpdate(doc, new Uint8Array(await (await fetched(`${ADMIN}update${query}`, token)).arrayBuffer()))
      known = now
    }
    return insight
  }
  keepAsking(look, {
    answer(insight) {
      problem.textContent = ''
      figures.show(insight)
      connections.show(insight)
      nodes.show(insight)
    },
    failure: onFailure(root, problem),
  }, life.signal)
}
