// Edits that were made under a client id that another page writes under, too, written again under a new one.
//
// Yjs knows an edit by its author's client id and clock and nothing else. When two pages write under one
// id, the server keeps what came first; what the other page wrote under the same numbers is in that page
// alone (close code 4409). No merge can bring it out again: everybody believes to have it already.
//
// So a page's own edits are copied, edit by edit, to a client id that nobody has used, and each reference
// to one of them is changed to the copy. The text, its formats and its place among the edits of others stay
// what they are. Nothing else is touched: what others wrote meanwhile merges as ever.
//
// What must stay true:
//  - What the server has agreed to stays under its old numbers, so that nothing stands there twice.
//  - What came from elsewhere under the taken numbers is left out: whoever has it sends it again.
//
// It needs nothing but Yjs and its lib0.

import * as encoding from 'lib0/encoding'
import * as Y from 'yjs'

/** Whose numbers are taken, and the first of them at which the server has something else. */
export interface Taken {
  readonly client: number
  readonly clock: number
}

/** Half open: `from` belongs to it, `to` does not. */
export interface Range {
  readonly from: number
  readonly to: number
}

type Struct = ReturnType<typeof Y.decodeUpdate>['structs'][number]

/** Edits of `client` from `from` up to `to` that go to the new client id, from its clock `start` on. */
interface Move extends Range {
  readonly client: number
  readonly start: number
}

/** What a 4409 says about the taken numbers: its reason ends with "client C from clock N". */
export function takenFrom(reason: string): Partial<Taken> {
  const found = /(?:client (\d+) )?from clock (\d+)\.?$/.exec(reason)
  if (found === null) return {}
  const [, client, clock] = found
  return client === undefined ? { clock: Number(clock) } : { client: Number(client), clock: Number(clock) }
}

/** Remembers which edits of each client came from `origin`, the connection. */
export function watchForeign(doc: Y.Doc, origin: unknown): (client: number) => readonly Range[] {
  const ranges = new Map<number, Range[]>()
  doc.on('afterTransaction', (transaction) => {
    if (transaction.origin !== origin) return
    for (const [client, to] of transaction.afterState) {
      const from = transaction.beforeState.get(client) ?? 0
      if (from < to) ranges.set(client, withRange(ranges.get(client) ?? [], { from, to }))
    }
  })
  return (client) => ranges.get(client) ?? []
}

function withRange(ranges: Range[], next: Range): Range[] {
  const last = ranges.at(-1)
  if (last?.to === next.from) ranges[ranges.length - 1] = { from: last.from, to: next.to }
  else ranges.push(next)
  return ranges
}

/**
 * The whole of `doc` as one update (v1), in which `author` has written what this page wrote under the taken numbers.
 *
 * `author` is a client id that nobody has used. `foreign` says which edits of the taken client came from elsewhere.
 */
export function rewritten(doc: Y.Doc, taken: Taken, author: number, foreign: readonly Range[]): Uint8Array {
  const { structs, ds } = Y.decodeUpdate(Y.encodeStateAsUpdate(doc))
  const cuts = [taken.clock, ...foreign.flatMap(({ from, to }) => [from, to])]
  const pieces = structs.flatMap((struct) => (struct.id.client === taken.client ? cut(struct, cuts) : [struct]))
  const isTaken = ({ id }: Struct): boolean => id.client === taken.client && id.clock >= taken.clock
  const isForeign = ({ id }: Struct): boolean => foreign.some((range) => contains(range, id.clock))
  const kept = pieces.filter((struct) => !isTaken(struct))
  const ours = pieces.filter((struct) => isTaken(struct) && !isForeign(struct) && !(struct instanceof Y.Skip))
  const moves = movesOf(ours)
  const copies = ours.map((struct) => copyOf(struct, moves, author))
  const deleted = [...ds.clients].flatMap(([client, ranges]) =>
    ranges.flatMap(({ clock, len }) => movedRanges(client, { from: clock, to: clock + len }, moves, author)),
  )
  return encode([...kept, ...copies], deleted)
}

/** The parts of a struct between the clocks at which it is cut. */
function cut(struct: Struct, clocks: readonly number[]): Struct[] {
  const parts: Struct[] = []
  let rest = struct
  for (const clock of [...clocks].sort((a, b) => a - b)) {
    const offset = clock - rest.id.clock
    if (offset <= 0 || offset >= rest.length) continue
    const [left, right] = split(rest, offset)
    parts.push(left)
    rest = right
  }
  return [...parts, rest]
}

function split(struct: Struct, offset: number): [Struct, Struct] {
  const { client, clock } = struct.id
  const at = Y.createID(client, clock + offset)
  if (!(struct instanceof Y.Item)) {
    const Kind = struct instanceof Y.Skip ? Y.Skip : Y.GC
    return [new Kind(struct.id, offset), new Kind(at, struct.length - offset)]
  }
  const { origin, rightOrigin, parent, parentSub, content } = struct
  const behind = content.splice(offset)
  return [
    new Y.Item(struct.id, null, origin, null, rightOrigin, parent, parentSub, content),
    new Y.Item(at, null, Y.createID(client, clock + offset - 1), null, rightOrigin, parent, parentSub, behind),
  ]
}

/** Where the structs of one client go, in their order and without gaps; neighbours go together. */
function movesOf(structs: readonly Struct[]): Move[] {
  const moves: Move[] = []
  let start = 0
  for (const { id: { client, clock }, length } of structs) {
    const last = moves.at(-1)
    if (last?.to === clock) moves[moves.length - 1] = { ...last, to: clock + length }
    else moves.push({ client, from: clock, to: clock + length, start })
    start += length
  }
  return moves
}

function copyOf(struct: Struct, moves: readonly Move[], author: number): Struct {
  const id = moved(struct.id, moves, author)
  if (!(struct instanceof Y.Item)) return new Y.GC(id, struct.length)
  const { origin, rightOrigin, parent, parentSub, content } = struct
  const newParent = parent instanceof Y.ID ? moved(parent, moves, author) : parent
  return new Y.Item(id, null, origin && moved(origin, moves, author), null, rightOrigin && moved(rightOrigin, moves, author), newParent, parentSub, content)
}

function moved(id: Y.ID, moves: readonly Move[], author: number): Y.ID {
  const move = moves.find((one) => one.client === id.client && contains(one, id.clock))
  return move === undefined ? id : Y.createID(author, move.start + id.clock - move.from)
}

/** A deleted range, cut where the moved part of it begins and ends. */
function movedRanges(client: number, range: Range, moves: readonly Move[], author: number): { client: number; range: Range }[] {
  const result: { client: number; range: Range }[] = []
  let { from } = range
  for (const move of moves) {
    if (move.client !== client || move.to <= from || move.from >= range.to) continue
    if (from < move.from) result.push({ client, range: { from, to: move.from } })
    const begin = Math.max(from, move.from)
    const end = Math.min(range.to, move.to)
    result.push({ client: author, range: { from: move.start + begin - move.from, to: move.start + end - move.from } })
    from = end
  }
  return from < range.to ? [...result, { client, range: { from, to: range.to } }] : result
}

/** An update (v1): structs by client, then what is deleted. */
function encode(structs: readonly Struct[], deleted: readonly { client: number; range: Range }[]): Uint8Array {
  const encoder = new Y.UpdateEncoderV1()
  const { restEncoder } = encoder
  const byClient = groupBy(structs, ({ id }) => id.client)
  encoding.writeVarUint(restEncoder, byClient.size)
  for (const [client, list] of byClient) {
    encoding.writeVarUint(restEncoder, list.length)
    encoder.writeClient(client)
    encoding.writeVarUint(restEncoder, list[0]?.id.clock ?? 0)
    for (const struct of list) struct.write(encoder, 0)
  }
  const deletedByClient = groupBy(deleted, ({ client }) => client)
  encoding.writeVarUint(restEncoder, deletedByClient.size)
  for (const [client, ranges] of deletedByClient) {
    encoding.writeVarUint(restEncoder, client)
    encoding.writeVarUint(restEncoder, ranges.length)
    for (const { range } of ranges) {
      encoding.writeVarUint(restEncoder, range.from)
      encoding.writeVarUint(restEncoder, range.to - range.from)
    }
  }
  return encoder.toUint8Array()
}

function groupBy<T>(items: readonly T[], keyOf: (item: T) => number): Map<number, T[]> {
  const groups = new Map<number, T[]>()
  for (const item of items) {
    const group = groups.get(keyOf(item))
    if (group === undefined) groups.set(keyOf(item), [item])
    else group.push(item)
  }
  return groups
}

function contains({ from, to }: Range, clock: number): boolean {
  return from <= clock && clock < to
}
