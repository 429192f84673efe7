// Inter and Source Serif 4 (SIL Open Font License 1.1), from the packages of @fontsource-variable.
//
// Who comes to a document for the first time wants to read it: the fonts, which take as long as half of the editor, come when the
// page can be used. From then on the browser has them, and they are there from the beginning.

import inter from '@fontsource-variable/inter/files/inter-latin-wght-normal.woff2'
import serifItalic from '@fontsource-variable/source-serif-4/files/source-serif-4-latin-wght-italic.woff2'
import serif from '@fontsource-variable/source-serif-4/files/source-serif-4-latin-wght-normal.woff2'

import { read, write } from './browser-store'
import { whenIdle } from './dom'

const LETTERS = 'U+0000-00FF, U+0131, U+0152-0153, U+02BB-02BC, U+02C6, U+02DA, U+02DC, U+0304, U+0308, U+0329, U+2000-206F, U+20AC, U+2122, U+2191, U+2193, U+2212, U+2215, U+FEFF, U+FFFD'

let isAdded = false

/** Each font is loaded when a letter of it is shown. */
function addFonts(): void {
  if (isAdded) return
  isAdded = true
  for (const [family, source, weight, style] of [['Inter', inter, '100 900', 'normal'], ['Source Serif 4', serif, '200 900', 'normal'], ['Source Serif 4', serifItalic, '200 900', 'italic']] as const) {
    document.fonts.add(new FontFace(family, `url("${source}") format("woff2")`, { weight, style, display: 'swap', unicodeRange: LETTERS }))
  }
  document.fonts.addEventListener('loadingdone', () => write('local', 'fonts', 'here'), { once: true })
}

/** `isSmall`: the page is little beside the fonts. */
export function startFonts(isSmall: boolean): void {
  if (isSmall || read('local', 'fonts') !== null) addFonts()
}

/** The page can be used: they come when it has been painted. */
export function finishFonts(): void {
  if (!isAdded) requestAnimationFrame(() => requestAnimationFrame(() => whenIdle(addFonts)))
}
