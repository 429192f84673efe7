// Puts something that floats beside a place in the window, so that all of it is seen.

import { computePosition, flip, offset, shift, type Placement } from '@floating-ui/dom'

export async function placeAt(element: HTMLElement, box: DOMRect, placement: Placement): Promise<void> {
  const { x, y } = await computePosition({ getBoundingClientRect: () => box }, element, { placement, strategy: 'fixed', middleware: [offset(8), flip(), shift({ padding: 8 })] })
  element.style.left = `${x}px`
  element.style.top = `${y}px`
}
