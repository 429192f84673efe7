// What goes over this page's connection, message by message, newest first.

import { ArrowDown, ArrowUp, Copy, Pause, Play } from 'lucide'

import { copyText } from '../clipboard'
import { button, h, icon } from '../dom'
import type { Frame, Tap } from '../tap'
import type { NameOf } from './figures'
import { bytes, number } from './units'
import { messagesOf, type Message } from './wire'

/** As many messages are shown. */
const SHOWN_MAX = 500

interface Line {
  readonly frame: Frame
  readonly message: Message
  /** More than one message is in its frame. */
  readonly shares: boolean
}

const KINDS: Readonly<Record<string, (kind: string) => boolean>> = {
  'All kinds': () => true,
  Updates: (kind) => kind === 'update' || kind === 'sync step 2',
  Sync: (kind) => kind.startsWith('sync'),
  Presence: (kind) => kind === 'presence' || kind === 'who is here?',
  Saved: (kind) => kind === 'saved',
}
const WAYS: Readonly<Record<string, (sent: boolean) => boolean>> = {
  'Both ways': () => true,
  Sent: (sent) => sent,
  Received: (sent) => !sent,
}

export function createTraffic(tap: Tap, nameOf: NameOf, signal: AbortSignal): HTMLElement {
  const list = h('ol', { class: 'traffic', 'aria-label': 'Messages, newest first', tabindex: '0' })
  const counted = h('p', { class: 'soft', role: 'status' })
  let lines: Line[] = []
  let paused: Frame[] | null = null
  let showsContent = false
  const kind = chooser('Kind', KINDS)
  const way = chooser('Direction', WAYS)

  const isChosen = ({ frame, message }: Line): boolean => (WAYS[way.value]?.(frame.sent) ?? true) && (KINDS[kind.value]?.(message.kind) ?? true)
  const take = (frames: readonly Frame[]): void => {
    const fresh = frames.flatMap((frame) => {
      const messages = messagesOf(frame.bytes)
      return messages.map((message): Line => ({ frame, message, shares: messages.length > 1 }))
    })
    lines = [...lines, ...fresh].slice(-SHOWN_MAX)
    list.prepend(...fresh.filter(isChosen).slice(-SHOWN_MAX).reverse().map(element))
    while (list.childElementCount > SHOWN_MAX) list.lastElementChild?.remove()
  }
  const element = ({ frame, message, shares }: Line): HTMLElement => {
    const copy = button('Copy as hex', { class: 'icon-button small', title: 'Copy as hex' }, () => void copyHex(copy, frame.bytes))
    copy.replaceChildren(icon(Copy))
    copy.setAttribute('aria-label', 'Copy as hex')
    const names = message.clients.map((client) => nameOf(client) ?? String(client))
    const content = showsContent ? message.content() : ''
    return h('li', { class: frame.sent ? 'sent' : 'received' },
      h('span', { class: 'way' }, icon(frame.sent ? ArrowUp : ArrowDown), h('span', { class: 'visually-hidden' }, frame.sent ? 'Sent' : 'Received')),
      h('span', { class: 'message-kind' }, message.kind),
      h('span', { class: 'message-bytes' }, shares ? `in ${bytes(frame.bytes.length)}` : bytes(frame.bytes.length)),
      h('time', { class: 'soft', datetime: new Date(frame.at).toISOString() }, timeOf(frame.at)),
      copy,
      h('span', { class: 'message-says' }, message.says, names.length === 0 ? null : h('span', { class: 'message-clients' }, names.length > 6 ? `${names.slice(0, 6).join(', ')} and ${names.length - 6} more` : names.join(', '))),
      content === '' ? null : h('pre', { class: 'message-content' }, content))
  }
  const redraw = (): void => list.replaceChildren(...lines.filter(isChosen).reverse().map(element))

  // Of a flood what comes between two pictures is shown together.
  let waiting: Frame[] = []
  const come = (frame: Frame): void => {
    if (paused !== null) {
      paused = [...paused, frame].slice(-SHOWN_MAX)
      counted.textContent = `Paused, ${number(paused.length)} more`
      return
    }
    waiting.push(frame)
    if (waiting.length > 1) return
    setTimeout(() => {
      const frames = waiting
      waiting = []
      if (signal.aborted) return
      if (paused === null) take(frames)
      else paused = [...frames, ...paused]
    }, 50)
  }
  const pause = button('Pause', { class: 'quiet small', icon: Pause }, () => {
    const frames = paused
    paused = frames === null ? [] : null
    counted.textContent = paused === null ? '' : 'Paused'
    pause.replaceChildren(icon(paused === null ? Pause : Play), h('span', { class: 'label' }, paused === null ? 'Pause' : 'Go on'))
    if (frames !== null) take(frames)
  })
  const content = h('input', { type: 'checkbox', role: 'switch' })
  content.addEventListener('change', () => {
    showsContent = content.checked
    redraw()
  })
  for (const { element: choice } of [kind, way]) choice.addEventListener('change', redraw)
  take(tap.frames)
  tap.listen(come, signal)
  return h('div', { class: 'traffic-section' },
    h('div', { class: 'traffic-tools' }, pause, kind.element, way.element, h('label', { class: 'switch' }, content, 'What people wrote')),
    counted, list)
}

function chooser(label: string, choices: Readonly<Record<string, unknown>>): { readonly element: HTMLSelectElement; readonly value: string } {
  const element = h('select', { 'aria-label': label }, ...Object.keys(choices).map((name) => h('option', {}, name)))
  return {
    element,
    get value() {
      return element.value
    },
  }
}

function timeOf(at: number): string {
  const time = new Date(at)
  return `${time.toLocaleTimeString('en-GB')}.${String(time.getMilliseconds()).padStart(3, '0')}`
}

export function hexOf(frame: Uint8Array): string {
  return Array.from(frame, (byte) => byte.toString(16).padStart(2, '0')).join(' ')
}

async function copyHex(source: HTMLElement, frame: Uint8Array): Promise<void> {
  if (await copyText(hexOf(frame))) {
    source.classList.add('done')
    setTimeout(() => source.classList.remove('done'), 1_200)
    return
  }
  const text = h('textarea', { readonly: true, rows: 8, 'aria-label': 'The message as hex' }, hexOf(frame))
  const dialog = h('dialog', { class: 'dialog', 'aria-label': 'The message as hex' }, h('form', { method: 'dialog', class: 'stack' }, text, h('div', { class: 'actions' }, h('button', { class: 'primary' }, 'Done'))))
  dialog.addEventListener('close', () => dialog.remove())
  document.body.append(dialog)
  dialog.showModal()
  text.select()
}
