// The demo on several servers on one real Postgres (scripts/with-postgres). The first word of a test is its rule in docs/SPEC.md.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import { startNodes } from '../../providers/lib/cluster.js'
import { startServer } from '../../providers/lib/server.js'
import { launch, openWindow, until, untilStatus } from '../browser.mjs'

let browser
before(async () => { browser = await launch() })
after(() => browser.close())

/** The part of the panel that tells of the server, on the page of a document. */
async function openPanel(t, server, name) {
  const page = await openWindow(t, browser, { profile: { name, color: '#1864ab' } })
  await page.goto(`${server.http}/d/plan`)
  await untilStatus(page, 'Saved')
  await page.getByRole('button', { name: 'Look inside', exact: true }).click()
  await page.getByRole('tab', { name: 'Server' }).click()
  return page.getByRole('tabpanel', { name: 'Server' })
}

test('w120_the_panel_says_which_node_serves_the_document_and_which_one_the_page_is_connected_to', async (t) => {
  const nodes = await startNodes(t, 2)
  const ids = await Promise.all(nodes.map(async ({ http }) => (await (await fetch(`${http}/version`)).json()).node.slice(0, 8)))
  const owner = await openPanel(t, nodes[0], 'Ada')
  const other = await openPanel(t, nodes[1], 'Bob')
  const says = (panel, text) => until(text, async () => (await panel.locator('.nodes').textContent()) === text)
  await says(owner, `Node ${ids[0]} serves this document, and you are connected to it.`)
  await says(other, `Node ${ids[0]} serves this document. You are connected through node ${ids[1]}.`)
  for (const panel of [owner, other]) {
    await panel.getByRole('row', { name: new RegExp(`^Bob.*y-websocket through ${ids[1]}`) }).waitFor()
    await panel.getByRole('row', { name: /^Ada.*y-websocket(?! through)/ }).waitFor()
  }

  const alone = await openPanel(t, await startServer(t), 'Ada')
  await alone.getByRole('row', { name: /^Ada.*y-websocket/ }).waitFor()
  assert.equal(await alone.locator('.nodes').isVisible(), false)
})
