// A browser, its windows, and what the tests ask of the page in words.

import assert from 'node:assert/strict'

import { chromium } from 'playwright-core'

const PATIENCE_MS = 30_000

export async function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    headless: true,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
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
    await context.close()
    assert.deepEqual(problems, [])
  })
  return page
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
  await page.keyboard.press('Control+End')
  await page.keyboard.type(text)
}

/** The text of the document as lines, without the others' names at their cursors. */
export async function textOf(page) {
  return editorOf(page).evaluate((editor) => {
    const copy = editor.cloneNode(true)
    for (const caret of copy.querySelectorAll('.caret')) caret.remove()
    return [...copy.children].map((block) => block.textContent).join('\n')
  })
}

/** Waits until both windows show the same text, and returns it. */
export async function untilSame(one, other) {
  const deadline = Date.now() + PATIENCE_MS
  for (;;) {
    const [a, b] = await Promise.all([textOf(one), textOf(other)])
    if (a === b) return a
    if (Date.now() > deadline) assert.equal(a, b)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}
