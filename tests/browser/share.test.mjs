// A server that asks for tokens, as its users have it: one token for all that it covers, and links for others.

import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { after, before, test } from 'node:test'

import { violations } from './axe.mjs'
import { editorOf, launch, openWindow, until, untilStatus, untilText, write } from './browser.mjs'
import { mintToken, mintTokenWith, startServer } from './server.mjs'

const SECRET = 'a-secret-that-is-long-enough-for-hs256'
const JSQR = await readFile(new URL('node_modules/jsqr/dist/jsQR.js', import.meta.url), 'utf8')

let browser
before(async () => { browser = await launch() })
after(() => browser.close())

const guarded = (t, env = {}) => startServer(t, { env: { COWRITE_JWT_SECRET: SECRET, ...env } })
/** Ada's token for her team, which she may share for a day. */
const ada = (...flags) => mintTokenWith(SECRET, ['--name=Ada', '--expires=1h', '--share', '--share-expires=1d', ...flags], 'team/*=write')
const newOnes = (page) => page.getByRole('button', { name: /^New / })
const dialogOf = (page) => page.getByRole('dialog', { name: 'Share' })
const linkIn = (page) => dialogOf(page).getByRole('textbox', { name: 'Link' })

async function openShare(page) {
  await page.getByRole('button', { name: 'Share', exact: true }).click()
  await dialogOf(page).waitFor()
  await dialogOf(page).getByText('Asking the server…').waitFor({ state: 'detached' })
}

/** Makes a link to read or to write. */
async function makeLink(page, access, life) {
  await dialogOf(page).getByRole('radio', { name: access, exact: true }).check()
  if (life !== undefined) await dialogOf(page).getByRole('combobox', { name: 'It works for' }).selectOption({ label: life })
  await dialogOf(page).getByRole('button', { name: 'Make a link' }).click()
  return linkIn(page).inputValue()
}

/** What a camera reads on the page: pixels of a screenshot, judged by a reader that is not ours. */
async function scanned(page) {
  const picture = (await dialogOf(page).locator('.qr-frame').screenshot()).toString('base64')
  const reader = await page.context().newPage()
  await reader.addScriptTag({ content: JSQR })
  const text = await reader.evaluate(async (base64) => {
    const image = await createImageBitmap(await (await fetch(`data:image/png;base64,${base64}`)).blob())
    const canvas = new OffscreenCanvas(image.width, image.height).getContext('2d')
    canvas.drawImage(image, 0, 0)
    const { data, width, height } = canvas.getImageData(0, 0, image.width, image.height)
    return globalThis.jsQR(data, width, height)?.data ?? null
  }, picture)
  await reader.close()
  return text
}

test('w71_one_token_opens_all_that_it_covers_in_every_window_until_it_is_forgotten', async (t) => {
  const server = await guarded(t)
  const page = await openWindow(t, browser)
  await page.goto(`${server.origin}/d/team/plan#token=${await ada()}`)
  await write(page, 'planned')
  await untilStatus(page, 'Saved')
  await page.reload()
  await untilText(page, 'planned')
  await untilStatus(page, 'Saved')

  const tab = await page.context().newPage()
  await tab.goto(`${server.origin}/d/team/other`)
  await untilStatus(tab, 'Saved')
  assert.equal(await tab.evaluate(() => location.href), `${server.origin}/d/team/other`)

  await tab.getByRole('button', { name: 'More', exact: true }).click()
  await tab.getByRole('button', { name: 'Forget my token' }).click()
  await tab.getByText(/asks for a token: open the link/).waitFor()
  await page.getByRole('heading', { name: 'This document needs a token' }).waitFor()
  assert.equal(await editorOf(page).getAttribute('contenteditable'), 'false')
  await page.reload()
  await page.getByRole('heading', { name: 'This document needs a token' }).waitFor()
})

test('w71_a_window_keeps_the_token_that_it_was_given_and_others_take_the_one_that_opens_most', async (t) => {
  const server = await guarded(t)
  const page = await openWindow(t, browser)
  await page.goto(`${server.origin}/d/team/plan#token=${await ada()}`)
  await untilStatus(page, 'Saved')
  const reader = await page.context().newPage()
  await reader.goto(`${server.origin}/d/team/plan#token=${await mintToken(SECRET, 'team/plan=read', '2h')}`)
  await reader.getByText('Read only', { exact: true }).waitFor()
  await reader.reload()
  await reader.getByText('Read only', { exact: true }).waitFor()

  const other = await page.context().newPage()
  await other.goto(`${server.origin}/d/team/plan`)
  await untilStatus(other, 'Saved')
  await write(other, 'written with the wider one')
  await untilStatus(other, 'Saved')
})

test('w71_a_page_whose_token_is_refused_goes_on_with_another_one_and_takes_one_that_comes_later', async (t) => {
  const server = await guarded(t)
  const page = await openWindow(t, browser)
  const foreign = await mintToken('another-secret-that-is-long-enough-too', 'team/*=write', '2h')
  await page.goto(`${server.origin}/d/team/plan#token=${foreign}`)
  await page.getByRole('heading', { name: 'The token was not accepted' }).waitFor()
  const tab = await page.context().newPage()
  await tab.goto(`${server.origin}/d/team/other#token=${await ada()}`)
  await untilStatus(tab, 'Saved')
  await untilStatus(page, 'Saved')
  // Both are kept, and the one that would open it longer is no good.
  const third = await page.context().newPage()
  await third.goto(`${server.origin}/d/team/third`)
  await untilStatus(third, 'Saved')
  // A link with a token, opened where one is already: only the fragment changes.
  await third.goto(`${server.origin}/d/team/third#token=${await mintToken(SECRET, 'team/*=read')}`)
  await third.getByText('Read only', { exact: true }).waitFor()
  assert.equal(third.url(), `${server.origin}/d/team/third`)
})

test('w72_something_new_is_offered_only_where_it_can_succeed', async (t) => {
  const server = await guarded(t)
  for (const [grants, begins] of [
    [['team/*=write'], '/d/team/'], [['*=read', 'team/*-draft=write'], '/d/team/'], [['*=write', 'private/*=read'], '/d/'],
    [['team/*=read'], null], [['team/plan=write'], null], [['*=write', 'a*=read', 'b=write'], '/d/'],
    // Half of all names that the page could make are for reading only.
    [['*=write', ...[...'bcghs'].map((letter) => `${letter}*=read`)], '/d/'],
  ]) {
    const page = await openWindow(t, browser)
    const [first, ...more] = grants
    await page.goto(`${server.origin}/#token=${await mintTokenWith(SECRET, more.map((grant) => `--document=${grant}`), first)}`)
    await page.getByRole('heading', { name: 'What your token opens' }).waitFor()
    assert.equal(await newOnes(page).count(), begins === null ? 0 : 4, grants.join())
    if (begins === null) continue
    await page.getByRole('button', { name: 'New document' }).click()
    await untilStatus(page, 'Saved')
    const path = new URL(page.url()).pathname
    assert.ok(path.startsWith(begins) && path.length > begins.length + 8, path)
    await write(page, 'new')
    await untilStatus(page, 'Saved')
  }
})

test('w73_the_start_page_says_what_a_token_opens_takes_one_and_forgets_it', async (t) => {
  const server = await guarded(t)
  const page = await openWindow(t, browser)
  await page.goto(server.origin)
  await page.getByText(/asks for a token: open the link/).waitFor()
  const box = page.getByRole('textbox', { name: /paste a token/ })
  await box.fill(await ada('--document=*=read', '--document=handbook=read'))
  await page.getByRole('button', { name: 'Open', exact: true }).click()
  const tokens = page.getByRole('region', { name: 'What your token opens' })
  await tokens.waitFor()
  for (const text of [/^Ada until /, 'Read and write team/*', 'Read every document', 'Read handbook']) await tokens.getByText(text).first().waitFor()
  assert.equal(await box.inputValue(), '')
  await page.reload()
  await tokens.getByRole('link', { name: 'handbook' }).click()
  await page.getByText('Read only', { exact: true }).waitFor()

  await page.goto(`${server.origin}/#token=nonsense`)
  await page.getByText('The link has a token that cannot be read').waitFor()
  await page.getByRole('button', { name: 'Forget this token: Ada' }).click()
  await page.getByText(/asks for a token: open the link/).waitFor()
  assert.equal(await newOnes(page).count(), 0)
  await page.goto(`${server.origin}/d/team/plan`)
  await page.getByRole('heading', { name: 'This document needs a token' }).waitFor()
})

test('w74_share_makes_a_link_to_read_and_one_to_write_and_each_opens_that_alone', async (t) => {
  const server = await guarded(t)
  const page = await openWindow(t, browser)
  await page.goto(`${server.origin}/d/team/plan#token=${await ada()}`)
  await write(page, 'planned')
  await untilStatus(page, 'Saved')
  await openShare(page)
  const lives = dialogOf(page).getByRole('combobox', { name: 'It works for' }).getByRole('option')
  assert.deepEqual(await lives.allTextContents(), ['an hour', 'a day'])
  const read = await makeLink(page, 'Read', 'an hour')
  await dialogOf(page).getByText(/^Whoever has this link may read until /).waitFor()
  const claims = JSON.parse(Buffer.from(read.split('#token=')[1].split('.')[1], 'base64url').toString())
  assert.deepEqual([claims.document, claims.access, claims.exp - claims.iat], ['team/plan', 'read', 3_600])
  // What was made is not what the form says now.
  await dialogOf(page).getByRole('radio', { name: 'Read and write' }).check()
  assert.equal(await linkIn(page).count(), 0)
  const writing = await makeLink(page, 'Read and write', 'a day')

  const reader = await openWindow(t, browser)
  await reader.goto(read)
  await reader.getByText('Read only', { exact: true }).waitFor()
  await untilText(reader, 'planned')
  assert.equal(reader.url(), `${server.origin}/d/team/plan`)
  await reader.goto(`${server.origin}/d/team/other`)
  await reader.getByRole('heading', { name: 'This document needs a token' }).waitFor()
  await reader.goto(server.origin)
  await reader.getByText(/^A link until /).waitFor()
  assert.equal(await newOnes(reader).count(), 0)

  const writer = await openWindow(t, browser, { profile: { name: 'Grace', color: '#862e9c' } })
  await writer.goto(writing)
  await write(writer, ' together')
  await untilStatus(writer, 'Saved')
  await untilText(page, 'together')
  // The guest has a name of her own, and nothing to pass on.
  await page.keyboard.press('Escape')
  await page.getByRole('button', { name: /^Who is here/ }).click()
  await page.getByRole('button', { name: /^Grace/ }).waitFor()
  await openShare(writer)
  await dialogOf(writer).getByText('Your token does not let you make links').waitFor()
  assert.equal(await linkIn(writer).inputValue(), `${server.origin}/d/team/plan`)
})

test('w74_what_may_not_be_shared_is_not_offered_and_what_the_server_refuses_is_told', async (t) => {
  const server = await guarded(t)
  const page = await openWindow(t, browser)
  await page.goto(`${server.origin}/board/team/plan#token=${await mintTokenWith(SECRET, ['--expires=20m', '--share', '--share-document=*=read'], 'team/*=write')}`)
  await untilStatus(page, 'Saved')
  await openShare(page)
  assert.equal(await dialogOf(page).getByRole('radio').count(), 1)
  assert.match((await dialogOf(page).getByRole('option').allTextContents()).join(), /^(19|20) minutes, the longest$/)
  const link = await makeLink(page, 'Read')
  assert.ok(link.startsWith(`${server.origin}/board/team/plan#token=`), link)
  await page.route('**/share', (route) => route.fulfill({ status: 403, body: 'the token was revoked: get a new one\n' }))
  await dialogOf(page).getByRole('button', { name: 'Make a link' }).click()
  await dialogOf(page).getByText('The server made no link: the token was revoked: get a new one').waitFor()

  const key = new URL('../keys/p256.public.pem', import.meta.url).pathname
  const off = await startServer(t, { env: { COWRITE_JWT_PUBLIC_KEY: key } })
  const other = await openWindow(t, browser)
  await other.goto(`${off.origin}/d/plan`)
  await openShare(other)
  await dialogOf(other).getByText('This server makes no links that have one.').waitFor()
})

test('w74_on_an_open_server_share_shows_the_link_and_its_code', async (t) => {
  const server = await startServer(t)
  const page = await openWindow(t, browser, { permissions: ['clipboard-read', 'clipboard-write'] })
  await page.goto(`${server.origin}/code/caf%C3%A9/a.ts`)
  await untilStatus(page, 'Saved')
  await openShare(page)
  await dialogOf(page).getByText(/^Whoever reaches this server may read and write/).waitFor()
  await dialogOf(page).getByText(/A phone cannot reach 127\.0\.0\.1/).waitFor()
  assert.equal(await scanned(page), page.url())
  await dialogOf(page).getByRole('button', { name: 'Copy' }).click()
  await dialogOf(page).getByText('Copied').waitFor()
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), page.url())
})

test('w75_sharing_works_from_the_keyboard_and_axe_finds_nothing_in_light_and_dark', async (t) => {
  const server = await guarded(t)
  const page = await openWindow(t, browser, { permissions: ['clipboard-read', 'clipboard-write'], reducedMotion: 'reduce' })
  await page.goto(`${server.origin}/#token=${await ada()}`)
  await page.getByRole('heading', { name: 'What your token opens' }).waitFor()
  assert.deepEqual(await violations(page), [], 'start page')
  await page.goto(`${server.origin}/d/team/plan`)
  await untilStatus(page, 'Saved')
  await page.getByRole('button', { name: 'Share', exact: true }).focus()
  await page.keyboard.press('Enter')
  // The first choice has the focus; an arrow takes the next one, Enter makes the link.
  await until('the choice has the focus', () => page.evaluate(() => document.activeElement?.getAttribute('value') === 'read'))
  await page.keyboard.press('ArrowDown')
  await page.keyboard.press('Enter')
  await dialogOf(page).getByText(/^Whoever has this link may read and write until /).waitFor()
  const link = await linkIn(page).inputValue()
  assert.deepEqual(await violations(page), [], 'dialog')
  for (const colorScheme of ['dark', 'light']) {
    await page.emulateMedia({ colorScheme })
    assert.equal(await scanned(page), link, colorScheme)
  }
  assert.equal(await dialogOf(page).getByRole('img', { name: 'QR code of the link' }).isVisible(), true)
  await page.keyboard.press('Tab')
  await page.keyboard.press('Enter')
  await dialogOf(page).getByText('Copied').waitFor()
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), link)
  await page.keyboard.press('Escape')
  assert.equal(await dialogOf(page).count(), 0)
  assert.equal(await page.evaluate(() => document.activeElement?.textContent), 'Share')
})

test('w75_a_phone_shows_it_without_scrolling_sideways', async (t) => {
  const server = await guarded(t)
  const page = await openWindow(t, browser, { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true })
  const wider = () => page.evaluate(() => {
    const dialog = document.querySelector('dialog') ?? document.documentElement
    return Math.max(document.documentElement.scrollWidth - document.documentElement.clientWidth, dialog.scrollWidth - dialog.clientWidth)
  })
  await page.goto(`${server.origin}/#token=${await ada(`--document=${'a-long-name-'.repeat(8)}*=read`)}`)
  await page.getByRole('heading', { name: 'What your token opens' }).waitFor()
  assert.equal(await wider(), 0)
  await page.goto(`${server.origin}/d/team/plan`)
  await untilStatus(page, 'Saved')
  await page.getByRole('button', { name: 'More', exact: true }).tap()
  await page.getByRole('button', { name: 'Share', exact: true }).tap()
  const link = await makeLink(page, 'Read', 'a day')
  assert.equal(await wider(), 0)
  assert.equal(await scanned(page), link)
})

test('w76_no_token_is_in_an_address_or_a_referer', async (t) => {
  const server = await guarded(t)
  const page = await openWindow(t, browser)
  const token = await ada()
  const seen = []
  page.context().on('request', (request) => seen.push(request.url(), JSON.stringify({ ...request.headers(), authorization: undefined })))
  await page.goto(`${server.origin}/d/team/plan#token=${token}`)
  await untilStatus(page, 'Saved')
  await openShare(page)
  const link = await makeLink(page, 'Read')
  const guest = await page.context().newPage()
  await guest.goto(link)
  await guest.getByText('Read only', { exact: true }).waitFor()
  await guest.getByRole('link', { name: 'Cowrite' }).click()
  await guest.getByRole('heading', { name: 'What your tokens open' }).waitFor()
  const secrets = [token, link.split('#token=')[1]].map((whole) => whole.split('.')[2])
  // The browser keeps the fragment for itself: what it sends is what comes before.
  const sent = seen.map((text) => (URL.canParse(text) ? text.split('#')[0] : text))
  assert.ok(sent.some((text) => text.endsWith('/share')), 'the link was asked for')
  assert.deepEqual(sent.filter((text) => secrets.some((secret) => text.includes(secret))), [])
})
