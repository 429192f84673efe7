// The demo on a slow machine: Chromium runs its page at a part of the speed.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import { editorOf, launch, openWindow, textOf, untilStatus, untilText, write } from './browser.mjs'
import { startServer } from './server.mjs'

/** How many times slower. */
const RATE = 6
const LINES = 8

let browser
before(async () => { browser = await launch() })
after(() => browser.close())

/**
 * While `waiting` is a list, what the server says waits in it until a mouse button is let go: a page that is slow enough
 * handles it just then, and the browser has moved the caret but not told the editor of it.
 */
function holdUntilClick() {
  globalThis.waiting = null
  globalThis.WebSocket = class extends WebSocket {
    set onmessage(listener) {
      super.onmessage = (event) => {
        if (globalThis.waiting === null) listener(event)
        else globalThis.waiting.push(() => listener(event))
      }
    }
  }
  addEventListener('mouseup', () => {
    const { waiting } = globalThis
    globalThis.waiting = null
    for (const hear of waiting ?? []) hear()
  }, true)
}

test('w82_the_caret_follows_the_click_on_a_slow_machine_while_somebody_else_writes', async (t) => {
  const server = await startServer(t)
  // All lines are seen without scrolling.
  const [ada, grace] = [await openWindow(t, browser, { viewport: { width: 1280, height: 1400 } }), await openWindow(t, browser)]
  const lines = Array.from({ length: LINES }, (_, at) => `line ${String.fromCharCode(97 + at)}`)
  await ada.addInitScript(holdUntilClick)
  await ada.goto(`${server.origin}/d/slow`)
  await write(ada, ['Title', ...lines, 'Grace: '].join('\n'))
  await grace.goto(`${server.origin}/d/slow`)
  await untilText(grace, 'Grace: ')

  await write(grace, 'x')
  const devtools = await ada.context().newCDPSession(ada)
  await devtools.send('Emulation.setCPUThrottlingRate', { rate: RATE })
  const boxes = await editorOf(ada).locator('> p').evaluateAll((all) => all.map((one) => one.getBoundingClientRect().toJSON()))
  for (let step = 1; step <= LINES; step++) {
    // Not line by line: where the caret was is another line than where it goes.
    const at = (step * 3) % LINES
    await ada.evaluate(() => (globalThis.waiting = []))
    await grace.keyboard.type('x')
    await ada.waitForFunction(() => globalThis.waiting.length > 0)
    await ada.mouse.click(boxes[at].x + 200, boxes[at].y + boxes[at].height / 2)
    await ada.keyboard.type('!')
  }
  await devtools.send('Emulation.setCPUThrottlingRate', { rate: 1 })
  await untilStatus(ada, 'Saved')

  const marked = (await textOf(ada)).split('\n').slice(1, -1)
  assert.deepEqual(marked, lines.map((line) => `${line}!`))
})
