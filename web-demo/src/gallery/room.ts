// A room: a chat, a poll and a game. What a socket is for beside text.
//
// A Yjs array is a chat that works offline, a map is a poll in which nobody votes twice, and the awareness carries
// sixty positions a second that nobody needs to keep.

import * as Y from 'yjs'

import { button, h } from '../dom'
import { inkOn, profileFrom } from '../profile'
import type { Mounted, Shared } from './shared'

interface Message {
  readonly person: string
  readonly name: string
  readonly color: string
  readonly text: string
  /** ms since 1970 */
  readonly at: number
}

interface Score {
  readonly name: string
  readonly color: string
  readonly caught: number
}

/** More than these are not shown. */
const SHOWN_MAX = 200

interface Part {
  readonly element: HTMLElement
  setEditable(editable: boolean): void
  destroy(): void
}

export function mountRoom(shared: Shared): Mounted {
  const { doc } = shared
  const messages = doc.getArray<unknown>('chat')
  const poll = doc.getMap<unknown>('poll')
  const parts = [chat(shared, messages), voting(shared, poll), game(shared)]
  return {
    tools: null,
    element: h('div', { class: 'room' }, ...parts.map(({ element }) => element)),
    title: () => textFrom(poll.get('question')),
    isEmpty: () => messages.length + poll.size === 0,
    setEditable: (editable) => {
      for (const part of parts) part.setEditable(editable)
    },
    jumpTo: () => false,
    file: () => ({ name: 'room.json', type: 'application/json', text: JSON.stringify(doc.toJSON(), null, 2) }),
    destroy: () => {
      for (const part of parts) part.destroy()
    },
  }
}

function chat({ me, person }: Shared, messages: Y.Array<unknown>): Part {
  const list = h('div', { class: 'messages', tabindex: '0', role: 'log', 'aria-label': 'Messages' })
  const input = h('input', { type: 'text', 'aria-label': 'Message', placeholder: 'Say something', autocomplete: 'off', maxlength: 500 })
  const form = h('form', { class: 'row' }, input, h('button', { type: 'submit', class: 'primary' }, 'Send'))
  form.addEventListener('submit', (event) => {
    event.preventDefault()
    const text = input.value.trim()
    if (text !== '') messages.push([{ person, ...me(), text, at: Date.now() } satisfies Message])
    input.value = ''
    list.scrollTop = list.scrollHeight
  })
  const none = h('p', { class: 'soft' }, 'Nobody has said anything yet.')
  /** What is shown, by message: one that was there keeps its element, so that only new ones are read out. */
  let shown = new Map<unknown, { readonly element: HTMLElement; readonly goesOn: boolean }>()
  const show = (): void => {
    const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40
    const before = shown
    shown = new Map()
    let last: Message | null = null
    for (const value of messages.toArray().slice(-SHOWN_MAX)) {
      const message = messageFrom(value)
      if (message === null) continue
      const goesOn = last?.person === message.person && last.name === message.name
      const known = before.get(value)
      shown.set(value, known?.goesOn === goesOn ? known : { element: line(message, goesOn), goesOn })
      last = message
    }
    const elements = shown.size === 0 ? [none] : [...shown.values()].map(({ element }) => element)
    const kept = new Set<Element>(elements)
    for (const element of [...list.children]) if (!kept.has(element)) element.remove()
    for (const [at, element] of elements.entries()) if (list.children[at] !== element) list.insertBefore(element, list.children[at] ?? null)
    // Who has scrolled up is reading.
    if (isAtEnd) list.scrollTop = list.scrollHeight
  }
  /** `goesOn`: who says it said what stands before it, too. */
  const line = ({ color, text, at, name, person: who }: Message, goesOn: boolean): HTMLElement => {
    const bubble = h('p', { class: 'bubble-of-chat', style: `--who: ${color}; --on-who: ${inkOn(color)}` }, text)
    const time = new Date(at).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' })
    return h('div', { class: who === person ? 'own' : null, title: time }, goesOn ? null : h('span', { class: 'soft' }, name), bubble)
  }
  messages.observe(show)
  show()
  return {
    element: h('section', { class: 'paper chat', 'aria-label': 'Chat' }, h('h2', {}, 'Chat'), list, form),
    setEditable: (editable) => void (form.hidden = !editable),
    destroy: () => messages.unobserve(show),
  }
}

/** The options are the entries `option …` of a map, the votes the entries `vote …`: one for each person. */
function voting({ doc, person, say }: Shared, poll: Y.Map<unknown>): Part {
  let editable = false
  const question = h('input', { type: 'text', class: 'question', 'aria-label': 'Question', placeholder: 'Ask the room something', maxlength: 120, autocomplete: 'off' })
  const options = h('ul', { class: 'options' })
  const count = h('p', { class: 'soft', role: 'status' })
  const input = h('input', { type: 'text', 'aria-label': 'Another answer', placeholder: 'Another answer', maxlength: 60, autocomplete: 'off' })
  const form = h('form', { class: 'row' }, input, h('button', { type: 'submit', class: 'quiet' }, 'Add'))
  question.addEventListener('change', () => void poll.set('question', question.value.trim()))
  form.addEventListener('submit', (event) => {
    event.preventDefault()
    const text = input.value.trim()
    if (answers().some((answer) => sameAnswer(answer.text, text))) return say(`“${text}” is there already.`)
    if (text !== '') poll.set(`option ${Date.now()} ${doc.clientID}`, text)
    input.value = ''
  })
  const rows = new Map<string, { readonly row: HTMLElement; readonly vote: HTMLButtonElement; readonly label: HTMLElement; readonly number: HTMLElement }>()
  /** Each answer once, however many people had the same idea at one moment: what was voted for any of them counts for it. */
  const answers = (): { readonly key: string; readonly text: string; readonly keys: string[] }[] => {
    const found: { readonly key: string; readonly text: string; readonly keys: string[] }[] = []
    for (const [key, value] of [...poll].filter(([key]) => key.startsWith('option ')).sort(([a], [b]) => (a < b ? -1 : 1))) {
      const text = textFrom(value)
      const same = found.find((answer) => sameAnswer(answer.text, text))
      if (same === undefined) found.push({ key, text, keys: [key] })
      else same.keys.push(key)
    }
    return found
  }
  const show = (): void => {
    if (document.activeElement !== question) question.value = textFrom(poll.get('question'))
    const votes = [...poll].filter(([key]) => key.startsWith('vote ')).map(([, option]) => option)
    const own = poll.get(`vote ${person}`)
    const all = answers()
    for (const [key, { row }] of rows) if (!all.some((answer) => answer.key === key)) row.remove()
    for (const [at, { key, text, keys }] of all.entries()) {
      const { row, vote, label, number } = rows.get(key) ?? newRow(key)
      const share = votes.filter((voted) => keys.some((one) => one === voted)).length
      label.textContent = text
      number.replaceChildren(String(share), h('span', { class: 'visually-hidden' }, share === 1 ? ' vote' : ' votes'))
      vote.setAttribute('aria-pressed', String(keys.some((one) => one === own)))
      vote.disabled = !editable
      vote.style.setProperty('--share', `${votes.length === 0 ? 0 : (100 * share) / votes.length}%`)
      // A row that is moved loses the focus.
      if (options.children[at] !== row) options.insertBefore(row, options.children[at] ?? null)
    }
    options.hidden = all.length === 0
    count.textContent = all.length === 0 ? (editable ? 'Answers can be added by everybody.' : 'Nothing can be voted on yet.') : votes.length === 1 ? 'One vote so far' : `${votes.length} votes so far`
  }
  const newRow = (key: string) => {
    const [label, number] = [h('span'), h('span', { class: 'number' })]
    const vote = button('', { class: 'option' }, () => {
      const keys = answers().find((answer) => answer.key === key)?.keys ?? []
      if (keys.some((one) => one === poll.get(`vote ${person}`))) poll.delete(`vote ${person}`)
      else poll.set(`vote ${person}`, key)
    })
    vote.replaceChildren(label, number)
    const entry = { row: h('li', {}, vote), vote, label, number }
    rows.set(key, entry)
    return entry
  }
  poll.observe(show)
  show()
  return {
    element: h('section', { class: 'paper poll', 'aria-label': 'Poll' }, h('h2', {}, 'Poll'), question, options, form, count),
    setEditable(now) {
      editable = now
      question.disabled = !now
      question.placeholder = now ? 'Ask the room something' : 'Nothing is asked yet'
      form.hidden = !now
      show()
    },
    destroy: () => poll.unobserve(show),
  }
}

/** Everybody is a lantern and catches the same fireflies: where the next one flies follows from how many were caught. */
function game({ doc, awareness, me, person }: Shared): Part {
  const scores = doc.getMap<unknown>('fireflies')
  const canvas = h('canvas', { tabindex: '0', role: 'application', 'aria-label': 'Fireflies: steer your lantern with the pointer or the arrow keys, and catch the light' })
  const table = h('ol', { class: 'scores', 'aria-label': 'Scores' })
  const context = canvas.getContext('2d')
  let editable = false
  let lantern = { x: 0.5, y: 0.5 }
  /** Who only looks catches nothing. */
  let plays = false
  const all = (): Score[] => [...scores.values()].map(scoreFrom).filter((score) => score !== null)
  const held = new Set<string>()

  const steer = (x: number, y: number): void => {
    lantern = { x: Math.min(1, Math.max(0, x)), y: Math.min(1, Math.max(0, y)) }
    plays = editable
    if (plays) awareness.setLocalStateField('lantern', lantern)
  }
  canvas.addEventListener('pointermove', ({ clientX, clientY }) => {
    const { left, top, width, height } = canvas.getBoundingClientRect()
    steer((clientX - left) / width, (clientY - top) / height)
  })
  canvas.addEventListener('keydown', (event) => {
    if (!event.key.startsWith('Arrow')) return
    event.preventDefault()
    held.add(event.key)
  })
  canvas.addEventListener('keyup', ({ key }) => void held.delete(key))
  canvas.addEventListener('blur', () => held.clear())

  /** Who wants nothing to move by itself sees the firefly move while they play. */
  const calm = matchMedia('(prefers-reduced-motion: reduce)')
  let now = Date.now()
  const pass = (): void => {
    if (!calm.matches || canvas.matches(':hover, :focus')) now = Date.now()
  }
  const firefly = (at: number): { x: number; y: number } => {
    const caught = all().reduce((sum, score) => sum + score.caught, 0)
    const [a, b] = [caught * 2.399 + 1, caught * 1.618 + 2]
    return { x: 0.5 + 0.3 * Math.sin(at / 2_100 + a) + 0.15 * Math.sin(at / 900 + b), y: 0.5 + 0.3 * Math.cos(at / 1_700 + b) + 0.12 * Math.sin(at / 700 + a) }
  }
  const step = (): void => {
    pass()
    if (held.size > 0) steer(lantern.x + 0.012 * (Number(held.has('ArrowRight')) - Number(held.has('ArrowLeft'))), lantern.y + 0.02 * (Number(held.has('ArrowDown')) - Number(held.has('ArrowUp'))))
    const { x, y } = firefly(now)
    const { width, height } = canvas
    if (plays && Math.hypot((x - lantern.x) * width, (y - lantern.y) * height) < 0.035 * width) {
      scores.set(person, { ...me(), caught: (scoreFrom(scores.get(person))?.caught ?? 0) + 1 } satisfies Score)
    }
    if (context !== null) paint(context)
    frame = requestAnimationFrame(step)
  }
  const paint = (into: CanvasRenderingContext2D): void => {
    const { width, height } = canvas
    into.fillStyle = '#10131f'
    into.fillRect(0, 0, width, height)
    const light = (x: number, y: number, radius: number, color: string): void => {
      const glow = into.createRadialGradient(x * width, y * height, 0, x * width, y * height, radius)
      glow.addColorStop(0, '#ffffff')
      glow.addColorStop(0.18, '#ffffff')
      glow.addColorStop(0.4, color)
      glow.addColorStop(1, 'rgb(16 19 31 / 0%)')
      into.fillStyle = glow
      into.fillRect(x * width - radius, y * height - radius, 2 * radius, 2 * radius)
    }
    const { x, y } = firefly(now)
    light(x, y, 0.03 * width, '#fff3b0')
    for (const state of awareness.getStates().values()) {
      const at = state['lantern'] as { x: unknown; y: unknown } | null | undefined
      const user = profileFrom(state['user'])
      if (!at || typeof at.x !== 'number' || typeof at.y !== 'number' || !Number.isFinite(at.x + at.y) || user === null) continue
      light(at.x, at.y, 0.045 * width, user.color)
      into.fillStyle = '#ffffff'
      into.font = `600 ${Math.round(0.022 * width)}px Inter, sans-serif`
      into.textAlign = 'center'
      into.fillText(user.name, at.x * width, at.y * height + 0.065 * width)
    }
  }
  const show = (): void => {
    const best = all().sort((a, b) => b.caught - a.caught).slice(0, 8)
    table.replaceChildren(...best.map(({ name, color, caught }) => h('li', {}, h('span', { class: 'dot', style: `--who: ${color}` }), name, h('span', { class: 'number' }, String(caught)))))
  }
  const resizes = new ResizeObserver(() => {
    canvas.width = canvas.clientWidth * devicePixelRatio
    canvas.height = canvas.clientHeight * devicePixelRatio
  })
  resizes.observe(canvas)
  scores.observe(show)
  show()
  let frame = requestAnimationFrame(step)
  return {
    element: h('section', { class: 'paper game', 'aria-label': 'Game' }, h('h2', {}, 'Fireflies'), canvas, table),
    setEditable(now) {
      editable = now
      plays &&= now
    },
    destroy() {
      cancelAnimationFrame(frame)
      resizes.disconnect()
      scores.unobserve(show)
    },
  }
}

function sameAnswer(one: string, other: string): boolean {
  return one.trim().toLowerCase() === other.trim().toLowerCase()
}

/** What is in the document, checked: anybody may have written it. */
function textFrom(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

function messageFrom(value: unknown): Message | null {
  const who = profileFrom(value)
  if (who === null) return null
  const { person, text, at } = value as Record<string, unknown>
  return typeof person === 'string' && typeof text === 'string' && Number.isFinite(at) ? { person, ...who, text, at: Number(at) } : null
}

function scoreFrom(value: unknown): Score | null {
  const who = profileFrom(value)
  if (who === null) return null
  const { caught } = value as Record<string, unknown>
  return Number.isSafeInteger(caught) ? { ...who, caught: Number(caught) } : null
}
