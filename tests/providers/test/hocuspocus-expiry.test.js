// Hocuspocus providers: what happens when a token ends.
import assert from 'node:assert/strict'
import { test } from 'node:test'

import { connect as connectYWebsocket, newest as newestYWebsocket } from '../lib/clients.js'
import { address, AUTH, CLOSE, connect, connectSocket, newest, PING, seen, settled, statuses, versions } from '../lib/hocuspocus.js'
import { mintToken, startServer } from '../lib/server.js'
import { until } from '../../lib/wait.mjs'

const secret = 'a secret of at least thirty-two bytes'
const guarded = t => startServer(t, ['--jwt-secret', secret])
const token = (...args) => mintToken(secret, ['--sub', 'ada', ...args])
// The server allows the clocks to differ by five seconds.
const shortLived = () => token('--document', '*=write', '--expires', '2s')
const longLived = () => token('--document', '*=write', '--expires', '1h')

/** Resolves when a token that lives for a moment, and was minted before, has ended for everybody. */
async function over(t, server, short) {
  const witness = connectYWebsocket(t, newestYWebsocket, server, 'witness', { params: { token: short } })
  await until('its session ended', () => witness.closes.length > 0, 40_000)
  assert.equal(witness.closes[0].code, 4401)
}

for (const name of ['hocuspocus 3.4.4', 'hocuspocus 4.8.0']) {
  const version = versions[name]

  test(`x10 ${name}: who is asked for a fresh token before the old one ends goes on`, async t => {
    const server = await guarded(t)
    const short = await shortLived()
    const long = await longLived()
    let calls = 0
    const client = connect(t, version, server, 'notes', { token: async () => calls++ === 0 ? short : long })
    const watcher = connect(t, newest, server, 'notes', { token: long })
    await Promise.all([settled(client, watcher), over(t, server, short)])
    client.text.insert(0, 'beyond the end')
    await settled(client)
    await until('it was taken', () => watcher.text.toString() === 'beyond the end')
    assert.equal(calls, 2)
    assert.deepEqual([client.wire.opened, client.wire.closes, client.refusals], [1, [], []])
    const asked = client.wire.heard.filter(({ type, content }) => type === AUTH && content[0] === 0)
    assert.equal(asked.length, 1)
  })

  test(`x10 ${name}: who has no fresh token is refused, its other documents go on`, async t => {
    const server = await guarded(t)
    const short = await shortLived()
    const long = await longLived()
    const wire = connectSocket(t, version, address(server))
    const ended = connect(t, version, server, 'ended', { wire, token: short })
    const other = connect(t, version, server, 'other', { wire, token: long })
    const watcher = connect(t, newest, server, 'ended', { token: long })
    await Promise.all([settled(ended, other, watcher), over(t, server, short)])
    await until('it is refused', () => ended.refusals.length > 0)
    ended.text.insert(0, 'too late')
    other.text.insert(0, 'on time')
    await settled(other)
    watcher.text.insert(0, 'others ')
    await settled(watcher)
    await until('its presence has gone', () => !seen(watcher, ended))
    assert.equal(watcher.text.toString(), 'others ')
    assert.equal(ended.text.toString(), 'too late')
    assert.equal(ended.provider.hasUnsyncedChanges, true)
  })

  test(`x10 ${name}: a fresh token that comes too late begins anew, and everything arrives`, async t => {
    const server = await guarded(t)
    const short = await shortLived()
    const long = await longLived()
    let calls = 0
    // The second one was asked for before the end and comes after it, as from a page that slept.
    const late = () => until('it is refused', () => client.refusals.length > 0).then(() => long)
    const client = connect(t, version, server, 'notes', { token: async () => calls++ === 1 ? late() : calls === 1 ? short : long })
    const watcher = connect(t, newest, server, 'notes', { token: long })
    await Promise.all([settled(client, watcher), over(t, server, short)])
    await until('its token was taken', () => client.granted > 1)
    watcher.text.insert(0, 'of others')
    await until('it hears of others', () => client.text.toString() === 'of others')
    client.text.insert(0, 'its own, ')
    await settled(client)
    await until('it is heard', () => watcher.text.toString() === 'its own, of others')
  })

  test(`x10 ${name}: a fresh token may allow less`, async t => {
    const server = await guarded(t)
    const short = await shortLived()
    const read = await token('--document', '*=read', '--expires', '1h')
    const long = await longLived()
    let calls = 0
    const client = connect(t, version, server, 'notes', { token: () => calls++ === 0 ? short : read })
    const watcher = connect(t, newest, server, 'notes', { token: long })
    await settled(client, watcher)
    assert.equal(client.provider.authorizedScope, 'read-write')
    await until('it may only read', () => client.provider.authorizedScope === 'readonly')
    client.text.insert(0, 'not taken')
    await until('it is told', () => statuses(client.wire, 'notes').at(-1) === 0)
    watcher.text.insert(0, 'taken')
    await until('it reads on', () => client.text.toString().includes('taken') && client.text.length === 14)
    assert.equal(watcher.text.toString(), 'taken')
  })
}

test('x10 hocuspocus 2.15.3: its socket is closed when its token ends, and it comes back with a fresh one', async t => {
  const server = await guarded(t)
  const short = await shortLived()
  const long = await longLived()
  let calls = 0
  const client = connect(t, versions['hocuspocus 2.15.3'], server, 'notes', { token: async () => calls++ === 0 ? short : long })
  const watcher = connect(t, newest, server, 'notes', { token: long })
  await Promise.all([settled(client, watcher), over(t, server, short)])
  await until('it is closed and comes back', () => client.wire.opened === 2 && client.provider.synced)
  client.text.insert(0, 'beyond the end')
  await until('it was taken', () => watcher.text.toString() === 'beyond the end')
  assert.equal(calls, 2)
  // After 4401, 4403 and 1009 it would not come back.
  assert.ok(![4401, 4403, 1009].includes(client.wire.closes[0].code), `${client.wire.closes[0].code}`)
  const heard = new Set(client.wire.heard.map(({ type }) => type))
  assert.deepEqual([CLOSE, PING].filter(type => heard.has(type)), [], 'x12: nothing that it cannot read')
})
