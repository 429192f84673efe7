// The entry: which page the address asks for.

import { isDocs, showDocs } from './docs'
import { h, unreachable } from './dom'
import { finishFonts, startFonts } from './fonts'
import { showLanding } from './landing'
import type { Show } from './page'
import { parseRoute, type Kind } from './route'
import { applyTheme } from './theme'
import { hasToken } from './token'
import { wordmark } from './wordmark'

const root = document.getElementById('app')
if (root === null) throw new Error('index.html holds no #app')
applyTheme()
// A link with a token that is opened where one is already: only the fragment changes.
addEventListener('hashchange', () => {
  if (hasToken(location.hash)) location.reload()
})
const route = parseRoute(location.pathname)
startFonts(route.page === 'landing' || route.page === 'invalid')
switch (route.page) {
  case 'landing': {
    const page = new URLSearchParams(location.search).get('docs')
    if (isDocs(page)) void showDocs(root, page)
    else showLanding(root, null)
    break
  }
  case 'document':
    void open(root, route.kind, route.name)
    break
  case 'inspect':
    void import('./inspect/page').then(({ showInspector }) => showInspector(root, route.name)).then(finishFonts)
    break
  case 'admin':
    void import('./inspect/admin').then(({ showAdmin }) => showAdmin(root)).then(finishFonts)
    break
  case 'invalid':
    showLanding(root, route.reason)
    break
  default:
    unreachable(route)
}

/** Each kind of page is loaded when it is asked for. */
async function open(into: HTMLElement, kind: Kind, name: string): Promise<void> {
  document.body.dataset['page'] = kind
  into.replaceChildren(...outline(kind, name))
  const loading = showOf(kind)
  const { showPage } = await import('./page')
  await showPage(into, kind, name, loading)
}

/** What is seen until the code of a page is here: its bar and its paper, where they will be. */
function outline(kind: Kind, name: string): HTMLElement[] {
  const paper = { document: 'paper loading', code: 'paper code loading', board: 'paper surface loading', room: '' }[kind]
  const title = h('div', { class: 'bar-title' }, h('p', { class: 'title' }, name), h('div', { class: 'bar-status' }, h('p', { class: 'status', 'data-tone': 'busy' }, 'Loading…')))
  return [
    h('header', { class: 'bar' }, wordmark(), title),
    h('div', { 'aria-hidden': 'true' }, kind === 'room' ? null : h('div', { class: 'toolbar-row' }), h('div', { class: 'desk' }, h('div', { class: paper }))),
  ]
}

async function showOf(kind: Kind): Promise<Show> {
  switch (kind) {
    case 'document':
      return (await import('./document')).showDocument
    case 'code':
      return (await import('./gallery')).showCode()
    case 'board':
      return (await import('./gallery')).showBoard()
    case 'room':
      return (await import('./gallery')).showRoom()
    default:
      return unreachable(kind)
  }
}
