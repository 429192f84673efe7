// Markdown in and out. The first word of a test is its rule.

import assert from 'node:assert/strict'
import { readFile, readdir } from 'node:fs/promises'
import { after, before, test } from 'node:test'
import { isDeepStrictEqual } from 'node:util'

import { launch } from './browser.mjs'
import { serve } from './site.mjs'

let browser
before(async () => { browser = await launch() })
after(() => browser.close())

/** What the demo makes of Markdown and writes as such, without the rest of the page. */
const PROGRAM = `
import { getSchema } from '../../../web-demo/node_modules/@tiptap/core'
import { fromHtml } from '../../../web-demo/src/editor/fit.ts'
import { fromMarkdown, toMarkdown } from '../../../web-demo/src/editor/markdown.ts'
import { schemaExtensions } from '../../../web-demo/src/editor/schema.ts'

const schema = getSchema(schemaExtensions())
const left = { links: 0, words: 0 }
const plain = (node) => JSON.parse(JSON.stringify(node.toJSON(), (key, value) => value === null || ['rel', 'target', 'class'].includes(key) ? undefined : value))
globalThis.read = (text) => {
  const doc = fromMarkdown(text, schema, left)
  doc.check()
  return plain(doc)
}
globalThis.readHtml = (html) => {
  const doc = fromHtml(html, schema, left)
  doc.check()
  return plain(doc)
}
globalThis.roundTrip = (json) => {
  const doc = schema.nodeFromJSON(json)
  const text = toMarkdown(doc)
  return { text, before: plain(doc), after: plain(fromMarkdown(text, schema, left)) }
}
`

const text = (words, ...marks) => ({ type: 'text', text: words, marks: marks.map((type) => typeof type === 'string' ? { type } : type) })
const p = (...content) => ({ type: 'paragraph', content: content.map((one) => typeof one === 'string' ? text(one) : one) })
const link = (href, title = null) => ({ type: 'link', attrs: { href, title } })
const br = { type: 'hardBreak' }
const code = (words, language = null) => ({ type: 'codeBlock', attrs: { language }, content: words === '' ? [] : [text(words)] })
const item = (...content) => ({ type: 'listItem', content })
const bullets = (...content) => ({ type: 'bulletList', content })
const numbers = (start, ...content) => ({ type: 'orderedList', attrs: { start }, content })
const task = (checked, ...content) => ({ type: 'taskItem', attrs: { checked }, content })
const tasks = (...content) => ({ type: 'taskList', content })
const quote = (...content) => ({ type: 'blockquote', content })
const heading = (level, ...content) => ({ ...p(...content), type: 'heading', attrs: { level } })
const th = (...content) => ({ type: 'tableHeader', content })
const td = (...content) => ({ type: 'tableCell', content })
const table = (...rows) => ({ type: 'table', content: rows.map((content) => ({ type: 'tableRow', content })) })
const rule = { type: 'horizontalRule' }
const DOT = 'data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=='
const picture = (alt) => ({ type: 'image', attrs: { src: DOT, alt } })

const LOOKS_LIKE_MARKDOWN = [
  '# x', '#', '####### x', 'C#', 'x #', '1. x', '1) x', '12345678901. x', '1.', '* x', '- x', '+ x', '-', '---', '===', '***', '- - -', '> x', '>', '<b>x</b>', '<!-- x', 'a < b', '</div>', '\\', 'C:\\new\\', '\\*x\\*',
  '_x_', 'snake_case_name', '__init__', '*x*', '2 * 3 * 4 = 24', '2*3*4', '**', '~~x~~', '~', '`x`', '``', '[x](y)', '![x](y)', '[x]', '[ ] x', '[x]: y', '[^1]', '| a | b |', 'a | b', '&amp;', '&#42;', 'AT&T;', '&nbsp;', '++x++',
  'https://example.org/a_b_c', 'www.example.org', 'mail somebody@example.org now', '    four blanks', '\ttab', ' one blank', 'a blank ', 'two  blanks', 'x\u00a0y', '\u00a0', '```', '~~~', ':--', '|--|--|', 'Don\u2019t “quote” – 漢字', '$x$', '5" x 6\'', '{x}', 'x\\', '!', '![', '<https://example.org>', '🙂*x', '日本*語*',
]

/** What a document may hold, by what is hard about it. */
const DOCUMENTS = {
  'text that looks like Markdown': LOOKS_LIKE_MARKDOWN.map((words) => p(words)),
  'the same in bold': LOOKS_LIKE_MARKDOWN.map((words) => p('a', text(words, 'bold'), 'b ', text(words, 'italic'), ' ', text(words, 'strike'), text(words, 'underline'))),
  'the same in headings': LOOKS_LIKE_MARKDOWN.map((words) => heading(2, words)),
  'the same behind a break': LOOKS_LIKE_MARKDOWN.map((words) => p('x', br, words, br, words)),
  'the same in code': LOOKS_LIKE_MARKDOWN.filter((words) => words.trim() !== '').map((words) => p('a', text(words, 'code'), 'b')),
  'the same in links': LOOKS_LIKE_MARKDOWN.map((words) => p('a', text(words, link('https://example.org/x')), 'b')),
  'the same in a list': [bullets(...LOOKS_LIKE_MARKDOWN.map((words) => item(p(words))))],
  'the same in tasks': [tasks(...LOOKS_LIKE_MARKDOWN.map((words) => task(false, p(words))))],
  'the same in a table': [table([th(p('a')), th(p('b'))], ...LOOKS_LIKE_MARKDOWN.map((words) => [td(p(words)), td(p(text(words, 'bold')))]))],
  'the same as code': LOOKS_LIKE_MARKDOWN.map((words) => code(words, 'md')),
  'a table with signs': [table([th(p('a|b')), th(p())], [td(p('1', br, '2')), td(p(text('a|b', 'code')))], [td(p('x\\')), td(p(text('a\\|b', 'code')))])],
  'a table without a head': [table([td(p('a')), td(p('b'))])],
  'a table with a list, code and a picture in it': [table([th(p('a'))], [td(p('x'), p('y'))], [td(bullets(item(p('z'))))], [td(code('a\n\nb'))], [td(picture('dot'))])],
  'a table with a wide cell': [table([th(p('a')), th(p('b'))], [{ ...td(p('x')), attrs: { colspan: 2 } }])],
  'a table with a side that is chosen': [table([{ ...th(p('a')), attrs: { align: 'right' } }], [{ ...td(p('x')), attrs: { align: 'right' } }])],
  'code with fences': [code('```js\nx\n```'), code('````\n`````'), code('~~~'), code(''), code('\n'), code('\n\nx\n\n'), code('  x\n\ty  '), code('x', 'c++')],
  'code in lists': [bullets(item(p('a'), code('x\n\n  y\n')), item(p('b'), bullets(item(p('c'), code('```\nz\n```')))))],
  'code in quotes': [quote(code('x\n\ny'), p('z')), quote(quote(code('> x')))],
  'code with backticks': [p(text('`', 'code')), p(text('``x`', 'code')), p(text(' x ', 'code')), p(text('`x', 'code'), 'y')],
  'empty paragraphs': [p(), p('a'), p(), p(), p('b'), p()],
  'empty items, cells, quotes and headings': [bullets(item(p()), item(p('x')), item(p())), p('a'), tasks(task(true, p()), task(false, p())), quote(p()), heading(1), table([th(p())], [td(p())]), numbers(1, item(p()), item(p('x')))],
  'items that begin with nothing': [bullets(item(p(), bullets(item(p('x')))), item(p(), code('y')))],
  'lists behind lists': [bullets(item(p('a'))), bullets(item(p('b'))), bullets(item(p('c'))), tasks(task(false, p('d'))), numbers(1, item(p('e'))), numbers(1, item(p('f'))), numbers(7, item(p('g')), item(p('h')))],
  'lists in lists': [bullets(item(p('a'), numbers(3, item(p('b'), tasks(task(true, p('c'), bullets(item(p('d'))))))), p('e')), item(p('f'), quote(p('g')), table([th(p('h'))], [td(p('i'))])))],
  'a hundred items': [numbers(98, ...Array.from({ length: 5 }, (_, at) => item(p(`x${at}`), code('y'))))],
  'quotes behind quotes': [quote(p('a')), quote(p('b'), bullets(item(p('c')))), p('d'), quote(heading(2, 'e'), rule)],
  'rules': [p('a'), rule, rule, p('b')],
  'pictures': [picture('a [dot]*'), p('x'), picture(''), bullets(item(p('y'), picture('z')))],
  'marks within marks': [
    p(text('a', 'bold'), text('b', 'bold', 'italic'), text('c', 'italic'), text('d', 'italic', 'strike'), text('e', 'strike', 'underline'), 'f'),
    p(text('bold ', 'bold'), 'then', text(' italic', 'italic'), 'x', text('"y"', 'bold'), 'z'),
    p(text('link', link('https://example.org/a b(c)')), text(' and bold', link('https://example.org/a b(c)'), 'bold'), text('other', link('https://example.org/', 'a "title"'))),
    p(text('https://example.org/a_b', link('https://example.org/a_b')), ' ', text('a', link('/relative_path_x')), text('b', link('#c'))),
    p(text('x', 'bold'), text('y', 'code'), text('z', 'bold'), text('a', 'italic'), text('b', 'bold'), br, text('c', 'bold'), text('d', 'bold'), br),
    p(text('in'), text('word', 'italic'), text('s'), text('a', 'bold'), br, text('b', 'bold')),
  ],
}

function randomFrom(seed) {
  let state = seed
  const below = (most) => (state = state * 48_271 % 2_147_483_647) % most
  return { below, one: (list) => list[below(list.length)] }
}

/** Paragraphs, lists, quotes, code and tables in each other. */
function randomBlocks(random, depth) {
  return Array.from({ length: 1 + random.below(4) }, () => {
    const inner = () => randomBlocks(random, depth + 1)
    const items = (make) => Array.from({ length: 1 + random.below(3) }, () => make(p(...randomLine(random)), ...(random.below(3) === 0 ? inner() : [])))
    switch (random.below(depth > 2 ? 5 : 10)) {
      case 0: return heading(1 + random.below(6), ...randomLine(random))
      case 1: return code(random.one([...LOOKS_LIKE_MARKDOWN, '']), random.one([null, 'js']))
      case 2: return random.one([rule, picture('x')])
      case 5: return bullets(...items(item))
      case 6: return numbers(1 + random.below(11), ...items(item))
      case 7: return tasks(...items((...content) => task(random.below(2) === 0, ...content)))
      case 8: return quote(...inner())
      case 9: return table([th(p(...randomLine(random))), th(p())], [td(p(...randomLine(random))), td(...(random.below(3) === 0 ? inner() : [p()]))])
      default: return p(...randomLine(random))
    }
  })
}

function randomLine(random) {
  const pieces = Array.from({ length: random.below(6) }, () => {
    if (random.below(12) === 0) return br
    const words = random.one([...LOOKS_LIKE_MARKDOWN, 'word', 'word ', ' word', 'two words'])
    if (random.below(9) === 0) return text(words, 'code')
    return text(words, ...['bold', 'italic', 'strike', 'underline', link('https://example.org/a_b?c=d&e=(f)')].filter(() => random.below(4) === 0))
  })
  // Two pieces with the same marks are one.
  return pieces.filter((piece, at) => at === 0 || piece === br || !isDeepStrictEqual(piece.marks, pieces[at - 1].marks))
}

test('w127_a_document_that_goes_out_as_markdown_comes_in_again_as_the_same', async (t) => {
  const { visit } = await serve(t, browser, 'markdown', PROGRAM)
  const page = await visit()
  await page.waitForFunction(() => globalThis.roundTrip !== undefined)

  for (const [name, content] of [...Object.entries(DOCUMENTS), ...Array.from({ length: 60 }, (_, seed) => [`seed ${seed}`, randomBlocks(randomFrom(seed + 1), 0)])]) {
    const { text, before, after } = await page.evaluate((json) => globalThis.roundTrip(json), { type: 'doc', content })
    const differs = before.content.findIndex((block, at) => !isDeepStrictEqual(block, after.content?.[at]))
    assert.deepEqual(after.content?.[differs], before.content[differs], `${name}:\n${text}`)
    assert.equal(after.content.length, before.content.length, `${name}:\n${text}`)
  }
})

const BADGE = '[![npm](https://img.example.org/npm.svg)](https://npm.example.org)'

/** What stops a reader of Markdown, each with words that must be in the document afterwards. */
const NASTY = {
  'a picture in a line': ['# H\n\nsee ![a](https://e.org/x.png) ok', ['see', 'ok', 'a']],
  'a picture in an item': ['- see ![a](https://e.org/x.png) ok\n- next', ['see', 'ok', 'next']],
  'a picture in a cell': ['| a | b |\n| - | - |\n| see ![c](https://e.org/x.png) ok | d |', ['see', 'ok', 'd']],
  'a picture in a heading': ['# see ![a](x.png) ok', ['see', 'ok']],
  'a badge': [`${BADGE} ${BADGE}\n\nnext`, ['npm', 'next']],
  'an own picture beside text': [`see ![a](${DOT}) ok`, ['see', 'ok']],
  'an own picture in an item': [`- see ![a](${DOT}) ok\n- ![b](${DOT})\n- next`, ['see', 'ok', 'next']],
  'an own picture in a cell': [`| a | b |\n| - | - |\n| see ![c](${DOT}) ok | d |`, ['see', 'ok', 'd']],
  'an own picture in bold and in a link': [`**see ![a](${DOT}) ok** [x ![b](${DOT}) y](https://e.org)`, ['see', 'ok', 'x', 'y']],
  'a linked word of code': ['[`code`](https://example.org)', ['code']],
  'code in other marks': ['**`x`** *`y`* ~~`z`~~ ***`w`***', ['x', 'y', 'z', 'w']],
  'HTML': ['<details>\n<summary>More</summary>\n\n- inner\n\n</details>\n\n<p align="center"><img src="x.png" width="9"> <kbd>Ctrl</kbd></p>\n\nline<br>break', ['More', 'inner', 'Ctrl', 'break']],
  'HTML that is not closed': ['<div><table><tr><td>a\n\n<b>b\n\n# c', ['a', 'b', 'c']],
  'definitions and footnotes': ['[a][b] and [^1]\n\n[b]: https://example.org "t"\n[^1]: note', ['a', 'note']],
  'tasks among other items': ['- [x] done\n- plain\n- [ ] open\n\n1. [ ] numbered', ['done', 'plain', 'open', 'numbered']],
  'a heading in an item, a list in a quote, a quote in an item': ['- # h\n- > q\n\n> - a\n>   1. b', ['h', 'q', 'a', 'b']],
  'a list that begins with code': ['- ```\n  x\n  ```\n-     y', ['x', 'y']],
  'addresses': ['javascript: [x](javascript:alert(1)) <https://example.org> a@b.org www.example.org', ['x', 'https://example.org', 'a@b.org']],
  'signs': ['a * b _ c', ['a * b _ c']],
  'depth': [`${'> '.repeat(60)}deep\n\n${'- '.repeat(40)}deeper`, ['deep', 'deeper']],
  'line ends of Windows': ['# a\r\n\r\nb\r\n\r\n- c\r\n', ['a', 'b', 'c']],
  'a bare picture': ['![a](https://e.org/x.png)', ['a']],
}

async function markdownFiles() {
  const names = (await readdir(new URL('../../docs/', import.meta.url))).filter((name) => name.endsWith('.md')).map((name) => `docs/${name}`)
  return Promise.all([...names, 'README.md', 'web-demo/README.md'].map(async (name) => [name, await readFile(new URL(`../../${name}`, import.meta.url), 'utf8')]))
}

test('w128_whatever_is_markdown_or_html_is_made_to_fit', async (t) => {
  const { visit } = await serve(t, browser, 'fit', PROGRAM)
  const page = await visit()
  await page.waitForFunction(() => globalThis.read !== undefined)

  for (const [name, [markdown, words]] of Object.entries(NASTY)) {
    const all = await page.evaluate((text) => JSON.stringify(globalThis.read(text)), markdown)
    for (const word of words) assert.ok(all.includes(word), `${name}: ${word} is in ${all}`)
  }
  const only = async (markdown) => (await page.evaluate((text) => globalThis.read(text), markdown)).content
  assert.deepEqual(await only(`see ![a](${DOT}) ok`), [p('see'), picture('a'), p('ok')].map(bare))
  assert.deepEqual(await only(BADGE), [bare(p(text('npm', link('https://npm.example.org'))))], 'a picture in a link is what the link says')
  assert.deepEqual(await only('[`code`](https://e.org/)'), [bare(p(text('code', link('https://e.org/'))))], 'an address is more than a look')
  assert.deepEqual(await only('**`x`**'), [bare(p(text('x', 'code')))])
  for (const [name, markdown] of await markdownFiles()) {
    const doc = await page.evaluate((text) => globalThis.read(text), markdown)
    assert.ok(doc.content.length > 1, name)
    const again = await page.evaluate((json) => globalThis.roundTrip(json), doc)
    assert.deepEqual(again.after, again.before, name)
  }
  const html = await page.evaluate((source) => globalThis.readHtml(`<p>see <img src="${source}" alt="a"> ok <a href="https://e.org"><code>c</code></a></p><ul><li><input type="checkbox" checked> done</li></ul>`), DOT)
  assert.deepEqual(html.content.map(({ type }) => type), ['paragraph', 'image', 'paragraph', 'taskList'])
})

/** As the page gives it. */
function bare(node) {
  const { marks = [], content = [], attrs, ...rest } = node
  const some = Object.fromEntries(Object.entries(attrs ?? {}).filter(([, value]) => value !== null))
  return { ...rest, ...(attrs ? { attrs: some } : {}), ...(marks.length > 0 ? { marks: marks.map(bare) } : {}), ...(content.length > 0 ? { content: content.map(bare) } : {}) }
}
