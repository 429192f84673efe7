// One quiet line at the edge of the page that goes by itself.

import { h } from './dom'

/** How long it stays, in ms. */
const STAY_MS = 4_000

const line = h('p', { class: 'toast', role: 'status' })
let timer: ReturnType<typeof setTimeout> | undefined

/** Where the line is shown; put it into the page once. */
export function toastLine(): HTMLElement {
  return line
}

export function say(text: string): void {
  line.textContent = text
  line.classList.add('shown')
  clearTimeout(timer)
  timer = setTimeout(() => line.classList.remove('shown'), STAY_MS)
}
