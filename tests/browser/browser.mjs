// A browser, its windows, and what the tests ask of the page in words.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

import { chromium } from 'playwright-core'

import * as wait from '../lib/wait.mjs'

const PATIENCE_MS = 30_000

/** The path of the Chromium that is installed. */
export const chromiumPath = () => execFileSync(fileURLToPath(new URL('../../scripts/chromium', import.meta.url)), { encoding: 'utf8' }).trim()

export async function launch(flags = []) {
  return chromium.launch({
    executablePath: chromiumPath(),
    headless: true,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', ...flags],
  })
}

/**
 * A window with its own storage: another person. Anything that the page objects to (an exception, a
 * violation of the content security policy) fails the test at its end.
 */
export async function openWindow(t, browser, { profile = null, ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options })
  const problems = []
  context.on('weberror', (error) => problems.push(String(error.error())))
  context.on('console', (message) => {
    if (message.type() === 'error' && /content security policy|uncaught/i.test(message.text())) problems.push(message.text())
  })
  if (profile !== null) {
    await context.addInitScript((json) => {
      // about:blank has no storage, and a profile that the test changed stays.
      if (location.protocol === 'http:') localStorage['cowrite:profile'] ??= json
    }, JSON.stringify(profile))
  }
  const page = await context.newPage()
  page.setDefaultTimeout(PATIENCE_MS)
  t.after(async () => {
    const before = problems.length
    await context.close()
    // A worker that was still loading is cut off when its window closes, which is an `Event` and no problem of the page's.
    assert.deepEqual(problems.filter((problem, at) => at < before || problem !== 'Event'), [])
  })
  return page
}

/**
 * Documents of this page have this client id until `free` is called: two such pages write under one. (Yjs asks the
 * browser for a random number of 32 bits; so do others, who do not mind.)
 */
export async function forceClientId(page, id) {
  await page.addInitScript((forced) => {
    const random = crypto.getRandomValues.bind(crypto)
    globalThis.forcedClientId = sessionStorage.getItem('free') === null ? forced : null
    crypto.getRandomValues = (array) => {
      if (globalThis.forcedClientId !== null && array instanceof Uint32Array && array.length === 1) return array.fill(globalThis.forcedClientId)
      return random(array)
    }
  }, id)
  return {
    free: () => page.evaluate(() => {
      sessionStorage.setItem('free', 'yes')
      globalThis.forcedClientId = null
    }),
  }
}

/**
 * Stands between a page and the server. While `held`, nothing of the server's arrives until there is another
 * connection; while `cut`, nothing connects. `drop(message)` says which messages of the server are lost, `keep(message)`
 * which of the page's.
 */
export async function relayFor(page) {
  const relay = { held: false, cut: false, drop: () => false, keep: () => false, heard: [], connections: 0 }
  await page.routeWebSocket(/\/ws\//, (socket) => {
    if (relay.cut) return void socket.close({ code: 1001 })
    relay.connections++
    relay.held = false
    relay.socket = socket
    const upstream = socket.connectToServer()
    upstream.onMessage((message) => {
      relay.heard.push(message)
      if (!relay.held && !relay.drop(message)) socket.send(message)
    })
    socket.onMessage((message) => {
      if (!relay.keep(message)) upstream.send(message)
    })
  })
  return relay
}

export const editorOf = (page) => page.locator('.ProseMirror')
export const statusOf = (page) => page.locator('.status')

/** Waits until the status says this and nothing else: "Saved" is not "Not saved yet". */
export async function untilStatus(page, text) {
  await page.waitForFunction((wanted) => document.querySelector('.status')?.textContent === wanted, text, { timeout: PATIENCE_MS })
}

export async function untilText(page, text) {
  await page.waitForFunction((wanted) => document.querySelector('.ProseMirror')?.textContent?.includes(wanted), text, { timeout: PATIENCE_MS })
}

export async function untilEditable(page) {
  await page.locator('.ProseMirror[contenteditable="true"]').waitFor()
}

/** Puts the cursor at the end and types. */
export async function write(page, text) {
  await untilEditable(page)
  await editorOf(page).focus()
  await until('the cursor is at the end', async () => {
    await page.keyboard.press('Control+End')
    return isAtEnd(page)
  })
  await page.keyboard.type(text)
}

/**
 * Whether the cursor is at the end, and the editor has heard of it: the browser tells it of a selection with the next
 * frame, and until then it may put the cursor back where it was.
 */
async function isAtEnd(page) {
  return page.evaluate(async () => {
    const frame = () => new Promise(requestAnimationFrame)
    await frame()
    await frame()
    const { focusNode, focusOffset } = getSelection()
    const editor = document.querySelector('.ProseMirror')
    if (!editor.contains(focusNode)) return false
    const range = document.createRange()
    range.selectNodeContents(editor)
    range.setStart(focusNode, focusOffset)
    const rest = range.cloneContents()
    for (const caret of rest.querySelectorAll('.caret')) caret.remove()
    return rest.textContent === ''
  })
}

/** The text of the document as lines, without the others' names at their cursors. */
export async function textOf(page) {
  return editorOf(page).evaluate((editor) => {
    const copy = editor.cloneNode(true)
    for (const caret of copy.querySelectorAll('.caret')) caret.remove()
    return [...copy.children].map((block) => block.textContent).join('\n')
  })
}

/** Waits for what no page shows. `what` may be a function, which is called when the wait was in vain. */
export const until = (what, condition) => wait.until(what, condition, PATIENCE_MS)

/** Waits until both windows show the same text, and returns it. */
export async function untilSame(one, other) {
  let texts
  await until(() => `"${texts.join('" and "')}" are the same`, async () => {
    texts = await Promise.all([textOf(one), textOf(other)])
    return texts[0] === texts[1]
  })
  return texts[0]
}
