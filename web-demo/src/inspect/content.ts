// What a Yjs document holds, as its structs say. Pure: nothing is made, and nothing is turned into a type.
//
// A root's kind is not on the wire, and Yjs 14 puts everything into any type. So each type is shown in one neutral form, as
// `cowrite doc export --as json` shows it: what its keys hold, and its list of text, values, embeds, types and documents.

import * as Y from 'yjs'

export type Type = Y.AbstractType<unknown>

/** Format marks, by name. */
export type Marks = Readonly<Record<string, unknown>>

/** One thing in a list, or under a key. `id` is the same for as long as it is there. */
export type Part =
  | { readonly is: 'text'; readonly id: string; readonly text: string; readonly marks: Marks }
  | { readonly is: 'value'; readonly id: string; readonly value: unknown; readonly marks: Marks }
  | { readonly is: 'embed'; readonly id: string; readonly value: unknown; readonly marks: Marks }
  | { readonly is: 'document'; readonly id: string; readonly guid: string; readonly options: unknown; readonly marks: Marks }
  | { readonly is: 'type'; readonly id: string; readonly type: Type; readonly marks: Marks }

const NO_MARKS: Marks = {}
/** Most formats that are told in one place: each change of one costs as many. */
const MARKS_MAX = 256

/** The roots in which something is to be seen, by name, in the order of their UTF-16 units. */
export function rootsOf(doc: Y.Doc): [string, Type][] {
  const roots = [...doc.share] as unknown as [string, Type][]
  return roots.filter(([, type]) => !isEmpty(type)).sort(byKey)
}

export function isEmpty(type: Type): boolean {
  return listOf(type).next().done === true && !hasKeys(type)
}

/** Whether there is something under any of its keys. */
function hasKeys(type: Type): boolean {
  for (const item of type._map.values()) if (!item.deleted) return true
  return false
}

/** What stands in a type, in order; neighbouring text with the same marks is one. */
export function* listOf(type: Type): Generator<Part> {
  let marks: Marks = NO_MARKS
  let text: { id: string; text: string; marks: Marks } | null = null
  for (let item = type._start; item !== null; item = item.right) {
    if (item.deleted) continue
    const { content } = item
    if (content instanceof Y.ContentFormat) {
      marks = withMark(marks, content.key, content.value)
      continue
    }
    if (content instanceof Y.ContentString) {
      if (text !== null && sameMarks(text.marks, marks)) text.text += content.str
      else {
        if (text !== null) yield { is: 'text', ...text }
        text = { id: idOf(item), text: content.str, marks }
      }
      continue
    }
    if (text !== null) yield { is: 'text', ...text }
    text = null
    yield* partsOf(item, marks)
  }
  if (text !== null) yield { is: 'text', ...text }
}

/** What is under the keys of a type. */
export function entriesOf(type: Type): [string, Part][] {
  const entries: [string, Part][] = []
  for (const [key, item] of type._map) {
    if (item.deleted) continue
    const last = item.content instanceof Y.ContentString
      ? { is: 'text', id: idOf(item), text: item.content.str, marks: NO_MARKS } as const
      : [...partsOf(item, NO_MARKS)].at(-1)
    if (last !== undefined) entries.push([key, last])
  }
  return entries.sort(byKey)
}

function* partsOf(item: Y.Item, marks: Marks): Generator<Part> {
  const id = idOf(item)
  const { content } = item
  if (content instanceof Y.ContentType) yield { is: 'type', id, type: content.type as Type, marks }
  else if (content instanceof Y.ContentEmbed) yield { is: 'embed', id, value: content.embed, marks }
  else if (content instanceof Y.ContentBinary) yield { is: 'value', id, value: content.content, marks }
  else if (content instanceof Y.ContentDoc) yield { is: 'document', id, guid: content.doc.guid, options: content.opts, marks }
  else if (content instanceof Y.ContentAny || content instanceof Y.ContentJSON) {
    for (const [at, value] of content.arr.entries()) yield { is: 'value', id: `${id}+${at}`, value, marks }
  }
}

function idOf({ id: { client, clock } }: Y.Item): string {
  return `${client}:${clock}`
}

function withMark(marks: Marks, key: string, value: unknown): Marks {
  const { [key]: _, ...others } = marks
  if (value === null) return others
  return Object.keys(others).length < MARKS_MAX ? { ...others, [key]: value } : others
}

function sameMarks(a: Marks, b: Marks): boolean {
  return a === b || canonical(a) === canonical(b)
}

function byKey([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number {
  return a < b ? -1 : a > b ? 1 : 0
}

/** What kind of type it is, and its name if it has one. A root has none: it is told from what is in it. */
export function kindOf(type: Type): { readonly kind: string; readonly name: string | null } {
  if (type._item === null) return { kind: 'root', name: null }
  if (type instanceof Y.XmlHook) return { kind: 'hook', name: type.hookName }
  if (type instanceof Y.XmlText) return { kind: 'xmltext', name: null }
  if (type instanceof Y.XmlElement) return { kind: 'element', name: type.nodeName }
  if (type instanceof Y.XmlFragment) return { kind: 'fragment', name: null }
  if (type instanceof Y.Text) return { kind: 'text', name: null }
  if (type instanceof Y.Array) return { kind: 'array', name: null }
  if (type instanceof Y.Map) return { kind: 'map', name: null }
  return { kind: 'unknown', name: null }
}

/** How many things of a list are looked at to say what a root seems to be. */
const LOOKED_AT = 64

/** What a root seems to be: nobody writes down what it was meant as. */
export function guessOf(type: Type): string {
  const keys = hasKeys(type)
  const kinds = new Set<string>()
  let looked = 0
  for (const part of listOf(type)) {
    const isXml = part.is === 'type' && (part.type instanceof Y.XmlFragment || part.type instanceof Y.XmlText)
    kinds.add(isXml ? 'XML fragment' : part.is === 'text' || part.is === 'embed' ? 'text' : 'array')
    if (++looked === LOOKED_AT) break
  }
  const list = kinds.size === 1 ? [...kinds][0] : kinds.size === 0 ? null : 'list'
  if (list === null || list === undefined) return keys ? 'map' : 'empty'
  return keys ? `${list} with keys` : list
}

// Canonical JSON.

/** A value as JSON that tells everything apart that Yjs does: keys in order, and forms for what JSON lacks. */
export function canonical(value: unknown): string {
  switch (typeof value) {
    case 'undefined':
      return '{"$undefined":true}'
    case 'bigint':
      return `{"$bigint":"${value}"}`
    case 'number':
      if (!Number.isFinite(value)) return `{"$number":"${value}"}`
      return Object.is(value, -0) ? '-0' : String(value)
    case 'string':
      return JSON.stringify(value.toWellFormed())
    case 'object':
      break
    default:
      return JSON.stringify(value) ?? 'null'
  }
  if (value === null) return 'null'
  if (value instanceof Uint8Array) return `{"$binary":"${base64(value)}"}`
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  const members = Object.entries(value).sort(byKey)
  return `{${members.map(([key, member]) => `${JSON.stringify(key.startsWith('$') ? `$${key}` : key)}:${canonical(member)}`).join(',')}}`
}

function base64(bytes: Uint8Array): string {
  let binary = ''
  for (const byte of bytes) binary += String.fromCharCode(byte)
  return btoa(binary)
}

/** Collects text up to a length. */
class Limited {
  private readonly parts: string[] = []
  private length = 0

  constructor(private readonly max: number) {}

  /** False when nothing more goes in. */
  add(text: string): boolean {
    this.parts.push(text)
    this.length += text.length
    return this.length <= this.max
  }

  get isFull(): boolean {
    return this.length > this.max
  }

  end(): { readonly text: string; readonly isWhole: boolean } {
    return { text: this.parts.join('').slice(0, this.max), isWhole: !this.isFull }
  }
}

export interface Shown {
  readonly text: string
  /** False: there is more than the limit allows. */
  readonly isWhole: boolean
}

/** Everything as one line of JSON, up to so many UTF-16 units. */
export function jsonOf(doc: Y.Doc, max: number): Shown {
  const out = new Limited(max)
  out.add('{')
  rootsOf(doc).forEach(([name, type], at) => {
    if (out.isFull) return
    out.add(`${at === 0 ? '' : ','}${JSON.stringify(name)}:{`)
    writeHeld(type, out, false)
    out.add('}')
  })
  out.add('}')
  return out.end()
}

function writeHeld(type: Type, out: Limited, follows: boolean): void {
  const entries = entriesOf(type)
  if (entries.length > 0) {
    out.add(`${follows ? ',' : ''}"map":{`)
    for (const [at, [key, part]] of entries.entries()) {
      if (!out.add(`${at === 0 ? '' : ','}${JSON.stringify(key)}:`)) return
      writePart(part, out)
    }
    out.add('}')
  }
  let count = 0
  for (const part of listOf(type)) {
    if (!out.add(count++ > 0 ? ',' : `${follows || entries.length > 0 ? ',' : ''}"list":[`)) return
    writePart(part, out)
  }
  if (count > 0) out.add(']')
}

function writePart(part: Part, out: Limited): void {
  switch (part.is) {
    case 'text':
      out.add(`{"text":${canonical(part.text)}`)
      break
    case 'value':
      out.add(`{"value":${canonical(part.value)}`)
      break
    case 'embed':
      out.add(`{"embed":${canonical(part.value)}`)
      break
    case 'document':
      out.add(`{"document":${canonical(part.guid)},"options":${canonical(part.options)}`)
      break
    case 'type': {
      const { kind, name } = kindOf(part.type)
      out.add(`{"type":"${kind}"${name === null ? '' : `,"name":${canonical(name)}`}`)
      writeHeld(part.type, out, true)
      break
    }
  }
  out.add(`${Object.keys(part.marks).length === 0 ? '' : `,"format":${canonical(part.marks)}`}}`)
}

/** What people wrote: text, and values that are strings; each type and each value begins a line. */
export function textOf(doc: Y.Doc, max: number): Shown {
  const out = new Limited(max)
  let isLineOpen = false
  const put = (text: string): void => {
    if (text === '') return
    out.add(text)
    isLineOpen = !text.endsWith('\n')
  }
  const endLine = (): void => {
    if (isLineOpen) put('\n')
  }
  const tell = (part: Part): void => {
    if (part.is === 'text') put(part.text)
    else if (part.is === 'value' && typeof part.value === 'string') {
      endLine()
      put(`${part.value}\n`)
    } else if (part.is === 'type') held(part.type)
  }
  const held = (type: Type): void => {
    endLine()
    for (const [, part] of entriesOf(type)) if (!out.isFull) tell(part)
    for (const part of listOf(type)) {
      if (out.isFull) return
      tell(part)
    }
    endLine()
  }
  for (const [, type] of rootsOf(doc)) if (!out.isFull) held(type)
  return out.end()
}
