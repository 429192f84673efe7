// Who one is to the others: a name and a colour, kept in this browser.

import { read, readJson, write } from './browser-store'

export interface Profile {
  readonly name: string
  readonly color: string
}

/** One's own: `given` while nobody has chosen the name. */
export interface OwnProfile extends Profile {
  readonly given: boolean
}

export const NAME_LENGTH_MAX = 40

/** White text on each of these has a contrast of at least 4.5. */
export const COLORS = [
  { label: 'Blue', value: '#1864ab' },
  { label: 'Violet', value: '#5f3dc4' },
  { label: 'Plum', value: '#862e9c' },
  { label: 'Raspberry', value: '#b0215a' },
  { label: 'Red', value: '#c02424' },
  { label: 'Copper', value: '#a3460a' },
  { label: 'Green', value: '#237032' },
  { label: 'Sea', value: '#0b6e75' },
  { label: 'Olive', value: '#5a6212' },
  { label: 'Walnut', value: '#74492a' },
  { label: 'Slate', value: '#48566a' },
  { label: 'Navy', value: '#26377f' },
] as const

export const ANIMALS = ['Otter', 'Heron', 'Fox', 'Wren', 'Lynx', 'Badger', 'Robin', 'Hare', 'Seal', 'Finch', 'Marten', 'Owl', 'Stoat', 'Crane', 'Moth', 'Newt', 'Vole', 'Swift', 'Hedgehog', 'Plover'] as const

export function ownProfile(): OwnProfile {
  const json = readJson('local', 'profile')
  const stored = profileFrom(json)
  if (stored !== null) return { ...stored, given: typeof json === 'object' && json !== null && 'given' in json && json.given === true }
  const fresh = { name: pick(ANIMALS), color: pick(COLORS).value, given: true }
  keepProfile(fresh)
  return fresh
}

export function keepProfile(profile: OwnProfile): void {
  write('local', 'profile', JSON.stringify(profile))
}

/** What the windows of this browser have in common, so that others take them for one person. */
export function ownPerson(): string {
  const stored = read('local', 'person')
  if (stored !== null) return stored
  const fresh = crypto.getRandomValues(new Uint32Array(2)).join('-')
  write('local', 'person', fresh)
  return fresh
}

/** What a peer or the storage says about somebody, checked: both can hold anything. */
export function profileFrom(value: unknown): Profile | null {
  if (typeof value !== 'object' || value === null) return null
  const name = 'name' in value && typeof value.name === 'string' ? value.name.trim().slice(0, NAME_LENGTH_MAX) : ''
  const color = 'color' in value && typeof value.color === 'string' ? value.color : ''
  if (name === '' || !/^#[0-9a-f]{6}$/i.test(color)) return null
  return { name, color }
}

export const NOBODY: Profile = { name: 'Somebody', color: '#5b6270' }

/** First letters of the first two words. */
export function initials(name: string): string {
  const words = name.split(/\s+/).filter((word) => word !== '')
  return words.slice(0, 2).map((word) => firstLetter(word).toUpperCase()).join('')
}

/** As a reader sees it: an emoji of several code points is one. */
function firstLetter(word: string): string {
  // To find the letters of others takes a browser tens of milliseconds, once.
  if (/^\w(?![^\x00-\x7f])/.test(word)) return word.slice(0, 1)
  for (const { segment } of new Intl.Segmenter().segment(word)) return segment
  return ''
}

/** Black or white, whichever is read more easily on that colour. */
export function inkOn(color: string): '#000000' | '#ffffff' {
  const channels = [1, 3, 5].map((at) => Number.parseInt(color.slice(at, at + 2), 16) / 255)
  const [red = 0, green = 0, blue = 0] = channels.map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
  const luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
  return luminance > 0.179 ? '#000000' : '#ffffff'
}

function pick<T>(items: readonly [T, ...T[]] | readonly T[]): T {
  const item = items[Math.floor(Math.random() * items.length)]
  if (item === undefined) throw new Error('there is nothing to pick from')
  return item
}
