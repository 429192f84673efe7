// Looking inside on a page of its own: `/d/NAME/inspect`. It has a connection of its own, which writes nothing and says
// nothing of itself.

import { WebsocketProvider } from 'y-websocket'
import * as Y from 'yjs'

import { h } from '../dom'
import { barredBy, Doorbell, type Barred } from '../barred'
import { barredWords, refusalNotice } from '../notice'
import { recentDocuments } from '../recent'
import { documentPath, pathOfName, type Kind } from '../route'
import { socketAddress } from '../server'
import { refusalOf } from '../session'
import '../style/inspect.css'
import { Tap } from '../tap'
import { themeButton } from '../theme'
import { keepTokenFor, takeToken } from '../token'
import { wordmark } from '../wordmark'
import { rootsOf } from './content'
import { createContentView } from './content-view'
import { createConnections, createFigures } from './figures'
import { askAsReader, keepAsking } from './insight'
import { createNodes } from './nodes'
import { namesIn } from './panel'
import { kindsFor } from './shown'
import { createTraffic } from './traffic'

const NEVER = new AbortController().signal

export const KIND_NAMES: Readonly<Record<Kind, string>> = { document: 'Document', code: 'Code', board: 'Board', room: 'Room' }

export function showInspector(root: HTMLElement, name: string): void {
  document.title = `Inside ${name}`
  document.body.dataset['page'] = 'inspect'
  let token = takeToken(name)
  const doc = new Y.Doc()
  const tap = new Tap()
  const params = (): Record<string, string> => (token === null ? {} : { token })
  const provider = new WebsocketProvider(socketAddress(), pathOfName(name), doc, {
    connect: false,
    disableBc: true,
    params: params(),
    WebSocketPolyfill: tap.socket,
    shouldReconnect: ({ code }) => refusalOf(code, token !== null) === null,
  })
  provider.awareness.setLocalState(null)
  const nameOf = namesIn({ provider })
  const figures = createFigures()
  const connections = createConnections(nameOf, false)
  const nodes = createNodes(null)
  const status = h('p', { class: 'status', role: 'status' })
  const problem = h('p', { class: 'problem', role: 'status' })
  const notices = h('div', { class: 'notices' })
  const opens = h('nav', { class: 'opens', 'aria-label': 'Open it' })
  const sections = sectionsOf(createContentView(doc, NEVER), figures.element, connections.element, [problem, nodes.element], createTraffic(tap, nameOf, NEVER))
  root.replaceChildren(
    h('header', { class: 'bar' }, wordmark(), h('div', { class: 'bar-title' }, h('h1', { class: 'title', title: name }, h('span', { class: 'soft' }, 'Inside '), name), h('div', { class: 'bar-status' }, status)), h('div', { class: 'bar-end' }, opens, themeButton())),
    h('main', { class: 'inspect-page' }, notices, sections),
  )

  const say = (tone: string, text: string): void => {
    status.dataset['tone'] = tone
    status.textContent = text
  }
  say('busy', 'Connecting…')
  provider.on('sync', (synced) => {
    if (synced) say('good', 'Live')
  })
  const sayAway = (barred: Barred | null): void => {
    if (barred === null) return say('warning', 'Offline, this may not be the latest version')
    const { title, text } = barredWords(barred)
    say('warning', text === null ? title : `${title}. ${text}`)
  }
  const doorbell = new Doorbell(provider, name, () => {
    if (!provider.wsconnected) sayAway(doorbell.barred)
  }, NEVER)
  provider.on('connection-close', (event) => sayAway(event?.reason ? barredBy(event) : doorbell.barred))
  provider.on('closed', ({ code, reason }) => {
    say('warning', 'Not connected')
    sections.hidden = rootsOf(doc).length === 0
    notices.replaceChildren(refusalNotice(refusalOf(code, token !== null) ?? 'refused', reason, token !== null, false, {
      retry(given) {
        if (given !== null) {
          keepTokenFor(name, given)
          token = given
          provider.params = params()
        }
        notices.replaceChildren()
        sections.hidden = false
        say('busy', 'Connecting…')
        provider.connect()
      },
      download: () => undefined,
    }))
  })
  keepAsking(() => askAsReader(name, token), {
    answer(insight) {
      problem.textContent = ''
      figures.show(insight)
      connections.show(insight)
      nodes.show(insight)
    },
    failure: (why) => (problem.textContent = `No figures: ${why.message}.`),
  }, NEVER)

  // What shows it: the pages that know its roots, or else the one by which it was opened here.
  const offer = (): void => {
    const known = kindsFor(rootsOf(doc).map(([root]) => root))
    const last = recentDocuments().find((one) => one.name === name)?.kind ?? 'document'
    const offered = known.length === 0 ? [last] : known
    if (opens.dataset['kinds'] === offered.join()) return
    opens.dataset['kinds'] = offered.join()
    opens.replaceChildren(...offered.map((kind) => h('a', { class: 'button quiet', href: documentPath(name, kind) }, `Open ${offered.length === 1 ? 'it' : KIND_NAMES[kind].toLowerCase()}`)))
  }
  offer()
  let timer: ReturnType<typeof setTimeout> | undefined
  doc.on('update', () => {
    timer ??= setTimeout(() => {
      timer = undefined
      offer()
    }, 500)
  })
  provider.connect()
}

export function sectionsOf(content: HTMLElement, figures: HTMLElement, connections: HTMLElement, said: readonly HTMLElement[], traffic: HTMLElement | null): HTMLElement {
  const section = (title: string, name: string, ...bodies: HTMLElement[]): HTMLElement => {
    const id = `section-${name}`
    return h('section', { class: `paper section ${name}`, 'aria-labelledby': id }, h('h2', { id }, title), ...bodies)
  }
  return h('div', { class: traffic === null ? 'sections' : 'sections with-traffic' },
    section('Figures', 'figures-section', ...said, figures),
    section('Content', 'content-section', content),
    section('Connections', 'connections-section', connections),
    traffic === null ? null : section('Traffic of this page', 'traffic-of-page', traffic))
}
