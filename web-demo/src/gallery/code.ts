// Code that several people edit at once: CodeMirror 6 on a Yjs text, its language by the name of the file.

import type { LanguageSupport } from '@codemirror/language'
import { syntaxHighlighting } from '@codemirror/language'
import { Compartment, EditorState } from '@codemirror/state'
import { EditorView, keymap } from '@codemirror/view'
import { classHighlighter } from '@lezer/highlight'
import { basicSetup } from 'codemirror'
import { yCollab, yUndoManagerKeymap } from 'y-codemirror.next'
import type { Awareness } from 'y-protocols/awareness'
import * as Y from 'yjs'

import { h, whenIdle } from '../dom'
import { profileFrom } from '../profile'
import styles from '../style/code.css?inline'
import type { Mounted, Shared } from './shared'

/** By the end of a file's name; each is loaded when it is needed. */
const LANGUAGES: readonly (readonly [RegExp, string, () => Promise<LanguageSupport>])[] = [
  [/\.[cm]?jsx?$/, 'JavaScript', async () => (await import('@codemirror/lang-javascript')).javascript({ jsx: true })],
  [/\.[cm]?tsx?$/, 'TypeScript', async () => (await import('@codemirror/lang-javascript')).javascript({ jsx: true, typescript: true })],
  [/\.py$/, 'Python', async () => (await import('@codemirror/lang-python')).python()],
  [/\.rs$/, 'Rust', async () => (await import('@codemirror/lang-rust')).rust()],
  [/\.go$/, 'Go', async () => (await import('@codemirror/lang-go')).go()],
  [/\.java$/, 'Java', async () => (await import('@codemirror/lang-java')).java()],
  [/\.(c|h|cc|cpp|hpp)$/, 'C and C++', async () => (await import('@codemirror/lang-cpp')).cpp()],
  [/\.html?$/, 'HTML', async () => (await import('@codemirror/lang-html')).html()],
  [/\.css$/, 'CSS', async () => (await import('@codemirror/lang-css')).css()],
  [/\.json$/, 'JSON', async () => (await import('@codemirror/lang-json')).json()],
  [/\.(md|markdown)$/, 'Markdown', async () => (await import('@codemirror/lang-markdown')).markdown()],
  [/\.sql$/, 'SQL', async () => (await import('@codemirror/lang-sql')).sql()],
  [/\.ya?ml$/, 'YAML', async () => (await import('@codemirror/lang-yaml')).yaml()],
]

/** The same presence; who others say they are is checked, since their colours become styles. */
function checked(awareness: Awareness): Awareness {
  const users = (): Map<number, Record<string, unknown>> =>
    new Map([...awareness.getStates()].map(([client, state]) => [client, { ...state, user: profileFrom(state['user']) ?? undefined }]))
  return new Proxy(awareness, {
    get(target, key) {
      if (key === 'getStates') return users
      const value: unknown = Reflect.get(target, key, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

export function mountCode({ doc, awareness }: Shared): Mounted {
  const text = doc.getText('code')
  const file = doc.getMap<unknown>('file')
  const undoManager = new Y.UndoManager(text)
  const language = new Compartment()
  const access = new Compartment()
  const accessOf = (editable: boolean) => [EditorState.readOnly.of(!editable), EditorView.editable.of(editable)]

  // CodeMirror brings styles of its own. A page whose policy forbids that takes them in a shadow root, where they are no elements.
  const element = h('div', { class: 'paper code' })
  const root = element.attachShadow({ mode: 'open' })
  const sheet = new CSSStyleSheet()
  sheet.replaceSync(styles)
  const view = new EditorView({
    root,
    parent: root,
    doc: text.toString(),
    extensions: [
      keymap.of(yUndoManagerKeymap),
      basicSetup,
      syntaxHighlighting(classHighlighter),
      EditorView.lineWrapping,
      EditorView.contentAttributes.of({ 'aria-label': 'Code' }),
      language.of([]),
      access.of(accessOf(false)),
      yCollab(text, checked(awareness), { undoManager }),
    ],
  })

  const name = h('input', { type: 'text', class: 'file-name', 'aria-label': 'Name of the file', spellcheck: false, autocomplete: 'off', maxlength: 80 })
  const kind = h('span', { class: 'soft', role: 'status' })
  name.addEventListener('input', () => void file.set('name', name.value))
  const nameOf = (): string => {
    const name = file.get('name')
    return typeof name === 'string' ? name : 'main.js'
  }
  let wanted: string | null = null
  const showName = (): void => {
    if (name.value !== nameOf()) name.value = nameOf()
    const found = LANGUAGES.find(([ending]) => ending.test(nameOf()))
    kind.textContent = found?.[1] ?? 'Plain text'
    if (wanted === kind.textContent) return
    wanted = kind.textContent
    // The text first, then its colours.
    whenIdle(async () => {
      // Without a connection it stays without colours.
      const support = (await found?.[2]().catch(() => null)) ?? []
      if (kind.textContent === (found?.[1] ?? 'Plain text')) view.dispatch({ effects: language.reconfigure(support) })
    })
  }
  file.observe(showName)
  showName()
  root.adoptedStyleSheets = [...root.adoptedStyleSheets, sheet]

  return {
    tools: h('div', { class: 'toolbar file' }, name, kind),
    element,
    title: nameOf,
    isEmpty: () => text.length === 0,
    setEditable(editable) {
      name.disabled = !editable
      view.dispatch({ effects: access.reconfigure(accessOf(editable)) })
      if (editable && text.length === 0 && document.activeElement === document.body) view.focus()
    },
    jumpTo(client) {
      const cursor = awareness.getStates().get(client)?.['cursor'] as { head: unknown } | undefined
      const head = cursor ? Y.createAbsolutePositionFromRelativePosition(Y.createRelativePositionFromJSON(cursor.head), doc) : null
      if (head === null) return false
      view.dispatch({ effects: EditorView.scrollIntoView(Math.min(head.index, view.state.doc.length), { y: 'center' }) })
      return true
    },
    file: () => ({ name: nameOf(), type: 'text/plain', text: text.toString() }),
    destroy() {
      file.unobserve(showName)
      undoManager.destroy()
      view.destroy()
    },
  }
}
