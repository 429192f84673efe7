// Pictures, which lie in the document itself: small, so that the document stays so, and none is loaded from elsewhere.

import { Image } from '@tiptap/extension-image'

/** Largest picture in a document, in bytes. */
export const PICTURE_BYTES_MAX = 300 * 1024
/** Longest side, in pixels. */
const SIDE_MAX = 1_600
const KEPT_AS_THEY_ARE = ['image/png', 'image/jpeg', 'image/webp', 'image/gif', 'image/avif']

/** A picture whose address is elsewhere is shown as a link: loading it would tell that site who reads here. */
export const Picture = Image.extend({
  renderHTML({ node, HTMLAttributes }) {
    const source: unknown = node.attrs['src']
    const alt: unknown = node.attrs['alt']
    if (typeof source === 'string' && isOwn(source)) return ['img', { ...HTMLAttributes, alt: typeof alt === 'string' ? alt : '' }]
    const address = typeof source === 'string' && /^https?:/i.test(source) ? source : null
    return ['p', { class: 'far-picture' }, ['a', { href: address, rel: 'noopener noreferrer nofollow', target: '_blank' }, `Picture: ${typeof alt === 'string' && alt !== '' ? alt : (address ?? 'of an unknown kind')}`]]
  },
}).configure({ allowBase64: true })

export function isOwn(source: string): boolean {
  return /^data:image\/(png|jpeg|webp|gif|avif);/i.test(source)
}

export type MadeFit = { readonly ok: true; readonly source: string } | { readonly ok: false; readonly why: string }

/** The picture as a data URL within the bound, made smaller if need be. */
export async function fitPicture(file: File): Promise<MadeFit> {
  const bitmap = await createImageBitmap(file).catch(() => null)
  if (bitmap === null) return { ok: false, why: `${file.name || 'This'} is no picture that this browser can read.` }
  const longest = Math.max(bitmap.width, bitmap.height)
  if (KEPT_AS_THEY_ARE.includes(file.type) && file.size <= PICTURE_BYTES_MAX && longest <= 2 * SIDE_MAX) return { ok: true, source: await dataUrl(file) }
  for (const [side, quality] of [[SIDE_MAX, 0.85], [SIDE_MAX, 0.7], [1_000, 0.7], [640, 0.6]] as const) {
    const blob = await scaled(bitmap, Math.min(1, side / longest), quality)
    if (blob !== null && blob.size <= PICTURE_BYTES_MAX) return { ok: true, source: await dataUrl(blob) }
  }
  return { ok: false, why: `The picture stays above ${PICTURE_BYTES_MAX / 1024} KiB even when it is made smaller, which is all that a document takes.` }
}

async function scaled(bitmap: ImageBitmap, factor: number, quality: number): Promise<Blob | null> {
  const canvas = document.createElement('canvas')
  canvas.width = Math.max(1, Math.round(bitmap.width * factor))
  canvas.height = Math.max(1, Math.round(bitmap.height * factor))
  canvas.getContext('2d')?.drawImage(bitmap, 0, 0, canvas.width, canvas.height)
  const made = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, 'image/webp', quality))
  // A browser that writes no WebP writes PNG instead, which is large.
  return made?.type === 'image/webp' ? made : new Promise((resolve) => canvas.toBlob(resolve, 'image/jpeg', quality))
}

async function dataUrl(blob: Blob): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader()
    reader.onload = () => resolve(String(reader.result))
    reader.onerror = () => reject(reader.error ?? new Error('the picture cannot be read'))
    reader.readAsDataURL(blob)
  })
}
