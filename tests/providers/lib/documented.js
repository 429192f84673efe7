// The programs of the documentation, as they are printed.
import { readFile } from 'node:fs/promises'

/** The text of a page: `tokens.md`. */
export const page = name => readFile(new URL(`../../../docs/${name}`, import.meta.url), 'utf8')

/** The program with this tag on that page. */
export function program(text, tag) {
  const found = new RegExp(`\`\`\`[a-z]+ ${tag}\n([^]*?)\`\`\``).exec(text)
  if (found === null) throw new Error(`there is no program ${tag}`)
  return found[1]
}

/** The tags of all programs on that page. */
export const tags = text => [...text.matchAll(/^```[a-z]+ (\S+)$/gm)].map(([, tag]) => tag)
