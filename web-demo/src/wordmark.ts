// The name with its two carets, which leads to the start page.

import { h } from './dom'
import iconUrl from './icon.svg'
import { BASE } from './server'

export function wordmark(): HTMLElement {
  return h('a', { class: 'wordmark', href: BASE, title: 'Start page' }, h('img', { src: iconUrl, alt: '', width: 28, height: 28 }), h('span', {}, 'Cowrite'))
}
