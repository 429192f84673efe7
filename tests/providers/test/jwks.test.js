// The issuer's set of keys, at a real address, with tokens that `jose` signs.
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'

import { SignJWT, exportJWK, exportSPKI } from 'jose'
import WebSocket from 'ws'

import { authority } from '../lib/certificates.js'
import { connect as connectYWebsocket, newest as newestYWebsocket, synced } from '../lib/clients.js'
import { auth, connect, newest, settled, speaker as speakHocuspocus } from '../lib/hocuspocus.js'
import { Issuer, makeKey } from '../lib/issuer.js'
import { folderFor, run, startServer } from '../lib/server.js'
import { until, within } from '../../lib/wait.mjs'

/** The status and the text with which a token is answered. */
async function shows(server, token) {
  const response = await fetch(`${server.http}/d/one/as-update`, { headers: { authorization: `Bearer ${token}` } })
  return { status: response.status, text: response.ok ? '' : (await response.text()).trim() }
}

async function lets(server, token) {
  return (await shows(server, token)).status
}

async function ready(server) {
  const response = await fetch(`${server.http}/readyz`)
  return { status: response.status, ...await response.json() }
}

async function start(t, keys, flags = [], options = {}) {
  const issuer = await new Issuer(t).start()
  issuer.keys = keys
  const server = await startServer(t, ['--jwks', issuer.url, ...flags], options)
  return { issuer, server }
}

test('t12 a token of each algorithm is believed under its own key, and under no other algorithm', async t => {
  const algorithms = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'EdDSA']
  const keys = await Promise.all(algorithms.map(alg => makeKey(alg, `key of ${alg}`)))
  const plain = await Promise.all(['RS256', 'ES256', 'ES384', 'EdDSA'].map(alg => makeKey(alg, `plain ${alg}`, { alg: '' })))
  const { server } = await start(t, [...keys, ...plain])

  for (const key of [...keys, ...plain]) assert.equal(await lets(server, await key.sign()), 200, key.kid)
  const [rs256, rs384] = keys
  const crossed = await new SignJWT({ documents: { '*': 'write' } })
    .setProtectedHeader({ alg: 'PS256', kid: rs256.kid }).setSubject('ada').setExpirationTime('1h').sign(rs256.privateKey).catch(() => undefined)
  assert.equal(crossed, undefined, 'jose keeps to the algorithm of a key as well')
  const byHand = await forge('PS256', rs256)
  assert.equal(await lets(server, byHand), 401, 'RSA with the padding of another algorithm')
  assert.equal(await lets(server, await rs384.sign('ada', { kid: rs256.kid })), 401, 'the kid of another algorithm')
  assert.equal(await lets(server, await rs384.sign('ada', { kid: '' })), 200, 'no kid: any key of its algorithm')
  assert.equal(await lets(server, (await rs256.sign()).slice(0, -6) + 'AAAAAA'), 401)
})

/** A token whose algorithm is not that of its key. */
async function forge(alg, key) {
  const { importPKCS8, exportPKCS8 } = await import('jose')
  const other = await importPKCS8(await exportPKCS8(key.privateKey), alg)
  return new SignJWT({ documents: { '*': 'write' } })
    .setProtectedHeader({ alg, kid: key.kid }).setSubject('ada').setExpirationTime('1h').sign(other)
}

test('t12 what is secret, or not for signatures, is no key of a set', async t => {
  const good = await makeKey('ES256', 'good')
  const encryption = await makeKey('ES256', 'encryption', { use: 'enc' })
  const leaked = await makeKey('ES256', 'leaked')
  leaked.jwk = { ...await exportJWK(leaked.privateKey), kid: 'leaked', alg: 'ES256' }
  const shared = new TextEncoder().encode('a secret of at least thirty-two bytes')
  const symmetric = { kty: 'oct', kid: 'shared', alg: 'HS256', k: Buffer.from(shared).toString('base64url') }
  const { server } = await start(t, [symmetric, encryption, leaked, { kty: 'AKP', alg: 'ML-DSA-44', pub: 'AA' }, 7, good])
  const hmac = (kid, secret) => new SignJWT({ documents: { '*': 'write' } })
    .setProtectedHeader({ alg: 'HS256', kid }).setSubject('ada').setExpirationTime('1h').sign(secret)

  assert.equal(await lets(server, await good.sign()), 200)
  assert.deepEqual(await shows(server, await hmac('shared', shared)), { status: 401, text: 'the token must be signed with ES256' })
  const pem = new TextEncoder().encode(await exportSPKI(good.publicKey))
  assert.equal(await lets(server, await hmac('good', pem)), 401, 'a public key is never a secret')
  assert.match((await shows(server, await encryption.sign())).text, /kid/)
  assert.equal(await lets(server, await leaked.sign()), 401)
})

test('t11 a new key is taken at its first token, on all wires, and one that was taken out is good no longer', async t => {
  const [old, young] = await Promise.all([makeKey('RS256', 'old'), makeKey('ES384', 'young')])
  const { issuer, server } = await start(t, [old], ['--jwks-refresh', '1h'])
  const first = connectYWebsocket(t, newestYWebsocket, server, 'one', { params: { token: await old.sign() } })
  await synced(first)
  assert.equal(issuer.asked, 1)

  issuer.keys = [young]
  const [token, gone] = [await young.sign(), await old.sign()]
  const plain = connectYWebsocket(t, newestYWebsocket, server, 'one', { params: { token } })
  const hocuspocus = connect(t, newest, server, 'one', { token })
  await Promise.all([synced(plain), settled(hocuspocus)])
  assert.equal(await lets(server, token), 200)
  assert.ok(issuer.asked <= 3, `${issuer.asked}`)
  assert.equal(await lets(server, gone), 401)
  first.text.insert(0, 'who is in stays')
  await until('everybody has it', () => [plain, hocuspocus].every(({ text }) => text.toString() === 'who is in stays'))
  assert.deepEqual(first.closes, [])
})

test('t11 the set is read again by itself', async t => {
  const [old, young] = await Promise.all([makeKey('ES256', 'old'), makeKey('ES256', 'young')])
  const { issuer, server } = await start(t, [old, young], ['--jwks-refresh', '1s'])
  assert.equal(await lets(server, await old.sign()), 200)

  issuer.keys = [young]
  await until('the old key is no longer believed', async () => await lets(server, await old.sign()) === 401)
  assert.equal(await lets(server, await young.sign()), 200)
})

test('t11 unknown keys do not make the server a burden to its issuer', async t => {
  const [good, unknown] = await Promise.all([makeKey('ES256', 'good'), makeKey('ES256', 'unknown')])
  const { issuer, server } = await start(t, [good])
  const tokens = await Promise.all(Array.from({ length: 60 }, (_, number) => unknown.sign('eve', { kid: `unknown ${number}` })))

  const began = Date.now()
  assert.deepEqual(new Set(await Promise.all(tokens.map(token => lets(server, token)))), new Set([401]))
  // One at the start, three that were saved up, and one in ten seconds.
  assert.ok(issuer.asked <= 4 + Math.ceil((Date.now() - began) / 10_000), `${issuer.asked} times for ${tokens.length} tokens`)
  assert.equal(await lets(server, await good.sign()), 200)
})

test('a19 nobody has the issuer asked who would not be let in with what it says', async t => {
  const key = await makeKey('ES256', 'known')
  const { issuer, server } = await start(t, [key])
  await until('it is ready', async () => (await ready(server)).status === 200)
  const before = issuer.asked
  const token = await (await makeKey('ES256', 'unknown')).sign()
  const comes = (path, options) => {
    const socket = new WebSocket(`ws://${server.address}${path}?token=${token}`, options)
    t.after(() => socket.terminate())
    socket.on('error', () => {})
    return within('it is closed', new Promise(resolve => socket.once('close', code => resolve(code))))
  }
  const foreign = { origin: 'https://elsewhere.example' }
  for (const path of ['/ws/one', '/d/one/ws/one', '/doc/ws/one', '/hocuspocus']) assert.equal(await comes(path, foreign), 4403, path)
  for (const path of ['/ws/a%00b', '/d/a%00b/ws/a%00b', '/d/one/ws/two']) assert.equal(await comes(path), 4400, path)
  const hocuspocus = await speakHocuspocus(t, server)
  hocuspocus.say(auth('a\u0001b', token))
  await until('it is denied', () => hocuspocus.heard.length > 0)
  assert.equal(issuer.asked, before)

  assert.equal(await comes('/ws/one'), 4401)
  assert.equal(issuer.asked, before + 1, 'the rest is asked for')
})

test('t13 a server whose issuer is down says so, lets nobody in who cannot be judged, and goes on when it is up', async t => {
  const key = await makeKey('ES256', 'key')
  const issuer = await new Issuer(t).start()
  issuer.keys = [key]
  await issuer.stop()
  const server = await startServer(t, ['--jwks', issuer.url])
  const told = /ERROR.*the keys of http:\/\/127\.0\.0\.1:\d+\/keys cannot be read: .*refused.*nobody with a token of theirs is let in/
  await until('it says so', () => told.test(server.log))
  assert.deepEqual(await ready(server), { status: 503, ready: false, reason: `the issuer's keys could not be fetched yet from ${issuer.url.split('?')[0]}` })
  const client = connectYWebsocket(t, newestYWebsocket, server, 'one', { params: { token: await key.sign() }, maxBackoffTime: 100 })
  await until('it is told to come back', () => client.closes.length > 0)
  assert.deepEqual(client.closes[0], { code: 1013, reason: 'the issuer\'s keys cannot be fetched now: come back' })

  await issuer.start()
  await synced(client)
  assert.equal((await ready(server)).status, 200)
})

test('t13 the last set is kept while the issuer is down, slow, wrong or gives too much', async t => {
  const [key, unknown] = await Promise.all([makeKey('ES256', 'key'), makeKey('ES256', 'unknown')])
  const { issuer, server } = await start(t, [key], ['--jwks-refresh', '1s'])
  const wrong = [
    [/the issuer answered 500/, (_request, response) => response.writeHead(500).end()],
    [/it is no JWKS/, (_request, response) => response.end('<!doctype html>')],
    [/it has no keys/, (_request, response) => response.end('{"keys":[]}')],
    [/it is a shared secret/, (_request, response) => response.end('{"keys":[{"kty":"oct","k":"AAAA"}]}')],
    [/the issuer answered 302|sent the request elsewhere/, (_request, response) => response.writeHead(302, { location: 'http://127.0.0.1:1/' }).end()],
    [/it is longer than 512 KiB/, (_request, response) => response.end(JSON.stringify({ keys: [key.jwk], more: 'x'.repeat(600_000) }))],
    [/it has 65 keys/, (_request, response) => response.end(JSON.stringify({ keys: Array(65).fill(key.jwk) }))],
  ]
  for (const [said, answer] of wrong) {
    issuer.answer = answer
    await until(`it is told: ${said}`, () => said.test(server.log))
    assert.equal(await lets(server, await key.sign()), 200, `${said}`)
    await until('that, too', () => server.log.includes('the last ones are kept'))
    delete issuer.answer
    const mark = server.log.length
    await until('it is well again', () => server.log.slice(mark).includes('are here: 1'))
  }
  issuer.answer = () => {}
  const asked = issuer.asked
  await until('the issuer does not answer', () => issuer.asked > asked)
  assert.equal(await lets(server, await key.sign()), 200, 'nobody who is known waits for it')
  await issuer.stop()
  assert.deepEqual(await shows(server, await unknown.sign()), { status: 503, text: 'the issuer\'s keys cannot be fetched now: come back' })
  assert.equal(await lets(server, await key.sign()), 200)
})

test('t13 a set in a file is read again when it changes; one that cannot be read at start ends the server', async t => {
  const folder = folderFor(t, 'keys')
  const file = join(folder, 'keys.json')
  const [old, young] = await Promise.all([makeKey('EdDSA', 'old'), makeKey('PS384', 'young')])
  const write = keys => writeFile(file, JSON.stringify({ keys: keys.map(key => key.jwk) }))
  await write([old])
  const server = await startServer(t, ['--jwks', file, '--jwks-refresh', '1h'])
  assert.equal(await lets(server, await old.sign()), 200)

  await write([young])
  assert.equal(await lets(server, await young.sign()), 200)
  await writeFile(file, '{"keys":')
  assert.equal(await lets(server, await young.sign()), 200)

  for (const [set, said] of [[join(folder, 'none.json'), /No such file/], [file, /it is no JWKS/], ['http://issuer.example/keys', /without TLS/], ['ftp://issuer.example/', /write https:/]]) {
    const { code, output } = await run(['serve', '--data', join(folder, 'data'), '--jwks', set])
    assert.equal(code, 2)
    assert.match(output, said)
  }
})

test('t11 an issuer with TLS is believed by the certificates of this machine', async t => {
  const folder = folderFor(t, 'roots')
  const { ca, issue } = authority()
  await writeFile(join(folder, 'ca.pem'), ca)
  await writeFile(join(folder, 'other.pem'), authority().ca)
  const key = await makeKey('RS256', 'key')
  const issuer = await new Issuer(t, { tls: issue('issuer') }).start()
  issuer.keys = [key]
  const trusts = file => startServer(t, ['--jwks', issuer.url], { variables: { SSL_CERT_FILE: join(folder, file) } })

  assert.equal(await lets(await trusts('ca.pem'), await key.sign()), 200)
  const strict = await trusts('other.pem')
  await until('it says so', () => /cannot be read: .*certificate/i.test(strict.log))
  assert.equal(await lets(strict, await key.sign()), 503)
})

test('t10 several keys at a time: each is believed, the one that is named alone, and tokens are made with the first', async t => {
  const folder = folderFor(t, 'pem')
  const [one, two, three] = await Promise.all([makeKey('ES256', 'one'), makeKey('ES256', 'two'), makeKey('ES384')])
  for (const [name, key] of Object.entries({ one, two, three })) await writeFile(join(folder, `${name}.pem`), await exportSPKI(key.publicKey))
  const secrets = ['the first secret of two, which signs', 'the second secret, which was the first']
  const files = [`one=${folder}/one.pem`, `two=${folder}/two.pem`, `${folder}/three.pem`]
  const server = await startServer(t, [], { variables: { COWRITE_JWT_SECRET: secrets.join('\n'), COWRITE_JWT_PUBLIC_KEY: files.join(',') } })
  const minted = async lines => (await run(['token', '--sub', 'ada', '--document', '*=write'], { COWRITE_JWT_SECRET: lines })).output.trim()

  for (const key of [one, two, three]) assert.equal(await lets(server, await key.sign()), 200)
  for (const secret of secrets) assert.equal(await lets(server, await minted(secret)), 200)
  assert.equal(await lets(server, await minted(`${secrets[0]}\n`)), 200)
  assert.equal(await lets(server, await one.sign('ada', { kid: '' })), 200)
  assert.equal(await lets(server, await one.sign('ada', { kid: 'two' })), 401, 'the other one is named')
  assert.equal(await lets(server, await three.sign('ada', { kid: 'x' })), 200, 'a key without a name is tried')
  const { text } = await shows(server, await one.sign('ada', { kid: 'planted' }))
  assert.equal(text, 'the token\'s key (`kid`) is not one of this server\'s: get a new token')
})
