// The pages beside the document: each is one file, and shows itself; with what it takes from beside it, it can be copied.

import { FileDown } from 'lucide'

import { h } from './dom'
import { fileNameOf, saveFile } from './files'
import type { Mounted, Shared } from './gallery/shared'
import type { Content, Show, Steps } from './page'
import { ownPerson } from './profile'
import { howItIsMade, type Made } from './source'
import { say } from './toast'

type Source = () => Promise<{ readonly default: Made }>

export async function showCode(): Promise<Show> {
  const { mountCode } = await import('./gallery/code')
  return show(mountCode, 'code', () => import('virtual:made-of/code'))
}

export async function showBoard(): Promise<Show> {
  const { mountBoard } = await import('./gallery/board')
  return show(mountBoard, 'board', () => import('virtual:made-of/board'))
}

export async function showRoom(): Promise<Show> {
  const { mountRoom } = await import('./gallery/room')
  return show(mountRoom, 'room', () => import('virtual:made-of/room'))
}

function show(mount: (shared: Shared) => Mounted, kind: string, source: Source): Show {
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
        howItIsMade(kind, source),
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
