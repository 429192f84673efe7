// The dialog that shares a document: a link, for whom it is good and for how long, and its QR code for a phone. Where the server
// asks for tokens the link has one of its own, if one's own token lets it be made.

import { copyText } from './clipboard'
import { button, h } from './dom'
import { documentPath, type Kind } from './route'
import { aboutServer, makeLink } from './server'
import { qrCode } from './qr'
import { shareable, type Holding, type Shareable } from './token'

/** How long a link may be asked to live, in s. */
const LIVES: readonly (readonly [string, number])[] = [['an hour', 3_600], ['a day', 86_400], ['a week', 604_800]]

let count = 0

export async function openShare(kind: Kind, name: string, holding: Holding | null): Promise<void> {
  const address = location.origin + documentPath(name, kind)
  const title = h('h2', { id: 'share-title' }, 'Share')
  const content = h('div', { class: 'stack' }, h('p', { class: 'soft', role: 'status' }, 'Asking the server…'))
  const close = h('form', { method: 'dialog', class: 'actions' }, h('button', { class: 'quiet' }, 'Close'))
  const dialog = h('dialog', { class: 'dialog share', 'aria-labelledby': 'share-title' }, title, content, close)
  dialog.addEventListener('close', () => dialog.remove())
  document.body.append(dialog)
  dialog.showModal()

  const about = await aboutServer()
  const may = holding === null ? null : shareable(holding, name)
  if (about?.access === 'tokens' && about.share && holding !== null && may !== null) {
    content.replaceChildren(...linkMaker(address, name, holding, may))
    content.querySelector<HTMLElement>('input:checked')?.focus()
    return
  }
  const shown = linkShown(address, plainText(about?.access ?? null, about?.share ?? false))
  content.replaceChildren(...shown)
  content.querySelector('input')?.select()
}

function plainText(access: 'open' | 'tokens' | null, makesLinks: boolean): string {
  if (access === 'open') return 'Whoever reaches this server may read and write this document: the link is all they need.'
  if (access === null) return 'The server does not answer: this is the address of the document.'
  const whose = 'This link carries no token. Whoever opens it needs one of their own.'
  return `${whose} ${makesLinks ? 'Your token does not let you make links that have one.' : 'This server makes no links that have one.'}`
}

/** The form, and what comes of it. */
function linkMaker(address: string, name: string, holding: Holding, may: Shareable): HTMLElement[] {
  const accesses = may.access === 'write' ? (['read', 'write'] as const) : (['read'] as const)
  const radios = accesses.map((access) =>
    h('label', { class: 'choice' }, h('input', { type: 'radio', name: 'access', value: access, checked: access === 'read' }), access === 'read' ? 'Read' : 'Read and write'))
  const lives = livesOf(may.seconds)
  const select = h('select', { id: 'share-lives' }, ...lives.map(([label, seconds], at) => h('option', { value: at, selected: seconds === 86_400 }, label)))
  const problem = h('p', { class: 'problem', role: 'alert' })
  const result = h('div', { class: 'stack' })
  const make = h('button', { type: 'submit', class: 'primary' }, 'Make a link')
  const form = h('form', { class: 'stack' },
    h('fieldset', { class: 'choices' }, h('legend', {}, 'Whoever has the link may'), ...radios),
    h('div', { class: 'choices' }, h('label', { for: 'share-lives' }, 'It works for'), select),
    make,
    problem)
  // What was made is no longer what the form says.
  form.addEventListener('change', () => result.replaceChildren())
  form.addEventListener('submit', async (event) => {
    event.preventDefault()
    const access = new FormData(form).get('access') === 'write' ? 'write' : 'read'
    const seconds = lives[select.selectedIndex]?.[1] ?? null
    problem.textContent = ''
    make.disabled = true
    const link = await makeLink(holding.token, { document: name, access, ...(seconds === null ? {} : { seconds }) })
    make.disabled = false
    if (!link.ok) return void (problem.textContent = `The server made no link: ${link.reason}`)
    const verb = access === 'write' ? 'read and write' : 'read'
    result.replaceChildren(...linkShown(`${address}#token=${link.token}`, `Whoever has this link may ${verb} until ${timeOf(link.expires * 1_000)}.`))
    result.querySelector('input')?.select()
  })
  return [form, result]
}

/** What may be chosen; null seconds is as long as may be. */
function livesOf(longest: number): readonly (readonly [string, number | null])[] {
  const fitting: (readonly [string, number | null])[] = LIVES.filter(([, seconds]) => seconds <= longest).map((one) => one)
  const isOne = fitting.some(([, seconds]) => seconds === longest)
  return isOne ? fitting : [...fitting, [`${lengthOf(longest)}, the longest`, null]]
}

/** The link with a button that copies it, and its code. */
function linkShown(address: string, text: string): HTMLElement[] {
  const id = `share-link-${++count}`
  const input = h('input', { type: 'text', id, readonly: true, value: address, spellcheck: false })
  input.addEventListener('focus', () => input.select())
  const told = h('p', { class: 'hint', role: 'status' })
  const copy = button('Copy', { class: 'quiet' }, async () => {
    const isCopied = await copyText(address)
    if (!isCopied) input.select()
    told.textContent = isCopied ? 'Copied' : 'Press Ctrl+C, or Cmd+C, to copy it'
  })
  const isHere = ['localhost', '127.0.0.1', '[::1]'].includes(location.hostname)
  return [
    h('p', {}, text),
    h('label', { for: id }, 'Link'),
    h('div', { class: 'row' }, input, copy),
    told,
    h('div', { class: 'qr-frame' }, qrCode(address, 'QR code of the link')),
    ...(isHere ? [h('p', { class: 'hint' }, `A phone cannot reach ${location.hostname}: that is this machine's name for itself.`)] : []),
  ]
}

function timeOf(ms: number): string {
  return new Date(ms).toLocaleString([], { weekday: 'short', day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' })
}

function lengthOf(seconds: number): string {
  const [unit, length] = ([['day', 86_400], ['hour', 3_600], ['minute', 60], ['second', 1]] as const).find(([, length]) => seconds >= length) ?? ['second', 1]
  const number = Math.floor(seconds / length)
  return `${number} ${unit}${number === 1 ? '' : 's'}`
}
