// What comes from outside, made to fit what a document may hold: it goes the way of HTML, for which ProseMirror finds a place
// whatever it is. Only what it would drop, or may not load, is changed before.

import { DOMParser as Reader, type Node, type Schema } from '@tiptap/pm/model'

import { isOwn } from './picture'

/** What of a text could not be taken as it is. */
export interface Left {
  /** Pictures from elsewhere that are links to them now. */
  links: number
  /** Pictures that no link leads to: what they show in words is left. */
  words: number
}

/** A blank that counts, on its way through HTML, where one beside another does not: this is no character of any text. */
export const BLANK = '\uFDD0'

export function fromHtml(html: string, schema: Schema, left: Left): Node {
  return Reader.fromSchema(schema).parse(fitted(html, left))
}

/** A text of HTML as elements that ProseMirror can find a place for, in a page of its own in which nothing is loaded or run. */
export function fitted(html: string, left: Left): HTMLElement {
  const { body } = new DOMParser().parseFromString(html, 'text/html')
  for (const list of body.querySelectorAll('ul:not([data-type])')) markTasks(list)
  // Code cannot be anything else in this schema, and an address is more than a look.
  for (const code of body.querySelectorAll('a code, code a')) unwrap(code.matches('code') ? code : code.closest('code'))
  for (const picture of body.querySelectorAll('img')) {
    if (isOwn(picture.getAttribute('src') ?? '')) splitAround(picture)
    else leaveOut(picture, left)
  }
  return body
}

function unwrap(element: Element | null): void {
  element?.replaceWith(...element.childNodes)
}

/** Items with a box in front are tasks; others between them are a list of their own. */
function markTasks(list: Element): void {
  const boxes = new Map([...list.children].map((item) => [item, item.querySelector<HTMLInputElement>(':scope > input[type="checkbox"]:first-child, :scope > p:first-child > input[type="checkbox"]:first-child')]))
  if ([...boxes.values()].every((box) => box === null)) return
  let run: Element | null = null
  for (const [item, box] of boxes) {
    const isTask = box !== null
    if (run === null || run.hasAttribute('data-type') !== isTask) {
      run = list.ownerDocument.createElement('ul')
      if (isTask) run.setAttribute('data-type', 'taskList')
      list.before(run)
    }
    run.append(item)
    if (!isTask) continue
    item.setAttribute('data-type', 'taskItem')
    item.setAttribute('data-checked', String(box.hasAttribute('checked')))
    const { nextSibling } = box
    if (nextSibling?.nodeType === 3) nextSibling.nodeValue = (nextSibling.nodeValue ?? '').replace(/^[ \t\n]+/, '')
    box.remove()
  }
  list.remove()
}

/** A picture is a block: what stands before it in a line and what follows are blocks, too. */
function splitAround(picture: HTMLElement): void {
  const block = picture.closest('p, h1, h2, h3, h4, h5, h6')
  if (block === null) return
  const range = block.ownerDocument.createRange()
  range.setStart(block, 0)
  range.setEndBefore(picture)
  const before = block.cloneNode() as Element
  before.append(range.extractContents())
  block.before(before, picture)
  for (const [half, edge] of [[before, 'end'], [block, 'start']] as const) {
    if ((half.textContent ?? '').replaceAll(BLANK, '').trim() === '' && half.querySelector('img') === null) half.remove()
    else trimEdge(half, edge)
  }
}

function trimEdge(block: Element, edge: 'start' | 'end'): void {
  const texts = block.ownerDocument.createTreeWalker(block, NodeFilter.SHOW_TEXT)
  let text: Text | null = null
  while (texts.nextNode() !== null) {
    text = texts.currentNode as Text
    if (edge === 'start') break
  }
  if (text !== null) text.data = text.data.replace(new RegExp(edge === 'start' ? `^[\\s${BLANK}]+` : `[\\s${BLANK}]+$`), '')
}

/** Loading a picture from elsewhere would tell that site who reads here. */
function leaveOut(picture: HTMLImageElement, left: Left): void {
  const source = picture.getAttribute('src') ?? ''
  const isAddress = /^https?:/i.test(source)
  const isLinked = picture.closest('a') !== null
  const text = picture.alt || (isAddress ? source : '')
  if (isAddress && !isLinked) left.links++
  else left.words++
  if (!isAddress || isLinked) return picture.replaceWith(text)
  const link = picture.ownerDocument.createElement('a')
  link.href = source
  link.textContent = text
  picture.replaceWith(link)
}
