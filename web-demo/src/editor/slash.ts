// "/" at the beginning of a word offers blocks.

import { Extension, type Editor } from '@tiptap/core'
import { PluginKey } from '@tiptap/pm/state'
import { Suggestion, type SuggestionProps } from '@tiptap/suggestion'

import { h, icon } from '../dom'
import { BLOCKS, TABLE_BLOCKS, type Block } from './commands'
import { placeAt } from './place'

export const Slash = Extension.create({
  name: 'slash',
  addProseMirrorPlugins() {
    return [
      Suggestion<Block, Block>({
        editor: this.editor,
        pluginKey: new PluginKey('slash'),
        char: '/',
        allow: ({ state, range }) => state.doc.resolve(range.from).parent.type.name !== 'codeBlock',
        items: ({ query, editor }) => matching(query, editor),
        command: ({ editor, range, props }) => props.run(editor, editor.chain().focus().deleteRange(range)),
        render: () => renderList(),
      }),
    ]
  },
})

function matching(query: string, editor: Editor): Block[] {
  const wanted = query.toLowerCase()
  const blocks = editor.isActive('table') ? [...TABLE_BLOCKS, ...BLOCKS.filter(({ label }) => label !== 'Table')] : BLOCKS
  return blocks.filter(({ label, words }) => `${label} ${words}`.toLowerCase().split(' ').some((word) => word.startsWith(wanted)) || label.toLowerCase().startsWith(wanted))
}

function renderList() {
  let props: SuggestionProps<Block, Block> | null = null
  let chosen = 0
  const element = h('div', { class: 'panel slash', role: 'listbox', id: 'slash-list', 'aria-label': 'Blocks', tabindex: '0' })
  // The caret stays in the document.
  element.addEventListener('mousedown', (event) => event.preventDefault())

  const show = (): void => {
    if (props === null) return
    const { items, command, clientRect, editor } = props
    chosen = Math.min(chosen, Math.max(0, items.length - 1))
    element.replaceChildren(...items.map((item, at) => {
      const option = h('div', { role: 'option', class: 'menu-item', id: `slash-${at}`, 'aria-selected': String(at === chosen) }, icon(item.icon), h('span', { class: 'label' }, item.label), item.typed === undefined ? null : h('kbd', {}, item.typed))
      option.addEventListener('mousedown', (event) => event.preventDefault())
      option.addEventListener('click', () => command(item))
      return option
    }))
    element.hidden = items.length === 0
    for (const [name, value] of [['aria-controls', 'slash-list'], ['aria-activedescendant', `slash-${chosen}`]] as const) {
      if (items.length > 0) editor.view.dom.setAttribute(name, value)
      else editor.view.dom.removeAttribute(name)
    }
    element.children[chosen]?.scrollIntoView({ block: 'nearest' })
    const box = clientRect?.()
    if (box) void placeAt(element, box, 'bottom-start')
  }
  return {
    onStart(next: SuggestionProps<Block, Block>) {
      props = next
      chosen = 0
      ;(next.editor.view.dom.closest('main') ?? document.body).append(element)
      show()
    },
    onUpdate(next: SuggestionProps<Block, Block>) {
      props = next
      show()
    },
    onKeyDown({ event }: { event: KeyboardEvent }): boolean {
      if (props === null || props.items.length === 0) return false
      const { items, command } = props
      if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
        chosen = (chosen + (event.key === 'ArrowDown' ? 1 : -1) + items.length) % items.length
        show()
        return true
      }
      const item = items[chosen]
      if ((event.key !== 'Enter' && event.key !== 'Tab') || item === undefined) return false
      command(item)
      return true
    },
    onExit() {
      for (const name of ['aria-controls', 'aria-activedescendant']) props?.editor.view.dom.removeAttribute(name)
      props = null
      element.remove()
    },
  }
}
