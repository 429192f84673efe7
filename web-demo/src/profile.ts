// Who one is to the others: a name and a colour, kept in this browser.

import { readJson, write } from './browser-store'

export interface Profile {
  readonly name: string
  readonly color: string
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
] as const

const ANIMALS = ['Otter', 'Heron', 'Fox', 'Wren', 'Lynx', 'Badger', 'Robin', 'Hare', 'Seal', 'Finch', 'Marten', 'Owl']

export function ownProfile(): Profile {
  const stored = profileFrom(readJson('local', 'profile'))
  if (stored !== null) return stored
  const fresh = { name: `${pick(ANIMALS)}`, color: pick(COLORS).value }
  keepProfile(fresh)
  return fresh
}

export function keepProfile(profile: Profile): void {
  write('local', 'profile', JSON.stringify(profile))
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
  return words.slice(0, 2).map((word) => [...word][0]?.toUpperCase() ?? '').join('')
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
