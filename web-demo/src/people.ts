// Who is here: oneself first, then the others in the order in which they came; a list of all; who came and went.

import { Check, Eye, Users } from 'lucide'

import { read, write } from './browser-store'
import { button, h, icon } from './dom'
import type { Presence } from './presence'
import { COLORS, NAME_LENGTH_MAX, initials, inkOn, profileFrom, type Profile } from './profile'
import { say } from './toast'
import type { Somebody } from './who'

/** What the page does with somebody who is chosen; absent where nobody has a place. */
export interface Places {
  /** Shows where somebody is; false if they are nowhere. */
  jumpTo(client: number): boolean
}

const SHOWN_MAX = 5
const SHOWN_MAX_ON_PHONES = 2

export interface People {
  readonly element: HTMLElement
  /** What lies over the page: whom one follows. */
  readonly overlay: HTMLElement
}

export function createPeople(presence: Presence, places: Places, signal: AbortSignal): People {
  const phone = matchMedia('(max-width: 640px)')
  const own = h('button', { type: 'button', class: 'avatar own' })
  own.addEventListener('click', () => editProfile(presence))
  const ownItem = h('li', {}, own)
  const list = h('ul', { class: 'people', 'aria-label': 'People here' }, ownItem)
  const panel = h('div', { class: 'panel people-panel', popover: 'auto', id: 'people-panel', role: 'dialog', 'aria-label': 'Who is here' })
  const opener = h('button', { type: 'button', class: 'icon-button', popovertarget: 'people-panel', title: 'Who is here' })
  opener.append(icon(Users))
  const following = createFollowing(presence, places, signal)

  const jumpTo = (one: Somebody): void => {
    panel.hidePopover()
    if (!places.jumpTo(one.client)) say(`${one.label} has no caret here right now`)
  }
  let shownNow = ''
  const refresh = (): void => {
    const me = presence.me()
    paint(own, me, me.name)
    own.setAttribute('aria-label', `You, ${me.name}: change name and colour`)
    own.title = `${me.name} (you)`
    const others = presence.others()
    const max = phone.matches ? SHOWN_MAX_ON_PHONES : SHOWN_MAX
    // One more than fits is shown as one more.
    const shown = others.length === max + 1 ? others : others.slice(0, max)
    const items = shown.map((one) => h('li', {}, avatarOf(one, () => jumpTo(one))))
    const rest = others.slice(shown.length)
    if (rest.length > 0) {
      const names = rest.map(({ label }) => label).join(', ')
      const more = h('span', { class: 'avatar more', role: 'img', 'aria-label': `and ${names}`, title: names }, `+${rest.length}`)
      more.addEventListener('click', () => panel.showPopover())
      items.push(h('li', {}, more))
    }
    // What shows the same stays where it is: taken out between press and release it would lose the click.
    const looks = items.map(({ innerHTML }) => innerHTML).join()
    if (looks !== shownNow) {
      shownNow = looks
      while (list.lastChild !== ownItem) list.lastChild?.remove()
      list.append(...items)
    }
    list.dataset['others'] = String(others.length)
    opener.setAttribute('aria-label', others.length === 0 ? 'Who is here: only you' : `Who is here: you and ${others.length} more`)
    if (panel.matches(':popover-open')) fill()
  }
  const fill = (): void => {
    const focused = document.activeElement instanceof HTMLElement && panel.contains(document.activeElement) ? document.activeElement.dataset['key'] : undefined
    const me = presence.me()
    panel.replaceChildren(
      h('h2', {}, presence.others().length === 0 ? 'Only you are here' : `${presence.others().length + 1} people here`),
      h('ul', {}, h('li', {}, avatarOf({ ...me, label: me.name }), h('span', { class: 'person-name' }, me.name, h('span', { class: 'soft' }, ' you'))), ...presence.others().map(entry)),
      h('div', { class: 'actions' }, button('Change your name', { class: 'quiet' }, () => {
        panel.hidePopover()
        editProfile(presence)
      })),
    )
    if (focused !== undefined) panel.querySelector<HTMLElement>(`[data-key="${focused}"]`)?.focus()
  }
  const entry = (one: Somebody): HTMLElement => {
    const isFollowed = following.client() === one.client
    const jump = button('', { class: 'person', title: `Go to ${one.label}` }, () => jumpTo(one))
    const avatar = avatarOf(one)
    avatar.setAttribute('aria-hidden', 'true')
    jump.replaceChildren(
      avatar,
      h('span', { class: 'person-name' }, one.label, presence.isOtherWindow(one) ? h('span', { class: 'soft' }, ' your other window') : null),
    )
    if (one.verified) jump.append(h('span', { class: 'verified', title: 'The name comes from a token' }, icon(Check), h('span', { class: 'visually-hidden' }, 'name from a token')))
    jump.dataset['key'] = `jump${one.client}`
    const follow = button(isFollowed ? 'Following' : 'Follow', { class: 'quiet follow', icon: Eye }, () => {
      following.follow(isFollowed ? null : one.client)
      panel.hidePopover()
    })
    follow.setAttribute('aria-label', `Follow ${one.label}`)
    follow.setAttribute('aria-pressed', String(isFollowed))
    follow.dataset['key'] = `follow${one.client}`
    return h('li', {}, jump, follow)
  }
  panel.addEventListener('beforetoggle', (event) => {
    if (event.newState === 'open') fill()
  })
  phone.addEventListener('change', refresh, { signal })
  presence.subscribe(refresh)
  presence.onComing((label, came) => say(came ? `${label} is here` : `${label} left`))
  const ask = askForName(presence)
  return {
    element: h('div', { class: 'people-group' }, list, opener, panel, ask),
    overlay: following.element,
  }
}

function avatarOf(one: Profile & { readonly label: string }, onClick?: () => void): HTMLElement {
  const avatar = h('span', { class: 'avatar', role: 'img', 'aria-label': one.label, title: one.label })
  paint(avatar, one, one.label)
  // With the keyboard the list does the same.
  if (onClick !== undefined) avatar.addEventListener('click', onClick)
  return avatar
}

function paint(element: HTMLElement, { color }: Profile, label: string): void {
  element.textContent = initials(label)
  element.style.setProperty('--who', color)
  element.style.setProperty('--on-who', inkOn(color))
}

/** Whom one follows: the page goes where they go, until one scrolls, presses a key or says so. */
function createFollowing(presence: Presence, places: Places, signal: AbortSignal) {
  let followed: Somebody | null = null
  const text = h('span')
  const stop = button('Stop', { class: 'quiet' }, () => follow(null))
  const element = h('div', { class: 'following', hidden: true, role: 'status' }, text, stop)

  const show = (): void => {
    element.hidden = followed === null
    document.body.classList.toggle('follows', followed !== null)
    if (followed === null) return
    text.textContent = `Following ${followed.label}`
    for (const target of [element, document.body]) target.style.setProperty('--who', followed.color)
    element.style.setProperty('--on-who', inkOn(followed.color))
  }
  const follow = (client: number | null): void => {
    followed = presence.others().find((one) => one.client === client) ?? null
    show()
    if (followed !== null) places.jumpTo(followed.client)
  }
  presence.subscribe(() => {
    if (followed === null) return
    const now = presence.others().find(({ client }) => client === followed?.client)
    if (now === undefined) return follow(null)
    followed = now
    // The page moves the carets when it has heard of it, after this.
    setTimeout(() => requestAnimationFrame(() => {
      if (followed?.client === now.client) places.jumpTo(now.client)
    }))
  })
  for (const event of ['wheel', 'touchmove', 'keydown', 'pointerdown'] as const) {
    addEventListener(event, ({ target }) => {
      if (followed !== null && !(target instanceof Node && element.contains(target))) follow(null)
    }, { signal, passive: true, capture: true })
  }
  return {
    element,
    client: () => followed?.client ?? null,
    follow,
  }
}

/** Asks once for a name, beside one's avatar, when the first other person is here and nobody has chosen one. */
function askForName(presence: Presence): HTMLElement {
  const name = h('input', { type: 'text', id: 'ask-name', maxlength: NAME_LENGTH_MAX, autocomplete: 'name' })
  const title = h('h2')
  const close = (): void => {
    write('local', 'asked-name', 'yes')
    card.hidden = true
  }
  const form = h('form', { class: 'stack' }, title, h('label', { for: 'ask-name' }, 'What shall they call you?'), name,
    h('div', { class: 'actions' }, h('button', { type: 'submit', class: 'primary' }, 'That is me'), button('Stay unnamed', { class: 'quiet' }, close)))
  const card = h('section', { class: 'panel ask-name', hidden: true, 'aria-label': 'Your name' }, form)
  form.addEventListener('submit', (event) => {
    event.preventDefault()
    const chosen = profileFrom({ ...presence.own, name: name.value })
    if (chosen === null) return name.focus()
    presence.choose(chosen)
    close()
  })
  card.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') close()
  })
  presence.subscribe(() => {
    const [other] = presence.others().filter((one) => !presence.isOtherWindow(one))
    const isDue = other !== undefined && presence.own.given && !presence.fixed.name && read('local', 'asked-name') === null
    if (!isDue) {
      card.hidden = true
      return
    }
    title.textContent = `${other.label} is here, too`
    name.placeholder = presence.me().name
    card.hidden = false
  })
  return card
}

function editProfile(presence: Presence): void {
  const { fixed } = presence
  const profile = presence.me()
  const name = h('input', { type: 'text', id: 'profile-name', maxlength: NAME_LENGTH_MAX, autocomplete: 'name', required: true, value: profile.name, disabled: fixed.name })
  const taken = new Map(presence.others().map(({ color, label }) => [color, label]))
  const colors = COLORS.map(({ label, value }) => {
    const by = taken.get(value)
    const radio = h('input', { type: 'radio', name: 'color', value, 'aria-label': by === undefined ? label : `${label}, taken by ${by}`, checked: value === profile.color, disabled: fixed.color || by !== undefined })
    return h('label', { class: 'swatch', title: by === undefined ? label : `${label}: ${by} has it`, style: `--who: ${value}` }, radio)
  })
  const form = h(
    'form',
    { method: 'dialog', class: 'stack' },
    h('h2', {}, 'How others see you'),
    h('label', { for: 'profile-name' }, 'Name'),
    name,
    fixed.name ? h('p', { class: 'hint' }, 'Your name comes from your token.') : null,
    h('fieldset', { class: 'swatches' }, h('legend', {}, 'Colour'), ...colors),
    fixed.color ? h('p', { class: 'hint' }, 'Your colour comes from your token.') : null,
  )
  const dialog = h('dialog', { class: 'dialog', 'aria-label': 'Your name and colour' }, form)
  form.append(
    h(
      'div',
      { class: 'actions' },
      button('Cancel', { class: 'quiet' }, () => dialog.close()),
      h('button', { type: 'submit', class: 'primary' }, 'Done'),
    ),
  )
  form.addEventListener('submit', (event) => {
    event.preventDefault()
    const chosen = profileFrom({ name: name.value, color: new FormData(form).get('color') ?? profile.color })
    if (chosen === null) return name.focus()
    presence.choose({ name: fixed.name ? presence.own.name : chosen.name, color: fixed.color ? presence.own.color : chosen.color })
    dialog.close()
  })
  dialog.addEventListener('close', () => dialog.remove())
  document.body.append(dialog)
  dialog.showModal()
  name.select()
}
