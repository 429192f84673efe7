// The pages beside the document: each is one file that can be copied, and shows itself.

import { FileDown } from 'lucide'

import { h } from './dom'
import { fileNameOf, saveFile } from './files'
import type { Mounted, Shared } from './gallery/shared'
import type { Content, Show, Steps } from './page'
import { ownPerson } from './profile'
import { program } from './snippet'
import { howItIsMade } from './source'
import { say } from './toast'

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
        howItIsMade('These lines connect it to this server:', connecting(name), async () => [{ name, text: (await source()).default }]),
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

/** The lines that connect the file that this page runs. */
function connecting(name: string): string {
  const kind = name.replace('.ts', '')
  const call = `mount${kind[0]?.toUpperCase()}${kind.slice(1)}`
  return program(`import { ${call} } from './${name}'`, `const page = ${call}({\n  doc,\n  awareness: provider.awareness,\n  person: crypto.randomUUID(),\n  me: () => ({ name: 'Ada', color: '#1864ab' }),\n  say: alert,\n})\ndocument.body.append(page.tools ?? '', page.element)\npage.setEditable(true)`)
}
