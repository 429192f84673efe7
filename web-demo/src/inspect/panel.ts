// Looking inside beside the document: a panel that every page opens by one button.

import { ExternalLink, X } from 'lucide'

import { h, icon } from '../dom'
import { inspectPath } from '../route'
import type { Session } from '../session'
import '../style/inspect.css'
import { everybody } from '../who'
import { createContentView } from './content-view'
import { createConnections, createFigures } from './figures'
import { askAsReader, keepAsking } from './insight'
import { createNodes } from './nodes'
import { createTraffic } from './traffic'

/** Opens it; `onClose` is called when it was closed. */
export function openPanel(session: Session, pageSignal: AbortSignal, onClose: () => void): { close(): void } {
  const life = new AbortController()
  const signal = AbortSignal.any([life.signal, pageSignal])
  const nameOf = namesIn(session)
  const figures = createFigures()
  const connections = createConnections(nameOf, false)
  const nodes = createNodes(session.provider.awareness.clientID)
  const problem = h('p', { class: 'problem', role: 'status' })
  keepAsking(() => askAsReader(session.name, session.provider.params['token'] ?? null), {
    answer(insight) {
      problem.textContent = ''
      figures.show(insight)
      connections.show(insight)
      nodes.show(insight)
    },
    failure: (why) => (problem.textContent = `No figures: ${why.message}.`),
  }, signal)

  const close = (): void => {
    life.abort()
    element.remove()
    document.body.classList.remove('inspecting')
    onClose()
  }
  const closer = h('button', { type: 'button', class: 'icon-button', 'aria-label': 'Close', title: 'Close' })
  closer.append(icon(X))
  closer.addEventListener('click', close)
  const page = h('a', { class: 'button icon-button', href: inspectPath(session.name), 'aria-label': 'Open on a page of its own', title: 'Open on a page of its own' }, icon(ExternalLink))
  const element = h('aside', { class: 'inspector', 'aria-label': 'Look inside' },
    h('header', {}, h('h2', {}, 'Look inside'), page, closer),
    ...tabs([
      { title: 'Content', body: createContentView(session.doc, signal) },
      { title: 'Server', body: h('div', {}, problem, nodes.element, figures.element, h('h3', {}, 'Connections'), connections.element) },
      { title: 'Traffic', body: createTraffic(session.tap, nameOf, signal) },
    ]))
  element.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') close()
  })
  pageSignal.addEventListener('abort', close, { signal: life.signal })
  document.body.classList.add('inspecting')
  document.body.append(element)
  element.querySelector<HTMLElement>('[role="tab"]')?.focus()
  return { close }
}

export function namesIn({ provider: { awareness } }: Pick<Session, 'provider'>): (client: number) => string | null {
  return (client) => everybody(awareness.getStates()).find((one) => one.client === client)?.label ?? null
}

/** The WAI-ARIA tabs pattern. */
function tabs(pages: readonly { readonly title: string; readonly body: HTMLElement }[]): HTMLElement[] {
  const panels = pages.map(({ title, body }, at) => h('div', { role: 'tabpanel', id: `inside-${at}`, 'aria-labelledby': `inside-tab-${at}`, 'aria-label': title, class: 'inside', hidden: at > 0 }, body))
  const buttons = pages.map(({ title }, at) => h('button', { type: 'button', role: 'tab', id: `inside-tab-${at}`, 'aria-controls': `inside-${at}`, 'aria-selected': String(at === 0), tabindex: at === 0 ? '0' : '-1' }, title))
  const choose = (chosen: number): void => {
    for (const [at, tab] of buttons.entries()) {
      tab.setAttribute('aria-selected', String(at === chosen))
      tab.tabIndex = at === chosen ? 0 : -1
      panels[at]?.toggleAttribute('hidden', at !== chosen)
    }
    buttons[chosen]?.focus()
  }
  for (const [at, tab] of buttons.entries()) {
    tab.addEventListener('click', () => choose(at))
    tab.addEventListener('keydown', ({ key }) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[key]
      if (step !== undefined) choose((at + step + buttons.length) % buttons.length)
    })
  }
  return [h('div', { class: 'tabs', role: 'tablist', 'aria-label': 'Look inside' }, ...buttons), ...panels]
}
