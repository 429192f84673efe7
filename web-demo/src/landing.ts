// The start page: something new in one click, what was opened here before, what this server is, and how to use it.

import { Code, FileText, MessagesSquare, PenTool, X, type IconNode } from 'lucide'

import { docsList } from './docs'
import { button, h, icon } from './dom'
import { invalidNameNotice } from './notice'
import { forgetDocument, recentDocuments, type RecentDocument } from './recent'
import { documentPath, parseName, parseRoute, randomName, type Kind } from './route'
import { BASE, aboutServer, type About } from './server'
import { program } from './snippet'
import { themeButton } from './theme'
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
      recentList(),
      openForm(),
      ownEditor(),
    ),
  )
  void aboutServer().then((answer) => {
    if (answer === null) return
    about.replaceChildren(...aboutText(answer))
    // Without a token nothing new can be opened.
    gallery.hidden = answer.access === 'tokens'
  })
}

function card({ kind, title, text, icon: node }: (typeof GALLERY)[number]): HTMLElement {
  const element = button('', { class: 'card' }, () => location.assign(documentPath(randomName(), kind)))
  element.replaceChildren(h('span', { class: 'card-icon' }, icon(node)), h('span', { class: 'visually-hidden' }, `New ${title.toLowerCase()}: `), h('span', { class: 'card-title', 'aria-hidden': 'true' }, title), h('span', { class: 'card-text' }, text))
  return h('li', {}, element)
}

function aboutText({ access, version }: About): Node[] {
  const name = h('strong', {}, `Cowrite ${version}`)
  if (access === 'tokens') return [name, new Text(' asks for a token: open the link that somebody gave you, or paste it below.')]
  const isHere = ['localhost', '127.0.0.1', '[::1]'].includes(location.hostname)
  return [name, new Text(isHere ? ' on this machine, open to whoever is on it. Nothing leaves it.' : ' is open: whoever reaches it may read and write everything.')]
}

function ownEditor(): HTMLElement {
  const text = program("import { Editor } from '@tiptap/core'\nimport { Collaboration } from '@tiptap/extension-collaboration'\nimport { StarterKit } from '@tiptap/starter-kit'", "new Editor({ element: document.body, extensions: [StarterKit.configure({ undoRedo: false }), Collaboration.configure({ document: doc })] })")
  const copy = button('Copy', { class: 'quiet' }, () => void navigator.clipboard.writeText(text).then(() => (copy.textContent = 'Copied')))
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

function openForm(): HTMLElement {
  const input = h('input', { type: 'text', id: 'open-name', autocomplete: 'off', spellcheck: false, placeholder: 'team/minutes' })
  const problem = h('p', { class: 'problem', role: 'alert' })
  const form = h(
    'form',
    { class: 'open-form' },
    h('label', { for: 'open-name' }, 'Or open one by its name, or a link to it'),
    h('div', { class: 'row' }, input, h('button', { type: 'submit', class: 'quiet' }, 'Open')),
    problem,
  )
  form.addEventListener('submit', (event) => {
    event.preventDefault()
    const text = input.value.trim()
    const link = linkHere(text)
    if (link !== null) return location.assign(link)
    const parsed = parseName(text)
    if (parsed.ok) location.assign(documentPath(parsed.name))
    else problem.textContent = `Not a name for a document: ${parsed.reason}.`
  })
  return form
}

/** A link to a document of this server, with its token. */
function linkHere(text: string): string | null {
  if (!URL.canParse(text)) return null
  const url = new URL(text)
  return url.origin === location.origin && parseRoute(url.pathname).page === 'document' ? url.href : null
}

const UNITS: readonly [Intl.RelativeTimeFormatUnit, number][] = [['day', 86_400_000], ['hour', 3_600_000], ['minute', 60_000]]

function ago(at: number): string {
  const passed = Date.now() - at
  const [unit, ms] = UNITS.find(([, length]) => passed >= length) ?? ['second', 1_000]
  if (unit === 'second') return 'just now'
  return new Intl.RelativeTimeFormat('en', { numeric: 'auto' }).format(-Math.floor(passed / ms), unit)
}
