// The server is there and does not let a page in, which is told from having no network. The first word of a test is its rule in
// docs/SPEC.md.

import assert from 'node:assert/strict'
import { readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { after, before as beforeAll, test } from 'node:test'

import { editorOf, launch, openWindow, textOf, until, untilEditable, untilStatus, untilText, write } from './browser.mjs'
import { startServer } from './server.mjs'

const KEPT = 'Not connected, your edits are kept in this browser'
const OFFLINE = 'Offline, your edits are kept in this browser'

let browser
beforeAll(async () => { browser = await launch() })
after(() => browser.close())

const noticeOf = (page) => page.locator('.notice')

/** Changes a byte of what was stored, where these words are. */
function damage(folder, words) {
  for (const name of readdirSync(folder, { recursive: true })) {
    if (!name.endsWith('.segment')) continue
    const bytes = readFileSync(join(folder, name))
    const at = bytes.indexOf(words)
    if (at === -1) continue
    bytes[at] ^= 1
    return writeFileSync(join(folder, name), bytes)
  }
  throw new Error(`"${words}" is nowhere in ${folder}`)
}

/** What stands before a server, and gives this answer in its place where WebSockets are; its origin. */
async function before(t, server, { status, type, body }) {
  const front = createServer(async ({ url }, response) => {
    if (url.startsWith('/ws/')) return void response.writeHead(status, { 'content-type': type }).end(body)
    const answer = await fetch(server.origin + url)
    response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') }).end(Buffer.from(await answer.arrayBuffer()))
  })
  front.on('upgrade', (_request, socket) => socket.end(`HTTP/1.1 ${status} No\r\nContent-Length: 0\r\n\r\n`))
  await new Promise((resolve) => front.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    front.closeAllConnections()
    front.close()
  })
  return `http://127.0.0.1:${front.address().port}`
}

test('w126_who_is_one_too_many_reads_why_and_is_let_in_when_there_is_room', async (t) => {
  const server = await startServer(t, { flags: ['--sessions-per-document', '1'] })
  const first = await openWindow(t, browser)
  const second = await openWindow(t, browser)
  const seen = []
  await first.goto(`${server.origin}/d/full`)
  await untilStatus(first, 'Saved')

  await second.goto(`${server.origin}/d/full`)
  await second.getByRole('heading', { name: 'The server cannot let you in right now' }).waitFor()
  assert.match(await noticeOf(second).textContent(), /The server said: too many people have this document open: come back in \d+ s/)
  await write(second, 'written outside')
  await untilStatus(second, KEPT)
  await second.exposeFunction('see', (text) => seen.push(text))
  await second.evaluate(() => {
    const status = document.querySelector('.status')
    new MutationObserver(() => globalThis.see(status.textContent)).observe(status, { childList: true, characterData: true, subtree: true })
  })
  let closes = 0
  second.on('websocket', (socket) => socket.on('close', () => closes++))
  await until('it has tried twice more', async () => closes >= 2)
  assert.deepEqual(seen, [], 'what is said stays while it tries')
  await second.reload()
  await untilText(second, 'written outside')
  await untilStatus(second, KEPT)
  await first.close()

  await untilStatus(second, 'Saved')
  await noticeOf(second).waitFor({ state: 'detached' })
  assert.equal(await textOf(second), 'written outside')
})

test('w126_a_damaged_document_is_called_that_and_not_offline', async (t) => {
  const server = await startServer(t)
  const writer = await openWindow(t, browser)
  await writer.goto(`${server.origin}/d/damaged`)
  await untilEditable(writer)
  await editorOf(writer).focus()
  await writer.keyboard.insertText('unmistakable words')
  await untilStatus(writer, 'Saved')
  await server.stop()
  damage(server.data, 'unmistakable words')
  await server.start()

  const newcomer = await openWindow(t, browser)
  await newcomer.goto(`${server.origin}/d/damaged`)

  for (const page of [newcomer, writer]) {
    await page.getByRole('heading', { name: 'The server cannot open this document' }).waitFor()
    assert.match(await noticeOf(page).textContent(), /The server said: the document is damaged, the operator has to look.*keeps trying/)
  }
  await untilStatus(writer, KEPT)
  await write(writer, ' and more')
  await writer.getByRole('button', { name: 'Download a copy' }).waitFor()
  await untilStatus(writer, KEPT)
  await writer.goto(`${server.origin}/d/damaged/inspect`)
  await writer.getByRole('status').getByText('The server cannot open this document. The server said: the document is damaged').waitFor()
})

test('w134_where_nothing_could_be_loaded_nothing_is_shown_or_written', async (t) => {
  const server = await startServer(t)
  const next = { code: 1011 }
  for (const kind of ['d', 'code', 'board', 'room']) {
    const page = await openWindow(t, browser)
    await page.routeWebSocket(/\/ws\//, (socket) => {
      if (next.code === null) return void socket.connectToServer()
      socket.close({ code: next.code, reason: 'because' })
    })
    for (const [code, heading] of [[1011, 'The server cannot open this document'], [4413, 'The document is too large'], [1009, 'Your last change is too big to send'], [4400, 'The server refused the connection']]) {
      next.code = code
      await page.goto(`${server.origin}/${kind}/nothing-${code}`)
      await page.getByRole('heading', { name: heading }).waitFor()
      await untilStatus(page, 'Not connected')
      assert.equal(await page.locator('[contenteditable="true"], .paper:visible').count(), 0, `${kind} ${code}`)
      assert.doesNotMatch(await page.locator('main').textContent(), /edits|Download a copy/, `${kind} ${code}`)
    }
    // It goes on by itself when it can.
    next.code = 1011
    await page.goto(`${server.origin}/${kind}/later`)
    await page.getByRole('heading', { name: 'The server cannot open this document' }).waitFor()
    next.code = null
    await untilStatus(page, 'Saved')
    await page.locator('.paper').first().waitFor()
  }
})

test('w126_a_server_that_makes_no_websocket_is_asked_over_http_now_and_then', async (t) => {
  const server = await startServer(t, { flags: ['--connections-max', '1'] })
  const first = await openWindow(t, browser)
  const second = await openWindow(t, browser)
  await first.goto(`${server.origin}/d/one`)
  await untilStatus(first, 'Saved')
  const asked = []
  second.on('request', (request) => {
    if (new URL(request.url()).pathname.startsWith('/ws/')) asked.push(Date.now())
  })

  await second.goto(`${server.origin}/d/two#token=nobody-else-sees-it`)
  await second.getByRole('heading', { name: 'The server cannot let you in right now' }).waitFor()
  assert.match(await noticeOf(second).textContent(), /The server said: too many connections, try again later/)
  await write(second, 'kept')
  await untilStatus(second, KEPT)
  await until('it has asked again', async () => asked.length >= 3)
  for (const [at, time] of asked.entries()) assert.ok(at === 0 || time - asked[at - 1] > 3_000 * at, asked.join())
  await first.close()

  await untilStatus(second, 'Saved')
  await noticeOf(second).waitFor({ state: 'detached' })
})

test('w126_what_stands_before_the_server_or_in_its_place_is_told', async (t) => {
  const server = await startServer(t)
  const told = [
    [{ status: 429, type: 'text/plain; charset=utf-8', body: 'too many connections: come back in 10 s\n' }, 'The server cannot let you in right now', 'The server said: too many connections: come back in 10 s'],
    [{ status: 426, type: 'text/plain; charset=utf-8', body: 'this address speaks WebSocket\n' }, 'The server answers, but lets no page connect', 'does not pass WebSockets on'],
    [{ status: 502, type: 'text/html', body: '<h1>Bad Gateway</h1>' }, 'The server is away', 'HTTP 502'],
    [{ status: 200, type: 'text/html', body: '<h1>Log in</h1>' }, 'Something else answers', 'HTTP 200'],
  ]
  for (const [answer, title, text] of told) {
    const origin = await before(t, server, answer)
    const page = await openWindow(t, browser)
    await page.goto(`${origin}/d/behind`)
    await page.getByRole('heading', { name: title }).waitFor()
    assert.ok((await noticeOf(page).textContent()).includes(text), title)
  }
})

test('w126_offline_is_said_when_nobody_answers', async (t) => {
  const server = await startServer(t)
  const page = await openWindow(t, browser)
  let asked = 0
  page.on('requestfailed', (request) => {
    if (new URL(request.url()).pathname.startsWith('/ws/')) asked++
  })
  await page.goto(`${server.origin}/d/away`)
  await write(page, 'text')
  await untilStatus(page, 'Saved')

  await server.kill()
  await until('it was asked for', async () => asked > 0)
  await untilStatus(page, OFFLINE)
  assert.equal(await noticeOf(page).count(), 0)
  await server.start()

  await untilStatus(page, 'Saved')
})

test('w27_a_page_of_another_origin_is_told_that_and_not_that_its_token_is_wrong', async (t) => {
  const server = await startServer(t)
  const port = new URL(server.origin).port
  // A name that leads to this machine and is none of its own.
  const rebound = await launch(['--host-resolver-rules=MAP docs.example 127.0.0.1'])
  t.after(() => rebound.close())
  for (const fragment of ['', '#token=some-token']) {
    const page = await openWindow(t, rebound)
    await page.goto(`http://docs.example:${port}/d/notes${fragment}`)
    await page.getByRole('heading', { name: 'The server takes no pages from here' }).waitFor()
    const text = await noticeOf(page).textContent()
    assert.ok(text.includes('--allow-origin http://docs.'), text)
    assert.ok(!/token/i.test(text), text)
    assert.equal(await page.getByRole('textbox', { name: /Token/ }).count(), 0)
  }
})
