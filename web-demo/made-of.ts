// What a page is made of, for whoever wants to have it: its files and all that they take from beside them, as texts, and the
// packages that these need. `virtual:made-of/code` and so on; with a `main.ts` that connects them, that is a whole project.

import { readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'

import type { Plugin } from 'vite'

const PREFIX = 'virtual:made-of/'

/** The files that show each kind of page. */
const KINDS: Readonly<Record<string, readonly string[]>> = {
  document: ['schema', 'toolbar', 'keys', 'slash', 'bubble', 'find', 'as-written'].map((name) => `editor/${name}.ts`).concat('toast.ts', 'style/document.css', 'style/main.css'),
  code: ['gallery/code.ts', 'style/main.css'],
  board: ['gallery/board.ts', 'style/main.css'],
  room: ['gallery/room.ts', 'style/main.css'],
}

/** What `main.ts` takes itself. */
const MAIN: Readonly<Record<string, readonly string[]>> = {
  document: ['yjs', 'y-websocket', '@tiptap/core', '@tiptap/extension-collaboration', '@tiptap/y-tiptap', 'prosemirror-search'],
}
const CONNECTS = ['yjs', 'y-websocket']

export function madeOf(): Plugin {
  const folder = fileURLToPath(new URL('src/', import.meta.url))
  return {
    name: 'made-of',
    resolveId: (id) => (id.startsWith(PREFIX) ? `\0${id}` : null),
    load(id) {
      if (!id.startsWith(`\0${PREFIX}`)) return null
      const kind = id.slice(PREFIX.length + 1)
      const wanted = [...(KINDS[kind] ?? [])]
      const files: { readonly name: string; readonly text: string }[] = []
      const packages = new Set(MAIN[kind] ?? CONNECTS)
      for (const name of wanted) {
        if (files.some((file) => file.name === name)) continue
        const text = readFileSync(join(folder, name), 'utf8')
        this.addWatchFile(join(folder, name))
        files.push({ name, text })
        if (!name.endsWith('.ts')) continue
        for (const [, from = ''] of text.matchAll(/(?:\bfrom |\bimport |\bimport\()'([^']+)'/g)) {
          if (from.startsWith('.')) wanted.push(fileOf(name, from))
          else packages.add(from.split('/').slice(0, from.startsWith('@') ? 2 : 1).join('/'))
        }
      }
      const { dependencies, devDependencies } = JSON.parse(readFileSync(new URL('package.json', import.meta.url), 'utf8')) as Record<string, Record<string, string>>
      const versions = (names: readonly string[], of: Readonly<Record<string, string>> = {}) => Object.fromEntries(names.map((name) => {
        const version = of[name]
        if (version === undefined) throw new Error(`${name} is not in package.json`)
        return [name, version]
      }))
      return `export default ${JSON.stringify({ files, packages: versions([...packages].sort(), dependencies), tools: versions(['typescript', 'vite'], devDependencies) })}`
    },
  }
}

function fileOf(from: string, path: string): string {
  const name = normalize(join(dirname(from), path.replace(/\?.*$/, '')))
  return /\.\w+$/.test(name) ? name : `${name}.ts`
}
