// The formatting toolbar: one tab stop, arrow keys inside (the WAI-ARIA toolbar pattern), Alt+F10
// to get there from the text and Escape to get back.

import type { ChainedCommands, Editor } from '@tiptap/core'
import {
  Bold, Code, Heading1, Heading2, Heading3, Italic, Link, List, ListOrdered, ListTodo, Minus, Quote, Redo2,
  SquareCode, Strikethrough, Table, Underline, Undo2, Image as ImageIcon, type IconNode,
} from 'lucide'

import { h, icon } from '../dom'
import { TABLE_BLOCKS } from './commands'
import { choosePicture } from './insert'
import { editLink } from './link-dialog'

interface Tool {
  readonly label: string
  readonly icon: IconNode
  /** As a person presses it; `Mod` is Cmd on Apple's keyboards and Ctrl elsewhere. */
  readonly keys?: string
  /** Absent: not a toggle. */
  readonly pressed?: (editor: Editor) => boolean
  readonly run: (editor: Editor) => void
  readonly possible: (editor: Editor) => boolean
}

/** `only`: it is there while this is so; its place is kept, so that no other tool moves under the pointer. */
const TOOLS: readonly { readonly label: string; readonly tools: readonly Tool[]; readonly only?: (editor: Editor) => boolean }[] = [
  {
    label: 'History',
    tools: [
      command('Undo', Undo2, (chain) => chain.undo(), { keys: 'Mod+Z' }),
      command('Redo', Redo2, (chain) => chain.redo(), { keys: 'Mod+Shift+Z' }),
    ],
  },
  {
    label: 'Headings',
    tools: ([1, 2, 3] as const).map((level) =>
      command(`Heading ${level}`, [Heading1, Heading2, Heading3][level - 1] ?? Heading1, (chain) => chain.toggleHeading({ level }), {
        keys: `Mod+Alt+${level}`,
        pressed: (editor) => editor.isActive('heading', { level }),
        converts: true,
      }),
    ),
  },
  {
    label: 'Text',
    tools: [
      mark('Bold', Bold, 'bold', (chain) => chain.toggleBold(), 'Mod+B'),
      mark('Italic', Italic, 'italic', (chain) => chain.toggleItalic(), 'Mod+I'),
      mark('Underline', Underline, 'underline', (chain) => chain.toggleUnderline(), 'Mod+U'),
      mark('Strikethrough', Strikethrough, 'strike', (chain) => chain.toggleStrike(), 'Mod+Shift+S'),
      mark('Code', Code, 'code', (chain) => chain.toggleCode(), 'Mod+E'),
      {
        label: 'Link',
        icon: Link,
        keys: 'Mod+K',
        pressed: (editor) => editor.isActive('link'),
        run: editLink,
        possible: (editor) => editor.isEditable && !editor.isActive('codeBlock'),
      },
    ],
  },
  {
    label: 'Lists',
    tools: [
      mark('Bullet list', List, 'bulletList', (chain) => chain.toggleBulletList(), 'Mod+Shift+8', true),
      mark('Numbered list', ListOrdered, 'orderedList', (chain) => chain.toggleOrderedList(), 'Mod+Shift+7', true),
      mark('Task list', ListTodo, 'taskList', (chain) => chain.toggleTaskList(), 'Mod+Shift+9', true),
    ],
  },
  {
    label: 'Blocks',
    tools: [
      mark('Quote', Quote, 'blockquote', (chain) => chain.toggleBlockquote(), 'Mod+Shift+B'),
      mark('Code block', SquareCode, 'codeBlock', (chain) => chain.toggleCodeBlock(), 'Mod+Alt+C', true),
      command('Table', Table, (chain) => chain.insertTable({ rows: 3, cols: 3, withHeaderRow: true }), { pressed: (editor) => editor.isActive('table') }),
      { label: 'Picture', icon: ImageIcon, run: choosePicture, possible: (editor) => editor.isEditable && !editor.isActive('codeBlock') },
      command('Divider', Minus, (chain) => chain.setHorizontalRule()),
    ],
  },
  {
    label: 'Table',
    only: (editor) => editor.isActive('table'),
    tools: TABLE_BLOCKS.map((block) => ({
      label: block.label,
      icon: block.icon,
      run: (editor) => block.run(editor, editor.chain().focus()),
      possible: (editor) => editor.isEditable && editor.isActive('table'),
    })),
  },
]

export function createToolbar(editor: Editor): HTMLElement {
  const buttons: { readonly tool: Tool; readonly element: HTMLButtonElement }[] = []
  const groups = TOOLS.map(({ label, tools, only }) => {
    const elements = tools.map((tool) => {
      const element = h('button', { type: 'button', class: 'tool', tabindex: -1, 'aria-label': tool.label, title: titleOfTool(tool) })
      element.append(icon(tool.icon))
      element.addEventListener('mousedown', (event) => event.preventDefault())
      element.addEventListener('click', () => {
        if (tool.possible(editor)) tool.run(editor)
      })
      buttons.push({ tool, element })
      return element
    })
    const element = h('div', { role: 'group', 'aria-label': label, class: only === undefined ? null : 'off' }, ...elements)
    return { element, only }
  })
  const toolbar = h('div', { class: 'toolbar', role: 'toolbar', 'aria-label': 'Formatting', 'aria-controls': 'editor' }, ...groups.map(({ element }) => element))
  /** Those that are there. */
  const shown = (): HTMLButtonElement[] => buttons.map(({ element }) => element).filter((element) => element.closest('.off') === null)
  let elements = shown()
  elements[0]?.setAttribute('tabindex', '0')

  const focusTool = (index: number): void => {
    const next = elements[(index + elements.length) % elements.length]
    for (const { element } of buttons) element.tabIndex = element === next ? 0 : -1
    next?.focus()
    next?.scrollIntoView({ block: 'nearest', inline: 'nearest' })
  }
  toolbar.addEventListener('keydown', (event) => {
    const at = elements.findIndex((element) => element === document.activeElement)
    switch (event.key) {
      case 'ArrowRight':
        focusTool(at + 1)
        break
      case 'ArrowLeft':
        focusTool(at - 1)
        break
      case 'Home':
        focusTool(0)
        break
      case 'End':
        focusTool(elements.length - 1)
        break
      case 'Escape':
        editor.commands.focus()
        break
      default:
        return
    }
    event.preventDefault()
  })
  editor.view.dom.addEventListener('keydown', (event) => {
    const mod = event.ctrlKey || event.metaKey
    if (event.altKey && event.key === 'F10') focusTool(elements.findIndex((element) => element.tabIndex === 0))
    else if (mod && !event.shiftKey && !event.altKey && event.key.toLowerCase() === 'k' && editor.isEditable) editLink(editor)
    else return
    event.preventDefault()
  })

  const refresh = (): void => {
    for (const { element, only } of groups) {
      const isOff = only?.(editor) === false
      if (element.classList.contains('off') === isOff) continue
      element.classList.toggle('off', isOff)
      // Where there is no room for all, those that came are seen, and then again those that were.
      toolbar.scrollLeft = isOff ? 0 : toolbar.scrollWidth
    }
    elements = shown()
    if (!elements.some(({ tabIndex }) => tabIndex === 0)) elements.forEach((element, at) => (element.tabIndex = at === 0 ? 0 : -1))
    for (const { tool, element } of buttons) {
      if (tool.pressed !== undefined) element.setAttribute('aria-pressed', String(tool.pressed(editor)))
      element.setAttribute('aria-disabled', String(!tool.possible(editor)))
    }
  }
  let isDue = false
  /** Once for all that happens at one moment: each tool is tried on the text. */
  const refreshSoon = (): void => {
    if (isDue) return
    isDue = true
    queueMicrotask(() => {
      isDue = false
      if (!editor.isDestroyed) refresh()
    })
  }
  editor.on('transaction', refreshSoon)
  editor.on('update', refreshSoon)
  refresh()
  return toolbar
}

function command(
  label: string,
  node: IconNode,
  run: (chain: ChainedCommands) => ChainedCommands,
  more: { keys?: string; pressed?: (editor: Editor) => boolean; converts?: boolean } = {},
): Tool {
  const { converts = false, ...rest } = more
  return {
    label,
    icon: node,
    ...rest,
    run: (editor) => void run(editor.chain().focus()).run(),
    // What turns one block into another clears it first, which a dry run does not do and so denies.
    possible: (editor) => editor.isEditable && (converts || run(editor.can().chain()).run()),
  }
}

function mark(label: string, node: IconNode, name: string, run: (chain: ChainedCommands) => ChainedCommands, keys: string, converts = false): Tool {
  return command(label, node, run, { keys, pressed: (editor) => editor.isActive(name), converts })
}

function titleOfTool({ label, keys }: Tool): string {
  if (keys === undefined) return label
  const apple = /Mac|iPhone|iPad/.test(navigator.userAgent)
  return `${label} (${keys.replace('Mod', apple ? '⌘' : 'Ctrl').replace('Alt', apple ? '⌥' : 'Alt')})`
}
