// Who is here: names, colours, carets, and where people are. The first word of a test is its rule in docs/SPEC.md.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import { editorOf, launch, openWindow, until, untilEditable, untilStatus, untilText, write } from './browser.mjs'
import { mintToken, mintTokenWith, startServer } from './server.mjs'

const SECRET = 'a secret for tests that is long enough to be one'
const ADA = { name: 'Ada Lovelace', color: '#1864ab' }
const GRACE = { name: 'Grace Hopper', color: '#a3460a' }
/** For so long somebody may be away who has not left; what a timer takes longer is left to it. */
const AWAY_MS = 2_400
/** As a page gives it to somebody who has not chosen. */
const GIVEN = { name: 'Seal', color: '#1864ab', given: true }

let browser
before(async () => { browser = await launch() })
after(() => browser.close())

const nameOf = async (page) => (await page.getByRole('button', { name: /^You, / }).getAttribute('aria-label')).replace(/^You, (.*):.*/, '$1')
const colorsOf = (page) => page.locator('.people .avatar').evaluateAll((avatars) => avatars.map((avatar) => avatar.style.getPropertyValue('--who')))
const untilOthers = (page, count) => page.locator(`.people[data-others="${count}"]`).waitFor()
/** Lines enough to scroll. */
const LONG = Array.from({ length: 60 }, (_, line) => `line ${line}`).join('\n')

test('w47_nobody_is_given_a_name_or_a_colour_that_somebody_here_has', async (t) => {
  const server = await startServer(t)
  const pages = []
  for (let i = 0; i < 4; i++) {
    const page = await openWindow(t, browser, { profile: GIVEN })
    await page.goto(`${server.origin}/d/names`)
    await untilOthers(page, i)
    pages.push(page)
  }
  await Promise.all(pages.map((page) => untilOthers(page, 3)))

  const names = await Promise.all(pages.map(nameOf))

  assert.equal(names[0], 'Seal')
  assert.equal(new Set(names).size, 4, String(names))
  for (const page of pages) assert.equal(new Set(await colorsOf(page)).size, 4)
})

test('w47_a_name_that_was_chosen_stays_and_two_of_one_name_are_told_apart', async (t) => {
  const server = await startServer(t)
  const first = await openWindow(t, browser, { profile: ADA })
  const second = await openWindow(t, browser, { profile: ADA })
  await first.goto(`${server.origin}/d/adas`)
  await untilOthers(first, 0)
  await untilStatus(first, 'Saved')
  await second.goto(`${server.origin}/d/adas`)

  await first.getByRole('img', { name: 'Ada Lovelace 2' }).waitFor()
  await second.getByRole('img', { name: 'Ada Lovelace', exact: true }).waitFor()
  assert.equal(await nameOf(second), 'Ada Lovelace')
  assert.equal(new Set(await colorsOf(first)).size, 2)
})

test('w48_the_second_window_of_one_browser_is_told_apart', async (t) => {
  const server = await startServer(t)
  const first = await openWindow(t, browser, { profile: ADA })
  await first.goto(`${server.origin}/d/windows`)
  await untilStatus(first, 'Saved')
  const second = await first.context().newPage()
  await second.goto(`${server.origin}/d/windows`)

  await first.getByRole('img', { name: 'Ada Lovelace 2' }).waitFor()
  await first.getByRole('button', { name: /^Who is here/ }).click()
  await first.getByRole('button', { name: /Ada Lovelace 2 your other window/ }).waitFor()
  assert.equal(new Set(await colorsOf(first)).size, 2)
})

test('w49_the_name_is_asked_for_once_when_somebody_else_comes', async (t) => {
  const server = await startServer(t)
  const page = await openWindow(t, browser, { profile: GIVEN })
  const ask = page.getByRole('region', { name: 'Your name' })
  await page.goto(`${server.origin}/d/ask`)
  await untilStatus(page, 'Saved')
  assert.equal(await ask.isVisible(), false)
  const other = await openWindow(t, browser, { profile: GRACE })
  await other.goto(`${server.origin}/d/ask`)

  await ask.getByRole('heading', { name: 'Grace Hopper is here, too' }).waitFor()
  await ask.getByRole('textbox').fill('Mary')
  await ask.getByRole('button', { name: 'That is me' }).click()
  await other.getByRole('img', { name: 'Mary' }).waitFor()
  assert.equal(await other.getByRole('region', { name: 'Your name' }).isVisible(), false)
  await page.reload()
  await untilOthers(page, 1)

  assert.equal(await nameOf(page), 'Mary')
  assert.equal(await ask.isVisible(), false)
})

test('w50_with_a_token_name_and_colour_are_the_tokens', async (t) => {
  const server = await startServer(t, { env: { COWRITE_JWT_SECRET: SECRET } })
  const page = await openWindow(t, browser, { profile: GIVEN })
  const other = await openWindow(t, browser, { profile: GRACE })
  const token = await mintTokenWith(SECRET, ['--name=Dr. Mary Jackson', '--color=#862e9c'], '*=write')
  await page.goto(`${server.origin}/d/tokens#token=${token}`)
  await other.goto(`${server.origin}/d/tokens#token=${await mintToken(SECRET, '*=write')}`)

  await other.getByRole('img', { name: 'Dr. Mary Jackson' }).waitFor()
  assert.deepEqual((await colorsOf(other)).slice(1), ['#862e9c'])
  assert.equal(await nameOf(page), 'Dr. Mary Jackson')
  await page.getByRole('button', { name: /^You, / }).click()
  await page.getByText('Your name comes from your token.').waitFor()
  assert.equal(await page.getByRole('textbox', { name: 'Name' }).isDisabled(), true)
  await other.getByRole('button', { name: /^Who is here/ }).click()
  await other.getByRole('button', { name: /Dr. Mary Jackson name from a token/ }).waitFor()
})

test('w51_w52_people_far_away_are_shown_at_the_edge_gone_to_and_followed', async (t) => {
  const server = await startServer(t)
  const ada = await openWindow(t, browser, { profile: ADA, reducedMotion: 'reduce' })
  const grace = await openWindow(t, browser, { profile: GRACE, reducedMotion: 'reduce' })
  await ada.goto(`${server.origin}/d/far`)
  await write(ada, LONG)
  await ada.evaluate(() => scrollTo(0, 0))
  await grace.goto(`${server.origin}/d/far`)
  await untilText(grace, 'line 59')
  const shows = (line) => ada.waitForFunction((text) => {
    const block = [...document.querySelectorAll('.ProseMirror > *')].find(({ textContent }) => textContent.includes(text))
    const { top, bottom } = block.getBoundingClientRect()
    return top > 100 && bottom < innerHeight
  }, line)

  await grace.getByText('line 58', { exact: true }).click()
  await ada.getByRole('button', { name: 'Grace Hopper is further down: go there' }).click()
  await shows('line 58')
  await ada.getByRole('button', { name: /^Grace Hopper is further/ }).waitFor({ state: 'detached' })
  await grace.getByText('line 1', { exact: true }).click()
  await ada.getByRole('button', { name: 'Grace Hopper is further up: go there' }).waitFor()

  await ada.getByRole('button', { name: /^Who is here/ }).click()
  await ada.getByRole('button', { name: 'Follow Grace Hopper' }).click()
  await ada.getByText('Following Grace Hopper').waitFor()
  await shows('line 1')
  await grace.getByText('line 40', { exact: true }).click()
  await shows('line 40')
  await ada.keyboard.press('Escape')
  await ada.getByText('Following Grace Hopper').waitFor({ state: 'hidden' })
  await ada.getByRole('button', { name: /^Who is here/ }).click()
  await ada.evaluate(() => scrollTo(0, 0))
  await ada.getByRole('button', { name: 'Grace Hopper', exact: true }).click()
  await shows('line 40')
})

test('w53_a_name_comes_with_movement_fades_and_covers_no_text', async (t) => {
  const server = await startServer(t)
  const ada = await openWindow(t, browser, { profile: ADA })
  const grace = await openWindow(t, browser, { profile: GRACE })
  await ada.goto(`${server.origin}/d/labels`)
  await write(ada, 'A title\nfirst\nsecond')
  await grace.goto(`${server.origin}/d/labels`)
  await grace.getByText('second').click()
  const label = ada.locator('.caret-name', { hasText: 'Grace Hopper' })
  const opacity = () => label.evaluate((element) => Number(getComputedStyle(element).opacity))
  // On a slow machine it may have faded before anybody looked.
  const untilShown = () => until('the name is shown', async () => {
    if ((await opacity()) < 0.05) await grace.keyboard.press('ArrowLeft')
    return (await opacity()) > 0.9
  })

  await label.waitFor()
  await untilShown()
  const box = await label.boundingBox()
  const line = await ada.locator('.ProseMirror p', { hasText: 'second' }).boundingBox()
  assert.ok(box.x + box.width <= line.x, `the name ends at ${box.x + box.width}, the text begins at ${line.x}`)
  assert.ok(Math.abs(box.y + box.height / 2 - (line.y + line.height / 2)) < line.height, 'the name is beside its line')
  await until('the name has faded', async () => (await opacity()) < 0.05)
  await untilShown()
})

test('w54_a_phone_shows_how_many_more_are_here', async (t) => {
  const server = await startServer(t)
  const phone = await openWindow(t, browser, { profile: ADA, viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true })
  await phone.goto(`${server.origin}/d/many`)
  await untilEditable(phone)
  for (let i = 0; i < 6; i++) {
    const page = await openWindow(t, browser, { profile: { name: `Person ${i}`, color: '#1864ab' } })
    await page.goto(`${server.origin}/d/many`)
  }
  await untilOthers(phone, 6)

  await phone.getByText('+4', { exact: true }).tap()

  await phone.getByRole('heading', { name: '7 people here' }).waitFor()
  assert.equal(await phone.getByRole('button', { name: /^Follow Person/ }).count(), 6)
  assert.equal(await phone.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth), 0)
})

test('w55_who_comes_and_goes_is_noticed_quietly', async (t) => {
  const server = await startServer(t)
  const ada = await openWindow(t, browser, { profile: ADA })
  const grace = await openWindow(t, browser, { profile: GRACE })
  await ada.goto(`${server.origin}/d/coming`)
  await untilStatus(ada, 'Saved')
  await ada.evaluate(() => {
    Object.assign(globalThis, { said: [], went: 0, awayMs: 0 })
    const line = document.querySelector('.toast')
    new MutationObserver(() => globalThis.said.push(line.textContent)).observe(line, { childList: true, characterData: true, subtree: true })
    const people = document.querySelector('.people')
    new MutationObserver(() => {
      if (people.dataset.others === '0') globalThis.went = performance.now()
      else globalThis.awayMs = performance.now() - globalThis.went
    }).observe(people, { attributes: true })
  })
  const said = () => ada.evaluate(() => globalThis.said)

  await grace.goto(`${server.origin}/d/coming`)
  await ada.getByText('Grace Hopper is here', { exact: true }).waitFor()
  // A page that is loaded again has not left, unless this machine is too slow to load one in time.
  let before
  do {
    before = await said()
    await grace.reload()
    await untilOthers(grace, 1)
    await grace.getByRole('img', { name: 'Ada Lovelace' }).waitFor()
    await untilOthers(ada, 1)
  } while ((await ada.evaluate(() => globalThis.awayMs)) >= AWAY_MS)
  assert.deepEqual(await said(), before)
  await grace.goto('about:blank')
  await until('it is said that she left', async () => (await said()).length > before.length)

  assert.deepEqual(await said(), [...before, 'Grace Hopper left'])
  assert.equal(await editorOf(ada).evaluate((editor) => editor === document.activeElement), true)
})
