// The pages beside the document: each is one file that can be copied, and shows itself.

import { Code, FileDown } from 'lucide'

import { copyText, showCopied } from './clipboard'
import { button, h } from './dom'
import { fileNameOf, saveFile } from './files'
import type { Mounted, Shared } from './gallery/shared'
import type { Content, Show, Steps } from './page'
import { ownPerson } from './profile'
import { say } from './toast'
import { program } from './snippet'

type Source = () => Promise<{ readonly default: string }>

export async function showCode(): Promise<Show> {
  const { mountCode } = await import('./gallery/code')
  return show(mountCode, 'code.ts', () => import('./gallery/code.ts?raw'))
}

export async function showBoard(): Promise<Show> {
  const { mountBoard } = await import('./gallery/board')
  return show(mountBoard, 'board.ts', () => import('./gallery/board.ts?raw'))
}

export async function showRoom(): Promise<Show> {
  const { mountRoom } = await import('./gallery/room')
  return show(mountRoom, 'room.ts', () => import('./gallery/room.ts?raw'))
}

function show(mount: (shared: Shared) => Mounted, name: string, source: Source): Show {
  return function* ({ session, presence, changed }): Steps<Content> {
    const { awareness } = session.provider
    const mounted = mount({ doc: session.doc, awareness, person: ownPerson(), me: presence.me, say })
    let isEditable = false
    // Until it is known who may write, and for readers.
    mounted.setEditable(false)
    session.doc.on('update', changed)
    const download = (title: string): void => {
      const { name: named, type, text } = mounted.file()
      saveFile(named.includes('.') ? named : `${fileNameOf(title)}.txt`, type, text)
    }
    return {
      tools: mounted.tools === null ? null : h('div', { class: 'toolbar-row' }, mounted.tools),
      body: mounted.element,
      overlay: null,
      commands: [
        { label: 'How it is made', icon: Code, run: () => void showSource(name, source) },
        { label: 'Save as a file', icon: FileDown, run: () => download(mounted.title()) },
      ],
      isEmpty: mounted.isEmpty,
      title: mounted.title,
      isEditable: () => isEditable,
      setEditable(editable) {
        isEditable = editable
        mounted.setEditable(editable)
      },
      download,
      jumpTo: mounted.jumpTo,
      leave: () => null,
      end: mounted.destroy,
    }
  }
}

/** The file that this page runs, behind the lines that connect it. */
async function showSource(name: string, source: Source): Promise<void> {
  const text = (await source()).default
  const kind = name.replace('.ts', '')
  const call = `mount${kind[0]?.toUpperCase()}${kind.slice(1)}`
  const connect = program(`import { ${call} } from './${name}'`, `const page = ${call}({\n  doc,\n  awareness: provider.awareness,\n  person: crypto.randomUUID(),\n  me: () => ({ name: 'Ada', color: '#1864ab' }),\n  say: alert,\n})\ndocument.body.append(page.tools ?? '', page.element)\npage.setEditable(true)`)
  const copy = button('Copy it', { class: 'primary' }, async () => showCopied(copy, await copyText(text)))
  const dialog = h('dialog', { class: 'dialog source', 'aria-label': 'How this page is made' },
    h('h2', {}, 'How this page is made'),
    h('p', { class: 'soft' }, 'These lines connect it to this server:'),
    h('pre', { tabindex: '0' }, connect),
    h('p', { class: 'soft' }, `And this is ${name}, all of it:`),
    h('pre', { tabindex: '0' }, text),
    h('form', { method: 'dialog', class: 'actions' }, copy, h('button', { class: 'quiet' }, 'Close')))
  dialog.addEventListener('close', () => dialog.remove())
  document.body.append(dialog)
  dialog.showModal()
}
