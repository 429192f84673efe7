// Each link of each page, followed.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import { launch, openWindow, untilStatus, write } from './browser.mjs'
import { startServer } from './server.mjs'

let browser
before(async () => {
  browser = await launch()
})
after(() => browser.close())

/** What is on each page when it shows all that it has. */
const PAGES = {
  '/': '.docs-list',
  '/?docs=embedding': '.docs h1',
  '/d/linked': '.ProseMirror[contenteditable="true"]',
  '/code/linked': '.file-name:enabled',
  '/board/linked': '.board',
  '/room/linked': '.messages',
  '/d/linked/inspect': '.tree',
  '/inspect': '.admin-form',
  '/d/': '.notice',
  '/nothing/here': 'dl a',
}

for (const flags of [[], ['--base-path', '/collab']]) {
  test(`w123_each_link_leads_to_something${flags.length > 0 ? '_below_a_base_path' : ''}`, async (t) => {
    const server = await startServer(t, { flags })
    const start = `${server.origin}${flags[1] ?? ''}`
    const page = await openWindow(t, browser)
    await page.goto(`${start}/d/linked`)
    await write(page, 'Text')
    await untilStatus(page, 'Saved')
    /** The addresses on each page that was seen, and the places in it that a link can name. */
    const seen = new Map()
    const look = async (address, shown) => {
      await page.goto(address)
      await page.locator(shown).first().waitFor()
      // The page of a document lists itself on the start page when it knows its title.
      const found = await page.evaluate(() => ({
        links: [...document.querySelectorAll('a[href]')].map(({ href }) => href),
        places: [...document.querySelectorAll('[id]')].map(({ id }) => id),
      }))
      seen.set(address, found)
    }
    for (const [path, shown] of Object.entries(PAGES)) await look(start + path, shown)
    const broken = []
    const asked = new Map()
    const statusOf = async (address) => {
      if (!asked.has(address)) asked.set(address, (await page.request.get(address, { headers: { accept: 'text/html' } })).status())
      return asked.get(address)
    }
    // The docs lead to each other: each page that a link names is looked at once.
    for (const [from, { links }] of seen) {
      for (const link of links) {
        const { origin, pathname, search, hash } = new URL(link)
        if (origin !== server.origin) continue
        const address = origin + pathname + search
        if (await statusOf(address) !== 200) broken.push(`${from}: ${link}`)
        else if (search.startsWith('?docs=') && !seen.has(address)) await look(address, '.docs h1')
        if (hash !== '' && !seen.get(address)?.places.includes(decodeURIComponent(hash.slice(1)))) broken.push(`${from}: ${link} names no place`)
      }
    }
    assert.deepEqual(broken, [])
    assert.ok(seen.size > 15, `${seen.size} pages`)
    await page.goto(`${start}/?docs=operating`)
    await page.getByText('performance (docs/performance.md in the source)').waitFor()
    assert.ok(asked.has(`${server.origin}/readyz`), 'the page for wrong addresses has links')
  })
}
