// Edits of Yjs 14 clients: one type for everything, which holds text, values, types and attributes side by side.
// A key `__proto__` sets a prototype in Yjs 14 before anything is written, so nobody can use it there.
import { KEYS, bytes, formats, json, placeable, word } from './values.js'

export const roots = doc => ['text', 'array', 'map', 'xml'].map(name => doc.get(name))

const child = (client, dice, odd) => {
  const { Y } = client.version
  if (odd && dice.chance(0.1)) return new Y.Doc({ guid: `guid-${dice.below(1e6)}`, ...dice.of([{}, { autoLoad: true }, { meta: { a: [1, null] } }]) })
  const type = new Y.Type(dice.of([null, 'paragraph', 'h1', 'Widget', '']))
  if (dice.chance(0.6)) type.insert(0, word(dice, odd) || 'x')
  if (dice.chance(0.3)) type.setAttr(dice.of(KEYS), placeable(dice, odd))
  return type
}

const editType = (client, dice, type, odd, depth = 0) => {
  const { Y } = client.version
  if (client.held.length < 20 && dice.chance(0.1)) client.held.push(type)
  const inner = type.toArray().filter(one => one instanceof Y.Type)
  if (inner.length > 0 && depth < 8 && dice.chance(0.4)) return editType(client, dice, dice.of(inner), odd, depth + 1)
  const at = dice.below(type.length + 1)
  const length = Math.min(type.length - at, 1 + dice.below(10))
  const marks = () => dice.chance(0.2) ? formats(dice, odd) : undefined
  switch (dice.weighted([[10, 'text'], [5, 'delete'], [3, 'format'], [3, 'values'], [3, 'type'], [4, 'attribute'], [1, 'no attribute'], [0.15, 'paste']])) {
    case 'text': return type.insert(at, word(dice, odd) || 'x', marks())
    case 'delete': return length > 0 ? type.delete(at, dice.chance(0.1) ? type.length - at : length) : undefined
    case 'format': return length > 0 ? type.format(at, length, formats(dice, odd)) : undefined
    case 'values': return type.insert(at, Array.from({ length: 1 + dice.below(3) }, () => {
      const one = dice.chance(0.1) ? bytes(dice) : placeable(dice, odd)
      return one === undefined ? [one] : one
    }), marks())
    case 'type': return depth < 6 ? type.insert(at, [child(client, dice, odd)], marks()) : undefined
    case 'attribute': {
      const key = dice.of(odd ? KEYS : ['k', 'l', 'm'])
      const old = type.getAttr(key)
      if (old instanceof Y.Type && dice.chance(0.6)) return editType(client, dice, old, odd, depth + 1)
      return type.setAttr(key, depth < 6 && dice.chance(0.2) ? child(client, dice, odd) : dice.chance(0.2) ? json(dice, odd) : placeable(dice, odd))
    }
    case 'no attribute': return type.deleteAttr(dice.of(odd ? KEYS : ['k', 'l', 'm']))
    default: return odd ? type.insert(at, (word(dice, odd) || 'x').repeat(2000).slice(0, 20000)) : undefined
  }
}

/** One edit of a client. */
export const edit = (client, dice, odd) => {
  const held = client.held.filter(type => type.doc !== null)
  if (held.length > 0 && dice.chance(0.08)) return editType(client, dice, dice.of(held), odd, 5)
  editType(client, dice, dice.of(roots(client.doc)), odd)
}
