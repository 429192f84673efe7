// Copying text. Without HTTPS there is no clipboard for scripts, but a selection can be copied.

import { h } from './dom'

/** Whether the text is in the clipboard now. */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    return copySelected(text)
  }
}

/** A button that copies a text and says so for a while. */
export function showCopied(button: HTMLElement, isCopied: boolean): void {
  const before = button.dataset['label'] ?? button.textContent ?? ''
  button.dataset['label'] = before
  button.textContent = isCopied ? 'Copied' : 'Not copied'
  setTimeout(() => (button.textContent = before), 2_000)
}

function copySelected(text: string): boolean {
  const focused = document.activeElement
  const source = h('textarea', { readonly: true, class: 'visually-hidden', 'aria-hidden': 'true', tabindex: '-1' })
  source.value = text
  // Outside of an open dialog nothing can be selected.
  const place = focused?.closest('dialog') ?? document.body
  place.append(source)
  source.select()
  try {
    // Deprecated, and all that there is without HTTPS.
    return document.execCommand('copy')
  } finally {
    source.remove()
    if (focused instanceof HTMLElement) focused.focus()
  }
}
