// TLS without a proxy: the stock providers over `wss://`, with certificates of an authority that only these tests know.
import assert from 'node:assert/strict'
import { rm, writeFile } from 'node:fs/promises'
import { get } from 'node:https'
import { connect as connectTcp } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { connect as connectTls } from 'node:tls'

import { HocuspocusProvider, HocuspocusProviderWebsocket } from 'hocuspocus-4'
import WebSocket from 'ws'
import * as Y from 'yjs'

import { authority } from '../lib/certificates.js'
import { connect, newest, same, saved, synced } from '../lib/clients.js'
import { folderFor, mintToken, run, startServer } from '../lib/server.js'
import { until, within } from '../../lib/wait.mjs'
import { connect as connectYSweet } from '../lib/y-sweet.js'

const SECRET = 'a secret of at least thirty-two bytes'
const SERVER = 'a-server-token-of-thirty-two-bytes'
const { ca, issue } = authority()

class Trusting extends WebSocket {
  constructor(url, protocols) { super(url, protocols, { ca }) }
}

async function folderOf(t) {
  const folder = folderFor(t, 'tls')
  const files = { cert: join(folder, 'cert.pem'), key: join(folder, 'key.pem') }
  const put = async ({ cert, key }) => { await writeFile(files.cert, cert); await writeFile(files.key, key) }
  return { folder, ...files, put, flags: ['--tls-cert', files.cert, '--tls-key', files.key] }
}

async function start(t, flags = [], options) {
  const files = await folderOf(t)
  await files.put(issue('first'))
  const server = await startServer(t, [...files.flags, ...flags], options)
  return { files, server, url: `wss://${server.address}/ws` }
}

const join1 = (t, url, name, params = {}) => connect(t, newest, { url }, name, { WebSocketPolyfill: Trusting, params })

/** Asks over https; the status, the text and the name in the certificate. */
function ask(server, path, options = {}) {
  return new Promise((resolve, reject) => {
    const request = get(`https://${server.address}${path}`, { ca, agent: false, ...options }, response => {
      const name = response.socket.getPeerCertificate().subject.CN
      let text = ''
      response.on('data', data => { text += data }).on('end', () => resolve({ status: response.statusCode, text, name }))
    })
    request.on('error', reject)
  })
}

const shown = async server => (await ask(server, '/livez')).name

test('a10 editors on three wires meet over TLS, in many documents, with large texts', async t => {
  const { server, url } = await start(t, ['--threads', '3', '--server-token', SERVER])
  // Silent: its handshake has a deadline.
  const silent = connectTcp(Number(server.address.split(':')[1]), '127.0.0.1')
  const isOver = new Promise(resolve => silent.on('close', resolve).on('error', () => {}).resume())

  const long = 'x'.repeat(3_000_000)
  await Promise.all(Array.from({ length: 9 }, async (_, number) => {
    const token = await ask(server, `/doc/d${number}/auth`, { method: 'POST', headers: { authorization: `Bearer ${SERVER}`, 'content-type': 'application/json' } })
    const client = JSON.parse(token.text)
    assert.match(client.url, /^wss:\/\/127\.0\.0\.1:\d+\/d\/d\d\/ws$/)
    assert.match(client.baseUrl, /^https:/)
    const plain = join1(t, url, `d${number}`, { token: client.token })
    await synced(plain)
    plain.text.insert(0, number === 0 ? long : `text ${number}`)
    await saved(plain)
    const sweet = connectYSweet(t, `d${number}`, async () => client, { WebSocketPolyfill: Trusting })
    const socket = new HocuspocusProviderWebsocket({ url: `wss://${server.address}/hocuspocus`, WebSocketPolyfill: Trusting })
    t.after(() => { socket.connect = async () => {}; socket.destroy() })
    const doc = new Y.Doc()
    const hocuspocus = new HocuspocusProvider({ websocketProvider: socket, name: `d${number}`, document: doc, token: client.token })
    hocuspocus.attach()
    await same(plain, sweet, { text: doc.getText('text') })
    doc.getText('text').insert(0, 'from the third: ')
    sweet.text.insert(0, 'from the second: ')
    await until('all have it', () => new Set([plain.text, sweet.text, doc.getText('text')].map(text => text.toString())).size === 1 && plain.text.length > 30)
    hocuspocus.destroy()
  }))
  const again = join1(t, url, 'd0', { token: JSON.parse((await ask(server, '/doc/d0/auth', { method: 'POST', headers: { authorization: `Bearer ${SERVER}` } })).text).token })
  await until('a newcomer has all of it', () => again.text.length > long.length)
  assert.equal((await ask(server, `/d/d0/as-update`, { headers: { authorization: `Bearer ${SERVER}` } })).status, 200)
  await within('the silent one is closed', isOver)
})

test('a10 close codes and a stop arrive over TLS, and only HTTP/1.1 is spoken', async t => {
  const { server, url } = await start(t, ['--jwt-secret', SECRET])
  const refused = join1(t, url, 'one', { token: 'none' })
  await until('it is refused', () => refused.closes.length > 0)
  assert.equal(refused.closes[0].code, 4401)
  const client = join1(t, url, 'one', { token: await mintToken(SECRET, ['--sub', 'ada', '--document', '*=write']) })
  await synced(client)

  const [host, port] = server.address.split(':')
  const hello = options => new Promise(resolve => {
    const socket = connectTls({ host, port, ca, ...options }, () => { resolve(socket.alpnProtocol || socket.getProtocol()); socket.destroy() })
    socket.on('error', error => resolve(error.code))
  })
  assert.equal(await hello({ ALPNProtocols: ['h2', 'http/1.1'] }), 'http/1.1')
  assert.match(await hello({ ALPNProtocols: ['h2'] }), /ALERT_NO_APPLICATION_PROTOCOL/)
  assert.match(await hello({ maxVersion: 'TLSv1.1', minVersion: 'TLSv1', ciphers: 'DEFAULT@SECLEVEL=0' }), /ALERT_PROTOCOL_VERSION|UNSUPPORTED|ERR_SSL/)
  assert.equal(await hello({ maxVersion: 'TLSv1.2' }), 'TLSv1.2')
  await assert.rejects(fetch(`http://${server.address}/livez`))
  assert.equal((await ask(server, '/livez')).status, 200)

  assert.deepEqual(await server.stop('SIGTERM'), { code: 0, signal: null })
  await until('it is told to come back', () => client.closes.length > 0)
  assert.equal(client.closes[0].code, 1012)
})

test('a11 a new certificate is taken at once or in a moment, a bad one is not, and nobody is disconnected', async t => {
  const { files, server, url } = await start(t)
  const client = join1(t, url, 'one')
  await synced(client)
  assert.equal(await shown(server), 'first')

  await files.put(issue('second'))
  server.process.kill('SIGHUP')
  await until('the second is shown', async () => await shown(server) === 'second')
  await writeFile(files.cert, issue('of another key').cert)
  server.process.kill('SIGHUP')
  await until('it is told', () => server.log.includes('it is not the key of the certificate; the certificate of before is kept until both files are good'))
  assert.equal(await shown(server), 'second')
  await rm(files.key)
  server.process.kill('SIGHUP')
  await until('that is told as well', () => /ERROR.*--tls-key .*No such file/.test(server.log))
  assert.equal(await shown(server), 'second')
  await files.put(issue('third'))
  await until('the third is found without a signal', async () => await shown(server) === 'third')

  client.text.insert(0, 'goes on')
  await saved(client)
  assert.deepEqual(client.closes, [])
  assert.ok(!server.log.includes('PRIVATE'))
})

test('a11 a server that has no good certificate says why and does not start', async t => {
  const files = await folderOf(t)
  const good = issue('good')
  const attempts = [
    [{ ...good, cert: 'nothing' }, /--tls-cert .*cert\.pem: it is no PEM file with a CERTIFICATE/],
    [{ ...good, cert: good.key }, /--tls-cert .*: it is no PEM file with a CERTIFICATE/],
    [{ ...good, key: good.cert }, /--tls-key .*key\.pem: it is no PEM file with a PRIVATE KEY/],
    [{ ...good, key: issue('other').key }, /--tls-key .*: it is not the key of the certificate/],
    [{ ...good, cert: good.cert.replace(/\n.{20}/, '\nAAAAAAAAAAAAAAAAAAAA') }, /--tls-cert .*: its certificate is broken/],
  ]
  for (const [pair, said] of attempts) {
    await files.put(pair)
    const { code, output } = await run(['serve', '--data', join(files.folder, 'data'), ...files.flags])
    assert.equal(code, 2)
    assert.match(output, said)
  }
  const missing = await run(['serve', '--tls-cert', '/nowhere.pem', '--tls-key', '/nowhere.pem'])
  assert.match(missing.output, /--tls-cert \/nowhere\.pem: No such file/)
  const alone = await run(['serve', '--tls-cert', files.cert])
  assert.match(alone.output, /--tls-key/)
  assert.deepEqual([missing.code, alone.code], [2, 2])
})
