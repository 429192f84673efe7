// A server of one's own that its page has killed while somebody writes.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { after, before, test } from 'node:test'

import { launch, openWindow, untilEditable, untilSame, untilStatus, untilText, write } from './browser.mjs'
import { startServer } from './server.mjs'

const AXE = await readFile(new URL('node_modules/axe-core/axe.min.js', import.meta.url), 'utf8')
const BUTTON = { name: 'Pull the plug' }

let browser
before(async () => { browser = await launch() })
after(() => browser.close())

/** What the table with this caption says, row by row. */
async function rowsOf(page, caption) {
  return page.locator('table', { hasText: caption }).locator('tbody tr').evaluateAll((rows) => rows.map((row) => [...row.cells].map((cell) => cell.textContent)))
}

test('w81_the_plug_is_pulled_in_the_middle_of_a_word_and_each_letter_is_looked_for', async (t) => {
  const server = await startServer(t, { command: 'demo' })
  // Colours that fade have little contrast meanwhile.
  const page = await openWindow(t, browser, { reducedMotion: 'reduce' })
  const address = `${server.origin}/d/plug`
  await page.goto(address)
  await write(page, 'Twenty letters here.')
  await untilStatus(page, 'Saved')
  const about = async () => (await fetch(`${server.origin}/about.json`)).json()
  const { process: killed } = (await about()).plug

  await page.getByRole('button', BUTTON).click()
  await page.keyboard.type(' and then a long word: incomprehensibilities', { delay: 20 })
  await page.getByText('Nothing was lost.').waitFor()

  const { process: next } = (await about()).plug
  assert.notEqual(next, killed)
  const steps = await rowsOf(page, 'What happened')
  assert.match(steps[0][1], new RegExp(`death of process ${killed}$`))
  assert.match(steps[2][1], new RegExp(`^Process ${next} answers`))
  const times = steps.map(([ms]) => Number.parseInt(ms))
  assert.deepEqual(times, times.toSorted((a, b) => a - b))

  // The table stays, and the document goes on: what it says is about the moment in which everything was compared.
  const letters = await rowsOf(page, 'Letters')
  for (const [label, here, there] of letters) assert.equal(here, there, label)
  const [confirmed, unconfirmed, all] = letters.map(([, here]) => Number(here))
  assert.ok(confirmed >= 20, `${confirmed} were saved before`)
  assert.ok(unconfirmed > 0, 'some were in the browser alone')
  assert.equal(confirmed + unconfirmed, all)

  await untilStatus(page, 'Saved')
  const other = await openWindow(t, browser)
  await other.goto(address)
  await untilText(other, 'incomprehensibilities')
  assert.equal(await untilSame(page, other), 'Twenty letters here. and then a long word: incomprehensibilities')

  await page.evaluate(AXE)
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }))
  assert.deepEqual(violations.map(({ id }) => id), [])
  await page.setViewportSize({ width: 360, height: 740 })
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 360)
})

test('w81_letters_that_the_server_does_not_give_are_counted', async (t) => {
  const server = await startServer(t, { command: 'demo' })
  const page = await openWindow(t, browser)
  // Who connects while the page is connected is the newcomer that compares. It gets another document.
  await page.addInitScript(() => {
    let connected = 0
    globalThis.WebSocket = class extends WebSocket {
      constructor(url, ...rest) {
        super(connected > 0 ? url.replace('/ws/kept', '/ws/elsewhere') : url, ...rest)
        this.addEventListener('open', () => {
          connected++
          this.addEventListener('close', () => connected--)
        })
      }
    }
  })
  await page.goto(`${server.origin}/d/kept`)
  await write(page, 'Twenty letters here.')
  await untilStatus(page, 'Saved')

  await page.getByRole('button', BUTTON).click()
  await page.keyboard.type('0123456789', { delay: 20 })

  await page.getByText(/^30 letters are not in the server’s copy/).waitFor()
})

test('w81_without_a_supervisor_there_is_no_button', async (t) => {
  const server = await startServer(t)
  const page = await openWindow(t, browser)
  const told = page.waitForResponse(/about\.json/)

  await page.goto(`${server.origin}/d/none`)
  await untilEditable(page)
  await (await told).finished()

  assert.equal(await page.getByRole('button', BUTTON).count(), 0)
})

test('w80_a_page_of_another_origin_pulls_no_plug', async (t) => {
  const server = await startServer(t, { command: 'demo' })
  const elsewhere = createServer((_request, response) => response.setHeader('content-type', 'text/html').end('<p>elsewhere')).listen(0, '127.0.0.1')
  await once(elsewhere, 'listening')
  t.after(() => elsewhere.close())
  const page = await openWindow(t, browser)
  await page.goto(`http://127.0.0.1:${elsewhere.address().port}/`)
  const about = async () => (await fetch(`${server.origin}/about.json`)).json()
  const before = await about()

  const ask = (options) => page.evaluate(([address, options]) => fetch(address, { method: 'POST', ...options }).then(() => 'told', () => 'not told'), [`${server.origin}/demo/pull-the-plug`, options])

  // What needs no leave arrives, and its answer is kept from the page. What has the header is not sent without leave.
  assert.equal(await ask({ mode: 'no-cors' }), 'not told')
  assert.equal(await ask({ headers: { 'x-cowrite-demo': 'pull-the-plug' } }), 'not told')
  assert.deepEqual(await about(), before)
})
