// Files out of the page and into it.

import { h } from './dom'

export function saveFile(name: string, type: string, ...parts: BlobPart[]): void {
  const link = h('a', { href: URL.createObjectURL(new Blob(parts, { type })), download: name })
  link.click()
  URL.revokeObjectURL(link.href)
}

/** A title as the name of a file, without the part behind the dot. */
export function fileNameOf(title: string): string {
  return title.replace(/[^\p{L}\p{N} ._-]/gu, '').trim() || 'document'
}

/** Lets the person choose a file; nothing happens if they don't. */
export function chooseFile(accept: string, use: (file: File) => void): void {
  const input = h('input', { type: 'file', accept })
  input.addEventListener('change', () => {
    const [file] = input.files ?? []
    if (file !== undefined) use(file)
  })
  input.click()
}
