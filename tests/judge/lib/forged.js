// Updates that are well formed and that nobody honest writes: every kind of content with odd bytes, anywhere.
//
// What must stay true: the structs of one client have ascending clocks without a hole, so that only what they say can be
// a reason to refuse them.
import { update } from './bytes.js'

const text = string => [...Buffer.from(string)]
const uint = n => {
  const out = []
  for (; n >= 128; n = Math.floor(n / 128)) out.push((n % 128) | 128)
  return [...out, n]
}
const string = value => [...uint(text(value).length), ...text(value)]
const repeat = (length, byte) => new Array(length).fill(byte)

const KEYS = ['k', '', '0', '7', '4294967295', 'constructor', 'toString', 'toJSON', 'valueOf', 'length', 'hasOwnProperty', 'prototype', 'then', '\u0000', 'ключ']
const NAMES = ['', 'p', '__proto__', 'constructor', 'a b', '<', '\u0000']
const OPTIONS = ['meta', 'autoLoad', 'gc', 'shouldLoad', 'collectionid', 'isSuggestionDoc', 'clientID', 'share', 'store', '_item', 'on', 'emit', 'constructor', 'toString', '0']

/** A document is in the text `t`, the list `a`, the map `m` or the XML fragment `x`, as an application declares them. */
export const ROOTS = ['t', 'a', 'm', 'x']

const SCALARS = [
  [127], [126], [121], [120], [125, 0], [125, 64], [125, 65], [125, 1], [125, ...repeat(6, 255), 191, 1],
  [124, 127, 192, 0, 1], [124, 128, 0, 0, 0], [124, 64, 0, 0, 0], [123, 64, 8, 0, 0, 0, 0, 0, 0], [123, 127, 248, 0, 0, 0, 0, 0, 9],
  [123, 128, 0, 0, 0, 0, 0, 0, 0], [123, 127, 240, 0, 0, 0, 0, 0, 0], [123, 67, 224, 0, 0, 0, 0, 0, 0], [122, 128, 0, 0, 0, 0, 0, 0, 0], [122, 0, 0, 0, 0, 0, 0, 0, 5],
  [119, 0], [119, ...string('ab')], [119, ...string('\u0000😀')], [116, 0], [116, 2, 1, 2]
]

/** An `Any`, as bytes. */
const any = (dice, depth = 0) => {
  if (depth > 3 || dice.chance(0.6)) return dice.of(SCALARS)
  if (dice.chance(0.02)) return [...repeat(900, [117, 1]).flat(), 126]
  const length = dice.below(4)
  if (dice.chance(0.4)) return [117, length, ...Array.from({ length }, () => any(dice, depth + 1)).flat()]
  // A key that comes twice: the last one counts.
  const long = dice.chance(0.1) ? [119, ...string('x'.repeat(2000))] : null
  const entries = Array.from({ length }, (_, i) => [...string(dice.of(KEYS)), ...(long !== null && i === 0 ? long : any(dice, depth + 1))])
  return [118, length, ...entries.flat()]
}

const JSONS = [
  '1e400', '-1e400', '1e-400', '-0', '0.10', '1E2', '12345678901234567891', '9007199254740993', '{"a":1,"a":2}', `{"a":"${'x'.repeat(3000)}","a":1}`, `${' '.repeat(3000)}1`,
  `1.${'0'.repeat(3000)}`, '"\\ud83d"', '"\\u0061"', '"\\/"', '"\u2028"', '{"__proto__":{"a":1}}', '{"constructor":null}', '{"toJSON":1}', '{"2":1,"1":2}', ' [ ] ', '[[[1e999]]]', 'null',
  'true', '"x"', '{"ychange":{}}', `${'['.repeat(900)}${']'.repeat(900)}`, '{"":{"":[]}}'
]

const content = dice => dice.weighted([
  [6, () => ({ text: dice.of(['a', 'bc', '😀', 'x'.repeat(40), '\u0000', '\n']) })],
  [6, () => ({ anys: Array.from({ length: 1 + dice.below(3) }, () => any(dice)) })],
  [2, () => ({ jsons: Array.from({ length: 1 + dice.below(2) }, () => dice.of([...JSONS, 'undefined'])) })],
  [1, () => ({ binary: dice.of([[], [1, 2, 3]]) })],
  [3, () => ({ embed: dice.of(JSONS) })],
  [4, () => ({ mark: [dice.of([...KEYS, '__proto__']), dice.of(JSONS)] })],
  [5, () => ({ typed: dice.of([[0], [1], [2], [3, ...string(dice.of(NAMES))], [4], [5, ...string(dice.of(NAMES))], [6]]) })],
  [2, () => ({ doc: [dice.of(['', 'guid', '__proto__', 'judged']), options(dice)] })],
  [1, () => ({ deleted: 1 + dice.below(3) })],
  [0.3, () => ({ gc: 1 + dice.below(2) })]
])()

const options = dice => {
  const length = dice.below(3)
  return [118, length, ...Array.from({ length }, () => [...string(dice.of(OPTIONS)), ...any(dice, 2)]).flat()]
}

const lengthOf = struct => {
  if ('text' in struct) return struct.text.length
  return (struct.anys ?? struct.jsons)?.length ?? struct.deleted ?? struct.gc ?? 1
}

/** A history of updates, each one client's. */
export const forgedHistory = dice => {
  const next = new Map()
  const ids = []
  const types = []
  const updates = []
  for (let count = 2 + dice.below(8); count > 0; count--) {
    const client = 1 + dice.below(3)
    const structs = Array.from({ length: 1 + dice.below(4) }, () => {
      const clock = next.get(client) ?? 0
      const made = content(dice)
      const struct = { at: `${client}:${clock}`, ...made }
      if (!('gc' in made)) Object.assign(struct, place(dice, ids, types))
      next.set(client, clock + lengthOf(made))
      for (let i = 0; i < lengthOf(made); i++) ids.push(`${client}:${clock + i}`)
      if ('typed' in made) types.push(`${client}:${clock}`)
      return struct
    })
    const deletions = ids.length > 0 && dice.chance(0.4) ? [`${dice.of(ids)}`] : []
    updates.push(update(structs, deletions))
  }
  return updates
}

const place = (dice, ids, types) => {
  const some = () => ids.length > 0 && dice.chance(0.35)
  const struct = {}
  if (some()) struct.after = dice.chance(0.6) ? ids.at(-1) : dice.of(ids)
  if (some() && dice.chance(0.4)) struct.before = dice.of(ids)
  struct.in = types.length > 0 && dice.chance(0.5) ? dice.of(types) : dice.of([...ROOTS, '__proto__', ''])
  if (!struct.after && !struct.before && dice.chance(0.4)) struct.key = dice.of([...KEYS, '__proto__'])
  return struct
}
