// Small updates that used to cost much: each a list of updates that one client sends one after the other.
import { string, structs, varUint } from './wire.js'

const times = (count, each) => Array.from({ length: count }, (_, i) => each(i))
const text = length => structs(1, 0, [[4, 1, ...string('t'), ...string('x'.repeat(length))]])
const neighbours = (kind, content) => count => [structs(2, 0, times(count, i => [
  ...(i === 0 ? [kind, 1, ...string('t')] : [0x80 | kind, 2, ...varUint(i - 1)]), ...content]))]

/** `count` values of one key of a map, by one client. */
export const overwritten = (count, client) => structs(client, 0, times(count, i => [
  ...(i === 0 ? [0x28, 1, ...string('m'), ...string('k')] : [0xa8, ...varUint(client), ...varUint(i - 1)]), 1, 125, 1]))

/** `count` values of one key that know nothing of each other: each is compared with all before it. */
export const contested = (count, client) => structs(client, 0, times(count, () => [0x28, 1, ...string('m'), ...string('k'), 1, 126]))

/** Letters of which each is compared with all before it: integrating them takes time that grows with the square of `count`. */
export const conflicts = count => [text(count + 2),
  structs(2, 0, times(count, i => [0xc4, 1, 0, 1, ...varUint(i + 2), 1, 0x79]))]

export const costly = {
  'neighbouring letters': neighbours(4, string('x')),
  'neighbouring values': neighbours(8, [1, 125, 1]),
  'neighbouring old values': neighbours(2, [1, ...string('1')]),
  'values of one key': count => [overwritten(count, 2)],
  'values that compete for a key': count => [contested(count, 2)],
  'keys': count => [structs(2, 0, times(count, i => [0x28, 1, ...string('m'), ...string(`${i}`), 1, 125, 1]))],
  'formats': neighbours(6, [...string('b'), ...string('true')]),
  'embeds': neighbours(5, string('{}')),
  'types': neighbours(7, [0]),
  'types in types': count => [structs(2, 0, times(count, i => i === 0 ? [7, 1, ...string('t'), 0] : [7, 0, 2, ...varUint((i - 1) % 1_000), 0]))],
  'sub-documents': neighbours(9, [...string('g'), 118, 0]),
  'clients': count => [Buffer.from([...varUint(count),
    ...times(count, i => [1, ...varUint(count - 1 - i), 0, 4, 1, ...string('t'), ...string('x')]).flat(), 0])],
  'letters that conflict': conflicts,
  'letters that cut others': count => [text(count + 2),
    structs(2, 0, times(count, i => [0xc4, 1, ...varUint(i * 7 % count), 1, ...varUint(i * 7 % count + 1), 1, 0x79]))],
  'deletions': count => [text(2 * count), Buffer.from([0, 1, 1, ...varUint(count), ...times(count, i => [...varUint(2 * i), 1]).flat()])],
  'collected ranges': count => [structs(2, 0, times(count, i => i % 2 ? [0, 1] : [4, 1, ...string('t'), ...string('x')]))],
}
