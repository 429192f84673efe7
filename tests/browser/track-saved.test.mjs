// cowrite-track-saved in a browser: what is kept there, when the browser asks before the page is left, the hook, the module
// that the server serves, and the pages of docs/tokens.md.

import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { after, before, test } from 'node:test'

import { launch, openWindow, until } from './browser.mjs'
import { mintToken, startServer } from './server.mjs'
import { page as documented, programOf, serve } from './site.mjs'

const tokens = await documented('tokens.md')
const secret = 'a secret of at least thirty-two bytes'

let browser
before(async () => {
  browser = await launch()
})
after(() => browser.close())

/** A document that is kept in this browser, with what is known of it as the page's text. */
const KEPT = `
import { trackSaved, warnBeforeLeaving } from 'cowrite-track-saved'
import { IndexeddbPersistence } from 'y-indexeddb'
import { WebsocketProvider } from 'y-websocket'
import * as Y from 'yjs'

const doc = new Y.Doc()
const hasCopy = !location.hash.includes('without')
const copy = hasCopy ? new IndexeddbPersistence('notes', doc) : undefined
const provider = new WebsocketProvider('ws://127.0.0.1:8080/ws', 'notes', doc)
const saved = trackSaved(provider, { copy })
globalThis.views = []
saved.subscribe(({ state, unsavedSince, kept }) => {
  views.push({ unsaved: unsavedSince !== null, kept })
  document.querySelector('#status').textContent = [state, unsavedSince === null ? 'all' : 'not all', kept ? 'kept' : 'not kept'].join(', ')
})
globalThis.stop = warnBeforeLeaving(saved)
globalThis.write = (text) => doc.getText('text').insert(0, text)
globalThis.read = () => doc.getText('text').toString()
`

const shows = (page, text) => page.locator('#status', { hasText: text }).waitFor()

/** Leaves the page as a person does, and says whether the browser asked. */
async function isAskedToStay(page) {
  await page.locator('body').click()
  let asked = false
  const listener = (dialog) => {
    asked = true
    return dialog.accept()
  }
  page.on('dialog', listener)
  await page.reload()
  page.off('dialog', listener)
  return asked
}

test('w42_kept_is_said_when_the_browser_has_stored_it_and_what_was_kept_is_there_after_a_reload', async (t) => {
  const { server, visit } = await serve(t, browser, 'kept', KEPT)
  const page = await visit()
  await shows(page, /^saved, all, kept$/)
  await server.kill()
  await shows(page, /^offline, all, kept$/)

  await page.evaluate(() => {
    views.length = 0
    write('offline ')
  })
  await shows(page, /^offline, not all, kept$/)
  const [first] = await page.evaluate(() => views)
  assert.deepEqual(first, { unsaved: true, kept: false })
  await page.reload()
  await shows(page, /not all, kept$/)
  assert.equal(await page.evaluate(() => read()), 'offline ')
})

test('w42_what_the_browser_refuses_to_store_is_never_called_kept', async (t) => {
  const { visit } = await serve(t, browser, 'kept', KEPT)
  const page = await visit()
  await shows(page, /^saved, all, kept$/)

  // What a full disk does to a write.
  await page.evaluate(() => {
    const { add } = IDBObjectStore.prototype
    IDBObjectStore.prototype.add = function (...values) {
      const request = add.apply(this, values)
      this.transaction.abort()
      IDBObjectStore.prototype.add = add
      return request
    }
    addEventListener('unhandledrejection', (event) => event.preventDefault())
    write('refused ')
  })
  await shows(page, /^saved, all, not kept$/)
  await page.evaluate(() => write('taken '))
  await shows(page, /^saved, all, not kept$/)
  assert.ok(!(await page.evaluate(() => views)).slice(-3).some(({ kept }) => kept))
})

test('w43_the_browser_asks_before_the_page_is_left_only_while_something_is_neither_saved_nor_kept', async (t) => {
  const { server, origin, visit } = await serve(t, browser, 'kept', KEPT)
  const withCopy = await visit()
  const without = await visit()
  await without.goto(`${origin}/#without`)
  await without.reload()
  await shows(withCopy, /^saved, all, kept$/)
  await shows(without, /^saved, all, not kept$/)
  assert.equal(await isAskedToStay(without), false)
  await shows(without, /^saved, all, not kept$/)
  await server.kill()
  await shows(without, /^offline/)
  await shows(withCopy, /^offline/)

  for (const page of [withCopy, without]) await page.evaluate(() => write('offline '))
  await shows(withCopy, /^offline, not all, kept$/)
  await shows(without, /^offline, not all, not kept$/)

  assert.equal(await isAskedToStay(withCopy), false)
  assert.equal(await isAskedToStay(without), true)
})

/** Two components follow the provider that a third one changes, in StrictMode. */
const HOOK = `
import { useSaved } from 'cowrite-track-saved/react'
import { StrictMode, useEffect, useState } from 'react'
import { createRoot } from 'react-dom/client'
import { WebsocketProvider } from 'y-websocket'
import * as Y from 'yjs'

function Status({ id, provider }) {
  const { state } = useSaved(provider)
  return <output id={id}>{state}</output>
}

function Page() {
  const [name, setName] = useState('one')
  const [isShown, setShown] = useState(true)
  const [provider, setProvider] = useState(null)
  useEffect(() => {
    const doc = new Y.Doc()
    const made = new WebsocketProvider('ws://127.0.0.1:8080/ws', name, doc)
    globalThis.write = (text) => doc.getText('text').insert(0, text)
    setProvider(made)
    return () => { setProvider(null); made.destroy(); doc.destroy() }
  }, [name])
  return <>
    <Status id="first" provider={provider} />
    {isShown && <Status id="second" provider={provider} />}
    <button id="other" onClick={() => setName('other')}>other</button>
    <button id="hide" onClick={() => setShown(false)}>hide</button>
  </>
}
createRoot(document.querySelector('#editor')).render(<StrictMode><Page /></StrictMode>)
`

test('w45_the_hook_follows_a_provider_in_strict_mode_and_in_several_components', async (t) => {
  const { server, visit } = await serve(t, browser, 'hook', HOOK)
  const page = await visit()
  const says = (id, text) => page.locator(`#${id}`, { hasText: new RegExp(`^${text}$`) }).waitFor()
  const connections = async () => Number(/^cowrite_connections (\d+)$/m.exec(await (await fetch(`${server.origin}/metrics`)).text())?.[1])
  for (const id of ['first', 'second']) await says(id, 'saved')
  await page.evaluate(() => write('a'))
  for (const id of ['first', 'second']) await says(id, 'saved')
  await page.locator('#hide').click()
  await page.evaluate(() => write('b'))
  await says('first', 'saved')
  await page.locator('#other').click()
  await says('first', 'saved')
  await until('one connection is left', async () => (await connections()) === 1)
  await server.kill()
  await says('first', 'offline')
  await server.start()
  await says('first', 'saved')
})

test('w44_the_server_serves_the_module_and_the_package', async (t) => {
  const server = await startServer(t)
  const page = await openWindow(t, browser)
  await page.goto(server.origin)
  const exported = await page.evaluate(async (origin) => Object.keys(await import(`${origin}/track-saved.js`)), server.origin)
  const packed = await import(new URL('dist/node_modules/cowrite-track-saved/dist/track-saved.js', import.meta.url))
  assert.deepEqual(exported.toSorted(), Object.keys(packed).toSorted())

  const response = await fetch(`${server.origin}/cowrite-track-saved.tgz`)
  assert.match(response.headers.get('content-type'), /^application\//)
  const tarball = await readFile(new URL('../../web-demo/dist/cowrite-track-saved.tgz', import.meta.url))
  assert.ok(Buffer.from(await response.arrayBuffer()).equals(tarball))
  const types = await (await fetch(`${server.origin}/track-saved.d.ts`)).text()
  assert.equal(types, await readFile(new URL('dist/node_modules/cowrite-track-saved/dist/track-saved.d.ts', import.meta.url), 'utf8'))
  assert.ok(!/from '\./.test(types), 'the types of the module are one file')
})

/** A page whose site gives it tokens that `how.grants` says, each for a few seconds. */
async function openTokenPage(t, tag) {
  const how = { grants: 'team/*=write', asked: 0 }
  const token = async () => {
    how.asked++
    // So long that a slow machine has the next one before it ends.
    return mintToken(secret, how.grants, '5s')
  }
  // What the test does with the document.
  const source = `${programOf(tokens, tag)}\nglobalThis.write = (text) => doc.getText('text').insert(0, text)\nglobalThis.read = () => doc.getText('text').toString()`
  const { server, visit } = await serve(t, browser, tag, source, {
    api: { '/api/token': token }, env: { COWRITE_JWT_SECRET: secret, COWRITE_JWT_LEEWAY: '1s' },
  })
  return { how, server, page: await visit() }
}

for (const tag of ['token-y-websocket', 'token-hocuspocus']) {
  test(`t9_the_${tag}_program_goes_on_when_its_token_ends_and_says_so_when_it_may_not`, async (t) => {
    const { how, page } = await openTokenPage(t, tag)
    await shows(page, /^saved$/)
    await page.evaluate(() => write('first '))
    const before = how.asked
    await until('it has asked for two more tokens', () => how.asked >= before + 2)
    await page.evaluate(() => write('second '))
    await shows(page, /^saved$/)

    how.grants = 'other/*=write'
    await shows(page, /^You may not open this document$/)
    assert.equal(await page.evaluate(() => read()), 'second first ')
    const refused = how.asked
    how.grants = 'team/*=write'
    await page.reload()
    await shows(page, /^saved$/)
    await until('what was written is there', async () => (await page.evaluate(() => read())) === 'second first ')
    assert.ok(refused < 20, `it asked ${refused} times`)
  })
}
