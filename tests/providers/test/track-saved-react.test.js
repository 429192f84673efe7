// The hook of cowrite-track-saved in React 18, rendered in Node; tests/browser has React 19.
import assert from 'node:assert/strict'
import { test } from 'node:test'

import { createElement, StrictMode } from 'react'
import { act, create } from 'react-test-renderer'

import { useSaved } from '../dist/node_modules/cowrite-track-saved/dist/react.js'
import { connections, secret, token } from '../lib/followed.js'
import { startServer } from '../lib/server.js'
import { until } from '../../lib/wait.mjs'

globalThis.IS_REACT_ACT_ENVIRONMENT = true

test('w45 the hook in React 18 follows a provider of each wire, and null', async t => {
  const server = await startServer(t, ['--jwt-secret', secret])
  // Node has no page that somebody leaves.
  assert.equal(globalThis.addEventListener, undefined)
  const Status = ({ provider }) => useSaved(provider).state
  const render = provider => createElement(StrictMode, null, createElement(Status, { provider }))
  let page
  await act(async () => { page = create(render(null)) })
  t.after(() => act(async () => page.unmount()))
  /** Renders until this is shown. */
  const shows = text => until(`it shows ${text}`, async () => {
    await act(async () => {})
    return page.toJSON() === text
  })
  await shows('connecting')
  for (const wire of ['y-websocket 3.1.0', 'hocuspocus 4.8.0', 'y-sweet 0.9.1']) {
    const client = connections[wire](t, server, 'notes', await token('*=write'))
    await act(async () => page.update(render(client.provider)))
    await shows('saved')
    // Nothing of the server can come within this.
    act(() => { client.text.insert(0, 'more') })
    assert.equal(page.toJSON(), 'saving')
    await shows('saved')
  }
  await act(async () => page.update(render(null)))
  await shows('connecting')
})
