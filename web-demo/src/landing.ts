// The start page: something new in one click, what was opened here before, what this server is, and how to use it.

import { Code, FileText, MessagesSquare, PenTool, X, type IconNode } from 'lucide'

import { copyText, showCopied } from './clipboard'
import { docsList } from './docs'
import { button, h, icon } from './dom'
import { invalidNameNotice } from './notice'
import { forgetDocument, recentDocuments, type RecentDocument } from './recent'
import { documentPath, parseName, parseRoute, randomName, type Kind } from './route'
import { BASE, aboutServer, type About } from './server'
import { tiptapProgram } from './snippet'
import { themeButton } from './theme'
import { forgetToken, keepToken, keptTokens, newName, onTokens, readToken, takeFromAddress, tokenFromText, type Holding } from './token'
import type { Grant } from './grants'
import { wordmark } from './wordmark'

const GALLERY: readonly { readonly kind: Kind; readonly title: string; readonly text: string; readonly icon: IconNode }[] = [
  { kind: 'document', title: 'Document', text: 'Headings, lists, tables, pictures, code', icon: FileText },
  { kind: 'code', title: 'Code', text: 'A file that several people write, in a dozen languages', icon: Code },
  { kind: 'board', title: 'Board', text: 'Draw, put up notes, see everybody point', icon: PenTool },
  { kind: 'room', title: 'Room', text: 'A chat, a poll, and a small game', icon: MessagesSquare },
]

/** `invalid`: why the address that was asked for names no document. */
export function showLanding(root: HTMLElement, invalid: string | null): void {
  document.title = 'Cowrite'
  const about = h('p', { class: 'about', role: 'status' })
  const gallery = h('ul', { class: 'gallery' }, ...GALLERY.map(card))
  const tokens = h('section', { class: 'tokens', 'aria-labelledby': 'tokens-title', hidden: true })
  const open = openForm()
  const fromLink = takeFromAddress()
  const isUnreadable = fromLink !== null && !keepToken(fromLink)
  root.replaceChildren(
    h('header', { class: 'bar' }, wordmark(), h('div', { class: 'bar-end' }, themeButton())),
    h(
      'main',
      { class: 'landing' },
      invalid === null ? null : invalidNameNotice(invalid),
      h('h1', {}, 'Write it together.'),
      h('p', { class: 'lead' }, 'Open something, send the link, and work in it at the same time. It keeps working when the connection does not.'),
      gallery,
      about,
      tokens,
      recentList(),
      open.element,
      ownEditor(),
    ),
  )
  void aboutServer().then((answer) => {
    if (answer === null) return
    const show = (): void => {
      const kept = answer.access === 'tokens' ? keptTokens() : []
      about.replaceChildren(...aboutText(answer, kept.length > 0))
      tokens.replaceChildren(...tokenList(kept, show))
      tokens.hidden = kept.length === 0
      // Without a token that lets something new be written, that would only be refused.
      gallery.hidden = answer.access === 'tokens' && newName(randomName) === null
    }
    show()
    if (answer.access === 'open') return
    open.takeTokens(show)
    if (isUnreadable) open.problem('The link has a token that cannot be read: ask for it again.')
    onTokens(show, new AbortController().signal)
  })
}

/** What each token opens, for how long, and how it is forgotten. */
function tokenList(kept: readonly Holding[], changed: () => void): HTMLElement[] {
  const items = kept.map((holding) => {
    const whose = holding.name ?? (holding.opens.every(({ isName }) => isName) ? 'A link' : 'Your token')
    const forget = button('Forget', { class: 'quiet' }, () => {
      forgetToken(holding.token)
      changed()
    })
    forget.setAttribute('aria-label', `Forget this token: ${whose}`)
    return h('li', {},
      h('div', {},
        h('p', {}, h('strong', {}, whose), h('span', { class: 'soft' }, ` until ${timeOf(holding.ends)}`)),
        h('ul', {}, ...holding.opens.map(grantItem), holding.opens.length === 0 ? h('li', {}, 'It opens no document.') : null)),
      forget)
  })
  return [
    h('h2', { id: 'tokens-title' }, kept.length === 1 ? 'What your token opens' : 'What your tokens open'),
    h('ul', { class: 'token-list' }, ...items),
    h('p', { class: 'hint' }, 'This browser keeps a token until it ends or you forget it. Copies of documents stay here until they are removed.'),
  ]
}

function grantItem({ pattern, access, isName }: Grant): HTMLElement {
  const isOne = isName || !pattern.includes('*')
  const name = h('code', {}, pattern)
  const what = isOne ? h('a', { href: documentPath(pattern) }, name) : pattern === '*' ? 'every document' : name
  return h('li', {}, access === 'write' ? 'Read and write ' : 'Read ', what)
}

function timeOf(ms: number): string {
  const isToday = new Date(ms).toDateString() === new Date().toDateString()
  return new Date(ms).toLocaleString([], isToday ? { hour: '2-digit', minute: '2-digit' } : { weekday: 'short', day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' })
}

function card({ kind, title, text, icon: node }: (typeof GALLERY)[number]): HTMLElement {
  const element = button('', { class: 'card' }, () => location.assign(documentPath(newName(randomName) ?? randomName(), kind)))
  element.replaceChildren(h('span', { class: 'card-icon' }, icon(node)), h('span', { class: 'visually-hidden' }, `New ${title.toLowerCase()}: `), h('span', { class: 'card-title', 'aria-hidden': 'true' }, title), h('span', { class: 'card-text' }, text))
  return h('li', {}, element)
}

function aboutText({ access, version }: About, hasToken: boolean): Node[] {
  const name = h('strong', {}, `Cowrite ${version}`)
  if (access === 'tokens' && hasToken) return [name, new Text(' asks for tokens, and knows yours.')]
  if (access === 'tokens') return [name, new Text(' asks for a token: open the link that somebody gave you, or paste it below.')]
  const isHere = ['localhost', '127.0.0.1', '[::1]'].includes(location.hostname)
  return [name, new Text(isHere ? ' on this machine, open to whoever is on it. Nothing leaves it.' : ' is open: whoever reaches it may read and write everything.')]
}

function ownEditor(): HTMLElement {
  const text = tiptapProgram()
  const copy = button('Copy', { class: 'quiet' }, async () => showCopied(copy, await copyText(text)))
  return h('section', { 'aria-labelledby': 'own-title', class: 'own' },
    h('h2', { id: 'own-title' }, 'In your own editor'),
    h('p', {}, 'Any Yjs editor works as it is. These lines are all of one:'),
    h('div', { class: 'snippet' }, h('pre', { tabindex: '0', 'aria-label': 'A program that connects an editor to this server' }, text), copy),
    docsList(null),
    h('p', { class: 'soft' }, 'The source of each page above is in its menu, under “How it is made”. ', h('a', { href: `${BASE}licenses.md` }, 'Licences'), ' of what it uses.'))
}

function recentList(): HTMLElement | null {
  const entries = recentDocuments()
  if (entries.length === 0) return null
  const list = h('ul', { class: 'recent' })
  const section = h('section', { 'aria-labelledby': 'recent-title' }, h('h2', { id: 'recent-title' }, 'Opened in this browser'), list)
  for (const entry of entries) list.append(recentItem(entry, () => (list.childElementCount === 0 ? section.remove() : undefined)))
  return section
}

function recentItem({ kind, name, title, openedAt }: RecentDocument, onRemoved: () => void): HTMLElement {
  const item = h('li')
  const remove = h('button', { type: 'button', class: 'icon-button', 'aria-label': `Remove ${title} from this list`, title: 'Remove from this list' })
  remove.append(icon(X))
  remove.addEventListener('click', () => {
    forgetDocument(name)
    item.remove()
    onRemoved()
  })
  item.append(
    h('span', { class: 'recent-kind' }, icon(GALLERY.find((one) => one.kind === kind)?.icon ?? FileText)),
    h('a', { href: documentPath(name, kind) }, h('span', { class: 'recent-title' }, title), title === name ? null : h('span', { class: 'recent-name' }, name)),
    h('time', { datetime: new Date(openedAt).toISOString() }, ago(openedAt)),
    remove,
  )
  return item
}

/** `takeTokens`: what is pasted may be a token from now on; `kept` is called when it was one. */
function openForm(): { readonly element: HTMLElement; takeTokens(kept: () => void): void; problem(text: string): void } {
  const input = h('input', { type: 'text', id: 'open-name', autocomplete: 'off', spellcheck: false, placeholder: 'team/minutes' })
  const problem = h('p', { class: 'problem', role: 'alert' })
  const label = h('label', { for: 'open-name' }, 'Or open one by its name, or a link to it')
  let onToken: (() => void) | null = null
  const form = h(
    'form',
    { class: 'open-form' },
    label,
    h('div', { class: 'row' }, input, h('button', { type: 'submit', class: 'quiet' }, 'Open')),
    problem,
  )
  form.addEventListener('submit', (event) => {
    event.preventDefault()
    const text = input.value.trim()
    problem.textContent = ''
    const address = addressFrom(text)
    if (address?.origin === location.origin) return location.assign(address)
    const token = onToken === null ? null : tokenFromText(text)
    if (token !== null && readToken(token) !== null) {
      input.value = ''
      keepToken(token)
      return onToken?.()
    }
    if (address !== null) return problem.replaceChildren(...elsewhere(address))
    const parsed = parseName(text)
    if (parsed.ok) location.assign(documentPath(parsed.name))
    else problem.textContent = `Not a name for a document: ${parsed.reason}.`
  })
  return {
    element: form,
    takeTokens(kept) {
      onToken = kept
      label.textContent = 'Or open one by its name or a link to it, or paste a token'
    },
    problem: (text) => void (problem.textContent = text),
  }
}

/** What is meant as an address, also without its `https://`; nobody calls a document so. */
function addressFrom(text: string): URL | null {
  if (/^[a-z][a-z\d+.-]*:\/\//i.test(text)) return URL.canParse(text) ? new URL(text) : new URL('about:blank')
  const [, host] = /^((?:[\w-]+\.)+[\w-]+(?::\d+)?|[\w-]+:\d+|localhost|\[[\da-f:]+\](?::\d+)?)\//i.exec(text) ?? []
  const address = `${location.protocol}//${text}`
  if (host === undefined || !URL.canParse(address)) return null
  const url = new URL(address)
  return url.host === location.host || parseRoute(url.pathname).page !== 'landing' ? url : null
}

/** The document may be another one than that of this name here, so it is opened there or not at all. */
function elsewhere(address: URL): (Node | string)[] {
  if (!/^https?:$/.test(address.protocol)) return ['This is an address, and not one that can be opened here.']
  return [`This link is of another address, ${address.host}, and not of ${location.host}. `, h('a', { href: address.href, rel: 'noreferrer' }, 'Open it there')]
}

const UNITS: readonly [Intl.RelativeTimeFormatUnit, number][] = [['day', 86_400_000], ['hour', 3_600_000], ['minute', 60_000]]

function ago(at: number): string {
  const passed = Date.now() - at
  const [unit, ms] = UNITS.find(([, length]) => passed >= length) ?? ['second', 1_000]
  if (unit === 'second') return 'just now'
  return new Intl.RelativeTimeFormat('en', { numeric: 'auto' }).format(-Math.floor(passed / ms), unit)
}
