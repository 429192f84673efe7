// How it looks and whom it leaves out: themes, a phone, and axe's rules.

import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { after, before, test } from 'node:test'

import { launch, openWindow, untilStatus, untilText, write } from './browser.mjs'
import { startServer } from './server.mjs'

const AXE = await readFile(new URL('node_modules/axe-core/axe.min.js', import.meta.url), 'utf8')
const TEXT = '# A title\nSome text with a https://example.org link\n## A part\n- one\ntwo\n\n> quote\n\n'

let browser
before(async () => { browser = await launch() })
after(() => browser.close())

async function violations(page) {
  await page.evaluate(AXE)
  const { violations: found } = await page.evaluate(() => globalThis.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }))
  return found.map(({ id, nodes }) => `${id}: ${nodes.map(({ target, failureSummary }) => `${target} ${failureSummary}`).join(' | ')}`)
}

for (const colorScheme of ['light', 'dark']) {
  test(`w31_axe_finds_nothing_on_any_page_in_${colorScheme}`, async (t) => {
    const server = await startServer(t)
    const page = await openWindow(t, browser, { colorScheme })
    const other = await openWindow(t, browser, { profile: { name: 'Grace Hopper', color: '#862e9c' } })

    await page.goto(`${server.origin}/d/axe`)
    await write(page, TEXT)
    await other.goto(`${server.origin}/d/axe`)
    await write(other, 'and more')
    await untilText(page, 'and more')
    await untilStatus(page, 'Saved')
    assert.deepEqual(await violations(page), [], 'document')
    await page.getByRole('button', { name: /^You,/ }).click()
    assert.deepEqual(await violations(page), [], 'profile')
    await page.getByRole('button', { name: 'Cancel' }).click()
    await page.goto(server.origin)
    await page.getByRole('link', { name: /A title/ }).waitFor()
    assert.deepEqual(await violations(page), [], 'start page')
    await page.goto(`${server.origin}/d/`)
    await page.getByRole('heading', { name: 'This address names no document' }).waitFor()
    assert.deepEqual(await violations(page), [], 'notice')
  })
}

test('w32_the_theme_follows_the_system_until_somebody_chooses', async (t) => {
  const server = await startServer(t)
  const page = await openWindow(t, browser, { colorScheme: 'dark' })
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor)
  await page.goto(server.origin)
  const dark = await ground()

  await page.getByRole('button', { name: 'Switch to light' }).click()
  const light = await ground()
  assert.notEqual(light, dark)
  await page.reload()
  assert.equal(await ground(), light)
  await page.getByRole('button', { name: 'Switch to dark' }).click()
  assert.equal(await ground(), dark)
  await page.emulateMedia({ colorScheme: 'light' })

  assert.equal(await ground(), light)
})

test('w33_a_phone_shows_everything_without_scrolling_sideways', async (t) => {
  const server = await startServer(t)
  const page = await openWindow(t, browser, { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true })
  const wider = () => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)

  await page.goto(`${server.origin}/d/phone/with-a-name-that-is-rather-long-for-a-phone`)
  await write(page, `# ${'Long words everywhere '.repeat(4)}\n${'unbreakable'.repeat(20)}\n`)
  await untilStatus(page, 'Saved')
  assert.equal(await wider(), 0)
  await page.getByRole('button', { name: 'Divider' }).tap()
  await page.locator('.ProseMirror hr').waitFor()
  for (const name of [/^You,/, 'Copy link', 'Switch to dark']) assert.equal(await page.getByRole('button', { name }).isVisible(), true)
  await page.goto(server.origin)

  assert.equal(await wider(), 0)
})
