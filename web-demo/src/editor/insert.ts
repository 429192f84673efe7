// What comes from outside: pictures, Markdown and HTML, by pasting, dropping or opening a file.

import type { Editor, JSONContent } from '@tiptap/core'

import { chooseFile } from '../files'
import { say } from '../toast'
import { isOwn, fitPicture } from './picture'
import { schemaExtensions } from './schema'

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

/** Puts the content of a Markdown, HTML or text file where the cursor is. */
export async function insertFile(editor: Editor, file: File): Promise<void> {
  const text = await file.text()
  if (/\.html?$/i.test(file.name) || file.type === 'text/html') insertHtml(editor, text)
  else await insertMarkdown(editor, text)
}

function insertHtml(editor: Editor, html: string): void {
  editor.chain().focus().insertContent(withoutFarPictures(bodyOf(html))).run()
}

export async function insertMarkdown(editor: Editor, text: string): Promise<void> {
  const { content = [] } = (await markdown()).parse(text)
  if (!editor.isDestroyed && editor.isEditable) editor.chain().focus().insertContent(content.map(nearOnly)).run()
}

export async function markdownOf(editor: Editor): Promise<string> {
  return `${(await markdown()).serialize(editor.getJSON()).trim()}\n`
}

let manager: Promise<{ parse(text: string): JSONContent; serialize(json: JSONContent): string }> | null = null

/** Loaded when it is needed first. */
async function markdown() {
  manager ??= import('@tiptap/markdown').then(({ MarkdownManager }) => new MarkdownManager({ extensions: schemaExtensions() }))
  return manager
}

/** Whether a text that was pasted is meant as Markdown: several lines of which some are marked up, or a fence. */
export function looksLikeMarkdown(text: string): boolean {
  const lines = text.split('\n')
  if (/^(```|~~~)/m.test(text)) return true
  const marked = lines.filter((line) => /^(#{1,6} |\s*[-*+] |\s*\d+[.)] |> |\|.*\|\s*$|\s*- \[[ x]\] )/.test(line))
  return marked.length > 0 && (lines.length > 1 || /^#{1,6} /.test(text))
}

/** HTML in which pictures from elsewhere are links to them. */
export function withoutFarPictures(html: string): string {
  const page = new DOMParser().parseFromString(html, 'text/html')
  let far = 0
  for (const picture of page.querySelectorAll('img')) {
    const source = picture.getAttribute('src') ?? ''
    if (isOwn(source)) continue
    far++
    if (!/^https?:/i.test(source)) {
      picture.remove()
      continue
    }
    const link = page.createElement('a')
    link.href = source
    link.textContent = picture.alt || source
    picture.replaceWith(link)
  }
  if (far === 0) return html
  say(far === 1 ? 'A picture from elsewhere became a link. Copy the picture itself to put it in.' : `${far} pictures from elsewhere became links. Copy a picture itself to put it in.`)
  return page.body.innerHTML
}

function bodyOf(html: string): string {
  return new DOMParser().parseFromString(html, 'text/html').body.innerHTML
}

/** The same for Markdown. */
function nearOnly(node: JSONContent): JSONContent {
  if (node.type !== 'image') return node.content === undefined ? node : { ...node, content: node.content.map(nearOnly) }
  const { src = '', alt = '' } = (node.attrs ?? {}) as { src?: string | null; alt?: string | null }
  if (isOwn(src ?? '')) return node
  const text = alt || src || 'a picture'
  const isAddress = /^https?:/i.test(src ?? '')
  return { type: 'paragraph', content: [{ type: 'text', text, ...(isAddress ? { marks: [{ type: 'link', attrs: { href: src } }] } : {}) }] }
}

function altOf(name: string): string {
  // What was pasted is always called the same.
  return /^image\.\w+$/.test(name) ? '' : name.replace(/\.\w+$/, '')
}
