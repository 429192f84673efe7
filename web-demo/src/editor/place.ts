// Puts something that floats beside a place in the window, so that all of it is seen.

import type { Placement } from '@floating-ui/dom'

export async function placeAt(element: HTMLElement, box: DOMRect, placement: Placement): Promise<void> {
  const { computePosition, flip, offset, shift } = await placing()
  const { x, y } = await computePosition({ getBoundingClientRect: () => box }, element, { placement, strategy: 'fixed', middleware: [offset(8), flip(), shift({ padding: 8 })] })
  element.style.left = `${x}px`
  element.style.top = `${y}px`
}

/** Nothing floats when a page is opened, so it can come later; but not so late that there is no connection any more. */
export function placing(): Promise<typeof import('@floating-ui/dom')> {
  return import('@floating-ui/dom')
}
