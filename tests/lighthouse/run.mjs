// Lighthouse on each page of the demo, as a phone and as a desktop; and how soon each can be used where the CPU is throttled
// four times. `npm run lighthouse` in tests/browser, or with names of pages behind `--`; `--write` puts the table into
// docs/lighthouse.md. It is no test: what it says depends on the machine, which should have nothing else to do.

import { writeFile } from 'node:fs/promises'
import { release, cpus } from 'node:os'

import { launch as launchChrome } from 'chrome-launcher'
import lighthouse, { desktopConfig } from 'lighthouse'

import { chromiumPath, editorOf, launch, openWindow, untilStatus, write } from '../browser/browser.mjs'
import { startServer } from '../browser/server.mjs'

const SECRET = 'a secret for tests that is long enough to be one'
const CATEGORIES = ['performance', 'accessibility', 'best-practices', 'seo']
const SLOWER = 4
/** Each page is opened so often; the median counts. */
const TIMES = 3

/** What each page is (a document of its own, since each page tells of what it does not show), and what is there when it can be used. */
const PAGES = {
  start: { path: '/', usable: '.card' },
  document: { path: '/d/notes', usable: '.ProseMirror[contenteditable="true"]' },
  code: { path: '/code/tour', usable: '.file-name:enabled' },
  board: { path: '/board/plan', usable: '.board [data-id]' },
  room: { path: '/room/tea', usable: '.messages .bubble-of-chat' },
  docs: { path: '/?docs=embedding', usable: '.docs h1' },
  inspect: { path: '/d/notes/inspect', usable: '.tree summary' },
  operator: { path: '/inspect', usable: '#admin-token' },
  'no such document': { path: '/d/', usable: '.notice' },
  'start, with tokens': { path: '/', usable: '.open-form', guarded: true },
  'no token': { path: '/d/notes', usable: '.token-form', guarded: true },
}

const args = process.argv.slice(2)
const wanted = args.filter((arg) => !arg.startsWith('--'))
const cleanups = []
const t = { after: (cleanup) => cleanups.push(cleanup) }
const rows = []
try {
  const servers = { open: await startServer(t), guarded: await startServer(t, { env: { COWRITE_JWT_SECRET: SECRET } }) }
  const browser = await launch()
  cleanups.push(() => browser.close())
  await fill(browser, servers.open.origin)
  const chrome = await launchChrome({ chromePath: chromiumPath(), chromeFlags: ['--headless=new', '--no-sandbox', '--disable-gpu'] })
  cleanups.push(() => chrome.kill())
  for (const [name, { path, usable, guarded }] of Object.entries(PAGES)) {
    if (wanted.length > 0 && !wanted.includes(name)) continue
    const url = servers[guarded ? 'guarded' : 'open'].origin + path
    const soon = await soonUsable(browser, url, usable)
    const scores = { phone: await judge(chrome.port, url), desktop: await judge(chrome.port, url, desktopConfig) }
    rows.push({ name, soon, scores })
    console.log(`${name}: usable after ${soon} ms; phone ${scores.phone.join(' ')}; desktop ${scores.desktop.join(' ')}`)
  }
  if (args.includes('--write')) await writeFile(new URL('../../docs/lighthouse.md', import.meta.url), report(browser.version()))
} finally {
  for (const cleanup of cleanups.reverse()) await cleanup()
}

/** Something to show on each page. */
async function fill(browser, origin) {
  const page = await openWindow(t, browser)
  await page.goto(`${origin}/d/notes`)
  await write(page, 'Garden party\nSaturday the 14th, behind the library.\n## To do\n- Ask the neighbours\nLanterns\n\n')
  await editorOf(page).focus()
  await untilStatus(page, 'Saved')
  await page.goto(`${origin}/code/tour`)
  await untilStatus(page, 'Saved')
  await page.locator('.cm-content').click()
  await page.keyboard.type('export function tour(names) {\nreturn names.join()')
  await untilStatus(page, 'Saved')
  await page.goto(`${origin}/board/plan`)
  await untilStatus(page, 'Saved')
  await page.locator('.board').focus()
  await page.keyboard.press('b')
  await untilStatus(page, 'Saved')
  await page.goto(`${origin}/room/tea`)
  await untilStatus(page, 'Saved')
  await page.getByRole('textbox', { name: 'Message' }).fill('Tea at four?')
  await page.keyboard.press('Enter')
  await untilStatus(page, 'Saved')
  await page.context().close()
}

/** How many ms after the navigation began a page can be used, in a window that has nothing in its cache. */
async function soonUsable(browser, url, usable) {
  const times = []
  for (let time = 0; time < TIMES; time++) {
    const context = await browser.newContext()
    const page = await context.newPage()
    const session = await context.newCDPSession(page)
    await session.send('Emulation.setCPUThrottlingRate', { rate: SLOWER })
    await page.addInitScript((selector) => {
      const look = () => {
        if (document.querySelector(selector) === null) return
        watcher.disconnect()
        // It can be used when what is under way has been done.
        setTimeout(() => (globalThis.usableAt = performance.now()))
      }
      const watcher = new MutationObserver(look)
      watcher.observe(document, { subtree: true, childList: true, attributes: true })
    }, usable)
    await page.goto(url)
    await page.waitForFunction(() => globalThis.usableAt !== undefined)
    times.push(Math.round(await page.evaluate(() => globalThis.usableAt)))
    await context.close()
  }
  return times.sort((a, b) => a - b)[Math.floor(TIMES / 2)]
}

async function judge(port, url, config) {
  const { lhr } = await lighthouse(url, { port, onlyCategories: CATEGORIES, logLevel: 'error' }, config)
  for (const audit of Object.values(lhr.audits)) {
    const counts = lhr.categories && Object.values(lhr.categories).some(({ auditRefs }) => auditRefs.some(({ id, weight }) => id === audit.id && weight > 0))
    if (counts && audit.score !== null && audit.score < 0.9) console.log(`  ${audit.id}: ${audit.displayValue ?? audit.title}`)
  }
  // What moved, and what is painted last.
  for (const { score, node } of lhr.audits['layout-shifts']?.details?.items ?? []) console.log(`  moved by ${score.toFixed(3)}: ${node?.snippet ?? node?.selector}`)
  return CATEGORIES.map((category) => Math.round((lhr.categories[category]?.score ?? 0) * 100))
}

function report(version) {
  const row = ({ name, soon, scores }) => `| ${name} | ${soon} ms | ${scores.phone.join(' / ')} | ${scores.desktop.join(' / ')} |`
  return `# Lighthouse

What Lighthouse says of each page of the demo, on a server with the development profile on the same machine: performance,
accessibility, best practices, search engines. "Phone" is Lighthouse's own profile: a CPU throttled ${SLOWER} times and a slow 4G
network, both simulated. "Usable" is the time until the page can be typed into or clicked, with nothing in the cache and
Chromium's CPU throttled ${SLOWER} times; the median of ${TIMES}.

| page | usable | phone | desktop |
|---|---|---|---|
${rows.map(row).join('\n')}

${new Date().toISOString().slice(0, 10)}, Chromium ${version}, ${cpus().length} × ${cpus()[0]?.model ?? 'CPU'}, Linux ${release()}.
Again: \`npm run lighthouse -- --write\` in \`tests/browser\`.
`
}
