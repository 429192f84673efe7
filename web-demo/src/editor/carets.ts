// The others' carets in the text: their names come with movement and fade, in the margin, where they cover no text;
// those beyond the edge of the window are shown at it.

import { Extension } from '@tiptap/core'
import { yCursorPlugin } from '@tiptap/y-tiptap'
import type { EditorView } from '@tiptap/pm/view'

import { h } from '../dom'
import type { Presence } from '../presence'
import { NOBODY, initials, inkOn, profileFrom, type Profile } from '../profile'
import type { Session } from '../session'

/** How long a name stays after its caret has moved, in ms. */
const NAME_MS = 2_500

export function carets(session: Session): Extension {
  return Extension.create({
    name: 'carets',
    priority: 999,
    addProseMirrorPlugins: () => [
      yCursorPlugin(session.provider.awareness, {
        cursorBuilder: (user: unknown, client: number) => renderCaret(profileFrom(user) ?? NOBODY, client),
        selectionBuilder: (user: unknown) => ({ class: 'selection', style: `--who: ${(profileFrom(user) ?? NOBODY).color}` }),
      }),
    ],
  })
}

function renderCaret(who: Profile, client: number): HTMLElement {
  // Word joiners keep the line from breaking or widening at the caret.
  const caret = h('span', { class: 'caret moved', 'data-client': client }, '\u2060', h('span', { class: 'caret-name' }), '\u2060')
  paint(caret, who, who.name)
  return caret
}

function paint(caret: HTMLElement, { color }: Profile, label: string): void {
  caret.style.setProperty('--who', color)
  caret.style.setProperty('--on-who', inkOn(color))
  const name = caret.querySelector<HTMLElement>('.caret-name')
  if (name === null || name.textContent === label) return
  name.textContent = label
  name.dataset['initials'] = initials(label)
}

export interface CaretsView {
  /** The names of those beyond the upper and the lower edge. */
  readonly element: HTMLElement
  jumpTo(client: number): boolean
}

/** Keeps names, colours and the edges up to date. */
export function watchCarets(view: EditorView, session: Session, presence: Presence, signal: AbortSignal): CaretsView {
  const above = h('div', { class: 'beyond above' })
  const below = h('div', { class: 'beyond below' })
  const element = h('div', {}, above, below)
  const { awareness } = session.provider
  const moved = new Map<number, { readonly where: string; readonly timer: ReturnType<typeof setTimeout> }>()
  const caretOf = (client: number): HTMLElement | null => view.dom.querySelector(`.caret[data-client="${client}"]`)

  const jumpTo = (client: number): boolean => {
    const caret = caretOf(client)
    caret?.scrollIntoView({ block: 'center', behavior: matchMedia('(prefers-reduced-motion: reduce)').matches ? 'auto' : 'smooth' })
    return caret !== null
  }
  /** Lets the name of whoever moved come back for a while. */
  const noteMoves = (): void => {
    for (const [client, state] of awareness.getStates()) {
      const where = JSON.stringify(state['cursor'] ?? null)
      const before = moved.get(client)
      if (client === awareness.clientID || before?.where === where) continue
      clearTimeout(before?.timer)
      moved.set(client, { where, timer: setTimeout(() => caretOf(client)?.classList.remove('moved'), NAME_MS) })
      caretOf(client)?.classList.add('moved')
    }
  }
  const showEdges = (): void => {
    const top = document.querySelector('.toolbar-row:not([hidden])')?.getBoundingClientRect().bottom ?? 60
    const bottom = visualViewport?.height ?? innerHeight
    const lists: Record<'above' | 'below', HTMLElement[]> = { above: [], below: [] }
    for (const one of presence.others()) {
      const caret = caretOf(one.client)
      if (caret === null) continue
      paint(caret, one, one.label)
      const box = caret.getBoundingClientRect()
      const edge = box.bottom < top ? 'above' : box.top > bottom ? 'below' : null
      if (edge !== null) lists[edge].push(chip(one.label, one, edge, () => jumpTo(one.client)))
    }
    for (const [list, chips] of [[above, lists.above], [below, lists.below]] as const) {
      if (textsOf(chips) !== textsOf([...list.children])) list.replaceChildren(...chips)
    }
  }
  let frame = 0
  const refresh = (): void => {
    cancelAnimationFrame(frame)
    frame = requestAnimationFrame(showEdges)
  }
  presence.subscribe(() => {
    noteMoves()
    refresh()
  })
  session.doc.on('afterAllTransactions', refresh)
  for (const event of ['scroll', 'resize'] as const) addEventListener(event, refresh, { signal, passive: true })
  signal.addEventListener('abort', () => {
    cancelAnimationFrame(frame)
    session.doc.off('afterAllTransactions', refresh)
    for (const { timer } of moved.values()) clearTimeout(timer)
  })
  return { element, jumpTo }
}

function chip(label: string, { color }: Profile, edge: 'above' | 'below', onClick: () => void): HTMLElement {
  const element = h('button', { type: 'button', class: 'chip', 'aria-label': `${label} is further ${edge === 'above' ? 'up' : 'down'}: go there`, style: `--who: ${color}; --on-who: ${inkOn(color)}` }, `${edge === 'above' ? '↑' : '↓'} ${label}`)
  element.addEventListener('mousedown', (event) => event.preventDefault())
  element.addEventListener('click', onClick)
  return element
}

function textsOf(elements: readonly Element[]): string {
  return elements.map((element) => `${element.textContent} ${element.getAttribute('style')}`).join('\n')
}
