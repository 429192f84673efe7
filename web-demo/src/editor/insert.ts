// What comes from outside: pictures, Markdown and HTML, by pasting, dropping or opening a file.

import type { Editor } from '@tiptap/core'
import type { Fragment, Node } from '@tiptap/pm/model'
import { Selection } from '@tiptap/pm/state'

import { chooseFile } from '../files'
import { say } from '../toast'
import { fitted, fromHtml, type Left } from './fit'
import { fitPicture } from './picture'

export function choosePicture(editor: Editor): void {
  chooseFile('image/*', (file) => void insertPictures(editor, [file]))
}

export async function insertPictures(editor: Editor, files: readonly File[]): Promise<void> {
  for (const file of files) {
    const made = await fitPicture(file)
    if (editor.isDestroyed || !editor.isEditable) return
    if (!made.ok) say(made.why)
    else editor.chain().focus().insertContent({ type: 'image', attrs: { src: made.source, alt: altOf(file.name) } }).run()
  }
}

/** Puts the content of a Markdown, HTML or text file where the cursor is, or a picture; what cannot be put in is told. */
export async function insertFile(editor: Editor, file: File): Promise<void> {
  if (file.type.startsWith('image/')) return insertPictures(editor, [file])
  const bytes = await file.arrayBuffer().catch(() => null)
  const text = bytes === null ? null : textOf(bytes)
  if (text === null) return say(`${file.name} cannot be put in: it is neither a text nor a picture.`)
  if (text.trim() === '') return say(`${file.name} is empty.`)
  if (/\.html?$/i.test(file.name) || file.type === 'text/html') insertHtml(editor, text)
  else await insertMarkdown(editor, text)
}

/** Null if they are no text. */
function textOf(bytes: ArrayBuffer): string | null {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
    return text.includes('\0') ? null : text
  } catch {
    return null
  }
}

function insertHtml(editor: Editor, html: string): void {
  const left = { links: 0, words: 0 }
  put(editor, fromHtml(html, editor.schema, left))
  tell(left)
}

export async function insertMarkdown(editor: Editor, text: string): Promise<void> {
  const left = { links: 0, words: 0 }
  const doc = await import('./markdown').then(({ fromMarkdown }) => fromMarkdown(text, editor.schema, left)).catch(() => null)
  if (editor.isDestroyed || !editor.isEditable) return
  if (doc !== null) put(editor, doc)
  // The program that reads Markdown is not there (there is no connection), or has a fault: the text itself is never lost.
  else editor.chain().focus().insertContent(text.split('\n').map((line) => ({ type: 'paragraph', content: line === '' ? [] : [{ type: 'text', text: line }] }))).run()
  tell(left)
}

/** Puts what a document holds where the cursor is: one paragraph into the line, else blocks between blocks. */
function put(editor: Editor, { content }: Node): void {
  let isPut = false
  try {
    isPut = puts(editor, content)
  } catch (error) {
    // The document is as it was.
    console.error(error)
  }
  if (!isPut) say('There is nothing in it that can be put in here.')
}

function puts(editor: Editor, content: Fragment): boolean {
  return editor.chain().focus().command(({ tr }) => {
    if (content.firstChild?.childCount === 0 && content.childCount === 1 && content.firstChild.isTextblock) return false
    tr.deleteSelection()
    const { $from } = tr.selection
    const { parent, parentOffset } = $from
    if (parent.type.spec.code) tr.insertText(content.textBetween(0, content.size, '\n'))
    else if (content.childCount === 1 && content.firstChild?.type.name === 'paragraph' && parent.inlineContent) tr.replaceWith($from.pos, $from.pos, content.firstChild.content)
    else {
      const [from, to] = !parent.isTextblock ? [$from.pos, $from.pos]
        : parent.childCount === 0 ? [$from.before(), $from.after()]
        : parentOffset === 0 ? [$from.before(), $from.before()]
        : parentOffset === parent.content.size ? [$from.after(), $from.after()]
        : [$from.pos, $from.pos]
      const behind = tr.doc.content.size - to
      tr.replaceWith(from, to, content)
      tr.setSelection(Selection.near(tr.doc.resolve(tr.doc.content.size - behind), -1))
    }
    tr.scrollIntoView()
    return tr.docChanged
  }).run()
}

/** What became of pictures. */
function tell({ links, words }: Left): void {
  if (links === 1 && words === 0) say('A picture from elsewhere became a link. Copy the picture itself to put it in.')
  else if (links > 0) say(`${links + words} pictures from elsewhere became links${words > 0 ? ' or words' : ''}. Copy a picture itself to put it in.`)
  else if (words > 0) say(words === 1 ? 'A picture is not in the text itself, and became words. Copy the picture itself to put it in.' : `${words} pictures are not in the text itself, and became words. Copy a picture itself to put it in.`)
}

export async function markdownOf(editor: Editor): Promise<string> {
  return (await import('./markdown')).toMarkdown(editor.state.doc)
}

/** Whether a text that was pasted is meant as Markdown: several lines of which some are marked up, or a fence. */
export function looksLikeMarkdown(text: string): boolean {
  const lines = text.split('\n')
  if (/^(```|~~~)/m.test(text)) return true
  const marked = lines.filter((line) => /^(#{1,6} |\s*[-*+] |\s*\d+[.)] |> |\|.*\|\s*$|\s*- \[[ x]\] )/.test(line))
  return marked.length > 0 && (lines.length > 1 || /^#{1,6} /.test(text))
}

/** HTML that was pasted, made to fit. */
export function fitHtml(html: string): string {
  const left = { links: 0, words: 0 }
  const { innerHTML } = fitted(html, left)
  tell(left)
  return innerHTML
}

function altOf(name: string): string {
  // What was pasted is always called the same.
  return /^image\.\w+$/.test(name) ? '' : name.replace(/\.\w+$/, '')
}
