// Which of several servers has a document, and which one this page is connected to. Of one server nothing is said.

import { h } from '../dom'
import type { Insight } from './insight'
import type { Section } from './figures'

/** What is shown of a node's id: as much as tells a handful apart. */
const SHOWN = 8

export function shortNode(node: string): string {
  return node.slice(0, SHOWN)
}

/** `ownClient`: the client id that this page speaks for in presence; null if it says nothing of itself. */
export function createNodes(ownClient: number | null): Section {
  const element = h('p', { class: 'soft nodes' })
  return {
    element,
    show(insight) {
      const text = sentence(insight, ownClient)
      if (element.textContent === text) return
      element.textContent = text
      element.title = insight.node ?? ''
    },
  }
}

function sentence(insight: Insight, ownClient: number | null): string {
  if (insight.node === undefined) return ''
  const owner = shortNode(insight.node)
  if (!insight.open) return `Node ${owner} has it: ask there.`
  const own = insight.sessions.find(({ clients }) => ownClient !== null && clients.includes(ownClient))?.node
  const serves = `Node ${owner} serves this document`
  if (own === undefined) return `${serves}.`
  return own === insight.node ? `${serves}, and you are connected to it.` : `${serves}. You are connected through node ${shortNode(own)}.`
}
