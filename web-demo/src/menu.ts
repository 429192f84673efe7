// A button that opens a list of commands.

import { Ellipsis, type IconNode } from 'lucide'

import { button, h, icon } from './dom'

export interface Command {
  readonly label: string
  readonly icon: IconNode
  readonly keys?: string
  run(): void
}

export function createMenu(commands: readonly Command[]): HTMLElement {
  const opener = h('button', { type: 'button', class: 'icon-button', popovertarget: 'page-menu', 'aria-label': 'More', title: 'More' })
  opener.append(icon(Ellipsis))
  const items = commands.map((command) => {
    const item = button(command.label, { icon: command.icon, class: 'menu-item' }, () => {
      list.hidePopover()
      command.run()
    })
    if (command.keys !== undefined) item.append(h('kbd', {}, command.keys))
    return item
  })
  const list = h('div', { class: 'panel menu', popover: 'auto', id: 'page-menu' }, ...items)
  list.addEventListener('keydown', (event) => {
    const at = items.findIndex((item) => item === document.activeElement)
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key]
    if (step === undefined) return
    event.preventDefault()
    items[(at + step + items.length) % items.length]?.focus()
  })
  list.addEventListener('toggle', (event) => {
    if (event.newState === 'open') items[0]?.focus()
  })
  return h('div', { class: 'menu-group' }, opener, list)
}
