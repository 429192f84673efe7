// The programs of the documentation on a site of their own, bundled as their readers would.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { fileURLToPath } from 'node:url'

import { build } from 'vite'

import { openWindow } from './browser.mjs'
import { startServer } from './server.mjs'

/** Where programs are written: the packed `cowrite-track-saved` is installed here (scripts/package-install). */
const FOLDER = fileURLToPath(new URL('dist/', import.meta.url))
await mkdir(FOLDER, { recursive: true })

/** The text of a page of the documentation, as `editors.md` or `../README.md`. */
export const page = (name) => readFile(new URL(`../../docs/${name}`, import.meta.url), 'utf8')

/** The code block with this tag. */
export function programOf(text, tag) {
  const found = new RegExp(`\`\`\`jsx? ${tag}\n([^]*?)\`\`\``).exec(text)
  assert.ok(found, `there is no program ${tag}`)
  return found[1]
}

/** The files that Vite makes of a program, by name. React is in development, where StrictMode does what it does. */
async function bundle(name, source) {
  const react = source.includes('react')
  const entry = `${FOLDER}${name}.${react ? 'jsx' : 'js'}`
  await writeFile(entry, source)
  process.env.NODE_ENV = react ? 'development' : 'production'
  const { output } = await build({
    configFile: false,
    logLevel: 'error',
    mode: process.env.NODE_ENV,
    build: {
      write: false,
      minify: false,
      cssCodeSplit: false,
      reportCompressedSize: false,
      rollupOptions: { input: entry, output: { entryFileNames: 'program.js' } },
    },
  })
  return new Map(output.map((file) => [`/${file.fileName}`, file.code ?? file.source]))
}

/**
 * A program on a site of another origin than the server's, and the server; both are served for real, since browsers
 * guard loopback from sites that are not on it. `visit` opens it in another window.
 *
 * `api` answers what the program asks of its own site: `{ '/api/token': async () => 'text' }`; `flags` and `env` are the server's.
 */
export async function serve(t, browser, name, source, { api = {}, flags = [], env = {} } = {}) {
  const files = await bundle(name, source)
  const styles = [...files.keys()].filter((file) => file.endsWith('.css')).map((file) => `<link rel="stylesheet" href="${file}">`)
  files.set('/', `<!doctype html><title>${name}</title>${styles.join('')}<p id="status"></p><div id="editor"></div>
    <script type="module" src="/program.js"></script>`)
  const site = createServer(async (request, response) => {
    if (api[request.url]) return response.end(await api[request.url]())
    const file = files.get(request.url)
    if (file === undefined) return response.writeHead(404).end()
    response.setHeader('content-type', typeOf(request.url))
    response.end(typeof file === 'string' ? file.replaceAll('ws://127.0.0.1:8080', server.origin.replace('http', 'ws')) : file)
  })
  site.listen(0, '127.0.0.1')
  await once(site, 'listening')
  t.after(() => site.close())
  const origin = `http://127.0.0.1:${site.address().port}`
  const server = await startServer(t, { flags: ['--allow-origin', origin, ...flags], env })
  const visit = async (options) => {
    const page = await openWindow(t, browser, options)
    await page.goto(origin)
    return page
  }
  return { server, origin, visit }
}

function typeOf(file) {
  const types = { '/': 'text/html', js: 'text/javascript', css: 'text/css' }
  return `${types[file.split('.').at(-1)] ?? 'application/octet-stream'}; charset=utf-8`
}
