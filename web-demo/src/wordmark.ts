// The name with its two carets, which leads to the start page.

import { base } from './base'
import { h } from './dom'
import iconUrl from './icon.svg'

export function wordmark(): HTMLElement {
  return h('a', { class: 'wordmark', href: base, title: 'Start page' }, h('img', { src: iconUrl, alt: '', width: 28, height: 28 }), h('span', {}, 'Cowrite'))
}
