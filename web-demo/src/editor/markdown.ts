// A document as Markdown, and Markdown as a document.
//
// What goes out is read again, block by block: one that Markdown cannot say, such as a table without a head, goes out as
// HTML, which Markdown may hold.

import { DOMSerializer, Fragment, type Mark, type Node, type Schema } from '@tiptap/pm/model'
import { Marked, type Tokens } from 'marked'

import { BLANK, fromHtml, type Left } from './fit'

/** A paragraph in which nothing is written; a blank that does not break is written `&#160;`. */
const NOTHING = '&nbsp;'

/** A tab as {@link BLANK}. */
const TAB = '\uFDD1'

const reader = new Marked({
  renderer: {
    text(token) {
      if ('tokens' in token && token.tokens) return this.parser.parseInline(written(token.tokens))
      const text = 'escaped' in token && token.escaped ? token.text : escaped(token.text, /[<>"']|&(?!(#\d{1,7}|#[Xx][a-fA-F0-9]{1,6}|\w+);)/g)
      return blanksCount(text.replaceAll('\n', ' '))
    },
    html: ({ text }) => text.replaceAll('&#32;', BLANK).replaceAll('&#9;', TAB),
    codespan: ({ text }) => `<code>${blanksCount(escaped(text))}</code>`,
    paragraph({ tokens }) {
      return `<p>${this.parser.parseInline(written(tokens))}</p>\n`
    },
    checkbox: ({ checked }) => `<input type="checkbox"${checked ? ' checked' : ''}>`,
    code({ text, lang = '' }) {
      const language = /^\S*/.exec(lang)?.[0] ?? ''
      return `<pre><code${language === '' ? '' : ` class="language-${escaped(language)}"`}>${escaped(text)}</code></pre>\n`
    },
  },
})

function written(tokens: Tokens.Generic[]): Tokens.Generic[] {
  const words = tokens.filter(({ type }) => type !== 'checkbox')
  return words.length === 1 && words[0]?.raw.trim() === NOTHING ? tokens.filter(({ type }) => type === 'checkbox') : tokens
}

function blanksCount(text: string): string {
  return text.replace(/^ | $| (?= )|&#32;/g, BLANK).replace(/\t|&#9;/g, TAB)
}

/** The same with the blanks that were meant. */
function withBlanks(node: Node): Node {
  if (node.isText) {
    const text = node.text ?? ''
    return new RegExp(`[${BLANK}${TAB}]`).test(text) ? node.type.schema.text(text.replaceAll(BLANK, ' ').replaceAll(TAB, '\t'), node.marks) : node
  }
  const children: Node[] = []
  node.forEach((child) => children.push(withBlanks(child)))
  return node.copy(Fragment.from(children))
}

function escaped(text: string, what = /[&<>"']/g): string {
  return text.replace(what, (character) => `&#${character.charCodeAt(0)};`)
}

/** The document that a Markdown text means, as far as the schema can hold it. */
export function fromMarkdown(text: string, schema: Schema, left: Left): Node {
  return withBlanks(fromHtml(reader.parse(text, { async: false }), schema, left))
}

/** The whole document as Markdown, from which {@link fromMarkdown} makes the same again. */
export function toMarkdown(doc: Node): string {
  const isSaid = (text: string, node: Node): boolean => {
    const { content } = fromMarkdown(text, doc.type.schema, { links: 0, words: 0 })
    return content.childCount === 1 && content.firstChild !== null && sameAs(content.firstChild, node)
  }
  return `${blocksOf(doc, (node, isOther) => {
    const text = blockOf(node, isOther)
    if (isSaid(text, node)) return text
    const html = asHtml(node)
    return isSaid(html, node) ? html : text
  }).trim()}\n`
}

/** Whether both say the same, however a link is opened. */
function sameAs(one: Node, other: Node): boolean {
  return JSON.stringify(one.toJSON(), plain) === JSON.stringify(other.toJSON(), plain)
}

function plain(key: string, value: unknown): unknown {
  return value === null || ['rel', 'target', 'class', 'colwidth'].includes(key) ? undefined : value
}

/** On one line, since Markdown's HTML ends with a line that is empty. */
function asHtml(node: Node): string {
  const page = document.implementation.createHTMLDocument()
  page.body.append(DOMSerializer.fromSchema(node.type.schema).serializeNode(node, { document: page }))
  for (const styled of page.querySelectorAll('[style], colgroup')) styled.matches('colgroup') ? styled.remove() : styled.removeAttribute('style')
  const texts = page.createTreeWalker(page.body, NodeFilter.SHOW_TEXT)
  while (texts.nextNode() !== null) {
    const text = texts.currentNode as Text
    if (text.parentElement?.closest('pre') === null) text.data = blanksCount(text.data)
  }
  return page.body.innerHTML.replaceAll('\n', '&#10;').replaceAll(BLANK, '&#32;').replaceAll(TAB, '&#9;')
}

type Say = (node: Node, isOther: boolean) => string

/** `isOther`: it begins with another sign than the list before it, of which it would be a part. */
function blocksOf(parent: Node, say: Say = blockOf): string {
  let text = ''
  let isOther = false
  parent.forEach((node, _, at) => {
    const before = at === 0 ? null : parent.child(at - 1)
    isOther = before !== null && signOf(before) !== '' && signOf(before) === signOf(node) && !isOther
    if (before !== null) text += isTight(parent, before, node) ? '\n' : '\n\n'
    text += say(node, isOther)
  })
  return text
}

function signOf({ type: { name } }: Node): string {
  return { bulletList: '-', taskList: '-', orderedList: '.' }[name] ?? ''
}

/** A list that follows the line of its item. */
function isTight(parent: Node, before: Node, node: Node): boolean {
  return isItem(parent) && before.type.name === 'paragraph' && before.childCount > 0 && (signOf(node) === '-' || (signOf(node) === '.' && node.attrs['start'] === 1))
}

function isItem({ type: { name } }: Node): boolean {
  return name === 'listItem' || name === 'taskItem'
}

function blockOf(node: Node, isOther: boolean): string {
  switch (node.type.name) {
    case 'paragraph':
      return node.childCount === 0 ? NOTHING : linesOf(node)
    case 'heading':
      return `${'#'.repeat(Number(node.attrs['level']))} ${oneLine(node).replace(/(#+)$/, '\\$1')}`.trimEnd()
    case 'bulletList':
    case 'taskList':
      return itemsOf(node, () => (isOther ? '*' : '-'))
    case 'orderedList':
      return itemsOf(node, (at) => `${Number(node.attrs['start']) + at}${isOther ? ')' : '.'}`)
    case 'blockquote':
      return blocksOf(node).replace(/^/gm, '> ').replace(/^> $/gm, '>')
    case 'codeBlock':
      return fenced(node)
    case 'horizontalRule':
      return '---'
    case 'image':
      return `![${escape(String(node.attrs['alt'] ?? ''))}](${target(node.attrs)})`
    case 'table':
      return tableOf(node)
    default:
      return asHtml(node)
  }
}

function itemsOf(list: Node, signAt: (at: number) => string): string {
  const items: string[] = []
  let isLoose = false
  list.forEach((item, _, at) => {
    const box = item.type.name === 'taskItem' ? `[${item.attrs['checked'] === true ? 'x' : ' '}] ` : ''
    const sign = signAt(at)
    const isEmpty = item.childCount === 1 && item.firstChild?.childCount === 0
    const text = isEmpty && box === '' ? '' : blocksOf(item)
    isLoose ||= text.includes('\n\n')
    items.push(`${sign} ${box}${text}`.replaceAll('\n', `\n${' '.repeat(sign.length + 1)}`).replace(/^ +$/gm, '').trimEnd())
  })
  return items.join(isLoose ? '\n\n' : '\n')
}

function fenced({ textContent, attrs }: Node): string {
  const language = String(attrs['language'] ?? '')
  const sign = language.includes('`') ? '~' : '`'
  const longest = Math.max(2, ...(textContent.match(new RegExp(`${sign}+`, 'g')) ?? []).map(({ length }) => length))
  const fence = sign.repeat(longest + 1)
  return `${fence}${language}\n${textContent === '' ? '' : `${textContent}\n`}${fence}`
}

/** Its first row is its head, and each cell is one line; what is otherwise goes out as HTML. */
function tableOf(table: Node): string {
  const rows: string[] = []
  table.forEach((row, _, at) => {
    const cells: string[] = []
    const rules: string[] = []
    row.forEach((cell) => {
      const align = String(cell.attrs['align'] ?? '')
      cells.push(cell.firstChild?.isTextblock === true ? oneLine(cell.firstChild, true) : '')
      rules.push(`${align === 'left' || align === 'center' ? ':' : ''}---${align === 'right' || align === 'center' ? ':' : ''}`)
    })
    rows.push(`| ${cells.join(' | ')} |`)
    if (at === 0) rows.push(`| ${rules.join(' | ')} |`)
  })
  return rows.join('\n')
}

/** Lines of a paragraph: none begins or ends with a blank, or begins as another block would. */
function linesOf(block: Node): string {
  return inlineOf(block, false).split('\n').map((line, at, all) => {
    // The sign for the break stays at the end.
    const isBroken = at < all.length - 1
    const text = blanksKept(isBroken ? line.slice(0, -1) : line)
      .replace(/^([-+=])(?=[-+=:|\s]|$)/, '\\$1')
      .replace(/^(#{1,6})(?=\s|$)/, '\\$1')
      .replace(/^([>|]|:(?=[-:|]))/, '\\$1')
      .replace(/^(\d{1,9})([.)])(?=\s|$)/, '$1\\$2')
    return isBroken ? `${text}\\` : text
  }).join('\n')
}

function oneLine(block: Node, isCell = false): string {
  const text = blanksKept(inlineOf(block, true))
  return isCell ? text.replaceAll('|', '\\|') : text
}

function blanksKept(text: string): string {
  const blank = (character: string): string => `&#${character.charCodeAt(0)};`
  return text.replace(/^[ \t]/, blank).replace(/[ \t]$/, blank)
}

interface Piece {
  readonly text: string
  readonly marks: readonly Mark[]
  readonly isCode: boolean
}

/** From the outermost. */
const MARKS = ['link', 'bold', 'italic', 'strike', 'underline', 'code']

/** `isLine`: it may have no line breaks. */
function inlineOf(block: Node, isLine: boolean): string {
  const pieces: Piece[] = []
  block.forEach((node, _, at) => {
    const isBreak = node.type.name === 'hardBreak'
    const isCode = node.marks.some(({ type }) => type.name === 'code')
    const text = isBreak ? (isLine || at === block.childCount - 1 ? '<br>' : '\\\n') : isCode ? (node.text ?? '') : escape(node.text ?? '')
    pieces.push({ text, isCode, marks: [...node.marks].sort((a, b) => MARKS.indexOf(a.type.name) - MARKS.indexOf(b.type.name)) })
  })
  return piecesOf(pieces, '')
}

/** `before` is what stands before them. */
function piecesOf(pieces: readonly Piece[], before: string, after = ''): string {
  let text = ''
  for (let at = 0; at < pieces.length;) {
    const piece = pieces[at]
    if (piece === undefined) break
    const [mark, until] = longest(pieces, at)
    if (mark === null) {
      text += piece.isCode ? codeOf(piece.text) : piece.text
      at++
      continue
    }
    const inner = pieces.slice(at, until).map((one) => ({ ...one, marks: one.marks.filter((its) => its.type !== mark.type) }))
    const next = pieces[until]
    const follows = next === undefined ? after : next.marks.length > 0 ? '*' : next.text
    text += marked(mark, inner, before + text, follows)
    at = until
  }
  return text
}

/** The mark that reaches farthest from here, and where it ends. */
function longest(pieces: readonly Piece[], at: number): [Mark | null, number] {
  let [mark, until]: [Mark | null, number] = [null, at]
  for (const one of pieces[at]?.marks ?? []) {
    let end = at
    while (pieces[end]?.marks.some((other) => other.eq(one)) === true) end++
    if (end > until && one.type.name !== 'code') [mark, until] = [one, end]
  }
  return [mark, until]
}

function marked(mark: Mark, inner: readonly Piece[], before: string, after: string): string {
  const bare = piecesOf(inner, '*', '*')
  switch (mark.type.name) {
    case 'link': {
      const href = String(mark.attrs['href'] ?? '')
      const [only] = inner
      if (inner.length === 1 && only?.marks.length === 0 && mark.attrs['title'] == null && /^https?:\/\/[^\s<>\\]+$/.test(href) && escape(href) === only.text) return `<${href}>`
      return `[${bare}](${target({ src: href, title: mark.attrs['title'] })})`
    }
    case 'bold':
      return isFlanked(bare, before, after) ? `**${bare}**` : `<strong>${bare}</strong>`
    case 'italic':
      return isFlanked(bare, before, after) && !isWord(before.at(-1)) && !isWord(after[0]) ? `_${bare}_` : `<em>${bare}</em>`
    case 'strike':
      return isFlanked(bare, before, after) ? `~~${bare}~~` : `<s>${bare}</s>`
    case 'underline':
      return `<u>${bare}</u>`
    default:
      return bare
  }
}

/** Whether signs around this text are taken for such, by the rules of CommonMark. */
function isFlanked(text: string, before: string, after: string): boolean {
  const [first, last] = [text[0], text.at(-1)]
  return !isBlank(first) && !isBlank(last) && (isWord(first) || !isWord(before.at(-1))) && (isWord(last) || !isWord(after[0]))
}

function isBlank(character = ' '): boolean {
  return /\s/.test(character)
}

function isWord(character = ' '): boolean {
  return !/[\s\p{P}\p{S}]/u.test(character)
}

function codeOf(text: string): string {
  const longest = Math.max(0, ...(text.match(/`+/g) ?? []).map(({ length }) => length))
  const fence = '`'.repeat(longest + 1)
  const pad = /^`|`$|^ .*[^ ].* $/.test(text) ? ' ' : ''
  return fence + pad + text + pad + fence
}

/** Nothing in a text is a sign for anything. */
function escape(text: string): string {
  return text
    .replace(/[\\`*[\]<~]|(?<![\p{L}\p{N}])_|_(?![\p{L}\p{N}])/gu, '\\$&')
    .replace(/&(?=#?\w+;)/g, '\\&')
    // What would become a link by itself.
    .replace(/\b(https?|ftp)(?=:\/\/)/gi, '$1\\')
    .replace(/\b(www)(?=\.)/gi, '$1\\')
    .replace(/(?<=[\w.+-])@(?=\w)/g, '\\@')
    .replace(/\u00a0/g, '&#160;')
    .replace(/\r\n?|\n/g, '&#10;')
}

function target({ src, title }: Readonly<Record<string, unknown>>): string {
  const address = String(src ?? '')
  const isPlain = /^[^\s<>()\\&*_[\]`]+$/.test(address)
  const named = typeof title === 'string' && title !== '' ? ` "${title.replace(/[\\"]/g, '\\$&').replace(/&(?=#?\w+;)/g, '\\&')}"` : ''
  return (isPlain ? address : `<${address.replace(/[\\<>]/g, '\\$&').replace(/&(?=#?\w+;)/g, '\\&').replace(/\s/g, encodeURIComponent)}>`) + named
}
