// Code with its language chosen beside it, and highlighted. The highlighter is loaded when there is code.

import { CodeBlock as Plain } from '@tiptap/extension-code-block'
import type { Node } from '@tiptap/pm/model'
import { Plugin, PluginKey } from '@tiptap/pm/state'
import { Decoration, DecorationSet } from '@tiptap/pm/view'
import type { createLowlight } from 'lowlight'

import { h } from '../dom'

type Lowlight = ReturnType<typeof createLowlight>
type Tree = ReturnType<Lowlight['highlight']>

/** As they are written behind a fence, and as people call them. */
const LANGUAGES = [
  ['', 'Plain text'], ['bash', 'Shell'], ['c', 'C'], ['cpp', 'C++'], ['csharp', 'C#'], ['css', 'CSS'], ['diff', 'Diff'], ['go', 'Go'], ['java', 'Java'],
  ['javascript', 'JavaScript'], ['json', 'JSON'], ['kotlin', 'Kotlin'], ['markdown', 'Markdown'], ['php', 'PHP'], ['python', 'Python'], ['ruby', 'Ruby'],
  ['rust', 'Rust'], ['sql', 'SQL'], ['swift', 'Swift'], ['typescript', 'TypeScript'], ['xml', 'HTML, XML'], ['yaml', 'YAML'],
] as const

/** What people write behind a fence for one of these. */
const ALIASES: Readonly<Record<string, string>> = { sh: 'bash', shell: 'bash', js: 'javascript', jsx: 'javascript', ts: 'typescript', tsx: 'typescript', py: 'python', rs: 'rust', rb: 'ruby', html: 'xml', md: 'markdown', yml: 'yaml', golang: 'go', cs: 'csharp', 'c++': 'cpp' }

const highlighting = new PluginKey<DecorationSet>('highlighting')

let lowlight: Lowlight | null = null

async function loadLowlight(): Promise<void> {
  const { common, createLowlight } = await import('lowlight')
  lowlight ??= createLowlight(common)
}

export const CodeBlock = Plain.extend({
  addNodeView() {
    return ({ editor, node: first, getPos }) => {
      let node = first
      const code = h('code')
      const choice = h('select', { class: 'code-language', 'aria-label': 'Language of this code' })
      const element = h('div', { class: 'code-block' }, h('div', { class: 'code-head', contenteditable: 'false' }, choice), h('pre', {}, code))
      const show = (): void => {
        const written = languageOf(node)
        const language = ALIASES[written] ?? written
        if (choice.dataset['language'] !== language) {
          const isKnown = LANGUAGES.some(([value]) => value === language)
          choice.replaceChildren(...[...LANGUAGES, ...(isKnown ? [] : [[language, language] as const])].map(([value, label]) => h('option', { value, selected: value === language }, label)))
          choice.dataset['language'] = language
        }
        choice.disabled = !editor.isEditable
      }
      choice.addEventListener('change', () => {
        const position = getPos()
        if (position === undefined) return
        editor.chain().command(({ tr }) => {
          tr.setNodeAttribute(position, 'language', choice.value === '' ? null : choice.value)
          return true
        }).focus().run()
      })
      editor.on('update', show)
      show()
      return {
        dom: element,
        contentDOM: code,
        update(next) {
          if (next.type !== node.type) return false
          node = next
          show()
          return true
        },
        stopEvent: ({ target }) => target === choice,
        ignoreMutation: (mutation) => mutation.type !== 'selection' && !code.contains(mutation.target),
        destroy: () => void editor.off('update', show),
      }
    }
  },
  addProseMirrorPlugins() {
    const { editor } = this
    let asked = false
    const decorate = (doc: Node): DecorationSet => {
      const found: Decoration[] = []
      doc.descendants((node, position) => {
        if (node.type.name !== 'codeBlock') return !node.isTextblock
        for (const { from, to, names } of tokensOf(node)) found.push(Decoration.inline(position + 1 + from, position + 1 + to, { class: names }))
        if (!asked && lowlight === null && languageOf(node) !== '') {
          asked = true
          void loadLowlight().then(() => {
            if (!editor.isDestroyed) editor.view.dispatch(editor.state.tr.setMeta(highlighting, true).setMeta('addToHistory', false))
          })
        }
        return false
      })
      return DecorationSet.create(doc, found)
    }
    return [
      ...(this.parent?.() ?? []),
      new Plugin<DecorationSet>({
        key: highlighting,
        state: {
          init: (_, { doc }) => decorate(doc),
          apply: (tr, before) => (tr.docChanged || tr.getMeta(highlighting) !== undefined ? decorate(tr.doc) : before),
        },
        props: { decorations: (state) => highlighting.getState(state) },
      }),
    ]
  },
})

function languageOf(node: Node): string {
  const language: unknown = node.attrs['language']
  return typeof language === 'string' ? language : ''
}

interface Token {
  readonly from: number
  readonly to: number
  readonly names: string
}

/** Nodes do not change, so what is in one is found once. */
const known = new WeakMap<Node, readonly Token[]>()
/** Longer code is not highlighted: it would be slower than typing. */
const LENGTH_MAX = 20_000

function tokensOf(node: Node): readonly Token[] {
  const language = languageOf(node)
  if (lowlight === null || !lowlight.registered(language) || node.textContent.length > LENGTH_MAX) return []
  const before = known.get(node)
  if (before !== undefined) return before
  const tokens: Token[] = []
  collect(lowlight.highlight(language, node.textContent).children, 0, [], tokens)
  known.set(node, tokens)
  return tokens
}

function collect(nodes: Tree['children'], start: number, names: readonly string[], tokens: Token[]): number {
  let at = start
  for (const node of nodes) {
    if (node.type === 'text') {
      if (names.length > 0) tokens.push({ from: at, to: at + node.value.length, names: names.join(' ') })
      at += node.value.length
    } else if (node.type === 'element') {
      const own = node.properties['className']
      at = collect(node.children, at, [...names, ...(Array.isArray(own) ? own.map(String) : [])], tokens)
    }
  }
  return at
}
