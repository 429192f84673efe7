// What went wrong, in words that say what to do.

import type { Barred } from './barred'
import { button, h, unreachable } from './dom'
import { kindsFor, type Root } from './inspect/shown'
import { documentPath, inspectPath } from './route'
import { BASE } from './server'
import type { Refusal } from './session'
import { tokenFromText } from './token'

export interface NoticeActions {
  /** Try again, with another token if one was given. */
  retry(token: string | null): void
  /** Save what this window shows as a file. */
  download(): void
  /** Delete the copy that this browser keeps, and go to the start page. */
}

/** `hasToken`: whether one was shown to the server; `hasText`: whether this window shows anything worth keeping. */
export function refusalNotice(why: Refusal, reason: string, hasToken: boolean, hasText: boolean, actions: NoticeActions): HTMLElement {
  const again = button('Try again', { class: 'primary' }, () => actions.retry(null))
  const download = hasText ? button('Download a copy', { class: 'quiet' }, actions.download) : null
  switch (why) {
    case 'token-missing':
      return notice('This document needs a token', [
        'The link you opened carries no token, so the server cannot know what you may do here. Ask whoever shared it for a link with a token, or paste the token below.',
      ], tokenForm(actions))
    case 'token-refused':
      return notice('The token was not accepted', [
        'It may have expired, or belong to another document. Ask for a new link, or paste a new token below.',
        said(reason),
      ], tokenForm(actions), download)
    case 'forbidden':
      if (isOfOrigin(reason)) {
        return notice('The server takes no pages from here', [
          `This page was opened at ${location.origin}, which the server does not take for an address of its own. Open it at the address that the server is meant to have, or ask whoever runs it.`,
          said(reason),
        ], again, download)
      }
      if (!hasToken) return notice('You may not open this document', [said(reason) ?? 'The server gave no reason.'], tokenForm(actions), download)
      return notice('You may not open this document', [
        'The server knows your token, but it does not cover this document. Ask whoever shared the link for access.',
        said(reason),
      ], tokenForm(actions), download)
    case 'document-too-large':
      return notice('The document is too large', [
        `It has reached the size that this server allows, and takes no more changes.${hasText ? ' Your latest edits are only here: download a copy, then go on in a new document.' : ''}`,
      ], download, h('a', { class: 'button primary', href: BASE }, 'Start page'))
    case 'message-too-big':
      return notice('Your last change is too big to send', [
        hasText ? 'The server takes only so much at once, so it has not saved your latest edits. They are still here: undo what you pasted last, in smaller pieces if need be, and try again.' : 'The server takes only so much at once.',
      ], again, download)
    case 'conflict':
      return notice('Somebody else writes as this window', [
        'Your last edits cannot be saved: the server has other edits under the number of this window, again and again. What you wrote is still here. Download a copy, then try again.',
        said(reason),
      ], again, download)
    case 'refused':
      return notice('The server refused the connection', [
        said(reason) ?? 'It gave no reason.',
        hasText ? 'Your edits up to here are kept in this browser.' : null,
      ], again, download)
    default:
      return unreachable(why)
  }
}

/** The server is there and does not let this page in, which keeps trying. */
export function barredNotice(barred: Barred, hasText: boolean, actions: Pick<NoticeActions, 'download'>): HTMLElement {
  const { title, text } = barredWords(barred)
  return notice(title, [text, 'This page keeps trying, and goes on by itself.'], hasText ? button('Download a copy', { class: 'quiet' }, actions.download) : null)
}

export function barredWords({ how, said: reason, status }: Barred): { readonly title: string; readonly text: string | null } {
  switch (how) {
    case 'broken':
      return { title: 'The server cannot open this document', text: said(reason) }
    case 'busy':
      return { title: 'The server cannot let you in right now', text: said(reason) ?? 'There is too much for it to do.' }
    case 'restarts':
      return { title: 'The server restarts', text: said(reason) }
    case 'ended':
      return { title: 'The server ended the connection', text: said(reason) }
    case 'no-socket':
      return { title: 'The server answers, but lets no page connect', text: 'It may have no room at the moment, or something between here and there does not pass WebSockets on.' }
    case 'away':
      return { title: 'The server is away', text: `What answers at its address cannot reach it (HTTP ${status}).` }
    case 'strange':
      return { title: 'Something else answers', text: `What is at the address of the server is not what this page connects to (HTTP ${status}).` }
    default:
      return unreachable(how)
  }
}

/** `since`: when the server began to ask, in ms since 1970. */
export function incompleteNotice(since: number, actions: Pick<NoticeActions, 'download'>): HTMLElement {
  const time = new Date(since).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' })
  return notice('The server lacks earlier edits', [
    `Your edits build on others that never reached the server. It has been asking for them since ${time}, and cannot save yours before they come.`,
    'They may be in another window, in another browser or on another device: open this document there, with a connection, and saving goes on by itself. Until then your edits are kept here.',
  ], button('Download a copy', { class: 'quiet' }, actions.download))
}

/** The edits under a client id that was taken were written in again. */
export function continuedNotice(dismiss: () => void): HTMLElement {
  return notice('Your last edits were written in again', [
    'Somebody else was writing under the number of this window, so the server could not take what you wrote last. It was kept, and has been written in again under a new number: you can go on. Only "Undo" does not reach back behind this point.',
  ], button('All right', { class: 'quiet' }, dismiss))
}

export function invalidNameNotice(reason: string): HTMLElement {
  return notice('This address names no document', [`It cannot be opened: ${reason}. Check the link, or start something new.`], h('a', { class: 'button primary', href: BASE }, 'Start page'))
}

/** `roots`: what the document holds that this page does not show. */
export function foreignNotice(roots: readonly Root[], name: string, isEmpty: boolean, dismiss: () => void): HTMLElement {
  const named = roots.slice(0, 8).map((root) => `“${root.name}” (${root.seems})`).join(', ')
  const more = roots.length > 8 ? ` and ${roots.length - 8} more` : ''
  const pages = kindsFor(roots.map((root) => root.name))
  return notice(isEmpty ? 'Another editor wrote this document' : 'There is more in this document', [
    `It holds ${named}${more}${isEmpty ? ', and nothing that this page shows.' : ', which this page does not show.'}`,
  ],
  ...pages.map((kind) => h('a', { class: 'button primary', href: documentPath(name, kind) }, `Open it as a ${kind === 'code' ? 'file of code' : kind}`)),
  h('a', { class: pages.length === 0 ? 'button primary' : 'button quiet', href: inspectPath(name) }, 'Look inside'),
  isEmpty ? null : button('All right', { class: 'quiet' }, dismiss))
}

export function unreadableNotice(actions: Pick<NoticeActions, 'download'>): HTMLElement {
  return notice('This editor cannot show all of the document', [
    'Another program wrote things into it that this editor does not know. To keep them safe, nothing can be changed here.',
  ], button('Download a copy', { class: 'quiet' }, actions.download))
}

function notice(title: string, paragraphs: readonly (string | null)[], ...actions: (Node | null)[]): HTMLElement {
  const texts = paragraphs.filter((text) => text !== null).map((text) => h('p', {}, text))
  return h('section', { class: 'notice', role: 'alert' }, h('h2', {}, title), ...texts, h('div', { class: 'actions' }, ...actions))
}

/** The server refuses pages of this origin, whoever looks at them: it names the setting that would allow them. */
export function isOfOrigin(reason: string): boolean {
  return reason.includes('--allow-origin')
}

function said(reason: string): string | null {
  return reason === '' ? null : `The server said: ${reason}`
}

function tokenForm(actions: NoticeActions): HTMLElement {
  const input = h('input', { type: 'text', autocomplete: 'off', spellcheck: false, 'aria-label': 'Token, or a link with a token', placeholder: 'Token or link' })
  const form = h('form', { class: 'token-form' }, input, h('button', { type: 'submit', class: 'primary' }, 'Open'))
  form.addEventListener('submit', (event) => {
    event.preventDefault()
    const token = tokenFromText(input.value)
    if (token === null) input.focus()
    else actions.retry(token)
  })
  return form
}
