// Edits that were made under a client id that another page writes under, too, written again under a new one.
//
// Yjs knows an edit by its author's client id and clock and nothing else. When two pages write under one
// id, the server keeps what came first; what the other page wrote under the same numbers is in that page
// alone (close code 4409). No merge can bring it out again: everybody believes to have it already.
//
// So the edits that were written in this browser are copied, edit by edit, to a client id that nobody has used,
// and each reference to one of them is changed to the copy. The text, its formats and its place among the edits of
// others stay what they are. Nothing else is touched: what others wrote meanwhile merges as ever.
//
// A copy has its number from the original alone, so every window of this browser can copy what it has: the same
// edit gets the same number everywhere, and Yjs takes it once.
//
// What must stay true:
//  - What the server has agreed to stays under its old numbers, so that nothing stands there twice.
//  - What came from elsewhere under the taken numbers is left out: whoever has it sends it again.
//  - What the server may have taken already keeps its references.
//
// It needs nothing but Yjs and its lib0.

import * as encoding from 'lib0/encoding'
import * as Y from 'yjs'

/** Whose numbers are taken, and the first of them at which the server has something else. */
export interface Taken {
  readonly client: number
  readonly clock: number
}

/** What the windows of this browser have agreed on: their edits under the taken numbers are `author`'s, from 0 on. */
export interface Move extends Taken {
  /** A client id that nobody has used. */
  readonly author: number
}

/** Half open: `from` belongs to it, `to` does not. */
export interface Range {
  readonly from: number
  readonly to: number
}

/** Which edits were written in this browser, by client id. */
export type Written = ReadonlyMap<number, readonly Range[]>

type Struct = ReturnType<typeof Y.decodeUpdate>['structs'][number]

/** Edits of `client` from `from` up to `to` that go to the new client id, from its clock `start` on. */
interface Shift extends Range {
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

/** Adds what a transaction has brought. */
export function noteWritten(written: Map<number, readonly Range[]>, { beforeState, afterState }: Y.Transaction): void {
  for (const [client, to] of afterState) {
    const from = beforeState.get(client) ?? 0
    if (from < to) written.set(client, withRange(written.get(client) ?? [], { from, to }))
  }
}

export function addWritten(written: Map<number, readonly Range[]>, more: Written): void {
  for (const [client, ranges] of more) written.set(client, joined([...(written.get(client) ?? []), ...ranges]))
}

function withRange(ranges: readonly Range[], next: Range): readonly Range[] {
  return joined([...ranges, next])
}

/** The same numbers in their order, and each once. (What is pasted builds on thousands of ranges.) */
function joined(ranges: readonly Range[]): readonly Range[] {
  const whole: { readonly from: number; to: number }[] = []
  for (const { from, to } of ranges.toSorted((a, b) => a.from - b.from)) {
    const last = whole.at(-1)
    if (last !== undefined && from <= last.to) last.to = Math.max(last.to, to)
    else whole.push({ from, to })
  }
  return whole
}

/** A document, and what is known of it: which of its edits this browser wrote, and what they build on. */
export interface Known {
  /** The whole of it as an update (v1). */
  readonly update: Uint8Array
  readonly written: Written
  /**
   * By client id: of what an edit of that client builds on, what is ours. The same number may be our edit in one
   * window and another page's in the next, so nobody but the window that wrote it can tell. Of others nothing is known.
   */
  readonly upon: ReadonlyMap<number, Written>
}

/** The document after these moves, one after the other. */
export function movedOn(known: Known, moves: readonly Move[]): Known {
  return moves.reduce((before, move) => {
    const upon = [...before.upon].map(([client, ours]) => [client, writtenAfter(ours, move)] as const)
    const own = upon.find(([client]) => client === move.client)?.[1] ?? new Map()
    return { update: rewritten(before, move), written: writtenAfter(before.written, move), upon: new Map([...upon, [move.author, own]]) }
  }, known)
}

/**
 * An update (v1) in which `author` has written what was written in this browser under the taken numbers.
 *
 * Two things are left to whoever has them, too: what follows a hole, and what another window built upon these numbers.
 */
function rewritten({ update, written, upon }: Known, move: Move): Uint8Array {
  const { structs, ds } = Y.decodeUpdate(update)
  const ours = written.get(move.client) ?? []
  const pieces = piecesOf(structs, new Map([[move.client, [{ from: move.clock, to: Infinity }, ...ours]]]))
  const isTaken = ({ client, clock }: Y.ID): boolean => client === move.client && clock >= move.clock
  const shifts = shiftsOf(ours, move)
  const left = new Set<number>()
  const kept = pieces.flatMap((struct) => {
    const { id } = struct
    if (isTaken(id) || left.has(id.client)) return []
    if (!(struct instanceof Y.Item) || !isIn(written, id)) return [struct]
    const known = upon.get(id.client)
    if (known !== undefined) return [withReferences(struct, id, (to) => (isIn(known, to) ? moved(to, shifts, move.author) : to))]
    if (referencesOf(struct).some(isTaken)) left.add(id.client)
    return left.has(id.client) ? [] : [struct]
  })
  const copies: Struct[] = []
  let next = move.clock
  for (const struct of pieces) {
    if (!isTaken(struct.id) || struct.id.clock !== next || !isIn(written, struct.id) || struct instanceof Y.Skip) continue
    copies.push(copyOf(struct, (id) => moved(id, shifts, move.author)))
    next += struct.length
  }
  const deleted = [...ds.clients].flatMap(([client, ranges]) =>
    ranges.flatMap(({ clock, len }) => movedRanges(client, { from: clock, to: clock + len }, shifts, move.author)),
  )
  // Nobody can tell whose edit a deletion under these numbers meant; whoever has it sends that again, too.
  const clear = deleted.map(({ client, range }) => ({ client, range: client === move.client ? { ...range, to: Math.min(range.to, move.clock) } : range }))
  return encode([...kept, ...copies], clear.filter(({ range }) => range.from < range.to))
}

/** What of an update (v1) builds on edits that are ours: their numbers. */
export function builtUpon(update: Uint8Array, written: Written): Written {
  const structs = Y.decodeUpdate(update).structs.filter((struct) => struct instanceof Y.Item)
  const ours = structs.flatMap(referencesOf).filter((id) => isIn(written, id))
  const byClient = [...groupBy(ours, ({ client }) => client)]
  return new Map(byClient.map(([client, ids]) => [client, joined(ids.map(({ clock }) => ({ from: clock, to: clock + 1 })))]))
}

function referencesOf({ origin, rightOrigin, parent }: Y.Item): Y.ID[] {
  return [origin, rightOrigin, parent].filter((id) => id instanceof Y.ID)
}

/** What is known to be ours after a move. */
function writtenAfter(written: Written, move: Move): Written {
  const ours = written.get(move.client) ?? []
  const stay = ours.map(({ from, to }) => ({ from, to: Math.min(to, move.clock) })).filter(({ from, to }) => from < to)
  const moved = shiftsOf(ours, move).map(({ from, to, start }) => ({ from: start, to: start + to - from }))
  return new Map([...written, [move.client, stay], [move.author, moved]])
}

/** An update (v1) that was written in this browser, and what of it builds on edits that are ours. */
export interface Own {
  readonly update: Uint8Array
  readonly upon: Written
}

/** What all these updates of a document make, of which the own ones come before what others wrote under the same numbers. */
export function knownFrom(updates: readonly Uint8Array[], own: readonly Own[]): Known {
  const written = new Map<number, readonly Range[]>()
  const upon = new Map<number, Map<number, readonly Range[]>>()
  for (const one of own) {
    const { from, to } = Y.parseUpdateMeta(one.update)
    for (const [client, end] of to) {
      written.set(client, withRange(written.get(client) ?? [], { from: from.get(client) ?? 0, to: end }))
      const all = upon.get(client) ?? new Map()
      addWritten(all, one.upon)
      upon.set(client, all)
    }
  }
  const doc = new Y.Doc()
  for (const { update } of own) Y.applyUpdate(doc, update)
  for (const update of updates) Y.applyUpdate(doc, without(update, written))
  return { update: Y.encodeStateAsUpdate(doc), written, upon }
}

/** The structs of an update (v1) under these numbers, as an update; null if there are none. */
export function partOf(update: Uint8Array, numbers: Written): Uint8Array | null {
  const part = piecesOf(Y.decodeUpdate(update).structs, numbers).filter((struct) => isIn(numbers, struct.id) && !(struct instanceof Y.Skip))
  return part.length === 0 ? null : encode(part, [])
}

function without(update: Uint8Array, numbers: Written): Uint8Array {
  const { structs, ds } = Y.decodeUpdate(update)
  const deleted = [...ds.clients].flatMap(([client, ranges]) => ranges.map(({ clock, len }) => ({ client, range: { from: clock, to: clock + len } })))
  return encode(piecesOf(structs, numbers).filter(({ id }) => !isIn(numbers, id)), deleted)
}

/** The structs, cut where these ranges begin and end. */
function piecesOf(structs: readonly Struct[], numbers: Written): Struct[] {
  return structs.flatMap((struct) => cut(struct, (numbers.get(struct.id.client) ?? []).flatMap(({ from, to }) => [from, to])))
}

function isIn(numbers: Written, { client, clock }: Y.ID): boolean {
  return numbers.get(client)?.some((range) => contains(range, clock)) ?? false
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

/** Where our edits under the taken numbers go. */
function shiftsOf(ours: readonly Range[], { client, clock }: Taken): Shift[] {
  return ours.filter(({ to }) => to > clock).map(({ from, to }) => {
    const begin = Math.max(from, clock)
    return { client, from: begin, to, start: begin - clock }
  })
}

function copyOf(struct: Struct, to: (id: Y.ID) => Y.ID): Struct {
  return struct instanceof Y.Item ? withReferences(struct, to(struct.id), to) : new Y.GC(to(struct.id), struct.length)
}

/** The same edit under this number, building on what `to` says. */
function withReferences({ origin, rightOrigin, parent, parentSub, content }: Y.Item, id: Y.ID, to: (id: Y.ID) => Y.ID): Y.Item {
  return new Y.Item(id, null, origin && to(origin), null, rightOrigin && to(rightOrigin), parent instanceof Y.ID ? to(parent) : parent, parentSub, content)
}

function moved(id: Y.ID, shifts: readonly Shift[], author: number): Y.ID {
  const shift = shifts.find((one) => one.client === id.client && contains(one, id.clock))
  return shift === undefined ? id : Y.createID(author, shift.start + id.clock - shift.from)
}

/** A deleted range, cut where the moved part of it begins and ends. */
function movedRanges(client: number, range: Range, shifts: readonly Shift[], author: number): { client: number; range: Range }[] {
  const result: { client: number; range: Range }[] = []
  let { from } = range
  for (const shift of shifts) {
    if (shift.client !== client || shift.to <= from || shift.from >= range.to) continue
    if (from < shift.from) result.push({ client, range: { from, to: shift.from } })
    const begin = Math.max(from, shift.from)
    const end = Math.min(range.to, shift.to)
    result.push({ client: author, range: { from: shift.start + begin - shift.from, to: shift.start + end - shift.from } })
    from = end
  }
  return from < range.to ? [...result, { client, range: { from, to: range.to } }] : result
}

/** An update (v1): structs by client, in the order of their clocks, then what is deleted. */
function encode(structs: readonly Struct[], deleted: readonly { client: number; range: Range }[]): Uint8Array {
  const encoder = new Y.UpdateEncoderV1()
  const { restEncoder } = encoder
  const byClient = groupBy(structs.filter((struct) => !(struct instanceof Y.Skip)), ({ id }) => id.client)
  for (const [client, list] of byClient) byClient.set(client, inOrder(list))
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

/** Each number once, in their order; a hole is written as a Skip. */
function inOrder(structs: readonly Struct[]): Struct[] {
  const sorted = [...structs].sort((a, b) => a.id.clock - b.id.clock)
  let next = sorted[0]?.id.clock ?? 0
  return sorted.flatMap((struct) => {
    const { client, clock } = struct.id
    const [begin, end] = [next, clock + struct.length]
    if (end <= begin) return []
    next = end
    if (clock < begin) return cut(struct, [begin]).slice(-1)
    return clock > begin ? [new Y.Skip(Y.createID(client, begin), clock - begin), struct] : [struct]
  })
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
