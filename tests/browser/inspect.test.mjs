// Looking inside documents. The first word of a test is its rule in docs/SPEC.md.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { after, before, test } from 'node:test'

import * as Y from 'yjs'

import { launch, openWindow, until, untilStatus, untilText, write } from './browser.mjs'
import { mintToken, startServer } from './server.mjs'

const SECRET = 'a secret for tests that is long enough to be one'
const ADMIN = 'an-admin-token-for-tests-that-is-long-enough'
const ADA = { name: 'Ada Lovelace', color: '#1864ab' }
const BIN = process.env.SERVER_BINARY ?? fileURLToPath(new URL('../../target/debug/cowrite', import.meta.url))

let browser
before(async () => { browser = await launch() })
after(() => browser.close())

/** Another editor, which writes without a page: what `write` changed is sent. */
function editor(server, name) {
  const doc = new Y.Doc()
  return {
    doc,
    async write(change) {
      const had = Y.encodeStateVector(doc)
      doc.transact(() => change(doc))
      const answer = await fetch(`${server.origin}/d/${encodeURIComponent(name)}/update`, { method: 'POST', body: Y.encodeStateAsUpdate(doc, had) })
      assert.equal(answer.status, 200, await answer.text())
    },
  }
}

const leaf = (page, text) => page.locator('.tree li', { hasText: text }).last()
const figure = (page, name) => page.locator('.figures > div', { hasText: name }).locator('.figure-value')
const live = (page) => page.locator('.status', { hasText: /^Live$/ }).waitFor()

test('i8_the_tree_follows_edits_and_what_is_unfolded_stays_so', async (t) => {
  const server = await startServer(t)
  const other = editor(server, 'one')
  await other.write((doc) => {
    doc.getArray('list').push(['first', new Y.Map([['inner', 1]])])
    doc.getMap('settings').set('title', 'Before')
  })
  const page = await openWindow(t, browser)
  await page.goto(`${server.origin}/d/one/inspect`)
  await live(page)
  await leaf(page, '"Before"').waitFor()
  assert.match(await page.locator('.tree > ul > li').first().innerText(), /list\s+array/)
  assert.match(await page.locator('.tree > ul > li').last().innerText(), /settings\s+map/)

  const nested = page.locator('.tree ul ul summary')
  await nested.focus()
  await page.keyboard.press('Enter')
  await page.locator('.tree .leaf', { hasText: 'inner' }).waitFor()
  await other.write((doc) => {
    doc.getArray('list').insert(0, ['before all'])
    doc.getArray('list').get(2).set('inner', 'changed')
    doc.getMap('settings').set('title', 'After')
    doc.getText('prose').insert(0, 'bold', { bold: true })
  })
  await page.locator('.tree .leaf', { hasText: '"changed"' }).waitFor()
  await leaf(page, '"After"').waitFor()
  await page.locator('.tree .leaf', { hasText: '"before all"' }).waitFor()
  assert.equal(await page.getByText('"Before"').count(), 0)
  assert.equal(await page.evaluate(() => document.activeElement?.tagName), 'SUMMARY', 'the focus stays')
  const prose = page.locator('.tree > ul > li', { hasText: 'prose' })
  assert.match(await prose.innerText(), /0 text bold bold/)
})

test('i21_what_is_made_to_stop_the_page_does_not', async (t) => {
  const server = await startServer(t)
  const other = editor(server, 'trap')
  await other.write((doc) => {
    const text = doc.getText('formats')
    text.insert(0, 'here')
    for (let n = 0; n < 1_000; n++) text.format(0, 4, { [`f${n}`]: true })
    const strange = new Y.Map([['__proto__', 'a key'], ['constructor', '<img src=x onerror=document.title="run">']])
    doc.getMap('__proto__').set('inner', strange)
  })
  const page = await openWindow(t, browser)
  await page.goto(`${server.origin}/d/trap/inspect`)
  await live(page)
  await leaf(page, 'here').waitFor()
  const marks = await leaf(page, 'here').locator('.tree-marks').innerText()
  assert.equal(marks.split(', ').length, 256)
  await page.locator('.tree ul ul summary', { hasText: 'inner' }).click()
  await leaf(page, 'a key').waitFor()
  await leaf(page, '<img src=x').waitFor()
  assert.notEqual(await page.title(), 'run')
})

test('i8_text_and_json_are_those_of_doc_export', async (t) => {
  const server = await startServer(t)
  const other = editor(server, 'all/kinds')
  await other.write((doc) => {
    const map = doc.getMap('values')
    for (const [key, value] of Object.entries({ undefined: undefined, big: 5n, minus: -0, nan: NaN, far: -Infinity, bytes: new Uint8Array([1, 2, 255]), nested: { b: [1, null, { $a: 'x' }], a: true }, words: 'line\n"quoted" \u2028', fraction: 1e21 })) map.set(key, value)
    const text = doc.getText('text')
    text.insert(0, 'plain ')
    text.insert(6, 'bold', { bold: true })
    text.insertEmbed(10, { image: 'x.png' })
    const paragraph = new Y.XmlElement('paragraph')
    paragraph.setAttribute('level', '2')
    paragraph.insert(0, [new Y.XmlText('written')])
    doc.getXmlFragment('default').insert(0, [paragraph, new Y.XmlHook('hook')])
    doc.getArray('list').push([new Y.Map([['z', 1], ['a', new Y.Text('in a text')]]), new Y.Array(), 'words', new Y.Doc({ guid: 'sub' })])
    doc.getArray('gone').push([1])
    doc.getArray('gone').delete(0)
  })
  const page = await openWindow(t, browser)
  await page.goto(`${server.origin}/d/all/kinds/inspect`)
  await live(page)
  const shown = {}
  for (const view of ['JSON', 'Text']) {
    await page.getByRole('radio', { name: view }).check()
    shown[view] = await page.locator('pre.whole').textContent()
  }
  await page.close()
  await server.kill()
  for (const [view, as] of [['JSON', 'json'], ['Text', 'text']]) {
    const { stdout, status } = spawnSync(BIN, ['doc', 'export', 'all/kinds', '--as', as, '--data', server.data], { encoding: 'utf8' })
    assert.equal(status, 0)
    assert.equal(shown[view].trimEnd(), stdout.trimEnd(), view)
  }
})

test('i7_who_looks_writes_nothing_says_nothing_and_is_counted_as_a_connection', async (t) => {
  const server = await startServer(t)
  const page = await openWindow(t, browser)
  await page.goto(`${server.origin}/d/looked/at/inspect`)
  await live(page)
  await until('its own connection is told of', async () => (await figure(page, 'Connections').textContent()) === '1')
  await page.locator('tbody', { hasText: /session \d+.*y-websocket.*everything.*none/ }).waitFor()
  const sent = await page.locator('.traffic .sent .message-kind').allTextContents()
  assert.ok(sent.includes('sync step 1') && !sent.includes('presence') && !sent.includes('update'), String(sent))
  const inside = await (await fetch(`${server.origin}/inspect.json?document=looked%2Fat`)).json()
  assert.deepEqual([inside.figures.updates, inside.figures.position, inside.figures.structs], [0, 0, 0])
  assert.deepEqual(await page.evaluate(async () => (await indexedDB.databases()).map(({ name }) => name)), [])

  // A name that ends like that page's address has an address all the same.
  await page.goto(server.origin)
  await page.getByRole('textbox', { name: /open one by its name/ }).fill('a/inspect')
  await page.keyboard.press('Enter')
  await page.waitForURL(`${server.origin}/d/a%2Finspect`)
  await write(page, 'a document')
  await untilStatus(page, 'Saved')
  await page.goto(`${server.origin}/d/a%2Finspect/inspect`)
  await page.getByRole('heading', { name: 'Inside a/inspect' }).waitFor()
  await leaf(page, 'a document').waitFor()
})

test('i9_figures_and_connections_follow_what_happens', async (t) => {
  const server = await startServer(t)
  const ada = await openWindow(t, browser, { profile: ADA })
  await ada.goto(`${server.origin}/d/one`)
  await untilStatus(ada, 'Saved')
  const page = await openWindow(t, browser)
  await page.goto(`${server.origin}/d/one/inspect`)
  await until('both are connected', async () => (await figure(page, 'Connections').textContent()) === '2')
  await page.getByRole('rowheader', { name: 'Ada Lovelace' }).waitFor()
  assert.equal(await figure(page, 'Time to saved').textContent(), 'not yet')

  await write(ada, 'some words')
  await until('structs are counted', async () => Number(await figure(page, 'Structs').textContent()) > 0)
  await until('so are updates', async () => parseFloat(await figure(page, 'Updates').textContent()) > 0)
  await until('the time is told', async () => /ms|s$/.test(await figure(page, 'Time to saved').textContent()))
  await ada.close()
  await until('she is gone', async () => (await page.getByRole('rowheader', { name: 'Ada Lovelace' }).count()) === 0)
})

test('i10_traffic_is_told_message_by_message_paused_filtered_and_copied', async (t) => {
  const server = await startServer(t)
  const other = editor(server, 'one')
  const page = await openWindow(t, browser, { permissions: ['clipboard-read', 'clipboard-write'] })
  await page.goto(`${server.origin}/d/one/inspect`)
  await live(page)
  const rows = page.locator('.traffic li')
  const kinds = () => page.locator('.traffic .message-kind').allTextContents()
  await until('the handshake is there', async () => ['sync step 1', 'sync step 2'].every((kind) => (awaited ?? []).includes(kind)) || ((awaited = await kinds()), false))

  await other.write((doc) => doc.getText('text').insert(0, 'a secret word'))
  const update = rows.filter({ hasText: /^.*update/ }).first()
  await update.waitFor()
  const expected = Y.encodeStateAsUpdate(other.doc)
  assert.match(await update.innerText(), new RegExp(`update[\\s\\S]*${expected.length + 4 - 1} B[\\s\\S]*1 struct[\\s\\S]*${other.doc.clientID}`))
  assert.equal(await update.locator('.way').innerText(), 'Received')
  assert.equal(await page.locator('.traffic', { hasText: 'a secret word' }).count(), 0, 'what people wrote is behind a switch')
  await page.getByRole('switch', { name: 'What people wrote' }).check()
  await page.locator('.message-content', { hasText: '"a secret word"' }).waitFor()
  await page.getByRole('switch', { name: 'What people wrote' }).uncheck()
  await update.getByRole('button', { name: 'Copy as hex' }).click()
  const hex = await page.evaluate(() => navigator.clipboard.readText())
  assert.equal(hex, Buffer.from([0, 2, expected.length, ...expected]).toString('hex').replace(/..(?=.)/g, '$& '))

  await page.getByRole('combobox', { name: 'Kind' }).selectOption('Updates')
  await until('only they are there', async () => (await kinds()).every((kind) => kind === 'update' || kind === 'sync step 2'))
  await page.getByRole('combobox', { name: 'Direction' }).selectOption('Sent')
  await until('none of the server', async () => (await page.locator('.traffic .received').count()) === 0)
  await page.getByRole('combobox', { name: 'Kind' }).selectOption('All kinds')
  await page.getByRole('combobox', { name: 'Direction' }).selectOption('Both ways')
  await page.getByRole('button', { name: 'Pause' }).click()
  const count = await rows.count()
  await other.write((doc) => doc.getText('text').insert(0, 'more'))
  await page.getByText(/^Paused, \d+ more$/).waitFor()
  assert.equal(await rows.count(), count)
  await page.getByRole('button', { name: 'Go on' }).click()
  await until('it is shown then', async () => (await rows.count()) > count)
})
let awaited

for (const [kind, folder] of [['document', 'd'], ['code', 'code'], ['board', 'board'], ['room', 'room']]) {
  test(`i11_the_page_of_a_${kind}_opens_the_panel_by_one_button`, async (t) => {
    const server = await startServer(t)
    const other = editor(server, 'one')
    const page = await openWindow(t, browser, { profile: ADA })
    await page.goto(`${server.origin}/${folder}/one`)
    await untilStatus(page, 'Saved')
    assert.deepEqual(await page.evaluate(() => performance.getEntriesByType('resource').filter(({ name }) => /panel|inspect/.test(name)).length), 0)
    await page.getByRole('button', { name: 'Look inside', exact: true }).click()
    const panel = page.getByRole('complementary', { name: 'Look inside' })
    await panel.waitFor()
    await other.write((doc) => doc.getMap('elsewhere').set('key', 'from another editor'))
    await panel.locator('.tree .leaf', { hasText: 'from another editor' }).waitFor()
    // The tabs by the keyboard.
    await panel.getByRole('tab', { name: 'Content' }).focus()
    await page.keyboard.press('ArrowRight')
    await panel.getByRole('rowheader', { name: 'Ada Lovelace' }).waitFor()
    await page.keyboard.press('ArrowRight')
    // What came before the panel was opened is there, too.
    await panel.locator('.traffic li', { hasText: 'sync step 1' }).first().waitFor()
    await panel.locator('.traffic .sent', { hasText: 'presence' }).first().waitFor()
    await page.keyboard.press('Escape')
    await panel.waitFor({ state: 'detached' })
    assert.equal(await page.evaluate(() => document.activeElement?.getAttribute('aria-label')), 'Look inside')
  })
}

test('i12_a_document_of_another_editor_is_not_called_empty', async (t) => {
  const server = await startServer(t)
  const page = await openWindow(t, browser)
  await editor(server, 'prose').write((doc) => {
    doc.getXmlFragment('prosemirror').insert(0, [new Y.XmlElement('paragraph')])
    doc.getMap('meta').set('title', 'Minutes')
  })
  await page.goto(`${server.origin}/d/prose`)
  const notice = page.getByRole('alert').filter({ hasText: 'Another editor wrote this document' })
  await notice.getByText('It holds “prosemirror” (XML fragment), “meta” (map), and nothing that this page shows.').waitFor()
  await notice.getByRole('link', { name: 'Look inside' }).click()
  await page.waitForURL(`${server.origin}/d/prose/inspect`)
  await page.locator('.tree > ul > li', { hasText: 'prosemirror' }).waitFor()

  // A page that knows the roots is offered, and what comes while one looks is told as well.
  await page.goto(`${server.origin}/d/code`)
  await untilStatus(page, 'Saved')
  assert.equal(await page.getByRole('alert').count(), 0)
  await editor(server, 'code').write((doc) => doc.getText('code').insert(0, 'let it = be'))
  await page.getByRole('link', { name: 'Open it as a file of code' }).click()
  await page.waitForURL(`${server.origin}/code/code`)
  await page.getByText('let it = be').waitFor()
  await untilStatus(page, 'Saved')
  assert.equal(await page.locator('.notice').count(), 0)

  // Beside a text it is said once.
  await page.goto(`${server.origin}/d/code`)
  await write(page, 'and a text')
  await page.reload()
  await untilText(page, 'and a text')
  await page.getByText('It holds “code” (text), which this page does not show.').waitFor()
  await page.getByRole('button', { name: 'All right' }).click()
  await write(page, ', longer')
  await untilStatus(page, 'Saved')
  assert.equal(await page.locator('.notice').count(), 0)
})

test('i1_a_reader_looks_inside_and_who_may_not_read_is_asked_for_a_token', async (t) => {
  const server = await startServer(t, { env: { COWRITE_JWT_SECRET: SECRET } })
  const writer = await openWindow(t, browser)
  await writer.goto(`${server.origin}/d/plan#token=${await mintToken(SECRET, 'plan=write')}`)
  await write(writer, 'The plan')
  await untilStatus(writer, 'Saved')
  const page = await openWindow(t, browser)
  await page.goto(`${server.origin}/d/plan/inspect`)
  await page.getByRole('heading', { name: 'This document needs a token' }).waitFor()
  await page.getByRole('textbox', { name: /Token/ }).fill(await mintToken(SECRET, 'plan=read'))
  await page.keyboard.press('Enter')
  await live(page)
  await page.locator('.tree', { hasText: 'The plan' }).waitFor()
  await until('figures are told', async () => (await figure(page, 'Connections').textContent()) === '2')
  await page.locator('tbody', { hasText: 'tester' }).waitFor()
  await page.locator('tbody', { hasText: 'y-websocket, reads' }).waitFor()
})

test('i13_the_operator_sees_all_open_documents_and_looks_into_each', async (t) => {
  const server = await startServer(t, { env: { COWRITE_JWT_SECRET: SECRET, COWRITE_ADMIN_TOKEN: ADMIN } })
  const writer = await openWindow(t, browser, { profile: ADA })
  await writer.goto(`${server.origin}/d/team/plan#token=${await mintToken(SECRET, '*=write')}`)
  await write(writer, 'The plan')
  await untilStatus(writer, 'Saved')
  const page = await openWindow(t, browser)
  await page.goto(`${server.origin}/inspect`)
  const token = page.getByLabel('The admin token of this server')
  await token.fill('another-token-that-is-as-long-as-that-one-is')
  await page.keyboard.press('Enter')
  await page.getByText('That is not the admin token of this server.').waitFor()
  await token.fill(ADMIN)
  await page.keyboard.press('Enter')
  await page.getByText('1 open').waitFor()
  await page.getByRole('textbox', { name: 'Names that hold' }).fill('nothing like that')
  await page.getByText('No document is open.').waitFor()
  await page.getByRole('textbox', { name: 'Names that hold' }).fill('pla')
  await page.getByRole('link', { name: 'team/plan' }).click()
  await page.locator('.tree', { hasText: 'The plan' }).waitFor()
  await page.getByRole('columnheader', { name: 'Address' }).waitFor()
  await page.locator('tbody', { hasText: 'this machine' }).waitFor()
  await write(writer, ', and more')
  await page.locator('.tree', { hasText: 'The plan, and more' }).waitFor()

  // It is kept for this tab, and for no other.
  assert.deepEqual(await page.evaluate((secret) => [JSON.stringify(localStorage).includes(secret), location.href.includes(secret)], ADMIN), [false, false])
  const another = await page.context().newPage()
  await another.goto(`${server.origin}/inspect`)
  await another.getByLabel('The admin token of this server').waitFor()
  await page.getByRole('link', { name: 'All documents' }).click()
  await page.getByRole('button', { name: 'Forget the token' }).click()
  await token.waitFor()
  assert.equal(await page.evaluate((secret) => JSON.stringify(sessionStorage).includes(secret), ADMIN), false)
})

test('i13_a_server_without_an_admin_token_says_so', async (t) => {
  const server = await startServer(t)
  const page = await openWindow(t, browser)
  await page.goto(`${server.origin}/inspect`)
  await page.getByText(/started without COWRITE_ADMIN_TOKEN/).waitFor()
  // Nobody is asked for what would not be taken.
  await page.getByLabel('The admin token of this server').waitFor({ state: 'detached' })
})
