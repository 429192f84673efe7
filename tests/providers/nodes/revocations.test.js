// What an operator revokes on one of several servers holds on all of them (N31).
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as Y from 'yjs'

import { connect as connectYWebsocket, newest as yWebsocket, saved, synced } from '../lib/clients.js'
import { ownerOf, sql, startNode, startNodes } from '../lib/cluster.js'
import { connect as attach, newest, settled } from '../lib/hocuspocus.js'
import { mintToken } from '../lib/server.js'
import { until } from '../../lib/wait.mjs'

const SECRET = 'a-secret-of-at-least-thirty-two-bytes'
const ADMIN = 'the-admin-token-of-thirty-two-bytes'
const FLAGS = ['--jwt-secret', SECRET, '--admin-token', ADMIN]
const revoked = /the token was revoked/

const token = user => mintToken(SECRET, ['--sub', user, '--document', '*=write'])

async function revoke(node, what) {
  const headers = { authorization: `Bearer ${ADMIN}` }
  const answer = await fetch(`${node.http}/admin/revoke`, { method: 'POST', headers, body: JSON.stringify(what) })
  return { status: answer.status, body: await answer.text() }
}

/** Somebody on a node, who wrote a line into a document of its own that lives there. */
async function on(t, nodes, index, name, token) {
  const client = connectYWebsocket(t, yWebsocket, nodes[index], name, { params: { token } })
  await synced(client)
  client.text.insert(0, 'begun')
  await saved(client)
  assert.equal(await ownerOf(nodes, name), index)
  return client
}

/** Why somebody who comes with a token is refused. */
async function refusalOf(t, node, name, token) {
  const client = connectYWebsocket(t, yWebsocket, node, name, { params: { token } })
  await until('it is refused', () => client.closes.length > 0)
  client.provider.destroy()
  return client.closes[0].reason
}

test('n31 who is revoked on one server is sent away by all, also those that are restarted or start later', async t => {
  const nodes = await startNodes(t, 2, FLAGS)
  const [ada, bob] = await Promise.all([token('ada'), token('bob')])
  const away = await on(t, nodes, 1, 'theirs', ada)
  const other = await on(t, nodes, 1, 'others', bob)
  // Through the other node, to which it is a stranger's document.
  const carried = attach(t, newest, nodes[0], 'theirs', { token: ada })
  const through = connectYWebsocket(t, yWebsocket, nodes[0], 'theirs', { params: { token: ada } })
  await settled(carried)
  await synced(through)

  const { status } = await revoke(nodes[0], { user: 'ada' })
  assert.equal(status, 200)
  await until('all are told', () => [away, through].every(({ closes }) => closes.length > 0) && carried.refusals.length > 0)
  assert.deepEqual([away, through].map(({ closes }) => closes[0].code), [4403, 4403])
  assert.match(away.closes[0].reason, revoked)
  assert.match(carried.refusals[0], revoked)
  assert.deepEqual(other.closes, [])

  await nodes[1].stop('SIGKILL')
  await nodes[1].start()
  const third = await startNode(t, nodes.database, FLAGS)
  for (const node of [...nodes, third]) assert.match(await refusalOf(t, node, 'new', ada), revoked)
})

test('n31 a13 whose access is lowered on one server may only read on the other, with an old token', async t => {
  const nodes = await startNodes(t, 2, FLAGS)
  const ada = await token('ada')
  const writer = await on(t, nodes, 1, 'plan', ada)

  assert.deepEqual(await revoke(nodes[0], { user: 'ada', document: 'plan', leave: 'read' }), { status: 200, body: '{"lowered":0}' })
  const write = async () => {
    const state = new Y.Doc()
    state.getText('text').insert(0, 'x')
    const headers = { authorization: `Bearer ${ada}` }
    const answer = await fetch(`${nodes[1].http}/d/plan/update`, { method: 'POST', headers, body: Y.encodeStateAsUpdate(state) })
    return answer.status
  }
  await until('it may not write', async () => await write() === 403)
  const reader = connectYWebsocket(t, yWebsocket, nodes[1], 'plan', { params: { token: await token('bob') } })
  await synced(reader)
  const before = reader.text.toString()
  writer.text.insert(0, 'not taken')
  const also = connectYWebsocket(t, yWebsocket, nodes[1], 'plan', { params: { token: ada } })
  await synced(also)
  also.text.insert(0, 'nor this')
  reader.text.insert(0, 'after ')
  await saved(reader)
  assert.equal(reader.text.toString(), `after ${before}`)
})

test('n31 an operator whose database does not answer is told what holds and what does not', async t => {
  const nodes = await startNodes(t, 2, FLAGS)
  const ada = await token('ada')
  const [here, there] = [await on(t, nodes, 0, 'here', ada), await on(t, nodes, 1, 'there', ada)]
  await sql(nodes.database, 'alter table cowrite_order rename to cowrite_order_away')

  const { status, body } = await revoke(nodes[0], { user: 'ada' })
  assert.equal(status, 503)
  assert.match(body, /^1 sessions were ended.*until the server ends\..*not remembered after that, and other servers may not have heard of it: send it again/)
  await until('who is here is told', () => here.closes.length > 0)
  assert.match(await refusalOf(t, nodes[0], 'here', ada), revoked)
  assert.deepEqual(there.closes, [])

  await sql(nodes.database, 'alter table cowrite_order_away rename to cowrite_order')
  assert.deepEqual(await revoke(nodes[0], { user: 'ada' }), { status: 200, body: '{"ended":0}' })
  await until('who is there is told', () => there.closes.length > 0)
})
