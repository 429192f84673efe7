// A page for each kind of document: as index.html, but it names all the code of its kind, so that a browser asks for all of
// it at once, and not for one file when it has read the other. What is painted first goes before it.

import { fileURLToPath } from 'node:url'

import type { Plugin, Rolldown } from 'vite'

/** What is loaded for each kind beside the entry, by `open` in `src/main.ts`. */
const KINDS: Readonly<Record<string, readonly string[]>> = {
  document: ['page.ts', 'document.ts'],
  code: ['page.ts', 'gallery.ts', 'gallery/code.ts'],
  board: ['page.ts', 'gallery.ts', 'gallery/board.ts'],
  room: ['page.ts', 'gallery.ts', 'gallery/room.ts'],
}

export function pages(): Plugin {
  return {
    name: 'pages',
    apply: 'build',
    enforce: 'post',
    generateBundle(_, bundle) {
      const index = bundle['index.html']
      if (index?.type !== 'asset') throw new Error('there is no index.html yet')
      const html = String(index.source)
      for (const [kind, modules] of Object.entries(KINDS)) {
        const files = new Set(modules.flatMap((module) => filesOf(chunkOf(module, bundle), bundle)))
        const links = [...files].filter((file) => !html.includes(file)).map((file) => `    <link rel="modulepreload" fetchpriority="low" crossorigin href="./${file}">\n`)
        this.emitFile({ type: 'asset', fileName: `${kind}.html`, source: html.replace('  </head>', () => `${links.join('')}  </head>`) })
      }
    },
  }
}

/** The chunk that holds a module of `src`. */
function chunkOf(module: string, bundle: Rolldown.OutputBundle): Rolldown.OutputChunk {
  const path = fileURLToPath(new URL(`src/${module}`, import.meta.url))
  const chunk = Object.values(bundle).find((one) => one.type === 'chunk' && one.moduleIds.includes(path))
  if (chunk?.type !== 'chunk') throw new Error(`no chunk holds ${path}`)
  return chunk
}

/** A chunk and all that it imports, in the order in which they run. */
function filesOf(chunk: Rolldown.OutputChunk, bundle: Rolldown.OutputBundle): string[] {
  const imported = chunk.imports.flatMap((name) => {
    const one = bundle[name]
    return one?.type === 'chunk' ? filesOf(one, bundle) : []
  })
  return [...imported, chunk.fileName]
}
