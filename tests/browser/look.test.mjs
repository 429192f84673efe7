// How it looks and whom it leaves out: themes, a phone, and axe's rules.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import { violations } from './axe.mjs'
import { editorOf, launch, openWindow, untilStatus, untilText, write } from './browser.mjs'
import { startServer } from './server.mjs'

const TEXT = 'A title\nSome text with a https://example.org link\n## A part\n- one\ntwo\n\n> quote\n\n```js\nconst one = 1 // two\n\n\n'

const ADMIN = 'an-admin-token-for-tests-that-is-long-enough'

let browser
before(async () => { browser = await launch() })
after(() => browser.close())

test('w31_axe_finds_nothing_on_any_page_in_light_and_dark', async (t) => {
  const server = await startServer(t)
  const page = await openWindow(t, browser, { profile: { name: 'Seal', color: '#1864ab', given: true }, reducedMotion: 'reduce' })
  const other = await openWindow(t, browser, { profile: { name: 'Grace Hopper', color: '#862e9c' } })

  await page.goto(`${server.origin}/d/axe`)
  await write(page, TEXT)
  await other.goto(`${server.origin}/d/axe`)
  await write(other, 'and more')
  await untilText(page, 'and more')
  await untilStatus(page, 'Saved')
  await page.locator('.ProseMirror .hljs-keyword').waitFor()
  assert.deepEqual(await violations(page), [], 'document')
  await page.getByRole('button', { name: 'Stay unnamed' }).click()
  await page.getByRole('button', { name: /^Who is here/ }).click()
  assert.deepEqual(await violations(page), [], 'people')
  await page.keyboard.press('Escape')
  await page.getByRole('button', { name: 'More', exact: true }).click()
  assert.deepEqual(await violations(page), [], 'menu')
  await page.keyboard.press('Escape')
  await write(page, ' /')
  await page.getByRole('option', { name: 'Table' }).click()
  await page.getByRole('group', { name: 'Table' }).waitFor()
  for (const head of ['one', 'two', 'three']) {
    await page.keyboard.type(head)
    await page.keyboard.press('Tab')
  }
  await page.keyboard.press('Control+F')
  assert.deepEqual(await violations(page), [], 'table and find')
  await page.keyboard.press('Escape')
  await editorOf(page).focus()
  await page.keyboard.type(' /')
  await page.getByRole('listbox').waitFor()
  assert.deepEqual(await violations(page), [], 'slash')
  await page.keyboard.press('Escape')
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

test('i14_axe_finds_nothing_inside_in_light_and_dark', async (t) => {
  const server = await startServer(t, { env: { COWRITE_ADMIN_TOKEN: ADMIN } })
  const page = await openWindow(t, browser, { reducedMotion: 'reduce' })

  await page.goto(`${server.origin}/d/axe`)
  // Not much: each letter is some lines of traffic, and axe looks at all of them.
  await write(page, '# A title\nand **text**')
  await untilStatus(page, 'Saved')
  await page.getByRole('button', { name: 'Look inside', exact: true }).click()
  const panel = page.getByRole('complementary', { name: 'Look inside' })
  await panel.locator('.tree summary').last().click()
  assert.deepEqual(await violations(page), [], 'content')
  await panel.getByRole('tab', { name: 'Server' }).click()
  await panel.getByRole('rowheader').waitFor()
  assert.deepEqual(await violations(page), [], 'server')
  await panel.getByRole('tab', { name: 'Traffic' }).click()
  await panel.getByRole('switch').check()
  assert.deepEqual(await violations(page), [], 'traffic')
  await page.goto(`${server.origin}/code/axe`)
  await page.getByRole('heading', { name: 'Another editor wrote this document' }).waitFor()
  assert.deepEqual(await violations(page), [], 'notice')
  await page.goto(`${server.origin}/d/axe/inspect`)
  await page.locator('.traffic li').first().waitFor()
  await page.locator('.tree summary').first().waitFor()
  await page.getByRole('rowheader').waitFor()
  assert.deepEqual(await violations(page), [], 'page')
  await page.getByRole('radio', { name: 'JSON' }).check()
  assert.deepEqual(await violations(page), [], 'JSON')
  await page.goto(`${server.origin}/inspect`)
  await page.getByLabel('The admin token of this server').waitFor()
  assert.deepEqual(await violations(page), [], 'form')
  await page.getByLabel('The admin token of this server').fill(ADMIN)
  await page.keyboard.press('Enter')
  await page.getByRole('link', { name: 'axe' }).waitFor()
  assert.deepEqual(await violations(page), [], 'list')
  await page.getByRole('link', { name: 'axe' }).click()
  await page.locator('.tree summary').first().waitFor()
  assert.deepEqual(await violations(page), [], 'one of all')
})

test('w70_axe_finds_nothing_in_the_gallery_in_light_and_dark', async (t) => {
  const server = await startServer(t)
  const page = await openWindow(t, browser, { reducedMotion: 'reduce' })

  await page.goto(`${server.origin}/code/axe`)
  await untilStatus(page, 'Saved')
  await page.locator('.cm-content').click()
  await page.keyboard.type('// a line\nconst one = `1` + two(3)')
  await page.locator('.tok-keyword').waitFor()
  assert.deepEqual(await violations(page), [], 'code')
  await page.goto(`${server.origin}/board/axe`)
  await untilStatus(page, 'Saved')
  await page.locator('.board').focus()
  await page.keyboard.press('b')
  await page.keyboard.press('n')
  await page.keyboard.type('a note')
  assert.deepEqual(await violations(page), [], 'board')
  await page.goto(`${server.origin}/room/axe`)
  await untilStatus(page, 'Saved')
  for (const [box, text] of [['Message', 'hello'], ['Another answer', 'yes']]) {
    await page.getByRole('textbox', { name: box }).fill(text)
    await page.keyboard.press('Enter')
  }
  await page.getByRole('button', { name: /^yes/ }).click()
  assert.deepEqual(await violations(page), [], 'room')
  await page.getByRole('button', { name: 'More', exact: true }).click()
  await page.getByRole('button', { name: 'How it is made' }).click()
  await page.getByRole('dialog').waitFor()
  assert.deepEqual(await violations(page), [], 'source')
  await page.goto(`${server.origin}/?docs=embedding`)
  await page.getByRole('heading', { level: 1 }).waitFor()
  assert.deepEqual(await violations(page), [], 'docs')
})

test('w130_the_menu_is_as_wide_as_what_is_in_it', async (t) => {
  const server = await startServer(t)
  const page = await openWindow(t, browser)
  await page.goto(`${server.origin}/d/menu`)
  await write(page, 'x')
  await page.getByRole('button', { name: 'More', exact: true }).click()

  const menu = await page.locator('.menu').boundingBox()
  assert.ok(menu.width < 400, `${menu.width} px`)
  const items = await page.locator('.menu-item').evaluateAll((all) => all.map((item) => Math.round(item.getBoundingClientRect().top)))
  assert.equal(new Set(items).size, items.length, 'each in a line of its own')
})

for (const colorScheme of ['light', 'dark']) {
  test(`w131_finding_in_code_can_be_read_in_${colorScheme}`, async (t) => {
    const server = await startServer(t)
    const page = await openWindow(t, browser, { colorScheme, reducedMotion: 'reduce' })
    await page.goto(`${server.origin}/code/find`)
    await untilStatus(page, 'Saved')
    await page.locator('.cm-content').click()
    await page.keyboard.type('one = [1]\none')
    await page.keyboard.press('Control+F')
    const field = page.locator('.cm-search input[name="search"]')
    await field.pressSequentially('one')
    const { y, height } = await field.boundingBox()
    assert.ok(y + height <= 800, `the field ends at ${y + height}, the window at 800`)

    for (const part of ['.cm-search input[name="search"]', '.cm-search button[name="next"]', '.cm-search button[name="close"]', '.cm-searchMatch']) {
      const contrast = await page.locator(part).first().evaluate((element) => {
        const canvas = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true })
        const lightness = (color) => {
          canvas.clearRect(0, 0, 1, 1)
          canvas.fillStyle = color
          canvas.fillRect(0, 0, 1, 1)
          const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
          return 0.2126 * r + 0.7152 * g + 0.0722 * b
        }
        let behind = element
        while (getComputedStyle(behind).backgroundColor === 'rgba(0, 0, 0, 0)') behind = behind.parentElement ?? behind.getRootNode().host
        const { color, backgroundImage } = getComputedStyle(element)
        const [dark, light] = [lightness(color), lightness(getComputedStyle(behind).backgroundColor)].sort((a, b) => a - b)
        return backgroundImage === 'none' ? (light + 0.05) / (dark + 0.05) : 0
      })
      assert.ok(contrast >= 4.5, `${part}: ${contrast}`)
    }
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

test('w104_each_paragraph_runs_in_the_direction_of_its_letters', async (t) => {
  const server = await startServer(t)
  const page = await openWindow(t, browser)
  await page.goto(`${server.origin}/d/directions`)
  await write(page, 'שלום עולם\nمرحبا hello\nplain')
  /** How far the first letter of each block is from the left edge of its text. */
  const firsts = await editorOf(page).evaluate((editor) => [...editor.children].map((block) => {
    const range = document.createRange()
    range.setStart(block.firstChild, 0)
    range.setEnd(block.firstChild, 1)
    return Math.round(range.getBoundingClientRect().left - block.getBoundingClientRect().left)
  }))
  assert.ok(firsts[0] > 300 && firsts[1] > 300 && firsts[2] === 0, firsts.join())
})

test('w106_with_the_systems_colours_it_is_seen_what_is_pressed', async (t) => {
  const server = await startServer(t)
  const page = await openWindow(t, browser, { forcedColors: 'active' })
  await page.goto(`${server.origin}/board/colours`)
  await untilStatus(page, 'Saved')
  const outline = (name) => page.getByRole('button', { name, exact: true }).evaluate((button) => getComputedStyle(button).outlineStyle)
  assert.deepEqual([await outline('Draw'), await outline('Box')], ['solid', 'none'])
  const swatches = await page.locator('.swatch').evaluateAll((all) => new Set(all.map((one) => getComputedStyle(one).backgroundColor)).size)
  assert.equal(swatches, 6)
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
  for (const name of [/^You,/, 'More']) assert.equal(await page.getByRole('button', { name }).isVisible(), true)
  for (const address of ['/', '/code/phone', '/board/phone', '/room/phone', '/?docs=operating']) {
    await page.goto(server.origin + address)
    await page.getByRole('main').waitFor()
    assert.equal(await wider(), 0, address)
  }
})

test('i14_a_phone_shows_what_is_inside_without_scrolling_sideways', async (t) => {
  const server = await startServer(t, { env: { COWRITE_ADMIN_TOKEN: ADMIN } })
  const page = await openWindow(t, browser, { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true })
  const wider = () => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)

  const name = 'phone/with-a-name-that-is-rather-long-for-a-phone'
  await page.goto(`${server.origin}/d/${name}`)
  await write(page, `${'Long words everywhere '.repeat(4)}\n${'unbreakable'.repeat(20)}\n`)
  await untilStatus(page, 'Saved')
  await page.getByRole('button', { name: 'More', exact: true }).tap()
  await page.getByRole('button', { name: 'Look inside' }).tap()
  for (const tab of ['Content', 'Server', 'Traffic']) {
    await page.getByRole('tab', { name: tab }).tap()
    assert.equal(await wider(), 0, tab)
  }
  await page.getByRole('button', { name: 'Close' }).tap()
  await page.goto(`${server.origin}/d/${name}/inspect`)
  await page.locator('.tree summary').first().waitFor()
  await page.getByRole('rowheader').waitFor()
  await page.locator('.traffic li').first().waitFor()
  assert.equal(await wider(), 0, 'page')
  await page.goto(`${server.origin}/inspect`)
  await page.getByLabel('The admin token of this server').fill(ADMIN)
  assert.equal(await wider(), 0, 'form')
  await page.keyboard.press('Enter')
  await page.getByRole('link', { name }).waitFor()
  assert.equal(await wider(), 0, 'list')
})
