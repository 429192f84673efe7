// What a document holds, item by item, as texts that two documents can be compared by, whatever their version.
//
// Yjs's own `toJSON` and `toDelta` lose what matters here: BigInt, -0, undefined, the prototype of a key, bytes. So the
// lists and maps of the types are walked as Yjs keeps them. Which structs something lies in is no content: a client
// splits and joins them.

const REF = { deleted: 1, json: 2, binary: 3, string: 4, embed: 5, format: 6, type: 7, any: 8, doc: 9 }

/** A value, every bit of it. Keys stay in their order. */
export const valueText = value => {
  switch (typeof value) {
    case 'undefined': return 'u'
    case 'boolean': return value ? 'T' : 'F'
    case 'bigint': return `${value}n`
    case 'number': return Object.is(value, -0) ? '-0' : String(value)
    case 'string': return JSON.stringify(value)
    case 'object': break
    default: return `?${typeof value}`
  }
  if (value === null) return 'N'
  if (value instanceof Uint8Array) return `b<${Buffer.from(value).toString('hex')}>`
  if (Array.isArray(value)) return `[${value.map(valueText).join(',')}]`
  return `{${Object.keys(value).map(key => `${JSON.stringify(key)}:${valueText(value[key])}`).join(',')}}`
}

/** Which type it is, and its name: what is on the wire, not its class. */
const typeText = type => {
  let text = ''
  type._write({ writeTypeRef: ref => { text += ref }, writeKey: name => { text += valueText(name) }, writeString: name => { text += valueText(name) } })
  return text
}

const subdocumentText = content => {
  const guid = content.guid ?? content.doc?.guid
  const opts = content.opts ?? {}
  return `D(${valueText(guid)}${valueText(opts)})`
}

/** The parts of an item's content, one text each; a string is told apart by `isText`. */
const partsOf = (content, level) => {
  switch (content.getRef()) {
    case REF.json: return content.arr.map(value => `j${valueText(value)}`)
    case REF.binary: return [`B${valueText(content.content)}`]
    case REF.embed: return [`E${valueText(content.embed)}`]
    case REF.type: return [typeContent(content.type, level)]
    case REF.any: return content.arr.map(value => `a${valueText(value)}`)
    case REF.doc: return [subdocumentText(content)]
    default: return [`?${content.getRef()}`]
  }
}

const formatsText = formats => formats.size === 0
  ? ''
  : `<${[...formats].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, value]) => `${valueText(key)}=${value}`).join(',')}>`

/** The list of a type. A format is a mark (`exact`), what it does to what follows (`effective`), or nothing (`bare`). */
const listContent = (type, level) => {
  const out = []
  const formats = new Map()
  let text = ''
  let texts = ''
  const ends = () => {
    if (text !== '') out.push(`${texts}s${JSON.stringify(text)}`)
    text = ''
  }
  for (let item = type._start; item !== null; item = item.right) {
    if (item.deleted) continue
    const { content } = item
    const ref = content.getRef()
    if (ref === REF.format) {
      if (level === 'exact') {
        ends()
        out.push(`f${valueText(content.key)}=${valueText(content.value)}`)
      } else if (level === 'effective') {
        if (content.value === null) formats.delete(content.key)
        else formats.set(content.key, valueText(content.value))
      }
      continue
    }
    const now = formatsText(formats)
    if (ref === REF.string) {
      if (now !== texts) ends()
      texts = now
      text += content.str
      continue
    }
    ends()
    for (const part of partsOf(content, level)) out.push(now + part)
  }
  ends()
  return out
}

const mapContent = (type, level) => [...type._map]
  .filter(([, item]) => !item.deleted)
  .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
  .map(([key, item]) => {
    const { content } = item
    const value = content.getRef() === REF.string ? `s${JSON.stringify(content.str)}` : partsOf(content, level).at(-1)
    return `${valueText(key)}:${value}`
  })

const typeContent = (type, level, isRoot = false) =>
  `${isRoot ? '' : typeText(type)}(${listContent(type, level).join(' ')}|${mapContent(type, level).join(' ')})`

/**
 * What all roots hold that hold something. `level` is `exact` (format marks where they are), `effective` (what the
 * marks do), or `bare` (without formats).
 */
export const contentOf = (doc, level = 'exact') => [...doc.share]
  .sort(([a], [b]) => (a < b ? -1 : 1))
  .map(([name, type]) => [name, typeContent(type, level, true)])
  .filter(([, content]) => content !== '(|)')
  .map(([name, content]) => `${valueText(name)} ${content}`)
  .join('\n')

/**
 * What a document that forgets nothing holds of what was deleted: client, clock and content of each clock (of surrogate
 * pairs, that they were there).
 */
export const keptOf = doc => {
  const kept = []
  for (const [client, structs] of doc.store.clients) {
    for (const { id, deleted, content } of structs) {
      // Format marks that do nothing are deleted by whoever hears them live, and by nobody else.
      if (content === undefined || !deleted || content.getRef() === REF.deleted || content.getRef() === REF.format) continue
      const parts = content.getRef() === REF.string ? [...withoutPairs(content.str)] : partsOf(content, 'bare')
      parts.forEach((part, i) => kept.push(`${client}:${id.clock + i} ${part}`))
    }
  }
  return kept.sort().join('\n')
}

/** The same with every half of a surrogate pair as U+FFFD: what Yjs leaves of a pair that it once split. */
export const withoutPairs = content => content
  .replace(/\\ud[89a-f][0-9a-f]{2}/g, '\ufffd')
  .replace(/[\ud800-\udfff]/g, '\ufffd')
