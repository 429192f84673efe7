// Who is who among those here. Pure: from the awareness of a document to names, colours and an order.
//
// Awareness carries `user: { name, color, person, since }`. `person` is the same in all windows of one browser,
// `since` grows with everybody who comes; with a token the server puts in `id`, `verified` and what the token says.

import { ANIMALS, COLORS, profileFrom, type OwnProfile, type Profile } from './profile'

/** What of one's name and colour a token decides. */
export interface Identity {
  readonly name: string | null
  readonly color: string | null
}

export interface Somebody extends Profile {
  readonly client: number
  /** The name as it is shown: of two with one name the later one gets a number. */
  readonly label: string
  readonly person: string | null
  readonly since: number
  /** The server vouches for the name. */
  readonly verified: boolean
}

/** Everybody who has said who they are, in the order in which they came. */
export function everybody(states: ReadonlyMap<number, Record<string, unknown>>): Somebody[] {
  const all = [...states].map(([client, state]) => somebodyFrom(client, state['user'])).filter((one) => one !== null)
  all.sort(cameBefore)
  const times = new Map<string, number>()
  return all.map((one) => {
    const time = (times.get(one.name) ?? 0) + 1
    times.set(one.name, time)
    return { ...one, label: time === 1 ? one.name : `${one.name} ${time}` }
  })
}

export function cameBefore(a: { readonly since: number; readonly client: number }, b: { readonly since: number; readonly client: number }): number {
  return a.since - b.since || a.client - b.client
}

/** One's own name and colour beside those who came before: a given name and a colour are changed when they are taken. */
export function fitIn(own: OwnProfile, identity: Identity, person: string, before: readonly Somebody[]): Profile {
  const names = new Set(before.filter((one) => one.person !== person).map(({ name }) => name))
  const colors = new Set(before.map(({ color }) => color.toLowerCase()))
  const name = identity.name ?? (own.given ? firstFree(ANIMALS, own.name, names) : own.name)
  const color = identity.color ?? firstFree(COLORS.map(({ value }) => value), own.color, colors)
  return { name, color }
}

/** `wanted`, or else the first after it that nobody has; all are taken: `wanted`. */
function firstFree(choices: readonly string[], wanted: string, taken: ReadonlySet<string>): string {
  const from = Math.max(0, choices.indexOf(wanted))
  const order = [wanted, ...choices.slice(from), ...choices.slice(0, from)]
  return order.find((one) => !taken.has(one)) ?? wanted
}

function somebodyFrom(client: number, user: unknown): Omit<Somebody, 'label'> | null {
  const profile = profileFrom(user)
  if (profile === null || typeof user !== 'object' || user === null) return null
  const person = 'person' in user && typeof user.person === 'string' ? user.person : null
  const since = 'since' in user && typeof user.since === 'number' ? user.since : 0
  const verified = 'verified' in user && Array.isArray(user.verified) && user.verified.includes('name')
  return { client, ...profile, person, since, verified }
}
