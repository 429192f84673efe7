// Every value that Yjs can hold, the odd ones above all. All of it comes from the dice. `odd` is 0 for plain values
// only, else how deep the deepest value is nested.

export const WORDS = ['a', 'bc', ' ', 'hello', '\n', 'Zażółć', '😀', '👩‍👩‍👧', 'ありがとう', 'x'.repeat(40), 'é', '\u0000', 'ﷺ', '😀😀😀']
const HALVES = ['\ud83d', '\ude00', 'a\ud83d', '\ude00b']
export const KEYS = ['k', 'title', 'ключ', '', 'constructor', 'toString', '🔑', 'nested', 'a b', 'length', 'hasOwnProperty', '\u0000', '7']
/** Keys of maps, attributes and formats; no object that is a value may have the last one: Yjs could not write it again. */
export const MAP_KEYS = [...KEYS, '__proto__']
const NUMBERS = [
  0, -0, NaN, Infinity, -Infinity, 0.5, 1e300, 5e-324, Number.MAX_SAFE_INTEGER, -Number.MAX_SAFE_INTEGER, 2 ** 31, -(2 ** 31), 2 ** 31 - 1,
  2 ** 53, 2 ** 62, -(2 ** 62), 2 ** 63, 1.1, 3.4028234663852886e38, 16777217
]
const BIGINTS = [0n, 5n, -5n, 1n << 62n, -(1n << 62n), (1n << 63n) - 1n, -(1n << 63n), 1n << 64n, -(1n << 80n), 9007199254740993n]

export const word = (dice, odd) => {
  if (odd === 0) return dice.of(['a', 'bc', ' ', 'hello', '\n', 'word'])
  return dice.weighted([[30, dice.of(WORDS)], [1, dice.of(HALVES)], [1, '']])
}

export const bytes = dice => new Uint8Array(dice.weighted([[3, 0], [5, 20], [1, 5000]])).map(() => dice.below(256))

const nested = depth => {
  let value = 'bottom'
  for (let i = 0; i < depth; i++) value = i % 2 === 0 ? [value] : { in: value }
  return value
}

/** A value for a map, an array, an attribute: anything that lib0's Any holds. */
export const value = (dice, odd, depth = 0) => {
  if (odd === 0) return dice.of([1, 2, true, null, 'text', 0.5, [1, 2], { k: 'v' }])
  switch (dice.below(depth > 3 ? 11 : 14)) {
    case 0: return undefined
    case 1: return null
    case 2: return dice.chance(0.5)
    case 3: return dice.below(100)
    case 4: return -dice.below(4294967296)
    case 5: return dice.next()
    case 6: return dice.of(NUMBERS)
    case 7: return dice.of(BIGINTS)
    case 8: return word(dice, odd)
    case 9: return word(dice, odd).repeat(dice.below(8))
    case 10: return bytes(dice)
    case 11: return nested(dice.chance(0.05) ? odd : dice.below(4))
    case 12: return Array.from({ length: dice.below(5) }, () => value(dice, odd, depth + 1))
    default: return Object.fromEntries(Array.from({ length: dice.below(4) }, () => [dice.of(KEYS), value(dice, odd, depth + 1)]))
  }
}

/** The same for a place where Yjs looks at the value's constructor: an object that shadows it lies in a list. */
export const placeable = (dice, odd) => {
  const one = value(dice, odd)
  const isOdd = one !== null && typeof one === 'object' && Object.hasOwn(one, 'constructor')
  return isOdd ? [one] : one
}

/** A value that is JSON on the wire: embeds and formats. `null` ends a format. */
export const json = (dice, odd) => {
  if (odd === 0) return dice.of([true, 'red', null, 12])
  if (dice.chance(0.01)) return nested(odd)
  return dice.of([true, 'red', '#fff', null, 'ż😀', '\ude00half', 12, 1.5, 1e19, -0, { deep: { list: [1, [2, null, true]] } }, ['a'], '', false])
}

export const formats = (dice, odd) => {
  const keys = odd ? ['bold', 'color', 'link', '', '__proto__', 'constructor', '🔑'] : ['bold', 'color']
  const chosen = keys.filter(() => dice.chance(0.3))
  if (chosen.length === 0) chosen.push(keys[0])
  // A key `__proto__` that is set one by one would set the prototype.
  return Object.fromEntries(chosen.map(key => [key, json(dice, odd)]))
}
