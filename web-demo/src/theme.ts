// Light or dark: what the system says, until somebody chooses.

import { Moon, Sun } from 'lucide'

import { read, write } from './browser-store'
import { h, icon } from './dom'

type Theme = 'light' | 'dark'

const system = matchMedia('(prefers-color-scheme: dark)')

export function applyTheme(): void {
  const chosen = chosenTheme()
  if (chosen === null) delete document.documentElement.dataset['theme']
  else document.documentElement.dataset['theme'] = chosen
}

export function themeButton(): HTMLButtonElement {
  const element = h('button', { type: 'button', class: 'icon-button' })
  const show = (): void => {
    const dark = currentTheme() === 'dark'
    element.replaceChildren(icon(dark ? Sun : Moon))
    element.setAttribute('aria-label', dark ? 'Switch to light' : 'Switch to dark')
    element.title = dark ? 'Switch to light' : 'Switch to dark'
  }
  element.addEventListener('click', () => {
    toggleTheme()
    show()
  })
  system.addEventListener('change', show)
  show()
  return element
}

export function toggleTheme(): void {
  const next: Theme = currentTheme() === 'dark' ? 'light' : 'dark'
  // Choosing what the system says anyway is giving the choice back.
  write('local', 'theme', next === systemTheme() ? null : next)
  applyTheme()
}

function currentTheme(): Theme {
  return chosenTheme() ?? systemTheme()
}

function systemTheme(): Theme {
  return system.matches ? 'dark' : 'light'
}

function chosenTheme(): Theme | null {
  const stored = read('local', 'theme')
  return stored === 'light' || stored === 'dark' ? stored : null
}
