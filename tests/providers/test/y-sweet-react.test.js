// y-sweet's React components, rendered in Node.
import assert from 'node:assert/strict'
import { test } from 'node:test'

import WebSocket from 'ws'
import { createElement } from 'react'
import { act, create } from 'react-test-renderer'
import {
  YDocProvider, useConnectionStatus, useHasLocalChanges, usePresence, usePresenceSetter, useText, useYjsProvider,
} from '@y-sweet/react'

import { startServer } from '../lib/server.js'
import { until } from '../../lib/wait.mjs'
import { end, manager, open, saved, serverToken } from '../lib/y-sweet.js'

// What a browser has.
globalThis.WebSocket ??= WebSocket
globalThis.IS_REACT_ACT_ENVIRONMENT = true

test('x28 components of @y-sweet/react show the document, who is here, and whether all is saved', async t => {
  const server = await startServer(t, ['--server-token', serverToken])
  const authEndpoint = () => manager(server).getOrCreateDocAndToken('notes')
  let shown = {}
  const Editor = () => {
    shown = {
      text: useText('text'), presence: usePresence(), announce: usePresenceSetter(), status: useConnectionStatus(),
      unsaved: useHasLocalChanges(), provider: useYjsProvider(),
    }
    return shown.text.toString()
  }
  const other = open(t, server, 'notes')
  await saved(other)

  let page
  await act(async () => {
    page = create(createElement(YDocProvider, { docId: 'notes', authEndpoint, showDebuggerLink: false }, createElement(Editor)))
  })
  t.after(async () => {
    end(shown.provider)
    await act(async () => page.unmount())
  })
  /** Renders until something is shown. */
  const shows = (what, condition) => until(what, async () => {
    await act(async () => {})
    return condition()
  })
  await shows('it is connected', () => shown.status === 'connected' && !shown.unsaved)
  other.text.insert(0, 'hello')
  other.provider.awareness.setLocalState({ user: 'ada' })
  await shows('the other’s text', () => page.toJSON() === 'hello')
  await shows('who is here', () => shown.presence.get(other.doc.clientID)?.user === 'ada')
  await act(async () => {
    shown.announce({ user: 'bob' })
    shown.text.insert(5, ' there')
  })
  await shows('that it is saved', () => !shown.unsaved && !shown.provider.hasLocalChanges)
  await until('the other has it', () => other.text.toString() === 'hello there')
  await until('the other sees it', () => other.provider.awareness.getStates().get(shown.provider.doc.clientID)?.user === 'bob')
  assert.equal(page.toJSON(), 'hello there')
})
