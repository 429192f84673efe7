// Building elements in one expression. Text is always text: nothing here parses HTML.

import { createElement, type IconNode } from 'lucide'

type Child = Node | string | null

type Attributes = Readonly<Record<string, string | number | boolean | null>>

export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) setAttribute(element, name, value)
  element.append(...children.filter((child) => child !== null))
  return element
}

/** `null` and `false` remove, `true` sets the bare attribute. */
export function setAttribute(element: Element, name: string, value: string | number | boolean | null): void {
  if (value === null || value === false) element.removeAttribute(name)
  // A style attribute that a script sets is refused by a strict content security policy, its rules are not.
  else if (name === 'style' && element instanceof HTMLElement) element.style.cssText = String(value)
  else element.setAttribute(name, value === true ? '' : String(value))
}

/** An icon that says nothing to a screen reader: what it stands for is the label of its button. */
export function icon(node: IconNode): SVGElement {
  return createElement(node, { 'aria-hidden': 'true', width: 18, height: 18, 'stroke-width': 2 })
}

export function button(label: string, options: { icon?: IconNode; class?: string; title?: string }, onClick: () => void): HTMLButtonElement {
  const element = h('button', { type: 'button', class: options.class ?? null, title: options.title ?? null })
  if (options.icon === undefined) element.append(label)
  else element.append(icon(options.icon), h('span', { class: 'label' }, label))
  element.addEventListener('click', onClick)
  return element
}

/** Does something when the page has nothing else to do: what can wait keeps nobody from typing. */
export function whenIdle(run: () => void): void {
  if ('requestIdleCallback' in globalThis) requestIdleCallback(run)
  else setTimeout(run, 200)
}

/** Lets the page do what else is due. */
export async function pause(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve))
}

/** For switches over unions: a case that was forgotten does not compile. */
export function unreachable(value: never): never {
  throw new Error(`unreachable: ${JSON.stringify(value)}`)
}
