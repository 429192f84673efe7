// What is costly holds up nobody else: not in other documents, not in its own, and not the end of the server.
import assert from 'node:assert/strict'
import { test } from 'node:test'

import { connect, newest, saved, synced } from '../lib/clients.js'
import { contested } from '../lib/costly.js'
import { mintToken, startServer } from '../lib/server.js'
import { until } from '../../lib/wait.mjs'
import { confirmed, speaker, step1, string, structs, update, varUint } from '../lib/wire.js'

test('l32 25,000 values that compete for a key, 38 times over, hold up no edit, no paste and no stop', async t => {
  const server = await startServer(t, ['--threads', '1'])
  const [ada, bob] = ['quick', 'pasted'].map(name => connect(t, newest, server, name))
  await synced(ada, bob)
  // No Yjs: integrating what comes would keep it busy for hours.
  const carl = await speaker(t, server, 'same')
  const attackers = await Promise.all(Array.from({ length: 4 }, () => speaker(t, server, 'same')))
  const sent = Array.from({ length: 38 }, (_, i) => {
    const message = update(contested(25_000, 1_000 + i))
    attackers[i % attackers.length].say(message)
    return message.length
  })
  assert.ok(sent[0] > 200_000)

  // When the first of it has come, the rest is on its way.
  await until('it arrives', async () => await server.metric('cowrite_received_bytes_total') >= sent[0])
  ada.text.insert(0, 'an edit')
  bob.text.insert(0, 'pasted '.repeat(3_000))
  carl.say(update(structs(1, 0, [[4, 1, ...string('text'), ...string('beside it')]])))
  await Promise.all([saved(ada), saved(bob), confirmed(carl)])
  await Promise.all(attackers.map(confirmed))
  assert.deepEqual([ada, bob].map(({ closes }) => closes), [[], []])

  for (let i = 0; i < 8; i++) attackers[i % attackers.length].say(update(contested(25_000, 2_000 + i)))
  ada.text.insert(0, 'more and ')
  await saved(ada)
  assert.deepEqual(await server.stop('SIGTERM'), { code: 0, signal: null }, server.log)
})

test('d13 odd state vectors of a reader hold up no edit, and no stop', async t => {
  const secret = 'a secret of at least thirty-two bytes'
  const server = await startServer(t, ['--threads', '1', '--jwt-secret', secret])
  const token = access => mintToken(secret, ['--sub', access, '--document', `*=${access}`])
  const write = { params: { token: await token('write') } }
  const [ada, bob] = ['large', 'quick'].map(name => connect(t, newest, server, name, write))
  await synced(ada, bob)
  for (let part = 0; part < 4; part++) {
    ada.text.insert(ada.text.length, String.fromCharCode(97 + part).repeat(6_000_000))
    await saved(ada)
  }
  const reader = await speaker(t, server, 'large', { headers: { authorization: `Bearer ${await token('read')}` } })
  let asked = 0
  let bytes = 0
  // A clock in the middle of its structs, another one each time.
  const ask = () => reader.say(step1([1, ...varUint(ada.doc.clientID), ...varUint(1_000 + 37 * asked++)]))
  // It asks again in the middle of an answer.
  let since = 0
  reader.socket.on('message', message => {
    bytes += message.length
    since += message.length
    reader.heard.length = 0
    if (since < 900_000) return
    since = 0
    ask()
  })
  for (let i = 0; i < 20; i++) ask()

  for (let times = 0; times < 20 || bytes < 24e6; times++) {
    ada.text.insert(0, 'a')
    bob.text.insert(0, 'b')
    await Promise.all([saved(ada), saved(bob)])
  }
  assert.equal(reader.socket.readyState, 1, 'it is asking all the time')
  assert.deepEqual([...ada.closes, ...bob.closes], [])
  assert.deepEqual(await server.stop('SIGTERM'), { code: 0, signal: null }, server.log)
})
