// The figures of a document, and who is connected to it.

import { h } from '../dom'
import type { Figures, Insight, Seen } from './insight'
import { shortNode } from './nodes'
import { bytes, duration, milliseconds, number } from './units'

/** What a client id is called; null if nobody says. */
export type NameOf = (client: number) => string | null

export interface Section {
  readonly element: HTMLElement
  show(insight: Insight): void
}

interface Figure {
  readonly name: string
  value(figures: Figures): string
  more(figures: Figures): string
}

const FIGURES: readonly Figure[] = [
  { name: 'Size', value: (f) => bytes(f.bytes), more: (f) => `${bytes(f.memory_bytes)} in memory` },
  { name: 'Structs', value: (f) => number(f.structs), more: (f) => `by ${number(f.clients)} client id${f.clients === 1 ? '' : 's'}` },
  { name: 'Deleted', value: (f) => number(f.deleted), more: (f) => `in ${number(f.deleted_ranges)} ranges` },
  { name: 'Updates', value: (f) => `${f.updates_per_second.toFixed(1)}/s`, more: (f) => `${number(f.updates)} since it was opened` },
  { name: 'Time to saved', value: (f) => (f.saved_after_ms === null ? 'not yet' : milliseconds(f.saved_after_ms.last)), more: (f) => (f.saved_after_ms === null ? 'since it was opened' : `${milliseconds(f.saved_after_ms.mean)} in the mean`) },
  { name: 'Position', value: (f) => number(f.position), more: (f) => (f.durable === f.position && f.unsaved_bytes === 0 ? 'all durable' : `durable to ${number(f.durable)}, ${bytes(f.unsaved_bytes)} not`) },
  { name: 'Since the snapshot', value: (f) => bytes(f.record_bytes), more: (f) => `${number(f.records)} records` },
  { name: 'Connections', value: (f) => number(f.sessions), more: () => 'now' },
]

export function createFigures(): Section {
  const rows = FIGURES.map(({ name }) => ({ name: h('dt', {}, name), value: h('dd', { class: 'figure-value' }, '…'), more: h('dd', { class: 'soft' }) }))
  const element = h('dl', { class: 'figures' }, ...rows.map(({ name, value, more }) => h('div', {}, name, value, more)))
  return {
    element,
    show(insight) {
      for (const [at, row] of rows.entries()) {
        const figure = FIGURES[at]
        if (figure === undefined) continue
        put(row.value, insight.open ? figure.value(insight.figures) : '–')
        put(row.more, insight.open ? figure.more(insight.figures) : 'nobody has it open')
      }
    },
  }
}

/** `owner`: the server that has the document, if there are several. */
const COLUMNS: readonly { readonly name: string; text(seen: Seen, nameOf: NameOf, owner: string | undefined): string }[] = [
  { name: 'Who', text: whoIs },
  { name: 'Wire', text: wireOf },
  { name: 'Here for', text: ({ seconds }) => duration(seconds) },
  { name: 'Has', text: hasOf },
  { name: 'Waits', text: ({ waiting_bytes }) => (waiting_bytes === 0 ? 'nothing' : bytes(waiting_bytes)) },
  { name: 'Heard of', text: ({ silent_seconds }) => (silent_seconds === 0 ? 'now' : `${duration(silent_seconds)} ago`) },
  { name: 'Client ids', text: ({ clients }) => clients.join(' ') || 'none' },
]
const ADDRESS = { name: 'Address', text: ({ address }: Seen) => address ?? 'this machine' }

function whoIs({ user, clients, session }: Seen, nameOf: NameOf): string {
  const names = clients.map(nameOf).filter((name) => name !== null)
  const said = names.length > 0 ? names.join(', ') : null
  if (user === null) return said ?? `session ${session}`
  return said === null || said === user ? user : `${said} (${user})`
}

function wireOf({ wire, access, node }: Seen, _: NameOf, owner: string | undefined): string {
  const through = node === undefined || node === owner ? '' : ` through ${shortNode(node)}`
  return `${wire}${through}${access === 'read' ? ', reads' : ''}`
}

function hasOf({ reading, behind }: Seen): string {
  if (reading === 'new') return 'asked for nothing'
  if (behind === 0) return reading === 'live' ? 'everything' : reading
  return `${reading === 'live' ? '' : `${reading}, `}${number(behind)} version${behind === 1 ? '' : 's'} behind`
}

export function createConnections(nameOf: NameOf, isOperator: boolean): Section {
  const columns = isOperator ? [...COLUMNS, ADDRESS] : COLUMNS
  const body = h('tbody')
  const rest = h('p', { class: 'soft' })
  const table = h('table', {}, h('thead', {}, h('tr', {}, ...columns.map(({ name }) => h('th', { scope: 'col' }, name)))), body)
  const rows = new Map<number, { readonly element: HTMLElement; readonly cells: readonly HTMLElement[] }>()
  return {
    element: h('div', {}, h('div', { class: 'table', tabindex: '0', role: 'group', 'aria-label': 'Connections' }, table), rest),
    show(insight) {
      const sessions = insight.open ? [...insight.sessions].sort((a, b) => b.waiting_bytes - a.waiting_bytes || a.session - b.session) : []
      const here = new Set(sessions.map(({ session }) => session))
      for (const [session, { element }] of rows) {
        if (here.has(session)) continue
        element.remove()
        rows.delete(session)
      }
      for (const [at, seen] of sessions.entries()) {
        let row = rows.get(seen.session)
        if (row === undefined) {
          const cells = columns.map((_, column) => h(column === 0 ? 'th' : 'td', column === 0 ? { scope: 'row' } : {}))
          row = { cells, element: h('tr', {}, ...cells) }
          rows.set(seen.session, row)
        }
        for (const [column, cell] of row.cells.entries()) put(cell, columns[column]?.text(seen, nameOf, insight.node) ?? '')
        row.element.classList.toggle('slow', seen.behind > 0)
        if (body.children[at] !== row.element) body.insertBefore(row.element, body.children[at] ?? null)
      }
      const hidden = insight.open ? insight.figures.sessions - sessions.length : 0
      put(rest, !insight.open ? 'Nobody has it open.' : hidden > 0 ? `And ${number(hidden)} more, for whom less waits.` : sessions.length === 0 ? 'Nobody that you may see.' : '')
    },
  }
}

/** What shows the same is left alone: somebody may be selecting it. */
function put(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text
}
