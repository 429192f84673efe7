// The page of one document, whatever shows it: who is here, what is saved, and the content.

import { KeyRound, Link2, Microscope, Moon, Share2, Sun } from 'lucide'

import { copyText } from './clipboard'
import { button, h, icon, pause } from './dom'
import { finishFonts } from './fonts'
import { foreignRoots } from './inspect/roots'
import { createMenu, type Command } from './menu'
import { barredNotice, continuedNotice, foreignNotice, incompleteNotice, refusalNotice, unreadableNotice, type NoticeActions } from './notice'
import { createPeople } from './people'
import { createPlug } from './plug'
import { createPresence, type Presence } from './presence'
import { rememberDocument } from './recent'
import type { Kind } from './route'
import { BASE } from './server'
import { Session, type Continued, type SessionView } from './session'
import { openShare } from './share'
import { statusOf, type Status } from './status'
import { toggleTheme } from './theme'
import { say, toastLine } from './toast'
import { forgetToken } from './token'
import { wordmark } from './wordmark'

/** What a kind of page is given to show a document. */
export interface Stage {
  readonly session: Session
  readonly presence: Presence
  /** The page goes on with another session, or ends. */
  readonly signal: AbortSignal
  /** What the content before this one left, when a session goes on. */
  readonly left: unknown
  /** The content changed: its title may have. */
  changed(): void
  /** The document holds what this page cannot show, and must not touch. */
  unreadable(): void
}

/** How a kind of page shows it. */
export interface Content {
  /** The row of tools. */
  readonly tools: HTMLElement | null
  readonly body: HTMLElement
  /** What lies over the page. */
  readonly overlay: HTMLElement | null
  readonly commands: readonly Command[]
  isEmpty(): boolean
  /** Empty if it has none. */
  title(): string
  isEditable(): boolean
  setEditable(editable: boolean): void
  /** Saves what is shown as a file. */
  download(name: string): void
  /** Shows where somebody is; false if they are nowhere. */
  jumpTo(client: number): boolean
  /** What the next content goes on with. */
  leave(): unknown
  end(): void
}

/** Yields where a slow machine may do something else before it goes on. */
export type Show = (stage: Stage) => Steps<Content>

export type Steps<T> = Generator<void, T, void>

/** "Saved" is shown when it has been true for this long, in ms: a word that blinks is not read. */
const SETTLE_MS = 350

/** Who is kept out for less than this, in ms, is not told why: a server that restarts is back by then. */
const BARRED_MS = 3_000

/** What a document holds beside what is shown is looked at this often while it changes, in ms. */
const FOREIGN_MS = 400

/** Shows a document, whose content comes while the code that shows it does. */
export async function showPage(root: HTMLElement, kind: Kind, name: string, loading: Promise<Show>): Promise<void> {
  const session = new Session(name)
  const page = { kind, name, show: await loading }
  // On a slow machine each step takes a while, and in between the page is painted and hears of clicks.
  await pause()
  const mounted = await paused(mount(page, session, null))
  await pause()
  showMounted(root, page, mounted, false)
}

interface Page {
  readonly kind: Kind
  readonly name: string
  readonly show: Show
}

/** A session and its content, around which the page is built. */
interface Mounted {
  readonly session: Session
  readonly presence: Presence
  readonly content: Content
  readonly life: AbortController
  /** What the content says; the page puts in what it does then. */
  readonly said: { unreadable: boolean; onChanged(): void; onUnreadable(): void }
}

function* mount(page: Page, session: Session, left: unknown): Steps<Mounted> {
  const life = new AbortController()
  const presence = createPresence(session)
  const said: Mounted['said'] = { unreadable: false, onChanged() {}, onUnreadable() {} }
  const content = yield* page.show({
    session,
    presence,
    signal: life.signal,
    left,
    changed: () => queueMicrotask(() => said.onChanged()),
    unreadable: () => {
      said.unreadable = true
      queueMicrotask(() => said.onUnreadable())
    },
  })
  return { session, presence, content, life, said }
}

function atOnce<T>(steps: Steps<T>): T {
  let step = steps.next()
  while (step.done !== true) step = steps.next()
  return step.value
}

async function paused<T>(steps: Steps<T>): Promise<T> {
  let step = steps.next()
  while (step.done !== true) {
    await pause()
    step = steps.next()
  }
  return step.value
}

/** `isContinued`: another session of this document has ended in this one. */
function showMounted(root: HTMLElement, page: Page, { session, presence, content, life, said }: Mounted, isContinued: boolean): void {
  const { kind, name } = page
  let isTold = !isContinued
  const people = createPeople(presence, content, life.signal)
  // A document has a heading of its own.
  const title = h(kind === 'document' ? 'p' : 'h1', { class: 'title' }, name)
  const status = createStatus()
  const badge = h('span', { class: 'badge', hidden: true }, 'Read only')
  const notices = h('div', { class: 'notices' })
  const inspect = createInspect(session, life.signal)
  const share = (): void => void openShare(kind, name, session.holding)
  const shareButton = button('Share', { icon: Share2, class: 'quiet share-button', title: 'Share this document' }, share)
  const forgetOwn = (token: string): Command => ({
    label: 'Forget my token',
    icon: KeyRound,
    run: () => {
      forgetToken(token)
      location.assign(BASE)
    },
  })
  const plug = kind === 'document' ? createPlug(session, () => content.body.querySelector<HTMLElement>('[contenteditable="true"]')?.focus(), life.signal) : null
  const menu = createMenu([
    ...content.commands,
    { label: 'Look inside', icon: Microscope, run: inspect.toggle },
    { label: 'Share', icon: Share2, run: share },
    { label: 'Copy link', icon: Link2, run: () => void copyLink() },
    ...(session.holding === null ? [] : [forgetOwn(session.holding.token)]),
    { label: 'Light or dark', icon: matchMedia('(prefers-color-scheme: dark)').matches ? Sun : Moon, run: toggleTheme },
  ])
  root.replaceChildren(
    h(
      'header',
      { class: 'bar' },
      wordmark(),
      h('div', { class: 'bar-title' }, title, h('div', { class: 'bar-status' }, badge, status.element)),
      h('div', { class: 'bar-end' }, people.element, inspect.opener, shareButton, menu),
    ),
    h('main', {}, content.tools, h('div', { class: 'desk' }, notices, content.body, plug)),
    h('aside', { class: 'overlay', 'aria-label': 'Notices' }, people.overlay, content.overlay, toastLine()),
    status.announcer,
  )

  const actions: NoticeActions = {
    retry: (token) => session.retry(token),
    download: () => content.download(content.title() || name),
  }

  const goOn = (continued: Continued): void => {
    const left = content.leave()
    life.abort()
    session.end()
    content.end()
    showMounted(root, page, atOnce(mount(page, new Session(name, continued), left)), true)
  }

  let noticeShown = ''
  /** Puts a notice up when another one is due: what is being read or pressed stays. */
  const showNotice = (view: SessionView): void => {
    const due = noticeDue(view)
    const key = due?.key ?? ''
    if (key === noticeShown) return
    noticeShown = key
    notices.replaceChildren(...(due === null ? [] : [due.build()]))
  }
  const noticeDue = ({ access, barred, saved }: SessionView): { readonly key: string; build(): HTMLElement } | null => {
    const { incompleteSince } = saved
    if (access.is === 'refused') return { key: `${access.why} ${access.reason}`, build: () => refusalNotice(access.why, access.reason, session.holdsToken, !content.isEmpty(), actions) }
    // One that counts the seconds is the same.
    if (barred !== null && isBarredLong) return { key: `${barred.how} ${content.isEmpty()} ${barred.said.replaceAll(/\d+/g, '')}`, build: () => barredNotice(barred, !content.isEmpty(), actions) }
    if (said.unreadable) return { key: 'unreadable', build: () => unreadableNotice(actions) }
    if (incompleteSince !== null) return { key: 'incomplete', build: () => incompleteNotice(incompleteSince, actions) }
    if (isTold) return foreignDue()
    return {
      key: 'continued',
      build: () => continuedNotice(() => {
        isTold = true
        showNotice(session.view)
      }),
    }
  }
  let isBarredLong = false
  let barredTimer: ReturnType<typeof setTimeout> | undefined
  const noteBarred = ({ barred }: SessionView): void => {
    if (barred !== null) {
      // Who sees nothing yet asks why at once.
      if (content.isEmpty()) isBarredLong = true
      barredTimer ??= setTimeout(() => {
        isBarredLong = true
        if (!life.signal.aborted) showNotice(session.view)
      }, BARRED_MS)
      return
    }
    clearTimeout(barredTimer)
    barredTimer = undefined
    isBarredLong = false
  }
  let foreignSeen = ''
  /** What the document holds that this page does not show. */
  const foreignDue = (): { readonly key: string; build(): HTMLElement } | null => {
    const roots = session.view.ready ? foreignRoots(session.doc, kind) : []
    const key = roots.map((root) => `${root.name} ${root.seems}`).join('\n')
    if (roots.length === 0 || foreignSeen === key) return null
    const isEmpty = content.isEmpty()
    return {
      key: `foreign ${isEmpty} ${key}`,
      build: () => foreignNotice(roots, name, isEmpty, () => {
        foreignSeen = key
        showNotice(session.view)
      }),
    }
  }
  let foreignTimer: ReturnType<typeof setTimeout> | undefined
  session.doc.on('update', () => {
    foreignTimer ??= setTimeout(() => {
      foreignTimer = undefined
      if (!life.signal.aborted) showNotice(session.view)
    }, FOREIGN_MS)
  })
  const show = (view: SessionView): void => {
    const { access } = view
    if (access.is === 'conflict') return goOn(access.next)
    const editable = access.is === 'writer' && view.ready && !said.unreadable
    if (content.isEditable() !== editable) content.setEditable(editable)
    // The server has it, and nothing of it is here: an empty page would say that there is nothing in it.
    const isKeptFrom = access.is === 'refused' || view.barred?.how === 'broken'
    content.body.classList.toggle('loading', !view.ready && !isKeptFrom)
    content.tools?.toggleAttribute('hidden', access.is !== 'writer' || said.unreadable || (isKeptFrom && !view.ready))
    badge.hidden = access.is !== 'reader'
    status.show(access.is === 'refused' ? { tone: 'warning', text: 'Not connected' } : statusOf(view.saved, view.barred !== null, view.ready ? view.copy : 'opening', access.is === 'reader', view.ahead))
    noteBarred(view)
    showNotice(view)
    content.body.hidden = isKeptFrom && content.isEmpty() && (access.is === 'refused' || !view.ready)
  }

  const nameThePage = (): void => {
    const text = content.title() || name
    if (title.textContent === text && document.title === text) return
    title.textContent = text
    title.title = name
    document.title = text
    if (session.view.ready && session.view.access.is !== 'refused') rememberDocument(kind, name, text)
  }
  said.onChanged = nameThePage
  said.onUnreadable = () => show(session.view)
  session.subscribe((view) => {
    show(view)
    if (view.ready || view.access.is === 'refused') finishFonts()
    if (life.signal.aborted) return
    if (view.ready && document.title === 'Cowrite') nameThePage()
  })
  addEventListener('beforeunload', (event) => {
    if (session.view.copy !== 'kept' && session.view.saved.unsavedSince !== null && content.isEditable()) event.preventDefault()
  }, { signal: life.signal })
}

/** The visible status, and a quiet voice for screen readers that tells only of what matters. */
function createStatus(): { readonly element: HTMLElement; readonly announcer: HTMLElement; show(status: Status): void } {
  const element = h('p', { class: 'status' })
  const announcer = h('p', { class: 'visually-hidden', role: 'status' })
  let timer: ReturnType<typeof setTimeout> | undefined
  let warned = false
  const put = ({ tone, text }: Status): void => {
    element.dataset['tone'] = tone
    if (element.textContent !== text) element.textContent = text
    if (tone === 'warning' || (warned && tone === 'good')) announcer.textContent = text
    if (tone !== 'busy') warned = tone === 'warning'
  }
  return {
    element,
    announcer,
    show(status) {
      clearTimeout(timer)
      if (status.tone !== 'good') put(status)
      else if (element.textContent !== status.text) timer = setTimeout(put, SETTLE_MS, status)
    },
  }
}

/** The button that opens the panel, whose code is loaded then. */
function createInspect(session: Session, signal: AbortSignal): { readonly opener: HTMLElement; toggle(): void } {
  let panel: Promise<{ close(): void }> | null = null
  const opener = h('button', { type: 'button', class: 'icon-button inspect-button', 'aria-label': 'Look inside', title: 'Look inside', 'aria-pressed': 'false' })
  opener.append(icon(Microscope))
  const toggle = (): void => {
    if (panel !== null) return void panel.then(({ close }) => close())
    opener.setAttribute('aria-pressed', 'true')
    panel = import('./inspect/panel').then(({ openPanel }) => openPanel(session, signal, () => {
      panel = null
      opener.setAttribute('aria-pressed', 'false')
      opener.focus()
    }))
  }
  opener.addEventListener('click', toggle)
  return { opener, toggle }
}

/** The address without fragment, and so without a token. */
async function copyLink(): Promise<void> {
  const address = location.origin + location.pathname
  if (await copyText(address)) return say('The link is copied')
  const input = h('input', { type: 'text', readonly: true, value: address, 'aria-label': 'Link to this document' })
  const dialog = h('dialog', { class: 'dialog', 'aria-label': 'Link' }, h('form', { method: 'dialog', class: 'stack' }, h('h2', {}, 'Link to this document'), input, h('div', { class: 'actions' }, h('button', { class: 'primary' }, 'Done'))))
  dialog.addEventListener('close', () => dialog.remove())
  document.body.append(dialog)
  dialog.showModal()
  input.select()
}
