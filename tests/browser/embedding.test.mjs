// The programs of docs/embedding.md, bundled and run as they are printed (but for the address).

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { build } from 'vite'

import { launch, openWindow } from './browser.mjs'
import { startServer } from './server.mjs'

const FOLDER = fileURLToPath(new URL('dist/', import.meta.url))
const guide = await readFile(new URL('../../docs/embedding.md', import.meta.url), 'utf8')

let browser
before(async () => {
  browser = await launch()
  await mkdir(FOLDER, { recursive: true })
  await copyFile(new URL('../../web-demo/dist/track-saved.js', import.meta.url), `${FOLDER}track-saved.js`)
})
after(() => browser.close())

/** The code block with this tag. */
function program(tag) {
  const found = new RegExp(`\`\`\`js ${tag}\n([^]*?)\`\`\``).exec(guide)
  assert.ok(found, `docs/embedding.md has no program ${tag}`)
  return found[1]
}

async function bundle(name, source) {
  const entry = `${FOLDER}${name}.js`
  await writeFile(entry, source)
  const [{ output }] = await build({
    configFile: false,
    logLevel: 'error',
    define: { 'process.env.NODE_ENV': '"production"' },
    build: { write: false, minify: false, lib: { entry, formats: ['iife'], name: 'program' } },
  })
  return output[0].code
}

/** A site of another origin whose page runs a program; served for real, since browsers guard loopback from sites that are not on it. */
async function site(t) {
  const served = { code: '' }
  const http = createServer((request, response) => {
    const script = request.url === '/program.js'
    response.setHeader('content-type', `text/${script ? 'javascript' : 'html'}; charset=utf-8`)
    response.end(script ? served.code : '<!doctype html><title>app</title><p id="status"></p><div id="editor"></div><script src="/program.js"></script>')
  })
  http.listen(0, '127.0.0.1')
  await once(http, 'listening')
  t.after(() => http.close())
  return { served, origin: `http://127.0.0.1:${http.address().port}` }
}

for (const [name, editable] of [['tiptap', '.ProseMirror'], ['codemirror', '.cm-content']]) {
  test(`w40_the_${name}_program_runs_as_printed_and_knows_what_is_saved`, async (t) => {
    const app = await site(t)
    const server = await startServer(t, { flags: ['--allow-origin', app.origin] })
    const source = (program(name) + program('saved')).replaceAll('ws://127.0.0.1:8080', server.origin.replace('http', 'ws'))
    app.served.code = await bundle(name, source)
    const one = await openWindow(t, browser)
    const other = await openWindow(t, browser)
    await Promise.all([one, other].map((page) => page.goto(app.origin)))

    await one.locator(editable).click()
    await one.keyboard.type('printed')

    await other.locator(editable, { hasText: 'printed' }).waitFor()
    await one.locator('#status', { hasText: /^saved$/ }).waitFor()
    await server.kill()
    await one.locator('#status', { hasText: 'offline' }).waitFor()
    await one.keyboard.type(' twice')
    await server.start()
    await other.locator(editable, { hasText: 'printed twice' }).waitFor()
    await one.locator('#status', { hasText: /^saved$/ }).waitFor()
  })
}
