// The start page and what it offers beside the document. The first word of a test is its rule in docs/SPEC.md.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import { launch, openWindow, until, untilStatus } from './browser.mjs'
import { mintToken, startServer } from './server.mjs'

const SECRET = 'a secret for tests that is long enough to be one'
const ADA = { name: 'Ada Lovelace', color: '#1864ab' }
const GRACE = { name: 'Grace Hopper', color: '#a3460a' }

let browser
before(async () => { browser = await launch() })
after(() => browser.close())

/** A page of this kind with two people in it. */
async function two(t, kind, options = {}) {
  const server = await startServer(t)
  const pages = []
  for (const profile of [ADA, GRACE]) {
    const page = await openWindow(t, browser, { profile, ...options })
    await page.goto(`${server.origin}/${kind}/together`)
    await untilStatus(page, 'Saved')
    pages.push(page)
  }
  await pages[0].getByRole('img', { name: 'Grace Hopper' }).waitFor()
  return { server, ada: pages[0], grace: pages[1] }
}

test('w65_the_start_page_opens_each_kind_with_one_click_and_each_shows_how_it_is_made', async (t) => {
  const server = await startServer(t)
  const page = await openWindow(t, browser)
  for (const [kind, folder, needed] of [['document', 'd', 'TitledDocument'], ['code', 'code', 'yCollab'], ['board', 'board', 'getMap'], ['room', 'room', 'getArray']]) {
    await page.goto(server.origin)
    await page.getByRole('button', { name: new RegExp(`^New ${kind}`) }).click()
    await page.waitForURL(new RegExp(`/${folder}/[a-z]+-[a-z]+-[a-z0-9]{10}$`))
    await untilStatus(page, 'Saved')
    await page.getByRole('button', { name: 'More', exact: true }).click()
    await page.getByRole('button', { name: 'How it is made' }).click()
    const dialog = page.getByRole('dialog', { name: 'How this page is made' })
    // The lines that connect it, and then the files that it is.
    const connecting = dialog.locator('pre').first()
    await connecting.getByText('new WebsocketProvider').waitFor()
    await dialog.locator('pre:not(:first-of-type)', { hasText: needed }).first().waitFor()
    assert.ok((await dialog.textContent()).includes(`And this is ${kind === 'document' ? 'editor/schema' : `gallery/${kind}`}.ts, all of it:`))
  }
})

/** The code without the others' names at their carets. */
const codeOf = (page) => page.locator('.cm-content').evaluate((content) => {
  const copy = content.cloneNode(true)
  for (const caret of copy.querySelectorAll('.cm-ySelectionCaret')) caret.remove()
  return [...copy.querySelectorAll('.cm-line')].map(({ textContent }) => textContent).join('\n')
})

test('w66_code_is_written_together_in_the_language_of_its_name', async (t) => {
  const { server, ada, grace } = await two(t, 'code')
  await ada.locator('.cm-content').click()
  await ada.keyboard.type('const answer = 42')
  await grace.locator('.tok-keyword', { hasText: 'const' }).waitFor()

  await grace.getByRole('textbox', { name: 'Name of the file' }).fill('answer.py')
  await ada.getByText('Python', { exact: true }).waitFor()
  await ada.locator('.tok-keyword').waitFor({ state: 'detached' })
  await ada.locator('.cm-content').click()
  await grace.locator('.cm-ySelectionCaret').waitFor()
  await grace.locator('.cm-content').click()
  await grace.keyboard.press('Control+End')
  await grace.keyboard.type('!')
  await until('it arrived', async () => (await codeOf(ada)).endsWith('!'))
  // What was typed slowly is taken back in several steps.
  await until('nothing is left but what Grace wrote', async () => {
    await ada.keyboard.press('Control+Z')
    return (await codeOf(grace)) === '!'
  })

  await untilStatus(grace, 'Saved')
  await Promise.all([ada, grace].map((page) => page.close()))
  await server.kill()
  await server.start()
  const newcomer = await openWindow(t, browser)
  await newcomer.goto(`${server.origin}/code/together`)
  await until('it is there', async () => (await codeOf(newcomer)) === '!')
  assert.equal(await newcomer.title(), 'answer.py')
})

test('w67_a_board_is_drawn_on_together_by_hand_and_from_the_keyboard', async (t) => {
  const { ada, grace } = await two(t, 'board')
  const shapes = (page) => page.locator('.board [data-id]')
  const board = await ada.locator('.board').boundingBox()

  await ada.mouse.move(board.x + 100, board.y + 100)
  await grace.locator('.pointer', { hasText: 'Ada Lovelace' }).waitFor()
  await ada.mouse.down()
  await ada.mouse.move(board.x + 160, board.y + 140, { steps: 4 })
  // What is being drawn is seen before it is there.
  await grace.locator('.board .shape:not([data-id])').waitFor()
  assert.equal(await shapes(grace).count(), 0)
  await ada.mouse.up()
  await until('the line is there', async () => (await shapes(grace).count()) === 1)

  await grace.locator('.board').focus()
  await grace.keyboard.press('n')
  await grace.getByRole('textbox', { name: 'Text of the note' }).fill('Ask Ada')
  await grace.keyboard.press('Escape')
  const note = ada.getByRole('img', { name: 'Note: Ask Ada' })
  await note.waitFor()
  const before = await note.boundingBox()
  await grace.getByRole('img', { name: 'Note: Ask Ada' }).focus()
  await grace.keyboard.press('ArrowRight')
  await until('the note has moved', async () => (await note.boundingBox())?.x === before.x + 10)
  await grace.keyboard.press('Delete')
  await until('the note is gone', async () => (await shapes(ada).count()) === 1)
  await grace.getByRole('button', { name: 'Undo' }).click()
  await note.waitFor()
  await untilStatus(grace, 'Saved')
})

test('w68_a_room_has_a_chat_a_poll_and_a_game', async (t) => {
  const { ada, grace } = await two(t, 'room')
  await ada.getByRole('textbox', { name: 'Message' }).fill('Tea at four?')
  await ada.keyboard.press('Enter')
  await grace.getByRole('log').getByText('Tea at four?').waitFor()

  await grace.getByRole('textbox', { name: 'Question' }).fill('Which tea?')
  for (const answer of ['Assam', 'Mint']) {
    await grace.getByRole('textbox', { name: 'Another answer' }).fill(answer)
    await grace.keyboard.press('Enter')
  }
  await ada.getByRole('button', { name: /^Mint\s*0 votes$/ }).click()
  await grace.getByRole('button', { name: /^Mint\s*1 vote$/ }).click()
  await ada.getByRole('button', { name: /^Mint\s*2 votes$/ }).waitFor()
  // One vote each: it moves.
  await ada.getByRole('button', { name: /^Assam\s*0 votes$/ }).click()
  await grace.getByRole('button', { name: /^Mint\s*1 vote$/ }).waitFor()
  assert.equal(await grace.getByRole('button', { name: /^Assam\s*1 vote$/ }).evaluate((bar) => bar.style.getPropertyValue('--share')), '50%')

  const caught = ada.getByRole('list', { name: 'Scores' }).getByText('Grace Hopper')
  const field = await grace.locator('canvas').boundingBox()
  for (let step = 0; !(await caught.isVisible()); step++) {
    assert.ok(step < 3_000, 'a firefly is caught by whoever is everywhere')
    await grace.mouse.move(field.x + field.width * (0.05 + 0.9 * ((step % 19) / 18)), field.y + field.height * (0.1 + 0.8 * ((Math.floor(step / 19) % 11) / 10)))
  }
  await untilStatus(grace, 'Saved')
})

test('w102_what_one_reads_stays_and_what_one_presses_keeps_the_focus', async (t) => {
  const { ada, grace } = await two(t, 'room')
  const log = ada.getByRole('log')
  for (let i = 0; i < 30; i++) {
    await grace.getByRole('textbox', { name: 'Message' }).fill(`Message ${i}`)
    await grace.keyboard.press('Enter')
  }
  await log.getByText('Message 29', { exact: true }).waitFor()
  const place = () => log.evaluate((list) => [list.scrollTop, list.scrollHeight - list.clientHeight])
  const [end, most] = await place()
  assert.ok(most > 0 && most - end < 2, `${end} of ${most}`)
  await log.evaluate((list) => (list.scrollTop = 0))
  const first = await log.getByText('Message 0', { exact: true }).elementHandle()
  await grace.getByRole('textbox', { name: 'Another answer' }).fill('Tea')
  await grace.keyboard.press('Enter')
  await ada.getByRole('button', { name: /^Tea/ }).focus()

  await grace.getByRole('textbox', { name: 'Message' }).fill('and one more')
  await grace.keyboard.press('Enter')
  await grace.getByRole('button', { name: /^Tea/ }).click()
  await log.getByText('and one more').waitFor()
  await ada.getByRole('button', { name: /^Tea\s*1 vote$/ }).waitFor()
  assert.equal((await place())[0], 0)
  assert.equal(await first.evaluate((element) => element.isConnected), true)
  assert.match(await ada.evaluate(() => document.activeElement.textContent), /^Tea/)
})

test('w103_who_comes_to_a_board_sees_all_of_it', async (t) => {
  const { server, ada } = await two(t, 'board')
  await ada.getByText('Draw something').waitFor()
  const board = await ada.locator('.board').boundingBox()
  await ada.mouse.move(board.x + board.width - 200, board.y + 300)
  await ada.mouse.down()
  await ada.mouse.move(board.x + board.width - 60, board.y + 360, { steps: 4 })
  await ada.mouse.up()
  await ada.getByText('Draw something').waitFor({ state: 'hidden' })
  await untilStatus(ada, 'Saved')

  const phone = await openWindow(t, browser, { profile: { name: 'Joan', color: '#862e9c' }, viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true })
  await phone.goto(`${server.origin}/board/together`)
  const line = phone.getByRole('img', { name: 'A line' })
  await line.waitFor()
  const box = await line.boundingBox()
  assert.ok(box.x >= 0 && box.x + box.width <= 360, JSON.stringify(box))

  const session = await phone.context().newCDPSession(phone)
  const fingers = (apart) => [{ x: 180 - apart, y: 400 }, { x: 180 + apart, y: 400 }]
  await session.send('Input.dispatchTouchEvent', { type: 'touchStart', touchPoints: fingers(40) })
  for (const apart of [50, 60, 70, 80]) await session.send('Input.dispatchTouchEvent', { type: 'touchMove', touchPoints: fingers(apart) })
  await session.send('Input.dispatchTouchEvent', { type: 'touchEnd', touchPoints: [] })
  await until('it is twice as large', async () => Math.abs((await line.boundingBox()).width / box.width - 2) < 0.1)
  await phone.getByRole('button', { name: 'Show all' }).click()
  await until('it is as before', async () => Math.abs((await line.boundingBox()).width / box.width - 1) < 0.1)
})

test('w129_an_address_of_elsewhere_is_opened_there_and_never_a_name', async (t) => {
  const server = await startServer(t)
  const page = await openWindow(t, browser)
  const { port } = new URL(server.origin)
  const field = page.getByRole('textbox', { name: /Or open one/ })
  await page.goto(server.origin)
  for (const [address, meant = address] of [[`http://localhost:${port}/d/tour`], ['https://other.example/d/x'], [`localhost:${port}/d/tour`, `http://localhost:${port}/d/tour`], ['other.example/d/x', 'http://other.example/d/x'], ['https://other.example/']]) {
    await field.fill(address)
    await page.keyboard.press('Enter')
    await page.getByText(`This link is of another address, ${new URL(meant).host}, and not of 127.0.0.1:${port}.`).waitFor()
    assert.equal(await page.getByRole('link', { name: 'Open it there' }).getAttribute('href'), meant)
    assert.equal(page.url(), `${server.origin}/`)
  }
  for (const address of ['ftp://other.example/d/x', 'https://']) {
    await field.fill(address)
    await page.keyboard.press('Enter')
    await page.getByText('This is an address, and not one that can be opened here.').waitFor()
  }
  await field.fill(`127.0.0.1:${port}/code/here`)
  await page.keyboard.press('Enter')
  await page.waitForURL(`${server.origin}/code/here`)
  // These look a little like one and are names.
  for (const name of ['team/minutes', 'v1.2/notes', 'minutes: 3']) {
    await page.goto(server.origin)
    await field.fill(name)
    await page.keyboard.press('Enter')
    await page.waitForURL(`${server.origin}/d/${name.split('/').map(encodeURIComponent).join('/')}`)
  }
})

test('w135_the_text_of_a_note_is_seen_and_ctrl_y_does_again', async (t) => {
  const { ada, grace } = await two(t, 'board')
  await ada.locator('.board').focus()
  await ada.keyboard.press('n')
  const words = `${'many words '.repeat(28)}end`
  await ada.getByRole('textbox', { name: 'Text of the note' }).fill(words)
  await ada.keyboard.press('Escape')
  for (const page of [ada, grace]) {
    const note = page.locator('.shape[data-id]', { hasText: 'end' })
    await note.waitFor()
    const [paper, seen, needed] = await note.evaluate((group) => {
      const text = group.querySelector('.note-words')
      return [Number(group.querySelector('rect').getAttribute('height')), text.clientHeight, text.scrollHeight]
    })
    assert.ok(seen >= needed && paper >= needed, `${paper}, ${seen} of ${needed}`)
  }

  await ada.locator('.board').focus()
  const notes = ada.locator('.shape[data-id]')
  await until('the note is taken back', async () => {
    await ada.keyboard.press('Control+Z')
    return (await notes.count()) === 0
  })
  await until('the note is there again', async () => {
    await ada.keyboard.press('Control+Y')
    return (await notes.count()) === 1
  })
})

test('w138_an_answer_is_in_a_poll_once', async (t) => {
  const { ada, grace } = await two(t, 'room')
  const add = async (page, answer) => {
    await page.getByRole('textbox', { name: 'Another answer' }).fill(answer)
    await page.keyboard.press('Enter')
  }
  await add(ada, 'Tea')
  await grace.getByRole('button', { name: /^Tea\s*0 votes$/ }).click()
  await add(ada, ' tea')
  await ada.getByText('“tea” is there already.').waitFor()
  assert.equal(await ada.locator('.option').count(), 1)

  // Two people have the same idea while neither hears of the other.
  await Promise.all([ada, grace].map((page) => page.context().setOffline(true)))
  await add(ada, 'Milk')
  await add(grace, 'milk')
  for (const page of [ada, grace]) await page.getByRole('button', { name: /^milk\s*0 votes$/i }).click()
  await Promise.all([ada, grace].map((page) => page.context().setOffline(false)))
  for (const page of [ada, grace]) {
    await page.getByRole('button', { name: /^milk\s*2 votes$/i }).waitFor()
    assert.equal(await page.locator('.option').count(), 2)
  }
  // A vote for any of them is taken back by the one that is shown.
  for (const page of [ada, grace]) await page.getByRole('button', { name: /^milk/i }).click()
  await ada.getByRole('button', { name: /^milk\s*0 votes$/i }).waitFor()
})

test('w69_w101_w105_the_start_page_says_what_this_server_is_and_how_to_use_it', async (t) => {
  const open = await startServer(t)
  const guarded = await startServer(t, { env: { COWRITE_JWT_SECRET: SECRET } })
  const page = await openWindow(t, browser)

  await page.goto(open.origin)
  await page.getByText(/on this machine, open to whoever is on it/).waitFor()
  await page.evaluate(() => Object.defineProperty(navigator, 'clipboard', { value: undefined }))
  await page.getByRole('button', { name: 'Copy' }).click()
  // W101
  await page.getByRole('button', { name: 'Copied' }).waitFor()
  await page.getByRole('textbox', { name: /Or open one/ }).focus()
  await page.keyboard.press('Control+V')
  assert.match(await page.getByRole('textbox', { name: /Or open one/ }).inputValue(), /^import/)
  // W105
  const loaded = await page.evaluate(() => performance.getEntriesByType('resource').map(({ name }) => name).filter((name) => name.endsWith('.js')))
  assert.ok(loaded.length > 0 && !loaded.some((name) => /yjs|document|codemirror/.test(name)), loaded.join())
  const program = await page.locator('.snippet pre').textContent()
  assert.ok(program.includes(`${open.origin.replace('http', 'ws')}/ws`), program)
  await page.getByRole('link', { name: 'Run a server' }).click()
  await page.getByRole('heading', { level: 1 }).waitFor()
  for (const name of ['Every editor, as a program', 'Your own editor']) {
    await page.getByRole('navigation', { name: 'Docs' }).getByRole('link', { name }).click()
    await page.getByRole('heading', { level: 1 }).waitFor()
  }

  await page.goto(guarded.origin)
  await page.getByText(/asks for a token: open the link/).waitFor()
  assert.equal(await page.getByRole('button', { name: /^New / }).count(), 0)
  await page.getByRole('textbox', { name: /Or open one/ }).fill(`${guarded.origin}/d/team/plan#token=${await mintToken(SECRET, 'team/*=write')}`)
  await page.getByRole('button', { name: 'Open', exact: true }).click()
  await untilStatus(page, 'Saved')
  assert.equal(page.url(), `${guarded.origin}/d/team/plan`)
})
