// The content of a document: as a tree, as text, as JSON.

import type * as Y from 'yjs'

import { h } from '../dom'
import { jsonOf, textOf, type Shown } from './content'
import { createPace } from './pace'
import { createTree } from './tree'

/** Text and JSON are shown up to so many UTF-16 units, and anew this often, in ms, while the document changes. */
const SHOWN_MAX = 200_000
const EVERY_MS = 500

const VIEWS = ['Tree', 'Text', 'JSON'] as const

export function createContentView(doc: Y.Doc, signal: AbortSignal): HTMLElement {
  const tree = createTree(doc, signal)
  const text = h('pre', { class: 'whole', tabindex: '0', hidden: true, 'aria-label': 'The content as text' })
  const rest = h('p', { class: 'soft', hidden: true }, 'The rest is left out here: `cowrite doc export` writes all of it.')
  let view: (typeof VIEWS)[number] = 'Tree'

  const show = (): void => {
    tree.element.hidden = view !== 'Tree'
    text.hidden = view === 'Tree'
    rest.hidden = true
    if (view === 'Tree') return tree.refresh()
    const shown: Shown = view === 'Text' ? textOf(doc, SHOWN_MAX) : jsonOf(doc, SHOWN_MAX)
    text.setAttribute('aria-label', view === 'Text' ? 'The content as text' : 'The content as JSON')
    if (text.textContent !== shown.text) text.textContent = shown.text
    rest.hidden = shown.isWhole
  }
  const { later } = createPace(() => {
    if (view !== 'Tree') show()
  }, EVERY_MS, signal)
  doc.on('update', later)
  signal.addEventListener('abort', () => doc.off('update', later))

  const group = `view-${Math.random()}`
  const choices = VIEWS.map((name) => {
    const radio = h('input', { type: 'radio', name: group, value: name, checked: name === view })
    radio.addEventListener('change', () => {
      view = name
      show()
    })
    return h('label', {}, radio, h('span', {}, name))
  })
  return h('div', {}, h('fieldset', { class: 'segments' }, h('legend', { class: 'visually-hidden' }, 'Show it as'), ...choices), tree.element, text, rest)
}
