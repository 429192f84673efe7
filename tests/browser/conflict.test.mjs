// Two pages that write under one client id, and edits that the server lacks. The first word of a test is its rule.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import { forceClientId, launch, openWindow, relayFor, statusOf, textOf, until, untilEditable, untilSame, untilStatus, untilText, write } from './browser.mjs'
import { startServer } from './server.mjs'

const ADA = { name: 'Ada Lovelace', color: '#1864ab' }
const GRACE = { name: 'Grace Hopper', color: '#a3460a' }
const CLIENT = 4_711
const CONTINUED = 'Your last edits were written in again'

let browser
before(async () => { browser = await launch() })
after(() => browser.close())

/** A document that somebody else began, open in two windows which have the same client id. */
async function twins(t, name) {
  const server = await startServer(t)
  const address = `${server.origin}/d/${name}`
  const first = await openWindow(t, browser)
  await first.goto(address)
  await write(first, 'begun')
  await untilStatus(first, 'Saved')
  const ada = await openWindow(t, browser, { profile: ADA })
  const grace = await openWindow(t, browser, { profile: GRACE })
  const relay = await relayFor(grace)
  const ids = []
  for (const page of [ada, grace]) {
    ids.push(await forceClientId(page, CLIENT))
    await page.goto(address)
    await untilStatus(page, 'Saved')
    await untilText(page, 'begun')
  }
  // They begin with different letters: the same letter in the same place under the same number is the same edit.
  await Promise.all(ids.map((id) => id.free()))
  return { server, address, first, ada, grace, relay }
}

const countOf = (text, part) => text.split(part).length - 1

/** All have everything once, and so has whoever comes after a power cut. */
async function untilAllIsThereOnce(t, { server, address, first, ada, grace }, parts) {
  for (const page of [first, ada, grace]) for (const part of parts) await untilText(page, part)
  await untilSame(ada, grace)
  const text = await untilSame(first, grace)
  for (const part of parts) assert.equal(countOf(text, part), 1, text)
  await Promise.all([ada, grace].map((page) => untilStatus(page, 'Saved')))
  await server.kill()
  await server.start()
  const stranger = await openWindow(t, browser)
  await stranger.goto(address)
  await untilText(stranger, parts[0])
  assert.equal(await textOf(stranger), text)
  return text
}

for (const [who, close] of [
  // Without anybody's reason the page knows which of its edits were never confirmed.
  ['a_relay_that_says_from_where_on', (socket) => socket.close({ code: 4409, reason: `another page writes under this client id: client ${CLIENT} from clock 0` })],
  ['a_relay_that_does_not', (socket) => socket.close({ code: 4409, reason: 'another page writes under this client id' })],
  ['the_server', null],
]) {
  test(`w35_what_was_written_under_a_taken_client_id_is_there_once_as_${who}_closes`, async (t) => {
    const all = await twins(t, 'twins')
    const { ada, grace, relay } = all
    relay.held = true
    await write(ada, ' Ada was here,')
    await untilStatus(ada, 'Saved')
    // The server closes as soon as it sees the first letter.
    if (close !== null) relay.keep = () => true
    await write(grace, '; Grace was, too.')
    relay.keep = () => false
    if (close !== null) await close(relay.socket)

    await grace.getByRole('heading', { name: CONTINUED }).waitFor()
    await write(grace, '!')
    const text = await untilAllIsThereOnce(t, all, [' Ada was here,', '; Grace was, too.', '!', 'begun'])
    await grace.getByRole('button', { name: 'All right' }).click()
    await grace.getByRole('heading', { name: CONTINUED }).waitFor({ state: 'detached' })
    await grace.reload()
    await untilText(grace, 'Grace was, too.')
    await untilStatus(grace, 'Saved')

    assert.equal(await textOf(grace), text)
    assert.equal(await grace.getByRole('heading', { name: CONTINUED }).count(), 0)
    assert.equal(relay.connections, 4)
  })
}

// What this page wrote under the taken numbers beyond those of the other page comes back from the second window, which
// heard of it through the browser; the server takes none of it while the other page is there.
const BROUGHT_BACK = 'a second window brings back what the first one has taken out'
test('w35_another_tab_that_has_the_edits_as_well_brings_them_in_no_second_time', { todo: BROUGHT_BACK }, async (t) => {
  const all = await twins(t, 'tabs')
  const { address, ada, grace, relay } = all
  const tab = await grace.context().newPage()
  await tab.goto(address)
  await untilStatus(tab, 'Saved')
  relay.held = true
  await write(ada, ' Ada was here,')
  await untilStatus(ada, 'Saved')
  await write(grace, '; Grace was, too.')
  await grace.getByRole('heading', { name: CONTINUED }).waitFor()

  await untilAllIsThereOnce(t, all, [' Ada was here,', '; Grace was, too.', 'begun'])
  await untilStatus(tab, 'Saved')
  assert.equal(await untilSame(tab, ada), await textOf(grace))
  await grace.reload()
  await untilStatus(grace, 'Saved')
  assert.equal(await untilSame(grace, ada), await textOf(tab))
})

test('w35_the_cursor_the_formats_and_the_paragraphs_stay', async (t) => {
  const { ada, grace, relay } = await twins(t, 'shape')
  relay.held = true
  relay.keep = () => true
  await write(ada, ' from Ada')
  await untilStatus(ada, 'Saved')
  await write(grace, '\n## A heading\nwith **bold** wds')
  await grace.keyboard.press('ArrowLeft')
  await grace.keyboard.press('ArrowLeft')
  // Typing tells the editor where its cursor is; keys that move it alone are told with the next frame.
  await grace.keyboard.type('o')
  relay.keep = () => false
  await relay.socket.close({ code: 4409, reason: `taken: client ${CLIENT} from clock 0` })
  await grace.getByRole('heading', { name: CONTINUED }).waitFor()
  await grace.keyboard.type('r')

  await until('ada has it', async () => (await textOf(ada)).endsWith('\nA heading\nwith bold words'))
  await ada.locator('.ProseMirror h2', { hasText: /^A heading$/ }).waitFor()
  await ada.locator('.ProseMirror strong', { hasText: /^bold$/ }).waitFor()
  assert.equal(await untilSame(ada, grace), 'begun from Ada\nA heading\nwith bold words')
})

for (const who of ['a_relay', 'the_server']) {
  test(`w35_what_was_written_offline_while_the_client_id_was_taken_is_there_once_as_${who}_closes`, async (t) => {
    const all = await twins(t, 'tunnel')
    const { ada, grace, relay } = all
    relay.cut = true
    await relay.socket.close({ code: 1001 })
    await untilStatus(grace, 'Offline, your edits are kept in this browser')
    await write(grace, '; Grace was, too, and wrote more than Ada did.')
    await write(ada, ' Ada was here,')
    await untilStatus(ada, 'Saved')

    if (who === 'a_relay') {
      // The page shows what the server claims to have, which no SyncStep2 would: that is compared.
      relay.keep = (message) => {
        const isShown = message[0] === 0 && message[1] === 2
        if (isShown) void relay.socket.close({ code: 4409, reason: `taken: client ${CLIENT} from clock 0` })
        relay.keep = isShown ? () => false : relay.keep
        return isShown
      }
    }
    relay.cut = false

    await untilAllIsThereOnce(t, all, [' Ada was here,', '; Grace was, too, and wrote more than Ada did.', 'begun'])
  })
}

test('w35_a_page_that_dies_before_its_copy_is_replaced_goes_on_when_it_is_opened_again', async (t) => {
  const all = await twins(t, 'dies')
  const { ada, grace, relay } = all
  relay.cut = true
  await relay.socket.close({ code: 1001 })
  await write(grace, '; Grace was, too.')
  await untilStatus(grace, 'Offline, your edits are kept in this browser')
  await write(ada, ' Ada was here,')
  await untilStatus(ada, 'Saved')
  await grace.evaluate((client) => { localStorage['cowrite:taken:dies'] = JSON.stringify({ client, clock: 0 }) }, CLIENT)
  relay.cut = false

  await grace.reload()

  await grace.getByRole('heading', { name: CONTINUED }).waitFor()
  await untilAllIsThereOnce(t, all, [' Ada was here,', '; Grace was, too.', 'begun'])
  assert.equal(await grace.evaluate(() => localStorage['cowrite:taken:dies']), undefined)
})

test('w35_who_loses_one_client_id_after_the_other_is_told_and_keeps_the_text', async (t) => {
  const { grace, relay } = await twins(t, 'hunted')
  await write(grace, ' what I wrote')
  await untilStatus(grace, 'Saved')
  // Nothing is taken from here on.
  relay.keep = () => true
  await write(grace, '!')
  for (let lost = 1; lost <= 6; lost++) {
    const { socket, connections } = relay
    await socket.close({ code: 4409, reason: 'another page writes under this client id' })
    if (lost < 6) await until('it goes on', () => relay.connections > connections)
  }

  await grace.getByRole('heading', { name: 'Somebody else writes as this window' }).waitFor()
  assert.equal(await textOf(grace), 'begun what I wrote!')
  assert.equal(await statusOf(grace).textContent(), 'Not connected')
  relay.keep = () => false
  await grace.getByRole('button', { name: 'Try again' }).click()
  await untilStatus(grace, 'Saved')
  assert.equal(await textOf(grace), 'begun what I wrote!')
})

test('w36_a_gap_that_stays_is_explained_until_something_is_confirmed', async (t) => {
  const server = await startServer(t)
  const page = await openWindow(t, browser)
  const relay = await relayFor(page)
  relay.drop = (message) => message[0] === 102
  await page.goto(`${server.origin}/d/gap`)
  await untilEditable(page)
  await write(page, 'builds on what is lost')
  const asking = relay.heard.find((message) => message[0] === 0 && message[1] === 0)

  // The server asks again, and again.
  for (let times = 0; times < 2; times++) relay.socket.send(asking)

  await untilStatus(page, 'Not saved yet: the server lacks edits that yours build on')
  await page.getByRole('heading', { name: 'The server lacks earlier edits' }).waitFor()
  await write(page, ', and goes on')
  relay.drop = () => false
  await untilStatus(page, 'Saved')
  assert.equal(await page.locator('.notice').count(), 0)
  assert.equal(await textOf(page), 'builds on what is lost, and goes on')
})
