// The demo as people use it. The first word of a test is its rule in docs/SPEC.md.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import { editorOf, launch, openWindow, statusOf, textOf, untilEditable, untilSame, untilStatus, untilText, write } from './browser.mjs'
import { mintToken, startServer } from './server.mjs'

const SECRET = 'a secret for tests that is long enough to be one'
const ADA = { name: 'Ada Lovelace', color: '#1864ab' }
const GRACE = { name: 'Grace Hopper', color: '#a3460a' }

let browser
before(async () => { browser = await launch() })
after(() => browser.close())

test('w20_a_new_document_is_one_click_away_and_is_remembered', async (t) => {
  const server = await startServer(t)
  const page = await openWindow(t, browser)

  await page.goto(server.origin)
  await page.getByRole('button', { name: 'New document' }).click()
  await page.waitForURL(/\/d\/[a-z]+-[a-z]+-[a-z0-9]{10}$/)
  await write(page, '# Minutes\nWe met.')
  await untilStatus(page, 'Saved')
  await page.waitForFunction(() => document.title === 'Minutes')
  const address = page.url()
  await page.goto(server.origin)
  await page.getByRole('link', { name: /Minutes/ }).click()

  await untilText(page, 'We met.')
  assert.equal(page.url(), address)
})

test('e36_the_demo_works_below_a_base_path', async (t) => {
  const server = await startServer(t, { flags: ['--base-path', '/tools/collab'] })
  const page = await openWindow(t, browser)
  const other = await openWindow(t, browser)

  await page.goto(`${server.origin}/tools/collab`)
  assert.equal(page.url(), `${server.origin}/tools/collab/`)
  await page.getByRole('button', { name: 'New document' }).click()
  await page.waitForURL(/\/tools\/collab\/d\/[a-z]+-[a-z]+-[a-z0-9]{10}$/)
  await write(page, 'Together')
  await untilStatus(page, 'Saved')
  await other.goto(page.url())
  await untilText(other, 'Together')
  await page.getByRole('link', { name: 'Cowrite' }).click()
  await page.waitForURL(`${server.origin}/tools/collab/`)
  await page.getByRole('link', { name: /Together/ }).click()
  await untilText(page, 'Together')

  // Another server below the same host has nothing in common with it.
  const stored = await page.evaluate(async () => [...Object.keys(localStorage), ...(await indexedDB.databases()).map(({ name }) => name)])
  assert.deepEqual(stored.filter((name) => !/^cowrite(-moves)?\/tools\/collab/.test(name)), [])
})

test('w21_two_people_see_each_others_text_cursors_and_names', async (t) => {
  const server = await startServer(t)
  const ada = await openWindow(t, browser, { profile: ADA })
  const grace = await openWindow(t, browser, { profile: GRACE })

  await Promise.all([ada, grace].map((page) => page.goto(`${server.origin}/d/notes/two`)))
  await write(ada, 'Hello')
  await untilText(grace, 'Hello')
  await write(grace, ' world')

  await ada.locator('.caret-name', { hasText: 'Grace Hopper' }).waitFor()
  await grace.locator('.caret-name', { hasText: 'Ada Lovelace' }).waitFor()
  await ada.getByRole('list', { name: 'People here' }).getByRole('img', { name: 'Grace Hopper' }).waitFor()
  assert.equal(await untilSame(ada, grace), 'Hello world')
  await Promise.all([ada, grace].map((page) => untilStatus(page, 'Saved')))
})

test('w21_a_new_name_and_colour_reach_the_others_and_are_kept', async (t) => {
  const server = await startServer(t)
  const ada = await openWindow(t, browser, { profile: ADA })
  const grace = await openWindow(t, browser, { profile: GRACE })
  await Promise.all([ada, grace].map((page) => page.goto(`${server.origin}/d/names`)))
  await write(ada, 'x')

  await ada.getByRole('button', { name: /^You, Ada Lovelace/ }).click()
  await ada.getByRole('textbox', { name: 'Name' }).fill('Countess')
  await ada.getByRole('radio', { name: 'Green' }).check()
  await ada.getByRole('button', { name: 'Done' }).click()

  await grace.getByRole('img', { name: 'Countess' }).waitFor()
  await ada.reload()
  await ada.getByRole('button', { name: /^You, Countess/ }).waitFor()
})

test('w21_somebody_who_comes_back_after_a_lost_connection_is_seen_again', async (t) => {
  const server = await startServer(t)
  const ada = await openWindow(t, browser, { profile: ADA })
  const grace = await openWindow(t, browser, { profile: GRACE })
  await Promise.all([ada, grace].map((page) => page.goto(`${server.origin}/d/back`)))
  await ada.getByRole('img', { name: 'Grace Hopper' }).waitFor()

  await server.kill()
  await ada.getByRole('img', { name: 'Grace Hopper' }).waitFor({ state: 'detached' })
  await server.start()

  await ada.getByRole('img', { name: 'Grace Hopper' }).waitFor()
  await grace.getByRole('img', { name: 'Ada Lovelace' }).waitFor()
})

test('w22_nothing_that_was_called_saved_is_missing_after_kill_9', async (t) => {
  const server = await startServer(t)
  const ada = await openWindow(t, browser, { profile: ADA })
  const grace = await openWindow(t, browser, { profile: GRACE })
  const address = `${server.origin}/d/power`
  await Promise.all([ada, grace].map((page) => page.goto(address)))
  await write(ada, 'saved before')
  await untilStatus(ada, 'Saved')

  const typing = write(grace, ' 0123456789'.repeat(12))
  await untilText(ada, '0123456789 0123456789')
  await server.kill()
  await untilStatus(ada, 'Offline, your edits are kept in this browser')
  await write(ada, '!')
  await typing
  await server.start()
  const text = await untilSame(ada, grace)
  await Promise.all([ada, grace].map((page) => untilStatus(page, 'Saved')))
  assert.equal(text.startsWith('saved before'), true)
  assert.equal(text.match(/\d/g).length, 120)
  assert.equal(text.includes('!'), true)
  await server.kill()
  await server.start()
  const stranger = await openWindow(t, browser)
  await stranger.goto(address)

  await untilText(stranger, '!')
  assert.equal(await textOf(stranger), text)
})

test('w22_the_word_saved_is_gone_at_the_first_key', async (t) => {
  const server = await startServer(t)
  const page = await openWindow(t, browser)
  await page.goto(`${server.origin}/d/word`)
  await untilStatus(page, 'Saved')
  await page.evaluate(() => {
    const seen = []
    globalThis.seen = seen
    new MutationObserver(() => seen.push(document.querySelector('.status').textContent)).observe(document.querySelector('.status'), { childList: true, characterData: true, subtree: true })
    document.querySelector('.ProseMirror').addEventListener('input', () => queueMicrotask(() => seen.push('key')))
  })

  await write(page, 'a')
  await untilStatus(page, 'Saved')

  assert.deepEqual((await page.evaluate(() => globalThis.seen)).filter((word) => word !== 'key'), ['Saving…', 'Saved'])
})

test('w23_what_is_written_offline_survives_a_reload_and_reaches_the_others', async (t) => {
  const server = await startServer(t)
  const ada = await openWindow(t, browser, { profile: ADA })
  const grace = await openWindow(t, browser, { profile: GRACE })
  // The page itself comes from the server: the websocket alone is cut.
  const cut = { now: false }
  await ada.routeWebSocket(/\/ws\//, (socket) => {
    if (cut.now) return void socket.close({ code: 1001 })
    cut.socket = socket
    socket.connectToServer()
  })
  await Promise.all([ada, grace].map((page) => page.goto(`${server.origin}/d/train`)))
  await write(ada, 'before the tunnel')
  await untilText(grace, 'before the tunnel')

  cut.now = true
  await cut.socket.close({ code: 1001 })
  await untilStatus(ada, 'Offline, your edits are kept in this browser')
  await write(ada, ', in the tunnel')
  await untilStatus(ada, 'Offline, your edits are kept in this browser')
  await ada.reload()
  await untilText(ada, 'before the tunnel, in the tunnel')
  await untilStatus(ada, 'Offline, your edits are kept in this browser')
  assert.equal(await textOf(grace), 'before the tunnel')
  cut.now = false

  await untilText(grace, 'in the tunnel')
  await untilStatus(ada, 'Saved')
})

test('w24_a_server_that_does_not_confirm_is_not_called_saved', async (t) => {
  const server = await startServer(t)
  const page = await openWindow(t, browser)
  const disk = { full: false }
  await page.routeWebSocket(/\/ws\//, (socket) => {
    const upstream = socket.connectToServer()
    upstream.onMessage((message) => {
      if (!(disk.full && message[0] === 102)) socket.send(message)
    })
  })
  await page.goto(`${server.origin}/d/disk`)
  await untilStatus(page, 'Saved')

  disk.full = true
  await write(page, 'x')
  await untilStatus(page, 'Not saved yet: the server cannot store right now')
  disk.full = false

  await untilStatus(page, 'Saved')
})

test('w25_a_document_that_needs_a_token_says_so_and_takes_a_pasted_one', async (t) => {
  const server = await startServer(t, { env: { COWRITE_JWT_SECRET: SECRET } })
  const token = await mintToken(SECRET, 'team/*=write')
  const page = await openWindow(t, browser)

  await page.goto(`${server.origin}/d/team/plan`)
  await page.getByRole('heading', { name: 'This document needs a token' }).waitFor()
  assert.equal(await editorOf(page).isVisible(), false)
  await page.getByRole('textbox', { name: /Token/ }).fill(`${server.origin}/d/team/plan#token=${token}`)
  await page.getByRole('button', { name: 'Open' }).click()
  await write(page, 'planned')

  await untilStatus(page, 'Saved')
})

test('w25_a_token_in_the_link_leaves_the_address_and_is_not_copied', async (t) => {
  const server = await startServer(t, { env: { COWRITE_JWT_SECRET: SECRET } })
  const token = await mintToken(SECRET, 'team/*=write')
  const page = await openWindow(t, browser, { permissions: ['clipboard-read', 'clipboard-write'] })
  const address = `${server.origin}/d/team/plan`

  await page.goto(`${address}#token=${token}`)
  await untilStatus(page, 'Saved')
  assert.equal(page.url(), address)
  await page.getByRole('button', { name: 'More', exact: true }).click()
  await page.getByRole('button', { name: 'Copy link' }).click()
  await page.getByText('The link is copied').waitFor()
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), address)
  await page.reload()

  await untilStatus(page, 'Saved')
})

test('w25_a_token_that_is_refused_is_told_from_one_that_is_missing', async (t) => {
  const server = await startServer(t, { env: { COWRITE_JWT_SECRET: SECRET } })
  const elsewhere = await mintToken(SECRET, 'other/*=write')
  const page = await openWindow(t, browser)

  await page.goto(`${server.origin}/d/team/plan#token=nonsense`)
  await page.getByRole('heading', { name: 'The token was not accepted' }).waitFor()
  await page.goto('about:blank')
  await page.goto(`${server.origin}/d/team/plan#token=${elsewhere}`)

  await page.getByRole('heading', { name: 'You may not open this document' }).waitFor()
})

test('w26_a_reader_sees_edits_and_makes_none', async (t) => {
  const server = await startServer(t, { env: { COWRITE_JWT_SECRET: SECRET } })
  const writer = await openWindow(t, browser, { profile: ADA })
  const reader = await openWindow(t, browser, { profile: GRACE })
  const updates = []
  reader.on('websocket', (socket) => socket.on('framesent', ({ payload }) => {
    if (payload[0] === 0 && payload[1] === 2) updates.push(payload)
  }))
  await writer.goto(`${server.origin}/d/paper#token=${await mintToken(SECRET, '*=write')}`)
  await write(writer, '# Read this\nfirst')
  await untilStatus(writer, 'Saved')

  await reader.goto(`${server.origin}/d/paper#token=${await mintToken(SECRET, '*=read')}`)
  await reader.getByText('Read only', { exact: true }).waitFor()
  await untilText(reader, 'first')
  await write(writer, ', then that')
  await untilText(reader, ', then that')
  await editorOf(reader).click()
  await reader.keyboard.type('graffiti')
  await reader.reload()
  await reader.getByText('Read only', { exact: true }).waitFor()
  await untilText(reader, 'then that')

  assert.equal(await editorOf(reader).getAttribute('contenteditable'), 'false')
  assert.equal(await reader.getByRole('toolbar').isVisible(), false)
  await untilStatus(reader, 'Up to date')
  assert.equal((await textOf(reader)).includes('graffiti'), false)
  for (const kind of ['room', 'board', 'code']) {
    await reader.goto(`${server.origin}/${kind}/empty`)
    await untilStatus(reader, 'Up to date')
    assert.equal(await reader.locator('main :is(input, textarea, [contenteditable="true"], .tool, [type="submit"]):visible:enabled').count(), 0, kind)
  }
  assert.deepEqual(updates, [])
})

test('w26_what_a_reader_wrote_before_is_not_passed_off_as_the_document', async (t) => {
  const server = await startServer(t, { env: { COWRITE_JWT_SECRET: SECRET } })
  const page = await openWindow(t, browser)
  await page.routeWebSocket(/\/ws\//, (socket) => void (cut ? socket.close({ code: 1001 }) : socket.connectToServer()))
  let cut = true
  await page.goto(`${server.origin}/d/demoted#token=${await mintToken(SECRET, '*=write')}`)
  await untilStatus(page, 'Offline, your edits are kept in this browser')
  await write(page, 'never sent')
  await page.goto('about:blank')
  cut = false

  await page.goto(`${server.origin}/d/demoted#token=${await mintToken(SECRET, '*=read')}`)

  await untilStatus(page, 'Edits made in this browser were not taken')
})

test('w27_each_final_close_code_is_explained_and_ends_editing', async (t) => {
  const server = await startServer(t)
  const page = await openWindow(t, browser)
  const next = { code: null }
  await page.routeWebSocket(/\/ws\//, (socket) => {
    if (next.code !== null) return void socket.close({ code: next.code, reason: 'because' })
    next.socket = socket
    socket.connectToServer()
  })
  const told = [
    [4403, 'You may not open this document'],
    [4413, 'The document is too large'],
    [1009, 'Your last change is too big to send'],
    [4400, 'The server refused the connection'],
  ]

  for (const [code, heading] of told) {
    next.code = null
    await page.goto(`${server.origin}/d/close-${code}`)
    await write(page, 'what I wrote')
    await untilStatus(page, 'Saved')
    next.code = code
    await next.socket.close({ code, reason: 'because' })
    await page.getByRole('heading', { name: heading }).waitFor()
    // There is none here that the server could know.
    if (code === 4403) assert.match(await page.locator('.notice').textContent(), /^(?!.*your token).*The server said: because/)
    assert.equal(await editorOf(page).getAttribute('contenteditable'), 'false', heading)
    assert.equal(await textOf(page), 'what I wrote', heading)
    assert.equal(await statusOf(page).textContent(), 'Not connected', heading)
  }
})

test('w27_a_refusal_can_be_tried_again', async (t) => {
  const server = await startServer(t)
  const page = await openWindow(t, browser)
  const next = { code: 1009 }
  await page.routeWebSocket(/\/ws\//, (socket) => {
    if (next.code === null) return void socket.connectToServer()
    socket.close({ code: next.code })
  })
  await page.goto(`${server.origin}/d/again`)
  await page.getByRole('heading', { name: 'Your last change is too big to send' }).waitFor()

  next.code = null
  await page.getByRole('button', { name: 'Try again' }).click()
  await write(page, 'smaller')

  await untilStatus(page, 'Saved')
})

test('w28_names_with_slashes_spaces_and_letters_of_all_kinds_are_one_document_each', async (t) => {
  const server = await startServer(t)
  const names = ['a/b/c', 'a//b', 'über uns/Größe 100%', 'x/../y', '日本語', 'q?a=1#frag', 'n'.repeat(512)]
  const page = await openWindow(t, browser)
  const other = await openWindow(t, browser)

  for (const [index, name] of names.entries()) {
    await page.goto(server.origin)
    await page.getByRole('textbox', { name: 'Or open one by its name' }).fill(name)
    await page.getByRole('button', { name: 'Open', exact: true }).click()
    await write(page, `this is ${index}`)
    await untilStatus(page, 'Saved')
    await other.goto(page.url())
    await untilText(other, `this is ${index}`)
    assert.equal(await textOf(other), `this is ${index}`, name)
    assert.equal(await other.locator('.title').getAttribute('title'), name)
  }
})

test('w28_an_address_that_names_no_document_says_why', async (t) => {
  const server = await startServer(t)
  const page = await openWindow(t, browser)
  const reasons = [
    ['/d/', 'the name is empty'],
    [`/d/${'n'.repeat(513)}`, '513 bytes long'],
    ['/d/a%00b', 'a control character'],
    ['/d/%ff', 'not UTF-8'],
  ]

  for (const [path, reason] of reasons) {
    await page.goto(server.origin + path)
    await page.getByRole('heading', { name: 'This address names no document' }).waitFor()
    assert.equal((await page.locator('.notice').textContent()).includes(reason), true, path)
  }
})

test('w29_looking_at_a_document_does_not_change_it', async (t) => {
  const server = await startServer(t)
  const writer = await openWindow(t, browser)
  await writer.goto(`${server.origin}/d/look`)
  await write(writer, '# Title\n- [ ] task\n\n> quote')
  await untilStatus(writer, 'Saved')
  const visitor = await openWindow(t, browser)
  const updates = []
  visitor.on('websocket', (socket) => socket.on('framesent', ({ payload }) => {
    if (payload[0] === 0 && payload[1] === 2) updates.push(payload)
  }))

  await visitor.goto(`${server.origin}/d/look`)
  await untilText(visitor, 'quote')
  await untilStatus(visitor, 'Saved')
  await editorOf(visitor).click()
  await untilEditable(visitor)

  assert.deepEqual(updates, [])
})

test('w30_everything_can_be_formatted_from_the_keyboard', async (t) => {
  const server = await startServer(t)
  const page = await openWindow(t, browser)
  await page.goto(`${server.origin}/d/keys`)
  await write(page, 'word')
  await page.keyboard.press('Control+A')
  const labels = await page.getByRole('toolbar').getByRole('button').evaluateAll((tools) => tools.map((tool) => tool.getAttribute('aria-label')))
  assert.equal(await page.locator('.tool[tabindex="0"]').count(), 1)

  await page.keyboard.press('Alt+F10')
  for (let i = 0; i < labels.indexOf('Bold'); i++) await page.keyboard.press('ArrowRight')
  assert.equal(await page.evaluate(() => document.activeElement.getAttribute('aria-label')), 'Bold')
  await page.keyboard.press('Enter')

  await page.locator('.ProseMirror strong', { hasText: 'word' }).waitFor()
  assert.equal(await page.getByRole('toolbar').getByRole('button', { name: 'Bold' }).getAttribute('aria-pressed'), 'true')
  assert.deepEqual(labels, ['Undo', 'Redo', 'Heading 1', 'Heading 2', 'Heading 3', 'Bold', 'Italic', 'Underline', 'Strikethrough', 'Code', 'Link', 'Bullet list', 'Numbered list', 'Task list', 'Quote', 'Code block', 'Table', 'Picture', 'Divider'])
})

test('w30_every_tool_does_what_it_says', async (t) => {
  const server = await startServer(t)
  const page = await openWindow(t, browser)
  const tools = [
    ['Heading 1', 'h1'], ['Heading 2', 'h2'], ['Heading 3', 'h3'], ['Bold', 'strong'], ['Italic', 'em'], ['Underline', 'u'],
    ['Strikethrough', 's'], ['Code', 'code'], ['Bullet list', 'ul li'], ['Numbered list', 'ol li'],
    ['Task list', 'ul[data-type="taskList"] li'], ['Quote', 'blockquote'], ['Code block', 'pre code'], ['Table', 'table td'], ['Divider', 'hr'],
  ]
  await page.goto(`${server.origin}/d/tools`)
  await write(page, 'word')
  // The first line is a heading, until it is told otherwise.
  await page.keyboard.press('Control+Alt+1')
  await untilStatus(page, 'Saved')
  // Yjs undoes what came quickly together: a fresh page keeps the word out of it.
  await page.reload()
  await untilEditable(page)

  for (const [label, selector] of tools) {
    await editorOf(page).focus()
    await page.keyboard.press('Control+A')
    await page.getByRole('toolbar').getByRole('button', { name: label, exact: true }).click()
    await page.locator(`.ProseMirror ${selector}`).first().waitFor()
    await page.getByRole('button', { name: 'Undo' }).click()
    await page.locator(`.ProseMirror ${selector}`).first().waitFor({ state: 'detached' })
    await untilText(page, 'word')
  }
})

test('w30_links_are_set_changed_and_removed_and_never_run_code', async (t) => {
  const server = await startServer(t)
  const page = await openWindow(t, browser)
  await page.goto(`${server.origin}/d/links`)
  await write(page, 'word')
  await page.keyboard.press('Control+A')

  await page.keyboard.press('Control+K')
  await page.getByRole('textbox', { name: 'Where should it lead?' }).fill('javascript:alert(1)')
  await page.getByRole('button', { name: 'Set link' }).click()
  await page.getByText('This is not a web, mail or phone address.').waitFor()
  await page.getByRole('textbox', { name: 'Where should it lead?' }).fill('example.org/a')
  await page.getByRole('button', { name: 'Set link' }).click()
  const link = page.locator('.ProseMirror a')
  await link.waitFor()
  assert.equal(await link.getAttribute('href'), 'https://example.org/a')
  await page.keyboard.press('Control+K')
  await page.getByRole('button', { name: 'Remove link' }).click()

  await link.waitFor({ state: 'detached' })
})

test('w30_undo_takes_back_ones_own_edits_only', async (t) => {
  const server = await startServer(t)
  const ada = await openWindow(t, browser, { profile: ADA })
  const grace = await openWindow(t, browser, { profile: GRACE })
  await Promise.all([ada, grace].map((page) => page.goto(`${server.origin}/d/undo`)))
  await write(ada, 'from Ada')
  await untilText(grace, 'from Ada')
  await write(grace, ' and Grace')
  await untilText(ada, 'and Grace')

  await ada.getByRole('button', { name: 'Undo' }).click()

  await grace.waitForFunction(() => !document.querySelector('.ProseMirror').textContent.includes('from Ada'))
  assert.equal(await untilSame(ada, grace), ' and Grace')
})

test('a16_the_demo_works_under_a_policy_that_lets_nothing_else_in', async (t) => {
  const server = await startServer(t)
  const [ada, grace] = [await openWindow(t, browser, { profile: ADA }), await openWindow(t, browser, { profile: GRACE })]
  await Promise.all([ada, grace].map((page) => page.goto(`${server.origin}/d/policy`)))
  await write(ada, '# Title\n**bold** text')
  await untilText(grace, 'bold text')
  await write(grace, ' more')
  assert.equal(await untilSame(ada, grace), await textOf(ada))
  await Promise.all([ada, grace].map((page) => untilStatus(page, 'Saved')))

  // In a window of its own: here the page objects, which is what is asked for.
  const context = await browser.newContext()
  t.after(() => context.close())
  const page = await context.newPage()
  await page.goto(`${server.origin}/d/policy`)
  const refused = await page.evaluate(async () => {
    const found = []
    document.addEventListener('securitypolicyviolation', (event) => found.push(`${event.effectiveDirective} ${event.blockedURI}`))
    const add = (name, attributes, text = '') => document.body.append(Object.assign(document.createElement(name), attributes, { textContent: text }))
    add('script', {}, 'globalThis.ran = true')
    add('style', {}, 'body { color: red }')
    add('img', { src: 'http://127.0.0.1:1/who-reads-this.png' })
    add('iframe', { src: 'http://127.0.0.1:1/' })
    const attempts = [() => fetch('http://127.0.0.1:1/'), () => new WebSocket('ws://127.0.0.1:1/'), () => import('data:text/javascript,1'), () => (0, eval)('1')]
    for (const attempt of attempts) await Promise.resolve().then(attempt).catch(() => {})
    await new Promise((resolve) => {
      const looks = setInterval(() => { if (found.length >= 8) { clearInterval(looks); resolve() } }, 10)
      setTimeout(resolve, 10_000)
    })
    return { ran: globalThis.ran, kinds: found.map((one) => one.split(' ')[0]).sort() }
  })
  assert.deepEqual(refused, { ran: undefined, kinds: ['connect-src', 'connect-src', 'frame-src', 'img-src', 'script-src', 'script-src-elem', 'script-src-elem', 'style-src-elem'] })
})
