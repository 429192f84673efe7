// The programs of docs/editors.md, docs/react.md, docs/embedding.md and the README, bundled and run as they are printed (but for the address): two
// people write, format, undo and see each other's carets, and the server is killed under them.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import * as Y from 'yjs'

import { launch, until } from './browser.mjs'
import { exportText } from './server.mjs'
import { page as documented, programOf, serve } from './site.mjs'

const [editors, guide, readme, react] = await Promise.all(['editors.md', 'embedding.md', '../README.md', 'react.md'].map(documented))

let browser
before(async () => {
  browser = await launch()
})
after(() => browser.close())

/**
 * What each program looks like in the page. `bold` and `caret` are absent where the editor has none; `status` is absent
 * where the program `saved` of docs/embedding.md is put behind it, and `source` where it stands in docs/editors.md. `write`,
 * `read` and `embolden` are for what is not text with a cursor.
 */
const PROGRAMS = {
  readme: { source: readme, editable: '.ProseMirror', bold: 'strong', status: '#status' },
  tiptap: { editable: '.ProseMirror', bold: 'strong', caret: '.collaboration-carets__caret' },
  'tiptap-hocuspocus': { editable: '.ProseMirror', bold: 'strong', caret: '.collaboration-carets__caret', status: '#status', saysOffline: false },
  prosemirror: { editable: '.ProseMirror', bold: 'strong', caret: '.ProseMirror-yjs-cursor' },
  codemirror: { editable: '.cm-content', caret: '.cm-ySelectionCaret' },
  quill: { editable: '.ql-editor', bold: 'strong', caret: '.ql-cursor' },
  monaco: { editable: '.view-lines', caret: '.yRemoteSelectionHead' },
  lexical: { editable: '[contenteditable="true"]', bold: 'strong', caret: 'span[style*="rgb(24, 100, 171)"] >> text=Ada' },
  blocknote: { editable: '.ProseMirror', bold: 'strong', caret: '.bn-collaboration-cursor__base' },
  slate: { editable: '[contenteditable="true"]', bold: 'strong', caret: '.caret' },
  react: { source: react, editable: '.ProseMirror', bold: 'strong', caret: '.collaboration-carets__caret', status: 'output' },
  excalidraw: { editable: '.excalidraw', caret: '.UserList .Avatar', write: drawText, read: textsOf, permissions: ['clipboard-read', 'clipboard-write'] },
  yjs14: { editable: 'ol', bold: 'strong', write: addParagraph, embolden: (page) => page.locator('li').click() },
}

for (const [name, look] of Object.entries(PROGRAMS)) {
  test(`w40_the_${name}_program_runs_as_printed_for_two_people`, async (t) => {
    const { server, open } = await openProgram(t, name, look)
    const one = await open()
    const other = await open()
    await untilConnections(server, 2)

    await one.write('alpha')
    await other.shows('alpha')
    await one.embolden('alpha')
    await other.showsBold('alpha')
    await other.showsCarets(1)

    await other.write(' beta')
    await one.shows('alpha', 'beta')
    await one.showsCarets(1)
    // Yjs takes what is written within half a second for one step.
    await new Promise((resolve) => setTimeout(resolve, 600))
    await one.write(' omega')
    await other.shows('omega')
    await other.write('zeta ', 'Control+Home')
    await one.shows('zeta')
    await one.pressUntil('Control+z', '!omega')
    await Promise.all([one, other].map((person) => person.shows('alpha', 'beta', '!omega', 'zeta')))
    await one.pressUntil('Control+Shift+KeyZ', 'omega')
    await Promise.all([one, other].map((person) => person.shows('alpha', 'beta', 'omega', 'zeta')))

    await Promise.all([one.saved(), other.saved()])
    await server.kill()
    await one.offline()
    await one.write(' gamma')
    await server.start()
    await other.shows('alpha', 'beta', 'omega', 'zeta', 'gamma')
    await other.write(' delta')
    await one.shows('alpha', 'beta', 'omega', 'zeta', 'gamma', 'delta')
    await one.showsCarets(1)

    await Promise.all([one.saved(), other.saved()])
    await other.page.close()
    await one.showsCarets(0)
    await one.page.close()
    await server.kill()
    await server.start()
    const newcomer = await open()
    await newcomer.showsOnly(look.write ? 'alpha beta omega zeta gamma delta' : 'zeta alpha beta omega gamma delta')
    await newcomer.showsBold('alpha')
  })
}

test('w40_the_yjs14_program_keeps_a_map', async (t) => {
  const { server, open } = await openProgram(t, 'yjs14', PROGRAMS.yjs14)
  const [one, other] = [await open(), await open()]
  const untilTitle = (person, title) => person.page.waitForFunction((wanted) => document.querySelector('#title').value === wanted, title)

  await one.page.locator('#title').fill('Minutes')
  await untilTitle(other, 'Minutes')
  await other.page.locator('#title').fill('Minutes of Monday')
  await untilTitle(one, 'Minutes of Monday')
  await other.saved()
  await Promise.all([one, other].map(({ page }) => page.close()))
  await server.kill()
  await server.start()

  await untilTitle(await open(), 'Minutes of Monday')
})

test('w40_the_hocuspocus_program_of_the_guide_says_what_is_saved', async (t) => {
  const source = `${programOf(guide, 'hocuspocus')}\nhocuspocus.document.getText('text').insert(0, 'printed')`
  const { server, visit } = await serve(t, browser, 'hocuspocus', source)
  const page = await visit()

  await page.locator('#status', { hasText: /^saved$/ }).waitFor()
  await page.close()
  await server.kill()
  assert.equal(await exportText(server, 'team/minutes'), 'printed')
})

for (const [name, document, root] of [['prosemirror', 'team/letter', 'prosemirror'], ['tiptap', 'team/minutes', 'default']]) {
  test(`g41_the_${name}_program_changes_no_long_document_by_opening_it`, async (t) => {
    const { server, open } = await openProgram(t, name, PROGRAMS[name])
    const address = `${server.origin}/doc/${encodeURIComponent(document)}`
    const paragraph = (text) => {
      const made = new Y.XmlElement('paragraph')
      made.insert(0, [new Y.XmlText(text)])
      return made
    }
    // A quote, much text, and then other words in the quote: the first ones are gone, the others come last.
    const doc = new Y.Doc()
    const fragment = doc.getXmlFragment(root)
    const quote = new Y.XmlElement('blockquote')
    fragment.insert(0, [quote, paragraph('beside it')])
    quote.insert(0, [paragraph('first words')])
    for (let n = 0; n < 500; n++) fragment.push([paragraph(`${n} ${'much more of it '.repeat(10)}`)])
    quote.insert(1, [paragraph('what counts')])
    quote.delete(0, 1)
    const response = await fetch(`${address}/update`, { method: 'POST', body: Y.encodeStateAsUpdate(doc) })
    assert.ok(response.ok, await response.text())

    const person = await open()
    await person.shows('what counts', 'beside it', '499 much more')

    await person.saved()
    const held = new Y.Doc()
    Y.applyUpdate(held, new Uint8Array(await (await fetch(`${address}/as-update`)).arrayBuffer()))
    assert.match(held.getXmlFragment(root).toString(), /^<blockquote><paragraph>what counts<\/paragraph><\/blockquote><paragraph>beside it/)
  })
}

test('w40_every_program_is_run', () => {
  const tags = [...`${editors}${guide}${readme}${react}`.matchAll(/^```jsx? (\S+)$/gm)].map(([, tag]) => tag)

  assert.deepEqual(tags.toSorted(), [...Object.keys(PROGRAMS), 'hocuspocus', 'saved'].toSorted())
})

/** What a person does with a program, and sees of it. */
class Person {
  constructor(page, { editable, bold, caret, status = '#status', saysOffline = true, write, embolden, read }) {
    this.page = page
    this.editor = page.locator(editable).first()
    this.status = page.locator(status)
    this.saysOffline = saysOffline
    this.strong = bold && this.editor.locator(bold)
    this.carets = caret && page.locator(caret)
    // What follows ">>" is for Playwright alone.
    this.names = caret?.split(' >> ')[0]
    this.how = { write, embolden, read }
  }

  async saved() {
    await this.status.filter({ hasText: /^saved$/ }).waitFor()
  }

  /** Waits until `trackSaved` knows that the server has gone. */
  async offline() {
    if (this.saysOffline) await this.status.filter({ hasText: /^offline$/ }).waitFor()
  }

  /** Writes at the end, or where this key leads (a board and a list have no other place). */
  async write(text, key = 'Control+End') {
    if (this.how.write) return this.how.write(this.page, text)
    await this.editor.click()
    await frames(this.page)
    await this.page.keyboard.press(key)
    await frames(this.page)
    await this.page.keyboard.type(text)
  }

  /** Waits until the editor has all these words, and none of those that have a "!" before them. */
  async shows(...words) {
    await until(() => `${words} in ${this.seen}`, () => this.has(...words))
  }

  async has(...words) {
    this.seen = await this.text()
    return words.every((word) => (word.startsWith('!') ? !this.seen.includes(word.slice(1)) : this.seen.includes(word)))
  }

  /** What is written, without the others' names: after a redo a caret may stand in the middle of a word. */
  text() {
    if (this.how.read) return this.how.read(this.page)
    return this.editor.evaluate((editor, carets) => {
      const copy = editor.cloneNode(true)
      for (const caret of carets ? copy.querySelectorAll(carets) : []) caret.remove()
      return copy.textContent
    }, this.names)
  }

  /** Waits until the editor has this text and no other; editors have spaces and marks of many kinds. */
  async showsOnly(text) {
    const lettersOf = (what) => what.replaceAll(/[^a-z]/gi, '')
    let seen
    await until(() => `${text}, not ${seen}`, async () => lettersOf(seen = await this.text()) === lettersOf(text))
  }

  async showsBold(text) {
    await this.strong?.filter({ hasText: text }).waitFor()
  }

  async showsCarets(count) {
    let seen
    if (this.carets) await until(() => `${count} carets of others, not ${seen}`, async () => (seen = await this.carets.count()) === count)
  }

  /** Makes all bold, again if the editor had not heard of the selection. */
  async embolden(text) {
    if (this.how.embolden) return this.how.embolden(this.page)
    if (!this.strong) return
    const { keyboard } = this.page
    await this.again('nothing gets bold', async () => {
      await keyboard.press('Control+a')
      await frames(this.page)
      await keyboard.press('Control+b')
      await frames(this.page)
      return this.strong.filter({ hasText: text }).isVisible()
    })
    await keyboard.press('Control+End')
  }

  /** Presses a key until the editor has these words: an editor may take a typed word for several steps. */
  async pressUntil(key, ...words) {
    await this.again(`${key} does not lead to ${words}`, async () => {
      await this.page.keyboard.press(key)
      for (let looks = 0; looks < 12; looks++) {
        await frames(this.page)
        if (await this.has(...words)) return true
      }
      return false
    })
  }

  async again(what, attempt) {
    for (let times = 1; !(await attempt()); times++) assert.ok(times < 12, what)
  }
}

/** Where each word is put on the board. */
const SPOTS = ['alpha', 'beta', 'omega', 'zeta', 'gamma', 'delta']

async function drawText(page, text) {
  await page.getByTestId('toolbar-text').click({ force: true })
  await page.locator('canvas.interactive').click({ position: { x: 400, y: 150 + 70 * SPOTS.indexOf(text.trim()) } })
  await page.locator('textarea.excalidraw-wysiwyg').waitFor()
  await page.keyboard.type(text)
  await page.keyboard.press('Escape')
}

/** The texts on the board, which is a canvas: what it puts onto the clipboard. */
async function textsOf(page) {
  await page.evaluate(() => navigator.clipboard.writeText('{"elements":[]}'))
  await page.getByTestId('toolbar-selection').click({ force: true })
  await page.keyboard.press('Control+a')
  await page.keyboard.press('Control+c')
  const { elements } = JSON.parse(await page.evaluate(() => navigator.clipboard.readText()))
  return elements.map(({ text }) => text).join(' ')
}

async function addParagraph(page, text) {
  await page.locator('#more').fill(text)
  await page.locator('#more').press('Enter')
}

/** A browser tells an editor of a selection with the next frame, and some editors put it back until then. */
async function frames(page) {
  await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))))
}

/** How many connections the server has. */
async function untilConnections(server, count) {
  let seen
  await until(() => `${count} connections, not ${seen}`, async () => {
    seen = Number(/^cowrite_connections (\d+)$/m.exec(await (await fetch(`${server.origin}/metrics`)).text())?.[1])
    return seen === count
  })
}

/**
 * A program of docs/editors.md, with what the guide says about saving where it has nothing itself. `open` opens it for
 * another person.
 */
async function openProgram(t, name, look) {
  const source = programOf(look.source ?? editors, name)
  const { server, visit } = await serve(t, browser, name, look.status ? source : source + programOf(guide, 'saved'))
  const open = async () => {
    const person = new Person(await visit({ permissions: look.permissions ?? [] }), look)
    await person.editor.waitFor({ state: 'attached' })
    await person.saved()
    return person
  }
  return { server, open }
}
