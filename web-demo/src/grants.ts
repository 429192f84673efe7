// Which documents a token opens: patterns in which `*` stands for anything, and the longest that matches decides. The server
// decides; this page only foresees it, so that it offers what can succeed.

export type Access = 'read' | 'write'

export interface Grant {
  readonly pattern: string
  readonly access: Access
  /** The pattern is the very name of one document, whatever is in it. */
  readonly isName: boolean
}

/** What they allow in a document; null is nothing. Of equally long patterns `read` comes before `write`. */
export function accessTo(grants: readonly Grant[], name: string): Access | null {
  const matching = grants.filter((grant) => (grant.isName ? grant.pattern === name : matches(grant.pattern, name)))
  const longest = matching.toSorted((a, b) => lengthOf(b) - lengthOf(a) || (a.access < b.access ? -1 : 1))
  return longest[0]?.access ?? null
}

/** The lesser of both; null is nothing. */
export function lesser(one: Access | null, other: Access | null): Access | null {
  if (one === null || other === null) return null
  return one === 'read' ? one : other
}

/** So many names are tried for each pattern, since another pattern may take some of them back: `*=write` and `a*=read`. */
const TRIES = 32

/** A name that they let be written, with one of `random`'s where the widest pattern leaves it open; null if none was found. */
export function newNameIn(grants: readonly Grant[], random: () => string): string | null {
  const open = grants.filter(({ access, isName, pattern }) => access === 'write' && !isName && pattern.includes('*'))
  for (const { pattern } of open.toSorted((a, b) => lengthOf(a) - lengthOf(b))) {
    for (let tried = 0; tried < TRIES; tried++) {
      const name = pattern.replace('*', random()).replaceAll('*', '')
      if (accessTo(grants, name) === 'write') return name
    }
  }
  return null
}

function matches(pattern: string, name: string): boolean {
  const [first = '', ...rest] = pattern.split('*')
  const last = rest.pop()
  if (last === undefined) return pattern === name
  if (name.length < first.length + last.length || !name.startsWith(first) || !name.endsWith(last)) return false
  const end = name.length - last.length
  let at = first.length
  for (const part of rest) {
    const found = name.indexOf(part, at)
    if (found === -1 || found + part.length > end) return false
    at = found + part.length
  }
  return true
}

/** In characters other than `*`; of as many, a pattern without `*` is longer. */
function lengthOf({ pattern, isName }: Grant): number {
  const characters = [...pattern].filter((letter) => isName || letter !== '*').length
  return 2 * characters + (isName || !pattern.includes('*') ? 1 : 0)
}
