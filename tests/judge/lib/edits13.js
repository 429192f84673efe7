// Edits of Yjs 13 clients, through its public calls. `Y` is the version that the client runs.
import { MAP_KEYS, bytes, formats, json, placeable, word } from './values.js'

/** The roots that everybody edits. */
export const roots = doc => [doc.getText('text'), doc.getArray('array'), doc.getMap('map'), doc.getXmlFragment('xml')]

const plainRoots = doc => [doc.getText('text'), doc.getText('text'), doc.getArray('array'), doc.getMap('map')]

const editText = (client, dice, text, odd) => {
  const { Y } = client.version
  const at = dice.below(text.length + 1)
  const length = Math.min(text.length - at, 1 + dice.below(10))
  switch (dice.weighted([[10, 'insert'], [5, 'delete'], [2, 'formatted'], [3, 'format'], [1, 'delta'], [1, 'embed'], [1, 'type'], [0.15, 'paste']])) {
    case 'insert': return text.insert(at, word(dice, odd))
    case 'formatted': return text.insert(at, word(dice, odd), formats(dice, odd))
    case 'embed': return text.insertEmbed(at, { image: json(dice, odd) }, dice.chance(0.3) ? formats(dice, odd) : undefined)
    case 'format': return length > 0 ? text.format(at, length, formats(dice, odd)) : undefined
    case 'delta': return text.applyDelta([...(at > 0 ? [{ retain: at }] : []), { insert: 'Δ', attributes: formats(dice, odd) }])
    case 'type': return odd ? text.insertEmbed(at, dice.of([() => new Y.Map(), () => new Y.Text('in'), () => new Y.XmlElement('e')])()) : undefined
    case 'paste': return odd ? text.insert(at, word(dice, odd).repeat(2000).slice(0, 20000)) : undefined
    default: return length > 0 ? text.delete(at, dice.chance(0.1) ? text.length - at : length) : undefined
  }
}

const nestedType = (client, dice, odd, depth) => {
  const { Y } = client.version
  return dice.weighted([
    [2, () => new Y.Text(word(dice, odd))], [2, () => new Y.Array()], [1, () => new Y.XmlElement('p')], [1, () => new Y.XmlText('t')],
    [3, () => new Y.Map([['k', depth]])], [0.5, () => new Y.XmlFragment()],
    [odd ? 1 : 0, () => new Y.Doc({ guid: `guid-${dice.below(1e6)}`, ...dice.of([{}, { autoLoad: true }, { gc: false }, { meta: { a: [1, null, 5n] } }]) })]
  ])()
}

const editFragment = (client, dice, type, odd, depth) => {
  const { Y } = client.version
  const at = dice.below(type.length + 1)
  const inner = type.toArray().filter(child => child instanceof Y.AbstractType)
  if (inner.length > 0 && depth < 8 && dice.chance(0.5)) return editAny(client, dice, dice.of(inner), odd, depth + 1)
  const isElement = type instanceof Y.XmlElement
  switch (dice.weighted([[2, 'delete'], [isElement ? 3 : 0, 'attribute'], [isElement ? 1 : 0, 'no attribute'], [3, 'text'], [4, 'element'], [odd ? 0.5 : 0, 'hook']])) {
    case 'delete': return type.length > at ? type.delete(at, Math.min(type.length - at, 2)) : undefined
    // Newer Yjs takes values of any kind as attributes, and editors use that.
    case 'attribute': return type.setAttribute(dice.of(MAP_KEYS), dice.chance(0.5) ? word(dice, odd) : placeable(dice, odd))
    case 'no attribute': return type.removeAttribute(dice.of(MAP_KEYS))
    case 'text': return type.insert(at, [new Y.XmlText(word(dice, odd))])
    case 'hook': return type.insert(at, [new Y.XmlHook(dice.of(['hook', '', '😀']))])
    default: return type.insert(at, [new Y.XmlElement(dice.of(['div', 'h1', 'Widget', 'ul', '']))])
  }
}

const editMap = (client, dice, type, odd, depth) => {
  const { Y } = client.version
  const key = dice.of(odd ? MAP_KEYS : ['k', 'l', 'm'])
  const old = type.get(key)
  if (old instanceof Y.AbstractType && dice.chance(0.7)) return editAny(client, dice, old, odd, depth + 1)
  if (dice.chance(0.15)) return type.delete(key)
  if (depth < 6 && dice.chance(0.3)) return type.set(key, nestedType(client, dice, odd, depth))
  return type.set(key, dice.chance(0.1) && odd ? bytes(dice) : placeable(dice, odd))
}

const editArray = (client, dice, type, odd, depth) => {
  const { Y } = client.version
  const at = dice.below(type.length + 1)
  const old = at < type.length ? type.get(at) : undefined
  if (old instanceof Y.AbstractType && dice.chance(0.6)) return editAny(client, dice, old, odd, depth + 1)
  if (dice.chance(0.25) && type.length > at) return type.delete(at, Math.min(type.length - at, 1 + dice.below(3)))
  const values = Array.from({ length: 1 + dice.below(4) }, () => depth < 6 && dice.chance(0.2) ? nestedType(client, dice, odd, depth) : placeable(dice, odd))
  // Yjs asks each for its constructor.
  type.insert(at, values.map(one => (one === undefined ? [one] : one)))
}

const editAny = (client, dice, type, odd, depth = 0) => {
  const { Y } = client.version
  // References to types that were deleted meanwhile are kept, and written to.
  if (client.held.length < 20 && dice.chance(0.1)) client.held.push(type)
  if (type instanceof Y.Text) {
    if (type instanceof Y.XmlText && dice.chance(0.2)) return type.setAttribute(dice.of(MAP_KEYS), word(dice, odd))
    return editText(client, dice, type, odd)
  }
  if (type instanceof Y.XmlHook) return editMap(client, dice, type, odd, depth)
  if (type instanceof Y.XmlFragment) return editFragment(client, dice, type, odd, depth)
  if (type instanceof Y.Map) return editMap(client, dice, type, odd, depth)
  return editArray(client, dice, type, odd, depth)
}

/** One edit of a client. */
export const edit = (client, dice, odd) => {
  const held = client.held.filter(type => type.doc !== null)
  if (held.length > 0 && dice.chance(0.08)) return editAny(client, dice, dice.of(held), odd, 5)
  editAny(client, dice, dice.of(odd ? roots(client.doc) : plainRoots(client.doc)), odd)
}
