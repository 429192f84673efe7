// The page of one document: who is here, what is saved, the toolbar and the text.

import type { Editor } from '@tiptap/core'
import { Link2 } from 'lucide'

import { base } from './base'
import { button, h } from './dom'
import { createEditor, titleOf } from './editor'
import { continuedNotice, incompleteNotice, refusalNotice, unreadableNotice, type NoticeActions } from './notice'
import { createPeople } from './people'
import { keepProfile, ownProfile } from './profile'
import { forgetDocument, rememberDocument } from './recent'
import { Session, type Continued, type SessionView } from './session'
import { statusOf, type Status } from './status'
import { themeButton } from './theme'
import { createToolbar } from './toolbar'
import { wordmark } from './wordmark'

/** "Saved" is shown when it has been true for this long, in ms: a word that blinks is not read. */
const SETTLE_MS = 350

export function showDocument(root: HTMLElement, name: string): void {
  showSession(root, name, null)
}

/** What is taken along when one session ends and another one goes on. */
interface Before {
  readonly continued: Continued
  /** Where the cursor was; null if it was not in the text. */
  readonly cursor: number | null
}

function showSession(root: HTMLElement, name: string, before: Before | null): void {
  let me = ownProfile()
  let unreadable = false
  let isTold = before === null
  const life = new AbortController()
  const session = new Session(name, before?.continued ?? null)
  const paper = h('div', { class: 'paper', id: 'editor' })
  const editor = createEditor(paper, session, me, () => {
    unreadable = true
    // What is there from the beginning is found to be so before there is anything to show it.
    queueMicrotask(() => show(session.view))
  })
  const toolbar = createToolbar(editor)
  const people = createPeople(session.provider.awareness, () => me, (profile) => {
    me = profile
    keepProfile(profile)
    editor.commands.updateUser({ ...profile })
    people.refresh()
  })
  const title = h('p', { class: 'title' }, name)
  const status = createStatus()
  const badge = h('span', { class: 'badge', hidden: true }, 'Read only')
  const notices = h('div', { class: 'notices' })
  const copyButton = button('Copy link', { icon: Link2, class: 'quiet copy-link', title: 'Copy the link to this document' }, () => void copyLink(copyButton))
  root.replaceChildren(
    h(
      'header',
      { class: 'bar' },
      wordmark(),
      h('div', { class: 'bar-title' }, title, h('div', { class: 'bar-status' }, badge, status.element)),
      h('div', { class: 'bar-end' }, people.element, copyButton, themeButton()),
    ),
    h('main', {}, h('div', { class: 'toolbar-row' }, toolbar), h('div', { class: 'desk' }, notices, paper)),
    status.announcer,
  )

  const actions: NoticeActions = {
    retry: (token) => session.retry(token),
    download: () => download(editor, titleOf(editor) || name),
    forget: () => void session.forgetCopy().then(() => {
      forgetDocument(name)
      location.assign(base)
    }),
  }

  const goOn = (continued: Continued): void => {
    const cursor = editor.isFocused ? editor.state.selection.head : null
    life.abort()
    session.end()
    editor.destroy()
    showSession(root, name, { continued, cursor })
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
  const noticeDue = ({ access, saved }: SessionView): { readonly key: string; build(): HTMLElement } | null => {
    const { incompleteSince } = saved
    if (access.is === 'refused') return { key: `${access.why} ${access.reason}`, build: () => refusalNotice(access.why, access.reason, !editor.isEmpty, actions) }
    if (unreadable) return { key: 'unreadable', build: () => unreadableNotice(actions) }
    if (incompleteSince !== null) return { key: 'incomplete', build: () => incompleteNotice(incompleteSince, actions) }
    if (isTold) return null
    return {
      key: 'continued',
      build: () => continuedNotice(() => {
        isTold = true
        showNotice(session.view)
      }),
    }
  }
  const show = (view: SessionView): void => {
    const { access } = view
    if (access.is === 'conflict') return goOn(access.next)
    const editable = access.is === 'writer' && view.ready && !unreadable
    if (editor.isEditable !== editable) editor.setEditable(editable, false)
    paper.classList.toggle('loading', !view.ready && access.is !== 'refused')
    toolbar.parentElement?.toggleAttribute('hidden', access.is !== 'writer' || unreadable)
    badge.hidden = access.is !== 'reader'
    status.show(access.is === 'refused' ? { tone: 'warning', text: 'Not connected' } : statusOf(view.saved, view.copy, access.is === 'reader', view.ahead))
    showNotice(view)
    paper.hidden = access.is === 'refused' && editor.isEmpty
  }

  const nameThePage = (): void => {
    const text = titleOf(editor) || name
    if (title.textContent === text && document.title === text) return
    title.textContent = text
    title.title = name
    document.title = text
    if (session.view.ready && session.view.access.is !== 'refused') rememberDocument(name, text)
  }
  editor.on('update', nameThePage)
  session.subscribe((view) => {
    show(view)
    if (life.signal.aborted) return
    if (view.ready && document.title === 'Cowrite') nameThePage()
  })
  addEventListener('beforeunload', (event) => {
    if (session.view.copy !== 'kept' && session.view.saved.unsavedSince !== null && editor.isEditable) event.preventDefault()
  }, { signal: life.signal })
  if (before !== null && before.cursor !== null) {
    editor.commands.setTextSelection(before.cursor)
    // At once: `commands.focus` waits for the next frame, and a key pressed until then would be lost.
    editor.view.focus()
  }
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

/** The address without fragment, and so without a token. */
async function copyLink(source: HTMLElement): Promise<void> {
  const address = location.origin + location.pathname
  const label = source.querySelector('.label')
  try {
    await navigator.clipboard.writeText(address)
    if (label === null) return
    label.textContent = 'Copied'
    source.classList.add('done')
    setTimeout(() => {
      label.textContent = 'Copy link'
      source.classList.remove('done')
    }, 1_600)
  } catch {
    // Without HTTPS there is no clipboard for scripts: offer the text.
    const input = h('input', { type: 'text', readonly: true, value: address, 'aria-label': 'Link to this document' })
    const dialog = h('dialog', { class: 'dialog', 'aria-label': 'Link' }, h('form', { method: 'dialog', class: 'stack' }, h('h2', {}, 'Link to this document'), input, h('div', { class: 'actions' }, h('button', { class: 'primary' }, 'Done'))))
    dialog.addEventListener('close', () => dialog.remove())
    document.body.append(dialog)
    dialog.showModal()
    input.select()
  }
}

function download(editor: Editor, title: string): void {
  const page = document.implementation.createHTMLDocument(title)
  page.documentElement.lang = document.documentElement.lang
  page.head.append(h('meta', { charset: 'utf-8' }))
  page.body.innerHTML = editor.getHTML()
  const blob = new Blob(['<!doctype html>\n', page.documentElement.outerHTML], { type: 'text/html' })
  const link = h('a', { href: URL.createObjectURL(blob), download: `${title.replace(/[^\p{L}\p{N} ._-]/gu, '').trim() || 'document'}.html` })
  link.click()
  URL.revokeObjectURL(link.href)
}
