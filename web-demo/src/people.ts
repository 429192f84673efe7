// Who is here: oneself first, then the others by name. One's own avatar opens one's profile.

import type { WebsocketProvider } from 'y-websocket'

import { button, h } from './dom'
import { COLORS, NAME_LENGTH_MAX, initials, inkOn, profileFrom, type Profile } from './profile'

const SHOWN_MAX = 5

export function createPeople(
  awareness: WebsocketProvider['awareness'],
  me: () => Profile,
  onProfile: (profile: Profile) => void,
): { readonly element: HTMLElement; refresh(): void } {
  const own = h('button', { type: 'button', class: 'avatar own' })
  own.addEventListener('click', () => editProfile(me(), onProfile))
  const ownItem = h('li', {}, own)
  const list = h('ul', { class: 'people', 'aria-label': 'People here' }, ownItem)

  const refresh = (): void => {
    const { name } = me()
    paint(own, me())
    own.setAttribute('aria-label', `You, ${name}: change name and colour`)
    own.title = `${name} (you)`
    const others = [...awareness.getStates()]
      .filter(([client]) => client !== awareness.clientID)
      .map(([, state]) => profileFrom(state['user']))
      .filter((profile) => profile !== null)
      .sort((a, b) => a.name.localeCompare(b.name))
    const shown = others.slice(0, SHOWN_MAX).map((profile) => {
      const avatar = h('span', { class: 'avatar', role: 'img', 'aria-label': profile.name, title: profile.name })
      paint(avatar, profile)
      return h('li', {}, avatar)
    })
    const rest = others.slice(SHOWN_MAX)
    if (rest.length > 0) {
      const names = rest.map(({ name: other }) => other).join(', ')
      shown.push(h('li', {}, h('span', { class: 'avatar more', role: 'img', 'aria-label': `and ${names}`, title: names }, `+${rest.length}`)))
    }
    // One's own button stays where it is: taken out between press and release it would lose the click.
    while (list.lastChild !== ownItem) list.lastChild?.remove()
    list.append(...shown)
    list.dataset['others'] = String(others.length)
  }
  awareness.on('change', refresh)
  refresh()
  return { element: list, refresh }
}

function paint(element: HTMLElement, { name, color }: Profile): void {
  element.textContent = initials(name)
  element.style.setProperty('--who', color)
  element.style.setProperty('--on-who', inkOn(color))
}

function editProfile(profile: Profile, onProfile: (profile: Profile) => void): void {
  const name = h('input', { type: 'text', id: 'profile-name', maxlength: NAME_LENGTH_MAX, autocomplete: 'name', required: true, value: profile.name })
  const colors = COLORS.map(({ label, value }) => {
    const radio = h('input', { type: 'radio', name: 'color', value, 'aria-label': label, checked: value === profile.color })
    return h('label', { class: 'swatch', title: label, style: `--who: ${value}` }, radio)
  })
  const form = h(
    'form',
    { method: 'dialog', class: 'stack' },
    h('h2', {}, 'How others see you'),
    h('label', { for: 'profile-name' }, 'Name'),
    name,
    h('fieldset', { class: 'swatches' }, h('legend', {}, 'Colour'), ...colors),
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
    onProfile(chosen)
    dialog.close()
  })
  dialog.addEventListener('close', () => dialog.remove())
  document.body.append(dialog)
  dialog.showModal()
  name.select()
}
