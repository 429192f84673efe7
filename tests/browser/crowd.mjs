// Ten people in the whole gallery: they write, code, draw, chat, vote and play, and go from one to the other. At the end all see
// the same, everything is saved, nothing was said in the console, and no page has grown without bound.
//
// `npm run crowd` takes five minutes; `npm run crowd -- --seconds 60` less. `--people 4` asks less of the machine.

import assert from 'node:assert/strict'
import { parseArgs } from 'node:util'

import { launch, openWindow, textOf, until, untilStatus } from './browser.mjs'
import { startServer } from './server.mjs'

const { values } = parseArgs({ options: { seconds: { type: 'string', default: '300' }, people: { type: 'string', default: '10' }, pause: { type: 'string', default: '400' } } })
const [seconds, people, pauseMs] = [values.seconds, values.people, values.pause].map(Number)
const COLORS = ['#1864ab', '#a3460a', '#237032', '#862e9c', '#a61e4d', '#0b7285', '#5c940d', '#c92a2a', '#364fc7', '#495057']
const NAMES = ['Ada', 'Grace', 'Mina', 'Joan', 'Alan', 'Edsger', 'Barbara', 'Donald', 'Radia', 'Ken']
const KINDS = ['d', 'code', 'board', 'room']
/** A page may hold so many nodes and bytes more than when it was half-way, and so many times as many. */
const GROWTH = { times: 1.6, nodes: 1_500, bytes: 12_000_000 }

const random = (below) => Math.floor(Math.random() * below)
/** What one does next on each kind of page. */
const ACTS = {
  /** Writes at a place of one's own choice; who finds the text long takes some away. */
  async d({ page, name }) {
    const { keyboard } = page
    const blocks = page.locator('.ProseMirror > *')
    const count = await blocks.count()
    // Somebody else may have taken it away.
    await blocks.nth(random(count)).click({ timeout: 2_000, force: true }).catch(() => {})
    if (count > 40) {
      for (let i = 0; i < 8; i++) await keyboard.press('Shift+ArrowDown')
      return keyboard.press('Delete')
    }
    await keyboard.press('End')
    await keyboard.press('Enter')
    await keyboard.type(['A line ', '- an item ', '## A part ', '> said ', '**bold** '][random(5)] + `of ${name}`)
  },
  async code({ page, name }) {
    const { keyboard } = page
    const lines = page.locator('.cm-line')
    const count = await lines.count()
    await lines.nth(random(count)).click({ timeout: 2_000, force: true }).catch(() => {})
    if (count > 20) {
      for (let i = 0; i < 5; i++) await keyboard.press('Shift+ArrowDown')
      return keyboard.press('Delete')
    }
    await keyboard.press('End')
    await keyboard.type(`\nconst ${name.toLowerCase()} = ${random(100)}`)
  },
  async board({ page }) {
    const { mouse, keyboard } = page
    const box = await page.locator('.board').boundingBox()
    const at = () => [box.x + 20 + random(box.width - 40), box.y + 20 + random(box.height - 40)]
    const shapes = page.locator('.board > g:first-child > .shape')
    if ((await shapes.count()) > 40) {
      await shapes.nth(random(30)).focus({ timeout: 2_000 }).catch(() => {})
      return keyboard.press('Delete')
    }
    await page.getByRole('button', { name: ['Draw', 'Arrow', 'Box', 'Move'][random(4)], exact: true }).click()
    await mouse.move(...at())
    await mouse.down()
    await mouse.move(...at(), { steps: 12 })
    await mouse.up()
  },
  async room({ page, name, done }) {
    if (done % 4 === 0) {
      await page.getByRole('textbox', { name: 'Message' }).fill(`${name} says ${random(1_000)}`)
      return page.keyboard.press('Enter')
    }
    const answers = page.locator('.option')
    const count = await answers.count()
    if (count < 3) {
      await page.getByRole('textbox', { name: 'Another answer' }).fill(`Answer of ${name}`)
      return page.keyboard.press('Enter')
    }
    if (done % 4 === 1) return answers.nth(random(count)).click()
    const box = await page.locator('.game canvas').boundingBox()
    await page.mouse.move(box.x + random(box.width), box.y + random(box.height), { steps: 15 })
  },
}

const cleanups = []
const t = { after: (cleanup) => cleanups.push(cleanup) }
const browser = await launch()
try {
  const server = await startServer(t)
  const all = []
  for (let i = 0; i < people; i++) all.push(await arrive(server, i))
  const begin = Date.now()
  const passed = () => (Date.now() - begin) / 1_000
  const samples = []
  const watching = watch(all, samples, passed)
  await Promise.all(all.map((one) => live(one, passed)))
  await watching
  await compare(all, server.origin)
  judge(all, samples)
} finally {
  for (const cleanup of cleanups.reverse()) await cleanup()
  await browser.close()
}

/** Somebody with a window of their own. Half of them stay on one page, the others go round. */
async function arrive(server, i) {
  const page = await openWindow(t, browser, { viewport: { width: 900, height: 700 }, profile: { name: NAMES[i % NAMES.length], color: COLORS[i % COLORS.length] } })
  const said = []
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) said.push(message.text())
  })
  const one = { name: NAMES[i % NAMES.length], page, said, kind: KINDS[i % KINDS.length], stays: i < people / 2, done: 0, session: await page.context().newCDPSession(page) }
  await go(one, server.origin)
  one.origin = server.origin
  return one
}

async function go(one, origin = one.origin) {
  await one.page.goto(`${origin}/${one.kind}/crowd`)
  await untilStatus(one.page, 'Saved')
}

async function live(one, passed) {
  while (passed() < seconds) {
    await ACTS[one.kind](one)
    one.done++
    await new Promise((resolve) => setTimeout(resolve, pauseMs / 2 + random(pauseMs)))
    if (!one.stays && one.done % 25 === 0) {
      one.kind = KINDS[(KINDS.indexOf(one.kind) + 1) % KINDS.length]
      await go(one)
    }
  }
}

/** How large each page is, after its garbage was collected: now and then. */
async function watch(all, samples, passed) {
  const every = Math.max(5, seconds / 10)
  for (let next = every; next <= seconds; next += every) {
    await until(`${next} s have passed`, () => passed() >= next)
    const sizes = await Promise.all(all.map(sizeOf))
    samples.push(sizes)
    const sum = (what) => sizes.reduce((total, size) => total + size[what], 0)
    console.log(`${Math.round(passed())} s: ${all.reduce((total, { done }) => total + done, 0)} acts, ${(sum('bytes') / people / 1e6).toFixed(1)} MB and ${Math.round(sum('nodes') / people)} nodes a page`)
  }
}

async function sizeOf({ session, kind }) {
  await session.send('HeapProfiler.collectGarbage')
  const { usedSize } = await session.send('Runtime.getHeapUsage')
  const { nodes, jsEventListeners } = await session.send('Memory.getDOMCounters')
  return { kind, bytes: usedSize, nodes, listeners: jsEventListeners }
}

/** Everybody looks at everything, and sees the same. */
async function compare(all, origin) {
  for (const kind of KINDS) {
    await Promise.all(all.map((one) => {
      if (one.kind === kind) return untilStatus(one.page, 'Saved')
      one.kind = kind
      return go(one, origin)
    }))
    let seen = []
    await until(() => `all see the same of ${kind}: ${[...new Set(seen)].join('\n---\n').slice(0, 4_000)}`, async () => {
      seen = await Promise.all(all.map(({ page }) => contentOf(page, kind)))
      return new Set(seen).size === 1
    })
    await Promise.all(all.map(({ page }) => untilStatus(page, 'Saved')))
    console.log(`all see the same of ${kind}: ${seen[0].length} letters`)
  }
}

async function contentOf(page, kind) {
  if (kind === 'd') return textOf(page)
  const of = { code: '.cm-line', board: '.board > g:first-child > .shape', room: '.messages, .options, .question, .scores' }[kind]
  return page.locator(of).evaluateAll((elements, isBoard) => elements.map((element) => {
    if (isBoard) return element.outerHTML
    // The labels at the others' carets.
    const copy = element.cloneNode(true)
    for (const caret of copy.querySelectorAll('.cm-ySelectionCaret')) caret.remove()
    return element.value ?? copy.textContent
  }).join('\n'), kind === 'board')
}

function judge(all, samples) {
  const said = all.flatMap(({ name, said }) => said.map((text) => `${name}: ${text}`))
  assert.deepEqual(said, [], 'the console is silent')
  for (const [i, { name, stays }] of all.entries()) {
    if (!stays) continue
    const [half, last] = [samples[Math.floor(samples.length / 2)][i], samples.at(-1)[i]]
    for (const what of ['nodes', 'bytes']) {
      const bound = half[what] * GROWTH.times + GROWTH[what]
      assert.ok(last[what] <= bound, `${name}'s page (${last.kind}) has ${last[what]} ${what}, and had ${half[what]} half-way`)
    }
  }
}
