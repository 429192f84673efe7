// How a page comes to a browser: what is asked for when, and how it is compressed.

import assert from 'node:assert/strict'
import { get } from 'node:http'
import { after, before, test } from 'node:test'
import { brotliDecompressSync, gunzipSync } from 'node:zlib'

import { launch, openWindow, until, untilStatus, untilText, write } from './browser.mjs'
import { startServer } from './server.mjs'

let browser
before(async () => {
  browser = await launch()
})
after(() => browser.close())

/** A page of each kind, and what is there when it can be used. */
const PAGES = {
  '/d/loads': '.ProseMirror[contenteditable="true"]',
  '/code/loads': '.file-name:enabled',
  '/board/loads': '.board',
  '/room/loads': '.messages',
}

/** An answer as it came: `fetch` would undo how it is compressed. */
function asked(address, headers = {}) {
  return new Promise((resolve, reject) => {
    get(address, { headers }, (answer) => {
      const parts = []
      answer.on('data', (part) => parts.push(part))
      answer.on('end', () => resolve({ status: answer.statusCode, headers: answer.headers, body: Buffer.concat(parts) }))
    }).on('error', reject)
  })
}

const assetsOf = (html) => [...html.matchAll(/(?:src|href)="([^"]*\/assets\/[^"]+)"/g)].map(([, path]) => path)

test('w121_files_are_sent_as_they_were_compressed_when_the_demo_was_built', async (t) => {
  const server = await startServer(t)
  const page = (await asked(`${server.origin}/d/loads`)).body.toString()
  const files = [...assetsOf(page), '/track-saved.js', '/licenses.md']
  const sizes = { identity: 0, gzip: 0, br: 0 }
  for (const file of files) {
    const plain = await asked(server.origin + file)
    assert.equal(plain.status, 200, file)
    assert.equal(plain.headers['content-encoding'], undefined, file)
    const tags = new Set([plain.headers.etag])
    sizes.identity += plain.body.length
    for (const [coding, undo] of [['gzip', gunzipSync], ['br', brotliDecompressSync]]) {
      const { headers, body } = await asked(server.origin + file, { 'accept-encoding': coding })
      assert.equal(headers['content-encoding'], coding, file)
      assert.equal(headers['content-type'], plain.headers['content-type'], file)
      assert.match(headers.vary, /accept-encoding/i, file)
      assert.ok(undo(body).equals(plain.body), file)
      const again = await asked(server.origin + file, { 'accept-encoding': coding, 'if-none-match': headers.etag })
      assert.deepEqual([again.status, again.headers.vary], [304, headers.vary], file)
      tags.add(headers.etag)
      sizes[coding] += body.length
    }
    assert.equal(tags.size, 3, `${file}: each form has a tag of its own`)
  }
  assert.ok(sizes.br < sizes.gzip && sizes.gzip < sizes.identity / 2, JSON.stringify(sizes))
  // A font is compressed already.
  const script = files.find((file) => /\/index-[^/]+\.js$/.test(file))
  const [font] = (await asked(server.origin + script)).body.toString().match(/[\w-]+\.woff2/)
  const { status, headers } = await asked(`${server.origin}/assets/${font}`, { 'accept-encoding': 'gzip, br' })
  assert.deepEqual([status, headers['content-encoding'], headers['content-type']], [200, undefined, 'font/woff2'])
})

test('w122_a_page_names_all_the_code_that_it_runs', async (t) => {
  const server = await startServer(t)
  for (const [path, usable] of Object.entries(PAGES)) {
    const named = new Set(assetsOf((await asked(server.origin + path)).body.toString()).map((file) => server.origin + file))
    const page = await openWindow(t, browser)
    const loaded = []
    page.on('request', (request) => {
      if (request.resourceType() === 'script') loaded.push(request.url())
    })
    await page.goto(server.origin + path)
    await page.locator(usable).waitFor()
    // What runs only when something is pressed, or when there is nothing else to do, comes later.
    const late = /\/(dist|lang)[^/]*\.js$/
    assert.deepEqual(loaded.filter((file) => !named.has(file) && !late.test(file)), [], path)
    assert.ok(loaded.length >= 5, path)
    // And nothing is loaded in vain.
    assert.deepEqual([...named].filter((file) => file.endsWith('.js') && !loaded.includes(file)), [], path)
  }
  const inside = (await asked(`${server.origin}/d/loads/inspect`)).body.toString()
  assert.ok(!inside.includes('modulepreload'), 'what looks inside has no editor')
})

test('w122_the_document_comes_while_its_editor_does_and_fonts_come_last', async (t) => {
  const server = await startServer(t)
  const writer = await openWindow(t, browser)
  await writer.goto(`${server.origin}/d/early`)
  await write(writer, 'Early bird')
  await untilStatus(writer, 'Saved')

  const reader = await openWindow(t, browser)
  let heard = 0
  reader.on('websocket', (socket) => socket.on('framereceived', ({ payload }) => {
    // What the document holds: the answer to what the page has of it.
    if (payload[0] === 0 && payload[1] === 1) heard++
  }))
  let fonts = 0
  reader.on('request', (request) => {
    if (request.resourceType() === 'font') fonts++
  })
  let before = null
  await reader.route(/\/assets\/document-[^/]+\.js$/, async (route) => {
    await until('the document is here before its editor', async () => heard > 0)
    before = fonts
    await route.continue()
  })
  await reader.goto(`${server.origin}/d/early`)
  await untilText(reader, 'Early bird')
  assert.equal(before, 0)
  await untilStatus(reader, 'Saved')
  await until('the fonts are asked for', async () => fonts > 0)
})
