// The documents that were opened in this browser, latest first.

import { readJson, write } from './browser-store'
import { kinds, parseName, type Kind } from './route'

export interface RecentDocument {
  readonly kind: Kind
  readonly name: string
  readonly title: string
  /** ms since 1970 */
  readonly openedAt: number
}

const KEPT_MAX = 30

export function recentDocuments(): RecentDocument[] {
  const stored = readJson('local', 'recent')
  return Array.isArray(stored) ? stored.map(recentFrom).filter((entry) => entry !== null) : []
}

export function rememberDocument(kind: Kind, name: string, title: string): void {
  const others = recentDocuments().filter((entry) => entry.name !== name || entry.kind !== kind)
  write('local', 'recent', JSON.stringify([{ kind, name, title, openedAt: Date.now() }, ...others].slice(0, KEPT_MAX)))
}

export function forgetDocument(name: string): void {
  write('local', 'recent', JSON.stringify(recentDocuments().filter((entry) => entry.name !== name)))
}

function recentFrom(value: unknown): RecentDocument | null {
  if (typeof value !== 'object' || value === null) return null
  if (!('name' in value) || typeof value.name !== 'string' || !parseName(value.name).ok) return null
  const title = 'title' in value && typeof value.title === 'string' ? value.title : value.name
  const openedAt = 'openedAt' in value && typeof value.openedAt === 'number' ? value.openedAt : 0
  const kind = kinds().find((each) => 'kind' in value && value.kind === each) ?? 'document'
  return { kind, name: value.name, title, openedAt }
}
