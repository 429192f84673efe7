// Writing: the title, what is pasted, "/", tables, pictures, code, links, finding, files. The first word of a test is its rule.

import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { after, before, test } from 'node:test'

import * as Y from 'yjs'

import { editorOf, launch, openWindow, textOf, until, untilEditable, untilStatus, untilText, write } from './browser.mjs'
import { startServer } from './server.mjs'

let browser
before(async () => { browser = await launch() })
after(() => browser.close())

/** A page with a document, and the server. */
async function open(t, name, options = {}) {
  const server = await startServer(t)
  const page = await openWindow(t, browser, options)
  await page.goto(`${server.origin}/d/${name}`)
  await untilEditable(page)
  return { server, page }
}

/** Pastes as a person would: `data` by type, `files` as [name, type, bytes]. */
async function paste(page, data, files = []) {
  await editorOf(page).evaluate((editor, [texts, blobs]) => {
    const clipboardData = new DataTransfer()
    for (const [type, text] of Object.entries(texts)) clipboardData.setData(type, text)
    for (const [name, type, bytes] of blobs) clipboardData.items.add(new File([new Uint8Array(bytes)], name, { type }))
    editor.dispatchEvent(new ClipboardEvent('paste', { clipboardData, bubbles: true, cancelable: true }))
  }, [data, files])
}

/** Pastes a picture of noise, so many pixels wide and high, and returns how many bytes it has. */
async function pastePicture(page, side) {
  return editorOf(page).evaluate(async (editor, size) => {
    const canvas = Object.assign(document.createElement('canvas'), { width: size, height: size })
    const context = canvas.getContext('2d')
    const pixels = context.createImageData(size, size)
    for (let i = 0; i < pixels.data.length; i += 65_536) crypto.getRandomValues(pixels.data.subarray(i, i + 65_536))
    for (let i = 3; i < pixels.data.length; i += 4) pixels.data[i] = 255
    context.putImageData(pixels, 0, 0)
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, 'image/png'))
    const clipboardData = new DataTransfer()
    clipboardData.items.add(new File([blob], 'image.png', { type: 'image/png' }))
    editor.dispatchEvent(new ClipboardEvent('paste', { clipboardData, bubbles: true, cancelable: true }))
    return blob.size
  }, side)
}

async function downloaded(page, item) {
  await page.getByRole('button', { name: 'More', exact: true }).click()
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: item }).click()])
  return { name: download.suggestedFilename(), text: await readFile(await download.path(), 'utf8') }
}

test('w46_who_opens_a_new_document_can_type_and_the_first_line_is_the_title', async (t) => {
  const { server, page } = await open(t, 'new')
  await page.waitForFunction(() => document.activeElement?.classList.contains('ProseMirror'))

  await page.keyboard.type('Minutes\nWe met.')

  await page.locator('.ProseMirror h1', { hasText: 'Minutes' }).waitFor()
  await page.locator('.ProseMirror p', { hasText: 'We met.' }).waitFor()
  await page.waitForFunction(() => document.title === 'Minutes')
  await untilStatus(page, 'Saved')
  const reader = await openWindow(t, browser)
  await reader.goto(`${server.origin}/d/new`)
  await untilText(reader, 'We met.')
  assert.equal(await reader.evaluate(() => document.activeElement === document.body), true, 'who opens a text reads it')
})

test('w46_a_first_line_that_begins_a_list_is_no_title', async (t) => {
  const { page } = await open(t, 'list')
  await page.waitForFunction(() => document.activeElement?.classList.contains('ProseMirror'))

  await page.keyboard.type('- milk')

  await page.locator('.ProseMirror ul li', { hasText: 'milk' }).waitFor()
  assert.equal(await page.locator('.ProseMirror h1').count(), 0)
})

test('w46_what_is_empty_stays_empty_when_it_is_looked_at', async (t) => {
  const server = await startServer(t)
  const page = await openWindow(t, browser)
  const updates = []
  page.on('websocket', (socket) => socket.on('framesent', ({ payload }) => {
    if (payload[0] === 0 && payload[1] === 2) updates.push(payload)
  }))
  await page.goto(`${server.origin}/d/empty`)
  await page.waitForFunction(() => document.activeElement?.classList.contains('ProseMirror'))
  await page.keyboard.press('ArrowRight')
  await untilStatus(page, 'Saved')

  assert.deepEqual(updates, [])
})

test('w56_slash_offers_blocks_by_name_and_enter_puts_one_in', async (t) => {
  const { page } = await open(t, 'slash')
  await write(page, 'Title\n/')
  await page.getByRole('option', { name: 'Heading 2' }).waitFor()

  await page.keyboard.type('quo')
  assert.deepEqual(await page.getByRole('option').allTextContents(), ['Quote>'])
  await page.keyboard.press('Enter')
  await page.keyboard.type('said')
  await page.locator('.ProseMirror blockquote', { hasText: 'said' }).waitFor()
  await page.keyboard.type(' and/or')
  assert.equal(await page.getByRole('option').count(), 0)

  await page.keyboard.press('Enter')
  await page.keyboard.press('Enter')
  await page.keyboard.type('/')
  await page.getByRole('option', { name: 'Text' }).waitFor()
  await page.keyboard.press('ArrowDown')
  await page.keyboard.press('ArrowDown')
  await page.keyboard.press('Enter')
  await page.keyboard.type('Part')
  await page.locator('.ProseMirror h2', { hasText: 'Part' }).waitFor()
})

test('w57_tables_are_pasted_made_and_changed_and_everybody_sees_them', async (t) => {
  const { server, page } = await open(t, 'tables', { profile: { name: 'Ada Lovelace', color: '#1864ab' } })
  await write(page, 'Prices\n')
  await paste(page, { 'text/html': '<table><tr><th>What</th><th>How much</th></tr><tr><td>Bread</td><td>3</td></tr></table>', 'text/plain': 'What How much Bread 3' })
  const other = await openWindow(t, browser)
  await other.goto(`${server.origin}/d/tables`)
  await other.locator('.ProseMirror td', { hasText: 'Bread' }).waitFor()
  await other.locator('.ProseMirror th', { hasText: 'How much' }).waitFor()

  await page.locator('.ProseMirror td', { hasText: '3' }).click()
  await page.getByRole('group', { name: 'Table' }).getByRole('button', { name: 'Add a row' }).click()
  await until('three rows', async () => (await other.locator('.ProseMirror tr').count()) === 3)
  // The same from the keyboard.
  await page.keyboard.press('End')
  await page.keyboard.type(' /del')
  await page.getByRole('option', { name: 'Delete the column' }).waitFor()
  await page.keyboard.press('ArrowDown')
  await page.keyboard.press('Enter')

  await until('one column', async () => (await other.locator('.ProseMirror tr').first().locator('th, td').count()) === 1)
  await untilStatus(page, 'Saved')
})

test('w58_a_picture_is_made_to_fit_and_lies_in_the_document', async (t) => {
  const { server, page } = await open(t, 'pictures')
  await write(page, 'Pictures\n')
  assert.ok((await pastePicture(page, 1_000)) > 2_000_000)
  await page.locator('.ProseMirror img[src^="data:"]').waitFor()
  await untilStatus(page, 'Saved')
  const other = await openWindow(t, browser)
  await other.goto(`${server.origin}/d/pictures`)
  const shown = other.locator('.ProseMirror img[src^="data:"]')
  await shown.waitFor()

  const { source, width } = await shown.evaluate(async (image) => {
    await image.decode()
    return { source: image.src.length, width: image.naturalWidth }
  })
  assert.ok(source <= (300 * 1024 * 4) / 3 + 100, `${source} letters`)
  assert.ok(width > 300)
})

test('w58_what_is_no_picture_is_told_and_pictures_from_elsewhere_become_links', async (t) => {
  const { page } = await open(t, 'elsewhere')
  const asked = []
  page.on('request', (request) => asked.push(request.url()))
  await write(page, 'Pictures\n')
  await paste(page, {}, [['broken.png', 'image/png', [1, 2, 3]]])
  await page.getByText('broken.png is no picture that this browser can read.').waitFor()

  await paste(page, { 'text/html': '<p>See <img src="https://elsewhere.example/cat.png" alt="a cat"></p>' })

  await page.locator('.ProseMirror a[href="https://elsewhere.example/cat.png"]', { hasText: 'a cat' }).waitFor()
  await page.getByText(/A picture from elsewhere became a link/).waitFor()
  assert.equal(await page.locator('.ProseMirror img:not(.ProseMirror-separator)').count(), 0)
  assert.deepEqual(asked.filter((url) => url.includes('elsewhere')), [])
})

const MARKDOWN = `# Plan

Some **bold** words and a [link](https://example.org/a).

- one
- two
  - inner

1. first
2. second

- [x] done
- [ ] open

> quoted

\`\`\`rust
fn main() {}
\`\`\`

| a | b |
| --- | --- |
| 1 | 2 |
`

test('w59_markdown_is_pasted_as_what_it_means_and_plain_when_asked', async (t) => {
  const { server, page } = await open(t, 'markdown', { permissions: ['clipboard-read', 'clipboard-write'] })
  await write(page, 'Title\n')

  await paste(page, { 'text/plain': MARKDOWN })

  for (const [selector, text] of [['h1', 'Plan'], ['strong', 'bold'], ['a[href="https://example.org/a"]', 'link'], ['ul ul li', 'inner'], ['ol li', 'second'], ['li[data-checked="true"]', 'done'], ['blockquote', 'quoted'], ['pre code', 'fn main() {}'], ['td', '2']]) {
    await page.locator(`.ProseMirror ${selector}`, { hasText: text }).first().waitFor()
  }
  const before = await textOf(page)
  await paste(page, { 'text/plain': 'two plain lines\nwith 1 + 2' })
  await untilText(page, 'with 1 + 2')
  assert.equal((await textOf(page)).startsWith(before.slice(0, 20)), true)

  const heading = page.locator('.ProseMirror h2', { hasText: 'Asked' })
  await page.goto(`${server.origin}/d/plain`)
  await write(page, 'Title\n')
  await page.evaluate(() => navigator.clipboard.writeText('## Asked for\n\n- as *it* is'))
  await page.keyboard.press('Control+Shift+V')
  await untilText(page, '## Asked for')
  assert.ok((await textOf(page)).includes('- as *it* is'))
  assert.equal(await heading.count(), 0)
  // The one after it, which comes from a menu, is what it means again; and so is one with the other keys.
  await write(page, '\n')
  await paste(page, { 'text/plain': '## Asked no more' })
  await heading.waitFor()
  await write(page, '\n')
  await page.keyboard.press('Control+V')
  await page.locator('.ProseMirror li em', { hasText: 'it' }).waitFor()
})

test('w60_code_is_highlighted_in_the_language_that_is_chosen', async (t) => {
  const { server, page } = await open(t, 'code')
  await write(page, 'Title\n```js\nconst answer = 42')
  await page.locator('.ProseMirror .hljs-keyword', { hasText: 'const' }).waitFor()
  const choice = page.getByRole('combobox', { name: 'Language of this code' })
  assert.equal(await choice.locator('option:checked').textContent(), 'JavaScript')

  await choice.selectOption('Python')

  const other = await openWindow(t, browser)
  await other.goto(`${server.origin}/d/code`)
  await other.locator('.ProseMirror .hljs-number', { hasText: '42' }).waitFor()
  assert.equal(await other.getByRole('combobox').locator('option:checked').textContent(), 'Python')
  assert.equal(await other.locator('.ProseMirror .hljs-keyword').count(), 0)
})

test('w61_selected_text_gets_tools_and_a_link_says_how_to_open_it', async (t) => {
  const { page } = await open(t, 'bubble')
  await write(page, 'Title\nsome words')
  await page.getByText('some words').dblclick({ position: { x: 20, y: 12 } })
  const tools = page.getByRole('group', { name: 'Selected text' })
  await tools.getByRole('button', { name: 'Bold' }).click()
  await page.locator('.ProseMirror strong').waitFor()
  await tools.getByRole('button', { name: 'Link' }).click()
  await page.getByRole('textbox', { name: 'Where should it lead?' }).fill('example.org/there')
  await page.getByRole('button', { name: 'Set link' }).click()
  await tools.waitFor()

  await page.keyboard.press('ArrowRight')
  await page.keyboard.press('ArrowLeft')

  const link = page.getByRole('group', { name: 'Link', exact: true })
  await link.getByText('example.org/there').waitFor()
  await link.getByText('Ctrl+click opens it').waitFor()
  await link.getByRole('button', { name: 'Remove the link' }).click()
  await page.locator('.ProseMirror a').waitFor({ state: 'detached' })
})

test('w62_find_counts_goes_from_match_to_match_and_replaces', async (t) => {
  const { page } = await open(t, 'find')
  await write(page, 'Title\napple pear apple\nplum apple')

  await page.keyboard.press('Control+F')
  await page.getByRole('textbox', { name: 'Find' }).fill('apple')
  await page.getByText(/^\d of 3$/).waitFor()
  assert.equal(await page.locator('.ProseMirror-search-match, .ProseMirror-active-search-match').count(), 3)
  await page.getByRole('textbox', { name: 'Replace with' }).fill('fig')
  await page.getByRole('button', { name: 'All', exact: true }).click()
  await page.getByText('Nothing', { exact: true }).waitFor()
  await page.keyboard.press('Escape')

  assert.equal(await textOf(page), 'Title\nfig pear fig\nplum fig')
  await page.waitForFunction(() => document.activeElement?.classList.contains('ProseMirror'))
})

test('w63_a_document_goes_out_as_markdown_and_html_and_comes_in_again', async (t) => {
  const { server, page } = await open(t, 'out')
  await write(page, 'x\n')
  await page.keyboard.press('Control+A')
  await page.keyboard.press('Delete')
  await paste(page, { 'text/plain': MARKDOWN })
  await page.locator('.ProseMirror td', { hasText: '2' }).waitFor()
  const text = await textOf(page)

  const markdown = await downloaded(page, 'Save as Markdown')
  const html = await downloaded(page, 'Save as HTML')
  assert.equal(markdown.name, 'Plan.md')
  for (const part of ['# Plan', '**bold**', '[link](https://example.org/a)', '- [x] done', '> quoted', '```rust\nfn main() {}\n```']) assert.ok(markdown.text.includes(part), `${part} is in\n${markdown.text}`)
  assert.match(html.text, /<h1>Plan<\/h1>/)

  for (const { name, text: content } of [markdown, html]) {
    const other = await openWindow(t, browser)
    await other.goto(`${server.origin}/d/in-${name}`)
    await untilEditable(other)
    await other.getByRole('button', { name: 'More', exact: true }).click()
    const [chooser] = await Promise.all([other.waitForEvent('filechooser'), other.getByRole('button', { name: 'Put a file in here' }).click()])
    await chooser.setFiles({ name, mimeType: name.endsWith('.md') ? 'text/markdown' : 'text/html', buffer: Buffer.from(content) })
    await other.locator('.ProseMirror td', { hasText: '2' }).waitFor()
    assert.equal((await textOf(other)).trim(), text.trim(), name)
    assert.equal(await other.locator('.ProseMirror li[data-checked="true"]').count(), 1, name)
  }
})

/** Chooses a file to put in. */
async function putIn(page, name, mimeType, content) {
  await page.getByRole('button', { name: 'More', exact: true }).click()
  const [chooser] = await Promise.all([page.waitForEvent('filechooser'), page.getByRole('button', { name: 'Put a file in here' }).click()])
  await chooser.setFiles({ name, mimeType, buffer: Buffer.from(content) })
}

test('w128_what_is_pasted_or_chosen_goes_in_or_a_sentence_says_why_not', async (t) => {
  const { server, page } = await open(t, 'goes-in')
  await write(page, 'Title\n')
  const dot = 'data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=='

  await paste(page, { 'text/plain': '# First\n\nsee ![far](https://e.example/x.png) ok' })
  await page.locator('.ProseMirror p', { hasText: 'see far ok' }).locator('a[href="https://e.example/x.png"]').waitFor()
  await write(page, '\n')
  await paste(page, { 'text/plain': '## Second\n\n[`code`](https://e.example/a) and **`bold`**' })
  await page.locator('.ProseMirror a[href="https://e.example/a"]', { hasText: 'code' }).waitFor()
  await write(page, '\n')
  await paste(page, { 'text/html': `<p>left <img src="${dot}" alt=""> right <a href="https://e.example/b"><code>c</code></a></p>`, 'text/plain': 'left right' })
  await page.locator('.ProseMirror img[src^="data:"]').waitFor()
  await untilText(page, 'right c')

  await putIn(page, 'README.md', 'text/markdown', await readFile(new URL('../../README.md', import.meta.url)))
  await page.locator('.ProseMirror pre', { hasText: 'make run' }).first().waitFor()
  await putIn(page, 'empty.md', 'text/markdown', '')
  await page.getByText('empty.md is empty.').waitFor()
  await putIn(page, 'comment.md', 'text/markdown', '<!-- nothing -->')
  await page.getByText('There is nothing in it that can be put in here.').waitFor()
  await putIn(page, 'program', 'application/octet-stream', Buffer.from([0, 1, 2, 255]))
  await page.getByText('program cannot be put in: it is neither a text nor a picture.').waitFor()
  const pictures = await page.locator('.ProseMirror img[src^="data:"]').count()
  await putIn(page, 'dot.png', 'image/png', Buffer.from(dot.split(',')[1], 'base64'))
  await until('the picture is in', async () => await page.locator('.ProseMirror img[src^="data:"]').count() === pictures + 1)

  await page.goto(`${server.origin}/d/in-a-cell`)
  await write(page, 'Title\n/table')
  await page.keyboard.press('Enter')
  await page.locator('.ProseMirror th').first().click()
  await paste(page, { 'text/plain': '- x\n- y ![far](https://e.example/x.png)\n\n## z' })
  await page.locator('.ProseMirror th li', { hasText: 'y far' }).waitFor()
})

test('w133_the_end_of_a_document_is_behind_its_table_and_the_beginning_before_it', async (t) => {
  const { page } = await open(t, 'table-last')
  await untilEditable(page)
  await paste(page, { 'text/html': '<table><tr><th>a</th><th>b</th></tr><tr><td>c</td><td>d</td></tr></table><p>between</p><table><tr><td>e</td><td>f</td></tr></table>' })
  await untilText(page, 'between')
  await page.locator('.ProseMirror p', { hasText: 'between' }).click()

  await page.keyboard.press('Control+End')
  await page.keyboard.type('behind')
  await page.locator('.ProseMirror > p:last-child', { hasText: 'behind' }).waitFor()
  await page.locator('.ProseMirror p', { hasText: 'between' }).click()
  await page.keyboard.press('Control+Home')
  await page.keyboard.type('before')
  await page.locator('.ProseMirror > :first-child', { hasText: 'before' }).waitFor()
  assert.equal(await textOf(page), 'before\nabcd\nbetween\nef\nbehind')
})

test('w136_what_floats_covers_no_text', async (t) => {
  const { page } = await open(t, 'covers')
  await write(page, `Title\n\`\`\`js\n${'const one = 1; '.repeat(12)}`)
  const choice = await page.getByRole('combobox', { name: 'Language of this code' }).boundingBox()
  const line = await page.locator('.ProseMirror pre code').evaluate((code) => {
    const range = document.createRange()
    range.selectNodeContents(code)
    return range.getBoundingClientRect().top
  })
  assert.ok(choice.y + choice.height <= line + 1, `${choice.y + choice.height} is above ${line}`)

  await page.keyboard.press('Control+Enter')
  await write(page, '\nabove the table\n/table')
  await page.keyboard.press('Enter')
  await page.getByRole('group', { name: 'Table' }).waitFor()
  const above = page.locator('.ProseMirror p', { hasText: 'above the table' })
  const box = await above.boundingBox()
  for (const part of [0.02, 0.1, 0.5, 0.9]) {
    const hit = await page.evaluate(([x, y]) => document.elementFromPoint(x, y)?.closest('.ProseMirror') !== null, [box.x + box.width * part, box.y + box.height / 2])
    assert.equal(hit, true, `at ${part}`)
  }
  // No tool moves when those for tables come.
  const bold = page.getByRole('button', { name: 'Bold' })
  const place = (await bold.boundingBox()).x
  await above.click()
  await page.getByRole('group', { name: 'Table' }).waitFor({ state: 'hidden' })
  assert.equal((await bold.boundingBox()).x, place)
})

test('w136_on_a_phone_the_tools_for_a_table_are_seen_when_they_come', async (t) => {
  const { page } = await open(t, 'phone', { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true })
  await write(page, 'Title\n/table')
  await page.keyboard.press('Enter')

  const { x, width } = await page.getByRole('button', { name: 'Add a row' }).boundingBox()

  assert.ok(x >= 0 && x + width <= 360, `${x} to ${x + width}`)
})

test('w137_signs_beside_blanks_are_signs_and_no_emphasis', async (t) => {
  const { page } = await open(t, 'signs')
  await write(page, 'Title\n')
  const plain = ['2 * 3 * 4 = 24', 'a*b*c', '2 ** 3 ** 4', 'snake_case_name and _ alone _', 'a ~~ b ~~ c', '5 * x* y']
  for (const text of plain) {
    await paste(page, { 'text/plain': text })
    await write(page, '\n')
  }
  for (const text of plain) await write(page, `${text}\n`)
  assert.equal((await textOf(page)).trim(), ['Title', ...plain, ...plain].join('\n'))
  assert.equal(await page.locator('.ProseMirror :is(em, strong, s)').count(), 0)

  await paste(page, { 'text/plain': 'now **bold**, _italic_ and (*this*), ~~gone~~' })
  for (const [selector, text] of [['strong', 'bold'], ['em', 'italic'], ['em', 'this'], ['s', 'gone']]) await page.locator(`.ProseMirror ${selector}`, { hasText: text }).waitFor()
  await write(page, '\nand **typed** words *too*')
  await page.locator('.ProseMirror strong', { hasText: 'typed' }).waitFor()
  await page.locator('.ProseMirror em', { hasText: 'too' }).waitFor()
})

test('w64_what_this_page_does_not_know_is_kept_and_told', async (t) => {
  const strangers = {
    element: (fragment) => fragment.insert(fragment.length, [element('callout', 'do not drop me')]),
    attribute: (fragment) => {
      const paragraph = element('paragraph', 'on the right')
      paragraph.setAttribute('textAlign', 'right')
      fragment.insert(fragment.length, [paragraph])
    },
    mark: (fragment) => {
      const paragraph = element('paragraph', 'marked')
      fragment.insert(fragment.length, [paragraph])
      paragraph.get(0).format(0, 6, { comment: { id: 7 } })
    },
  }
  const server = await startServer(t)
  for (const [name, add] of Object.entries(strangers)) {
    const page = await openWindow(t, browser)
    await page.goto(`${server.origin}/d/${name}`)
    await write(page, 'Title\ntext')
    await untilStatus(page, 'Saved')
    await change(server, name, add)
    const whole = (await documentOf(server, name)).toString()

    await page.getByRole('heading', { name: 'This editor cannot show all of the document' }).waitFor()
    const newcomer = await openWindow(t, browser)
    await newcomer.goto(`${server.origin}/d/${name}`)
    await newcomer.getByRole('heading', { name: 'This editor cannot show all of the document' }).waitFor()
    await editorOf(newcomer).click()
    await newcomer.keyboard.type('graffiti')
    await untilStatus(newcomer, 'Saved')

    assert.equal((await documentOf(server, name)).toString(), whole, name)
  }
})

test('w64_a_document_of_the_first_version_is_shown_and_edited', async (t) => {
  const { server, page } = await open(t, 'first')
  const quote = new Y.XmlElement('blockquote')
  quote.insert(0, [element('paragraph', 'a quote at the top')])
  const code = element('codeBlock', 'let x')
  code.setAttribute('language', null)
  const tasks = new Y.XmlElement('taskList')
  const task = new Y.XmlElement('taskItem')
  task.setAttribute('checked', true)
  task.insert(0, [element('paragraph', 'a task')])
  tasks.insert(0, [task])
  await change(server, 'old', (fragment) => fragment.insert(0, [quote, element('paragraph', 'no title'), code, tasks]))

  await page.goto(`${server.origin}/d/old`)
  await untilText(page, 'a task')
  await write(page, '!')

  await untilStatus(page, 'Saved')
  assert.ok((await documentOf(server, 'old')).toString().includes('a task!'))
  assert.equal(await textOf(page).then((text) => text.startsWith('a quote at the top\nno title')), true)
})

test('w124_what_others_wrote_is_shown_as_they_wrote_it_and_not_changed_by_looking', async (t) => {
  const server = await startServer(t)
  const cell = (text) => {
    const cell = new Y.XmlElement('tableCell')
    cell.insert(0, [element('paragraph', text)])
    return cell
  }
  const row = (...texts) => {
    const row = new Y.XmlElement('tableRow')
    row.insert(0, texts.map(cell))
    return row
  }
  const table = new Y.XmlElement('table')
  // A cell is missing.
  table.insert(0, [row('one', 'two'), row('three')])
  await change(server, 'plain', (fragment) => fragment.insert(0, [element('paragraph', 'see https://example.org'), element('paragraph', 'and mind the gap'), table, element('paragraph', 'below')]))
  const before = (await documentOf(server, 'plain')).toString()
  const page = await openWindow(t, browser)
  const sent = []
  page.on('websocket', (socket) => socket.on('framesent', ({ payload }) => {
    if (payload[0] === 0 && payload[1] === 2) sent.push(payload)
  }))

  await page.goto(`${server.origin}/d/plain`)
  await untilText(page, 'mind the gap')
  await untilStatus(page, 'Saved')
  // Also what comes while one looks.
  await change(server, 'plain', (fragment) => fragment.insert(2, [element('paragraph', 'or https://example.com'), element('paragraph', 'the end')]))
  await untilText(page, 'the end')
  await untilStatus(page, 'Saved')
  assert.equal(sent.length, 0)
  const after = (await documentOf(server, 'plain')).toString()
  assert.equal(after.replace('<paragraph>or https://example.com</paragraph><paragraph>the end</paragraph>', ''), before)

  // What one writes oneself becomes a link as ever.
  await write(page, ' https://example.net ')
  await page.locator('a[href="https://example.net"]').waitFor()
})

/** The text of a document as the server has it, in a document of its own. */
async function documentOf(server, name) {
  const doc = new Y.Doc()
  Y.applyUpdate(doc, new Uint8Array(await (await fetch(`${server.origin}/doc/${name}/as-update`)).arrayBuffer()))
  return doc.getXmlFragment('default')
}

/** Another program writes into a document. */
async function change(server, name, write) {
  const fragment = await documentOf(server, name)
  const before = Y.encodeStateVector(fragment.doc)
  fragment.doc.transact(() => write(fragment))
  const response = await fetch(`${server.origin}/doc/${name}/update`, { method: 'POST', body: Y.encodeStateAsUpdate(fragment.doc, before) })
  assert.ok(response.ok, await response.text())
}

function element(name, text) {
  const made = new Y.XmlElement(name)
  made.insert(0, [new Y.XmlText(text)])
  return made
}
