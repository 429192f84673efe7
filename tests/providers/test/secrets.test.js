// Planted secrets are looked for in the log of a server that has everything on, at the lowest level.
import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { get } from 'node:https'
import { join } from 'node:path'
import { test } from 'node:test'

import WebSocket from 'ws'

import { authority } from '../lib/certificates.js'
import { connect, newest, saved, synced } from '../lib/clients.js'
import { Issuer, makeKey } from '../lib/issuer.js'
import { folderFor, mintToken, run, startServer } from '../lib/server.js'
import { until } from '../../lib/wait.mjs'

const SECRETS = ['planted secret of thirty-two bytes, new', 'planted secret of thirty-two bytes, old']
const ADMIN = 'planted-admin-token-of-thirty-two-bytes'
const SERVER = 'planted-server-token-of-thirty-two-bytes'

// Whoever looks for a fault names places; the longest name that fits a place decides.
const NAMED = ['actix_http', 'actix_http::h1', 'actix_http::h1::dispatcher', 'actix_web::middleware', 'actix_server', 'rustls', 'rustls::conn', 'rustls::server', 'tokio_rustls', 'ureq', 'ureq::run', 'ureq_proto', 'ureq_proto::util', 'sled', 'sled::tree', 'sled::pagecache', 'mio::poll', 'tungstenite::protocol', 'tokio_postgres::connection', 'deadpool_postgres']
const FILTERS = { 'a9': 'trace', 'a17': ['trace', ...NAMED.map(name => `${name}=trace`)].join() }

for (const [rule, log] of Object.entries(FILTERS)) test(`${rule} no key, no token, no address of an issuer and nothing that is said is in the log, with TLS and a set of keys: ${log.slice(0, 40)}`, async t => {
  const folder = folderFor(t, 'secrets')
  const { ca, issue } = authority()
  const [own, file] = [issue('server'), name => join(folder, name)]
  for (const [name, text] of Object.entries({ 'ca.pem': ca, 'cert.pem': own.cert, 'key.pem': own.key })) await writeFile(file(name), text)
  class Trusting extends WebSocket {
    constructor(url, protocols) { super(url, protocols, { ca }) }
  }
  const key = await makeKey('ES256', 'planted-kid')
  const issuer = await new Issuer(t, { tls: issue('issuer') }).start()
  issuer.keys = [key]
  const flags = ['--jwks', issuer.url.replace('https://', 'https://planted:planted@'), '--jwks-refresh', '1s', '--tls-cert', file('cert.pem'), '--tls-key', file('key.pem'), '--admin-listen', '127.0.0.1:0', '--reader-presence', 'false']
  const variables = { COWRITE_JWT_SECRET: SECRETS.join('\n'), COWRITE_ADMIN_TOKEN: ADMIN, COWRITE_SERVER_TOKEN: SERVER, SSL_CERT_FILE: file('ca.pem') }
  const server = await startServer(t, flags, { log, variables })
  const url = `wss://${server.address}/ws`
  const ask = (path, headers = {}) => new Promise((resolve, reject) => get(`https://${server.address}${path}`, { ca, agent: false, headers }, response => resolve(response.resume().statusCode)).on('error', reject))

  const shown = [await key.sign('planted-user'), await mintToken(SECRETS[1], ['--sub', 'planted-user', '--document', '*=read'])]
  const [writer, reader] = shown.map(token => connect(t, newest, { url }, 'one', { WebSocketPolyfill: Trusting, params: { token } }))
  await synced(writer, reader)
  writer.text.insert(0, 'planted text')
  for (const one of [writer, reader]) one.provider.awareness.setLocalState({ user: { name: 'planted name' } })
  await saved(writer)
  await until('the reader has it', () => reader.text.length > 0)
  const unknown = await makeKey('ES256', 'planted-unknown')
  shown.push(await unknown.sign(), await key.sign('ada', { kid: 'planted-other' }), `${shown[0].slice(0, -8)}planted0`, (await mintToken(SECRETS[0], ['--sub', 'ada', '--document', 'x=read'])))
  for (const [number, token] of shown.slice(2).entries()) {
    const refused = connect(t, newest, { url }, 'one', { WebSocketPolyfill: Trusting, protocols: ['cowrite', `bearer.${token}`] })
    await until('it is refused', () => refused.closes.length > 0)
    // The first two are under unknown keys: each has the set read again, which is not done as often as one likes.
    if (number < 2) continue
    assert.ok([401, 403].includes(await ask(`/d/one/as-update?token=${token}`)))
    assert.ok([401, 403].includes(await ask('/d/one/as-update?planted', { authorization: `Bearer ${token}` })))
  }
  const admin = async body => (await fetch(`${server.admin}/admin/revoke?planted`, { method: 'POST', body, headers: { authorization: `Bearer ${ADMIN}` } })).status
  assert.deepEqual([await admin('{"leave":"planted"}'), await admin('{"document":"one","leave":"read"}')], [400, 200])
  await fetch(`${server.admin}/admin/sessions?planted`, { headers: { authorization: 'Bearer planted' } })
  for (const answer of ['planted nonsense', '{"keys":[{"kty":"planted"}]}', `{"keys":"${'planted'.repeat(100_000)}"}`]) {
    const mark = server.log.length
    issuer.answer = (_request, response) => response.end(answer)
    await until('it is told', () => server.log.slice(mark).includes('cannot be read'))
    delete issuer.answer
    await until('it is well again', () => server.log.slice(mark).includes('are here'))
  }
  await writeFile(file('key.pem'), '-----BEGIN PRIVATE KEY-----\nplanted\n-----END PRIVATE KEY-----')
  server.process.kill('SIGHUP')
  await until('it is told', () => server.log.includes('the certificate of before is kept'))
  await server.stop('SIGTERM')

  assert.ok(server.log.includes('TRACE') || server.log.includes('DEBUG'), server.log)
  assert.match(await readFile(file('ca.pem'), 'utf8'), /CERTIFICATE/)
  const secrets = ['planted', ...shown.map(token => token.split('.')[2]), own.key.split('\n')[1], Buffer.from('planted').toString('hex'), Buffer.from('planted').toString('base64').slice(0, 8)]
  const lines = server.log.split('\n').filter(line => secrets.some(secret => line.includes(secret)))
  assert.deepEqual(lines, [])

  for (const args of [['--jwt-secret', 'planted'], ['--jwks', 'http://planted:planted@issuer.example/?planted'], ['--jwks', 'https://[planted'], ['--server-token', 'planted'], ['--admin-token', 'planted']]) {
    const { code, output } = await run(['serve', '--data', file('data'), ...args])
    assert.equal(code, 2)
    assert.ok(!output.includes('planted'), output)
  }
})
