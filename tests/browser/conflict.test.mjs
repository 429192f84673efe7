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

/** Another window of Grace's browser, with a connection of its own. */
async function anotherTab({ address, grace }) {
  const tab = await grace.context().newPage()
  const relay = await relayFor(tab)
  await tab.goto(address)
  await untilStatus(tab, 'Saved')
  await untilText(tab, 'begun')
  return { tab, relay }
}

const countOf = (text, part) => text.split(part).length - 1

/** All have everything once and nothing else, and so has whoever comes after a power cut. */
async function untilAllIsThereOnce(t, { server, address, first, ada, grace }, parts, tabs = []) {
  const everybody = [first, ada, grace, ...tabs]
  for (const page of everybody) {
    // Without the names at the cursors, which may stand in the middle of a part.
    let text = ''
    await until(() => `"${parts.join('" and "')}" in "${text}"`, async () => {
      text = await textOf(page)
      return parts.every((part) => text.includes(part))
    })
  }
  await untilSame(ada, grace)
  const text = await untilSame(first, grace)
  for (const part of parts) assert.equal(countOf(text, part), 1, text)
  assert.equal(text.length, parts.join('').length, text)
  await Promise.all(everybody.map((page) => untilStatus(page, 'Saved')))
  for (const page of everybody) assert.equal(await untilSame(page, first), text)
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

// What this page wrote under the taken numbers beyond those of the other page is in the second window as well, which
// heard of it through the browser; the server takes none of it while the other page is there.
test('w35_another_tab_that_has_the_edits_as_well_brings_them_in_no_second_time', async (t) => {
  const all = await twins(t, 'tabs')
  const { ada, grace, relay } = all
  const { tab } = await anotherTab(all)
  relay.held = true
  await write(ada, ' Ada was here,')
  await untilStatus(ada, 'Saved')
  await write(grace, '; Grace was, too.')
  await grace.getByRole('heading', { name: CONTINUED }).waitFor()

  await untilAllIsThereOnce(t, all, [' Ada was here,', '; Grace was, too.', 'begun'], [tab])
  await grace.reload()
  await untilStatus(grace, 'Saved')
  assert.equal(await untilSame(grace, ada), await textOf(tab))
})

test('w37_three_windows_in_each_of_which_somebody_writes_go_on_together', async (t) => {
  const all = await twins(t, 'three')
  const { ada, grace, relay } = all
  const { tab } = await anotherTab(all)
  const { tab: third } = await anotherTab(all)
  relay.held = true
  await write(ada, ' Ada was here,')
  await untilStatus(ada, 'Saved')
  await Promise.all([write(grace, '; Grace was, too.'), write(tab, ' [tab]'), write(third, ' [third]')])
  await grace.getByRole('heading', { name: CONTINUED }).waitFor()
  for (const page of [tab, third]) await untilEditable(page)
  await write(third, '!')

  const letters = 'begun Ada was here,; Grace was, too. [tab] [third]!'
  // They wrote at once into each other's words, so that only the letters can be counted.
  const everybody = [ada, grace, tab, third]
  await until('all have all', async () => {
    const texts = await Promise.all(everybody.map(textOf))
    return texts.every((text) => text === texts[0] && text.length >= letters.length)
  })
  await Promise.all(everybody.map((page) => untilStatus(page, 'Saved')))
  const text = await textOf(ada)
  for (const page of everybody) assert.equal(await textOf(page), text)
  assert.equal([...text].sort().join(''), [...letters].sort().join(''), text)
})

test('w37_windows_that_wrote_upon_each_others_edits_without_a_connection_go_on_together', async (t) => {
  const all = await twins(t, 'offline')
  const { ada, grace, relay } = all
  const { tab, relay: relayOfTab } = await anotherTab(all)
  const relays = [relay, relayOfTab]
  for (const one of relays) {
    one.cut = true
    await one.socket.close({ code: 1001 })
  }
  await write(grace, '; Grace was, too')
  await untilText(tab, '; Grace was, too')
  await write(tab, ', in two windows')
  await untilText(grace, 'in two windows')
  await write(grace, ' of hers.')
  await write(ada, ' Ada was here, and she wrote much more than Grace did in this tunnel,')
  await untilStatus(ada, 'Saved')
  for (const page of [grace, tab]) await untilStatus(page, 'Offline, your edits are kept in this browser')
  for (const one of relays) one.cut = false

  const parts = ['begun', ' Ada was here, and she wrote much more than Grace did in this tunnel,', '; Grace was, too, in two windows of hers.']
  await untilAllIsThereOnce(t, all, parts, [tab])
})

test('w37_a_window_that_was_closed_meanwhile_brings_nothing_back_when_it_is_opened_again', async (t) => {
  const all = await twins(t, 'closed')
  const { address, ada, grace, relay } = all
  const { tab, relay: relayOfTab } = await anotherTab(all)
  // What the windows write reaches nobody, what others write reaches the second window alone.
  relay.keep = relayOfTab.keep = () => true
  relay.held = true
  await write(ada, ' Ada was here,')
  await untilText(tab, ' Ada was here,')
  await write(grace, '; Grace was, too.')
  await until('the second window has what it lacks of it', async () => countOf(await textOf(tab), 'o.') === 1)
  await tab.close()
  relay.keep = () => false
  await relay.socket.close({ code: 1001 })
  await grace.getByRole('heading', { name: CONTINUED }).waitFor()
  await untilStatus(grace, 'Saved')
  const again = await grace.context().newPage()
  await again.goto(address)

  await untilAllIsThereOnce(t, all, ['begun', ' Ada was here,', '; Grace was, too.'], [again])
})

for (const [what, leave] of [
  ['is_reloaded', async ({ grace }) => void (await grace.reload())],
  ['is_closed', async (all) => {
    await all.grace.close()
    all.grace = all.tab
  }],
  ['and_the_other_one_are_closed_and_opened_again', async (all) => {
    const context = all.grace.context()
    await all.tab.close()
    all.tab = await context.newPage()
    await all.grace.close()
    all.grace = await context.newPage()
    for (const page of [all.tab, all.grace]) await page.goto(all.address)
  }],
]) {
  test(`w37_what_was_written_here_is_kept_apart_from_what_others_wrote_also_if_the_window_${what}`, async (t) => {
    const all = await twins(t, 'apart')
    const { ada, grace, relay } = all
    const { tab, relay: relayOfTab } = await anotherTab(all)
    all.tab = tab
    relay.keep = relayOfTab.keep = () => true
    relay.held = true
    await write(ada, ' Ada was here,')
    await untilText(tab, ' Ada was here,')
    await write(grace, '; Grace was, too.')
    await until('the second window has what it lacks of it', async () => countOf(await textOf(tab), 'o.') === 1)
    await until('it is kept', async () => (await tab.evaluate(countIn, ['cowrite:apart', 'custom'])) === '; Grace was, too.'.length)
    await leave(all)
    relay.keep = relayOfTab.keep = () => false
    for (const one of [relay, relayOfTab]) await one.socket.close({ code: 1001 }).catch(() => {})

    await untilAllIsThereOnce(t, all, ['begun', ' Ada was here,', '; Grace was, too.'], [all.tab])
  })
}

test('w37_a_window_that_hears_of_it_late_goes_on_with_what_it_wrote', async (t) => {
  const all = await twins(t, 'frozen')
  const { ada, grace, relay } = all
  const { tab, relay: relayOfTab } = await anotherTab(all)
  relayOfTab.cut = true
  await relayOfTab.socket.close({ code: 1001 })
  relay.keep = () => true
  relay.held = true
  await write(ada, ' Ada was here,')
  await write(grace, '; Grace was, too, and wrote more')
  await untilText(tab, '; Grace was, too, and wrote more')
  await write(tab, ', in a window that sleeps')
  await untilStatus(tab, 'Offline, your edits are kept in this browser')
  const devtools = await tab.context().newCDPSession(tab)
  await devtools.send('Debugger.enable')
  const paused = new Promise((resolve) => devtools.once('Debugger.paused', resolve))
  await devtools.send('Debugger.pause')
  await paused
  relay.keep = () => false
  await relay.socket.close({ code: 1001 })
  await grace.getByRole('heading', { name: CONTINUED }).waitFor()
  await untilStatus(grace, 'Saved')
  relayOfTab.cut = false
  await devtools.send('Debugger.disable')

  await untilAllIsThereOnce(t, all, ['begun', ' Ada was here,', '; Grace was, too, and wrote more, in a window that sleeps'], [tab])
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

test('w35_a_page_that_sees_the_end_of_what_another_one_wrote_under_its_client_id_goes_on', async (t) => {
  const all = await twins(t, 'seen')
  const { ada, grace, relay } = all
  relay.keep = () => true
  await write(grace, '; Grace.')
  await write(ada, ' Ada was here, and wrote more.')
  // Yjs gives Grace's page another client id, under which nobody has heard of her.
  await untilText(grace, 'wrote more.')
  await write(grace, '!')
  relay.keep = () => false
  await relay.socket.close({ code: 1001 })

  await grace.getByRole('heading', { name: CONTINUED }).waitFor()
  await untilAllIsThereOnce(t, all, [' Ada was here, and wrote more.', '; Grace.', '!', 'begun'])
})

test('w35_a_page_that_dies_before_its_copy_is_replaced_goes_on_when_it_is_opened_again', async (t) => {
  const all = await twins(t, 'dies')
  const { ada, grace, relay } = all
  relay.cut = true
  await relay.socket.close({ code: 1001 })
  await write(grace, '; Grace was, too.')
  await untilStatus(grace, 'Offline, your edits are kept in this browser')
  await write(ada, ' Ada was here,')
  await untilStatus(ada, 'Saved')
  // The windows have agreed on the new numbers, and then this one ended.
  await grace.evaluate(keepMove, ['dies', { client: CLIENT, clock: 0, author: 4_712 }])
  relay.cut = false

  await grace.reload()

  await untilAllIsThereOnce(t, all, [' Ada was here,', '; Grace was, too.', 'begun'])
  await until('what was brought over is taken out', async () => (await grace.evaluate(countIn, ['cowrite:dies', 'updates'])) === 0)
  await grace.reload()
  await untilAllIsThereOnce(t, all, [' Ada was here,', '; Grace was, too.', 'begun'])
})

/** In the page: adds a move of a document, as `shared-copy.ts` does. */
function keepMove([name, move]) {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open('cowrite-moves')
    request.onsuccess = () => {
      const transaction = request.result.transaction(['moves'], 'readwrite')
      transaction.objectStore('moves').put([move], name)
      transaction.oncomplete = () => resolve(request.result.close())
      transaction.onabort = reject
    }
  })
}

/** In the page: how much a store of a copy holds. */
function countIn([name, store]) {
  return new Promise((resolve) => {
    const request = indexedDB.open(name)
    request.onsuccess = () => {
      const count = request.result.transaction([store]).objectStore(store).count()
      count.onsuccess = () => {
        request.result.close()
        resolve(count.result)
      }
    }
  })
}

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
