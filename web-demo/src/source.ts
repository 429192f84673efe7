// How a page is made: the files that it runs, behind the lines that connect them.

import { Code } from 'lucide'

import { copyText, showCopied } from './clipboard'
import { button, h } from './dom'
import type { Command } from './menu'

export interface SourceFile {
  readonly name: string
  readonly text: string
}

/** `lead` says what the lines of `connect` do; the files are loaded when somebody asks. */
export function howItIsMade(lead: string, connect: string, files: () => Promise<readonly SourceFile[]>): Command {
  return { label: 'How it is made', icon: Code, run: () => void files().then((all) => showSource(lead, connect, all)) }
}

function showSource(lead: string, connect: string, files: readonly SourceFile[]): void {
  const all = files.map(({ text }) => text).join('\n')
  const copy = button('Copy it', { class: 'primary' }, async () => showCopied(copy, await copyText(all)))
  const dialog = h('dialog', { class: 'dialog source', 'aria-label': 'How this page is made' },
    h('h2', {}, 'How this page is made'),
    h('p', { class: 'soft' }, lead),
    h('pre', { tabindex: '0' }, connect),
    ...files.flatMap(({ name, text }, at) => [
      h('p', { class: 'soft' }, at === 0 ? `And this is ${name}, all of it:` : `${name}:`),
      h('pre', { tabindex: '0' }, text),
    ]),
    h('form', { method: 'dialog', class: 'actions' }, copy, h('button', { class: 'quiet' }, 'Close')))
  dialog.addEventListener('close', () => dialog.remove())
  document.body.append(dialog)
  dialog.showModal()
}
