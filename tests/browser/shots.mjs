// Pictures of every state, into shots/ (not in git), and the one for the README into docs/demo.png.
// `npm run shots`; not a test: look at them.

import { mkdir } from 'node:fs/promises'

import { editorOf, launch, openWindow, untilEditable, untilStatus, untilText } from './browser.mjs'
import { mintToken, startServer } from './server.mjs'

const SECRET = 'a secret for tests that is long enough to be one'
const cleanups = []
const t = { after: (cleanup) => cleanups.push(cleanup) }
const shots = new URL('shots/', import.meta.url).pathname
await mkdir(shots, { recursive: true })
const browser = await launch()
const shot = (page, name, options = {}) => page.screenshot({ path: `${shots}${name}.png`, caret: 'initial', ...options })

const fill = {
  async code(one, other) {
    await one.locator('.cm-content').click()
    await one.keyboard.type('// A tour\nimport { greet } from "./greet.js"\n\nexport function tour(names) {\nreturn names.map(greet).join("\\n")\n')
    await other.locator('.cm-line').first().click()
  },
  async board(one, other) {
    const { x, y } = await one.locator('.board').boundingBox()
    await one.mouse.move(x + 300, y + 200)
    await one.mouse.down()
    for (let step = 0; step < 30; step++) await one.mouse.move(x + 300 + step * 8, y + 200 + 40 * Math.sin(step / 3))
    await one.mouse.up()
    await one.locator('.board').focus()
    await one.keyboard.press('n')
    await one.keyboard.type('Bring lanterns')
    await one.keyboard.press('Escape')
    await other.mouse.move(x + 200, y + 260)
  },
  async room(one, other) {
    for (const [page, text] of [[one, 'Tea at four?'], [other, 'With pleasure']]) {
      await page.getByRole('textbox', { name: 'Message' }).fill(text)
      await page.keyboard.press('Enter')
    }
    await one.getByRole('textbox', { name: 'Question' }).fill('Which tea?')
    for (const answer of ['Assam', 'Mint']) {
      await one.getByRole('textbox', { name: 'Another answer' }).fill(answer)
      await one.keyboard.press('Enter')
    }
    await other.getByRole('button', { name: /^Mint/ }).click()
    await one.locator('canvas').hover()
  },
}

try {
  const server = await startServer(t)
  const mina = await openWindow(t, browser, { profile: { name: 'Mina', color: '#237032' } })
  const ada = await openWindow(t, browser, { reducedMotion: 'reduce', profile: { name: 'Ada', color: '#1864ab' } })
  const grace = await openWindow(t, browser, { profile: { name: 'Grace', color: '#a3460a' } })
  const address = `${server.origin}/d/team/garden-party`

  await ada.goto(address)
  await untilEditable(ada)
  await editorOf(ada).focus()
  await typeDocument(ada)
  await grace.goto(address)
  await untilText(grace, 'somebody will ask')
  await grace.getByText('Lanterns for the old pear tree', { exact: true }).click()
  await grace.keyboard.press('End')
  await grace.keyboard.type(', and a ladder')
  await mina.goto(address)
  await mina.getByText('Bring something to share').click()
  await mina.keyboard.press('End')
  await mina.keyboard.type(' Just one this time?')
  await ada.getByText('rain plan', { exact: true }).click()
  await ada.keyboard.press('End')
  // Names are shown for a while after their carets have moved.
  await selectText(grace, 'half past six')
  await mina.keyboard.type('!')
  await untilStatus(ada, 'Saved')
  await ada.locator('.caret.moved').nth(1).waitFor()
  await ada.evaluate(() => {
    scrollTo(0, 0)
    return document.fonts.ready
  })
  await shot(ada, 'document-light')
  await ada.screenshot({ path: new URL('../../docs/demo.png', import.meta.url).pathname, caret: 'initial' })
  await ada.emulateMedia({ colorScheme: 'dark' })
  await shot(ada, 'document-dark')
  await ada.emulateMedia({ colorScheme: 'light' })

  await ada.getByRole('button', { name: /^You,/ }).click()
  await shot(ada, 'profile-light')
  await ada.getByRole('button', { name: 'Cancel' }).click()
  await editorOf(ada).focus()
  await ada.keyboard.press('Control+K')
  await shot(ada, 'link-light')
  await ada.getByRole('button', { name: 'Cancel' }).click()

  const phone = { reducedMotion: 'reduce', viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true }
  const pocket = await openWindow(t, browser, { ...phone, profile: { name: 'Joan', color: '#862e9c' } })
  await pocket.goto(address)
  await untilText(pocket, 'rain plan')
  await untilStatus(pocket, 'Saved')
  await shot(pocket, 'phone-light')
  await pocket.emulateMedia({ colorScheme: 'dark' })
  await pocket.goto(server.origin)
  await shot(pocket, 'phone-start-dark')

  for (const kind of ['code', 'board', 'room']) {
    for (const page of [ada, grace, pocket]) {
      await page.goto(`${server.origin}/${kind}/pictures-of-${kind}`)
      await untilStatus(page, 'Saved')
    }
    await fill[kind](ada, grace)
    for (const [page, width] of [[ada, 'wide'], [pocket, 'phone']]) {
      for (const colorScheme of ['light', 'dark']) {
        await page.emulateMedia({ colorScheme })
        await shot(page, `${kind}-${width}-${colorScheme}`)
      }
    }
  }
  for (const [page, width] of [[ada, 'wide'], [pocket, 'phone']]) {
    await page.goto(`${address}/inspect`)
    await page.locator('.tree summary').nth(1).click()
    await page.locator('.traffic li').first().waitFor()
    await page.getByRole('rowheader').first().waitFor()
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme })
      await shot(page, `inside-${width}-${colorScheme}`)
    }
  }
  await ada.goto(address)
  await untilStatus(ada, 'Saved')
  await ada.getByRole('button', { name: 'Look inside', exact: true }).click()
  for (const tab of ['Content', 'Server', 'Traffic']) {
    await ada.getByRole('tab', { name: tab }).click()
    await shot(ada, `panel-${tab.toLowerCase()}-dark`)
  }
  await ada.emulateMedia({ colorScheme: 'light' })
  await ada.goto(`${server.origin}/?docs=embedding`)
  await ada.getByRole('heading', { level: 1 }).waitFor()
  await shot(ada, 'docs-light')
  await ada.goto(`${server.origin}/d/empty`)
  await untilStatus(ada, 'Saved')
  await shot(ada, 'empty-light')
  await ada.goto(server.origin)
  await shot(ada, 'start-light')
  await ada.emulateMedia({ colorScheme: 'dark' })
  await shot(ada, 'start-dark')
  await ada.goto(`${server.origin}/d/`)
  await shot(ada, 'invalid-dark')
  await grace.bringToFront()
  await server.kill()
  await untilStatus(grace, 'Offline, your edits are kept in this browser')
  await shot(grace, 'offline-light')

  const guarded = await startServer(t, { env: { COWRITE_JWT_SECRET: SECRET } })
  const reader = await openWindow(t, browser, { reducedMotion: 'reduce', profile: { name: 'Ada', color: '#1864ab' } })
  await reader.goto(`${guarded.origin}/d/plan`)
  await reader.locator('.notice').waitFor()
  await shot(reader, 'token-missing-light')
  await reader.emulateMedia({ colorScheme: 'dark' })
  await shot(reader, 'token-missing-dark')
  const writer = await openWindow(t, browser)
  await writer.goto(`${guarded.origin}/d/plan#token=${await mintToken(SECRET, '*=write')}`)
  await untilEditable(writer)
  await editorOf(writer).focus()
  await typeDocument(writer)
  await untilStatus(writer, 'Saved')
  await reader.emulateMedia({ colorScheme: 'light' })
  await reader.goto('about:blank')
  await reader.goto(`${guarded.origin}/d/plan#token=${await mintToken(SECRET, '*=read')}`)
  await untilText(reader, 'rain plan')
  await reader.getByText('Read only').waitFor()
  await untilStatus(reader, 'Up to date')
  await shot(reader, 'reader-light')
  const tiny = await openWindow(t, browser, { ...phone })
  await tiny.routeWebSocket(/\/ws\//, (socket) => {
    const upstream = socket.connectToServer()
    upstream.onMessage((message) => {
      if (message[0] !== 102) socket.send(message)
      else socket.close({ code: 4413, reason: '' })
    })
  })
  await tiny.goto(`${guarded.origin}/d/plan#token=${await mintToken(SECRET, '*=write')}`)
  await tiny.locator('.notice').waitFor()
  await shot(tiny, 'phone-too-large-light')
} finally {
  for (const cleanup of cleanups.reverse()) await cleanup()
  await browser.close()
}

async function typeDocument(page) {
  const { keyboard } = page
  await keyboard.type('Garden party\n')
  await keyboard.type('Saturday the 14th, from half past six, behind the library. Everybody who helped with the harvest is invited, and so is whoever they bring along.\n')
  await keyboard.type('## To do\n[ ] Ask the neighbours about the long table\nLanterns for the old pear tree\nA **rain plan**\n\n')
  await page.locator('.ProseMirror input[type="checkbox"]').first().check()
  await editorOf(page).focus()
  await keyboard.press('Control+End')
  await keyboard.type('## What to bring\n')
  await keyboard.type('Bring something to share: bread, cheese, the *good* olives. Last year it was three potato salads, which was lovely and one too many.\n')
  await keyboard.type('> If it is not on the list, nobody will miss it. If it is, somebody will ask for it by name.\n')
  await keyboard.type('\n')
}

async function selectText(page, text) {
  await page.evaluate((wanted) => {
    const walker = document.createTreeWalker(document.querySelector('.ProseMirror'), NodeFilter.SHOW_TEXT)
    for (let node = walker.nextNode(); node !== null; node = walker.nextNode()) {
      const at = node.data.indexOf(wanted)
      if (at === -1) continue
      getSelection().setBaseAndExtent(node, at, node, at + wanted.length)
      return
    }
  }, text)
}
