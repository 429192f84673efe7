// A picture for phones: a QR code, black on white in light and dark, since that is what cameras know.

import { encode } from 'uqr'

const SVG = 'http://www.w3.org/2000/svg'
/** How much white a code needs around it, in modules. */
const BORDER = 4

export function qrCode(text: string, label: string): SVGElement {
  const { data, size } = encode(text, { ecc: 'L', boostEcc: true, border: BORDER })
  const code = element('svg', { viewBox: `0 0 ${size} ${size}`, role: 'img', 'aria-label': label, 'shape-rendering': 'crispEdges', class: 'qr' })
  code.append(element('rect', { width: String(size), height: String(size), fill: '#fff' }), element('path', { d: data.map(rowPath).join(''), fill: '#000' }))
  return code
}

function rowPath(row: readonly boolean[], y: number): string {
  return row.map((dark, x) => (dark ? `M${x} ${y}h1v1h-1z` : '')).join('')
}

function element(name: string, attributes: Readonly<Record<string, string>>): SVGElement {
  const made = document.createElementNS(SVG, name) as SVGElement
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value)
  return made
}
