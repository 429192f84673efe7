// A page as a project that runs as it stands, to be read and copied.

import { copyText, showCopied } from './clipboard'
import { button, h } from './dom'
import { saveFile } from './files'
import { BASE, socketAddress } from './server'
import type { Made, SourceFile } from './source'
import { zipped } from './zip'

/** A project for Vite. */
function projectOf(name: string, { files, packages, tools }: Made): SourceFile[] {
  const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`
  return [
    { name: 'main.ts', text: name === 'document' ? documentProgram() : galleryProgram(name) },
    ...files,
    { name: 'index.html', text: `<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<meta name="viewport" content="width=device-width">\n<title>${name}</title>\n<body>\n<script type="module" src="/main.ts"></script>\n` },
    { name: 'package.json', text: json({ private: true, type: 'module', scripts: { dev: 'vite', build: 'tsc && vite build' }, dependencies: packages, devDependencies: tools }) },
    { name: 'tsconfig.json', text: json({ compilerOptions: { target: 'ES2022', module: 'ESNext', moduleResolution: 'bundler', lib: ['ES2024', 'DOM', 'DOM.Iterable'], types: ['vite/client'], strict: true, skipLibCheck: true, noEmit: true }, include: ['**/*.ts'] }) },
  ]
}

export function showProject(name: string, made: Made): void {
  const files = projectOf(name, made)
  const all = files.map((file) => `// file: ${file.name}\n${file.text}`).join('\n')
  const copy = button('Copy it', { class: 'quiet' }, async () => showCopied(copy, await copyText(all)))
  const save = button('Save the files', { class: 'primary' }, () => saveFile(`cowrite-${name}.zip`, 'application/zip', zipped(files)))
  const dialog = h('dialog', { class: 'dialog source', 'aria-label': 'How this page is made' },
    h('h2', {}, 'How this page is made'),
    h('p', { class: 'soft' }, 'These files are a project that runs as it stands: put them into an empty folder, each under its name, then ', h('code', {}, 'npm install'), ' and ', h('code', {}, 'npx vite'), '. The server has to let pages from there in: ', h('code', {}, '--allow-origin http://localhost:5173'), '.'),
    ...files.flatMap((file, at) => [
      h('p', { class: 'soft' }, at === 0 ? `${file.name} connects it to this server:` : at === 1 ? `And this is ${file.name}, all of it:` : `${file.name}:`),
      h('pre', { tabindex: '0' }, file.text),
    ]),
    h('form', { method: 'dialog', class: 'actions' }, save, copy, h('button', { class: 'quiet' }, 'Close')))
  dialog.addEventListener('close', () => dialog.remove())
  document.body.append(dialog)
  dialog.showModal()
}

/** The program of an editor like that of the document's page: its files are beside it. */
function documentProgram(): string {
  return `import './style/main.css'
import './style/document.css'
import { Editor, Extension } from '@tiptap/core'
import { Collaboration } from '@tiptap/extension-collaboration'
import { yCursorPlugin } from '@tiptap/y-tiptap'
import { search } from 'prosemirror-search'
${connecting()}
import { h } from './dom'
import { asWritten } from './editor/as-written'
import { createBubble } from './editor/bubble'
import { createFind } from './editor/find'
import { RULES, Signs, Typing } from './editor/keys'
import { schemaExtensions } from './editor/schema'
import { Slash } from './editor/slash'
import { createToolbar } from './editor/toolbar'
import { toastLine } from './toast'

${connection()}
provider.awareness.setLocalStateField('user', { name: 'Ada', color: '#1864ab' })

/** Another's caret. */
const caret = ({ name, color }: { name: string; color: string }): HTMLElement =>
  h('span', { class: 'caret moved', style: \`--who: \${color}; --on-who: #fff\` }, h('span', { class: 'caret-name' }, name))

const paper = h('div', { class: 'paper', id: 'editor' })
const editor = new Editor({
  element: paper,
  injectCSS: false,
  enableInputRules: RULES,
  enablePasteRules: RULES,
  extensions: [
    ...schemaExtensions(),
    Collaboration.configure({ document: doc, field: 'default' }),
    Extension.create({ name: 'carets', addProseMirrorPlugins: () => [yCursorPlugin(provider.awareness, { cursorBuilder: caret })] }),
    Extension.create({ name: 'find', addProseMirrorPlugins: () => [search()] }),
    asWritten(), Typing, Signs, Slash,
  ],
})
const { signal } = new AbortController()
document.body.append(
  h('div', { class: 'toolbar-row' }, createToolbar(editor)),
  h('main', { class: 'desk' }, paper),
  h('aside', { class: 'overlay' }, createBubble(editor, signal), createFind(editor, signal).element, toastLine()),
)
`
}

/** The program of a page of the gallery, whose files are beside it. */
function galleryProgram(kind: string): string {
  const mount = `mount${kind[0]?.toUpperCase()}${kind.slice(1)}`
  return `import './style/main.css'
${connecting()}
import { ${mount} } from './gallery/${kind}'

${connection()}
const me = { name: 'Ada', color: '#1864ab' }
provider.awareness.setLocalStateField('user', me)

const page = ${mount}({ doc, awareness: provider.awareness, person: me.name, me: () => me, say: alert })
document.body.dataset['page'] = '${kind}'
document.body.append(page.tools ?? '', page.element)
page.setEditable(true)
`
}

function connecting(): string {
  return `import { WebsocketProvider } from 'y-websocket'
import * as Y from 'yjs'
// @ts-ignore: the browser loads it from the server (or take the package: ${location.origin}${BASE}cowrite-track-saved.tgz)
import { trackSaved } from '${location.origin}${BASE}track-saved.js'
`
}

function connection(): string {
  return `const doc = new Y.Doc()
const provider = new WebsocketProvider('${socketAddress()}', encodeURIComponent('team/minutes'), doc)
trackSaved(provider).subscribe(({ state }: { state: string }) => console.log(state))`
}
