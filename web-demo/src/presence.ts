// Who one is among those here, told to the others and kept free of clashes; and who came and went.

import { keepProfile, ownPerson, ownProfile, type OwnProfile, type Profile } from './profile'
import type { Session } from './session'
import { cameBefore, everybody, fitIn, type Identity, type Somebody } from './who'

/** After the document is here, those who are here are told within this time, in ms. */
const HELLO_MS = 150
/** Who comes back within this time, in ms, was not away: a page was loaded again. */
const AWAY_MS = 2_500

export interface Presence {
  /** Who one is here: the name and colour that the others see. */
  me(): Profile
  readonly own: OwnProfile
  /** What of it a token decides. */
  readonly fixed: { readonly name: boolean; readonly color: boolean }
  everybody(): readonly Somebody[]
  others(): readonly Somebody[]
  isOtherWindow(one: Somebody): boolean
  choose(profile: Profile): void
  /** Calls the listener after every change of those here. */
  subscribe(listener: () => void): void
  /** Calls the listener when somebody came or went; of those who were here before nobody came. */
  onComing(listener: (label: string, came: boolean) => void): void
}

export function createPresence(session: Session): Presence {
  const { awareness } = session.provider
  const person = ownPerson()
  let own = ownProfile()
  const identity = (): Identity => session.holding ?? { name: null, color: null }
  let since: number | null = null
  let me: Profile = fitIn(own, identity(), person, [])
  const listeners = new Set<() => void>()
  const comings = new Set<(label: string, came: boolean) => void>()

  const all = (): readonly Somebody[] => everybody(awareness.getStates())
  const others = (): readonly Somebody[] => all().filter(({ client }) => client !== awareness.clientID)

  /** Says who one is, once it is known who was here before. */
  const arrive = (): void => {
    if (since !== null || session.isOver) return
    since = Math.max(Date.now(), ...others().map((one) => one.since + 1))
    fit()
    known = new Map(others().map((one) => [one.client, one.label]))
    tell()
  }
  const fit = (): void => {
    const mine = { since: since ?? Infinity, client: awareness.clientID }
    const next = fitIn(own, identity(), person, others().filter((one) => cameBefore(one, mine) < 0))
    if (next.name === me.name && next.color === me.color && awareness.getLocalState()?.['user'] !== undefined) return
    me = next
    if (since !== null) awareness.setLocalStateField('user', { ...me, person, since })
  }

  /** Those of whom it was told, or need not be, that they are here. */
  let known = new Map<number, string>()
  const leaving = new Map<string, ReturnType<typeof setTimeout>>()
  const notice = (): void => {
    if (since === null || !session.provider.wsconnected) return
    const here = new Map(others().map((one) => [one.client, one.label]))
    for (const [client, label] of here) {
      if (known.has(client)) continue
      const waiting = leaving.get(label)
      clearTimeout(waiting)
      leaving.delete(label)
      if (waiting === undefined) for (const listener of comings) listener(label, true)
    }
    for (const [client, label] of known) {
      if (here.has(client)) continue
      leaving.set(label, setTimeout(() => {
        leaving.delete(label)
        if (!session.isOver && session.provider.wsconnected) for (const listener of comings) listener(label, false)
      }, AWAY_MS))
    }
    known = here
  }
  const tell = (): void => {
    for (const listener of listeners) listener()
  }

  awareness.on('change', () => {
    if (since !== null) fit()
    notice()
    tell()
  })
  session.subscribe(({ ready, saved }) => {
    if (since !== null || !ready) return
    if (saved.state === 'offline' || saved.state === 'refused') arrive()
    else if (session.provider.synced) setTimeout(arrive, HELLO_MS)
  })

  return {
    me: () => me,
    get own() {
      return own
    },
    get fixed() {
      const { name, color } = identity()
      return { name: name !== null, color: color !== null }
    },
    everybody: all,
    others,
    isOtherWindow: (one) => one.person === person && one.client !== awareness.clientID,
    choose(profile) {
      own = { ...profile, given: false }
      keepProfile(own)
      fit()
      tell()
    },
    subscribe: (listener) => {
      listeners.add(listener)
      listener()
    },
    onComing: (listener) => void comings.add(listener),
  }
}
