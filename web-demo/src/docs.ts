// The docs of this version, which the server brings along: `?docs=embedding` of the start page.

import { h } from './dom'
import { BASE } from './server'
import { wordmark } from './wordmark'
import { themeButton } from './theme'

const PAGES = {
  embedding: ['Your own editor', () => import('../../docs/embedding.md?raw')],
  editors: ['Every editor, as a program', () => import('../../docs/editors.md?raw')],
  react: ['In React', () => import('../../docs/react.md?raw')],
  python: ['In Python', () => import('../../docs/python.md?raw')],
  tokens: ['Who may', () => import('../../docs/tokens.md?raw')],
  operating: ['Run a server', () => import('../../docs/operating.md?raw')],
  scaling: ['Several servers', () => import('../../docs/scaling.md?raw')],
  'deploy-fly': ['On fly.io', () => import('../../docs/deploy-fly.md?raw')],
  proxies: ['Behind a proxy', () => import('../../docs/proxies.md?raw')],
  compatibility: ['What works with it', () => import('../../docs/compatibility.md?raw')],
  'moving-in': ['Move in', () => import('../../docs/moving-in.md?raw')],
  durability: ['What "saved" means', () => import('../../docs/durability.md?raw')],
  security: ['Security', () => import('../../docs/security.md?raw')],
} as const

export const DOCS = Object.entries(PAGES).map(([page, [title]]) => ({ page, title }))

export function docsPath(page: string): string {
  return `${BASE}?docs=${page}`
}

/** The start page shows what it always shows when there is no such page. */
export function isDocs(page: string | null): page is keyof typeof PAGES {
  return page !== null && page in PAGES
}

export async function showDocs(root: HTMLElement, page: keyof typeof PAGES): Promise<void> {
  const [title, load] = PAGES[page]
  const [{ marked }, { default: text }] = await Promise.all([import('marked'), load()])
  // Our own text; parsed apart from this page, and its links led to where they are here.
  const { body } = new DOMParser().parseFromString(await marked.parse(text), 'text/html')
  for (const link of body.querySelectorAll('a')) leadHere(link)
  for (const heading of body.querySelectorAll('h1, h2, h3, h4')) heading.id = anchorOf(heading.textContent ?? '')
  for (const block of body.querySelectorAll('pre, table')) block.setAttribute('tabindex', '0')
  document.title = `${title} · Cowrite`
  root.replaceChildren(
    h('header', { class: 'bar' }, wordmark(), h('div', { class: 'bar-end' }, themeButton())),
    h('main', { class: 'docs' }, docsList(page), h('article', {}, ...body.childNodes)),
  )
  document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView()
}

/** Where one can go from here. */
export function docsList(current: string | null): HTMLElement {
  return h('nav', { 'aria-label': 'Docs' }, h('ul', { class: 'docs-list' }, ...DOCS.map(({ page, title }) =>
    h('li', {}, h('a', { href: docsPath(page), 'aria-current': page === current ? 'page' : null }, title)))))
}

function leadHere(link: HTMLAnchorElement): void {
  const address = link.getAttribute('href') ?? ''
  const [, page = '', anchor = ''] = /^(?:\.\.\/docs\/|docs\/)?([\w-]+)\.md(#.*)?$/.exec(address) ?? []
  if (isDocs(page)) link.setAttribute('href', docsPath(page) + anchor)
  else if (!/^(https?:|#)/.test(address)) nameFile(link, address)
}

/** The rest of the project is not in here: it is said where it lies in the source. */
function nameFile(link: HTMLAnchorElement, address: string): void {
  const [path = ''] = address.split('#')
  const file = path.startsWith('../') ? path.slice(3) : `docs/${path}`
  const isNamed = link.textContent?.includes(file) === true
  link.replaceWith(...link.childNodes, isNamed ? ' (in the source)' : ` (${file} in the source)`)
}

/** As on the pages where one reads such texts. */
function anchorOf(heading: string): string {
  return heading.toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, '').replaceAll(' ', '-')
}
