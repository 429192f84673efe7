// An issuer of tokens with its set of keys at an address of its own, as an identity provider has one.
import { createServer } from 'node:http'
import { createServer as createSecureServer } from 'node:https'

import { SignJWT, exportJWK, generateKeyPair } from 'jose'

/** Makes a key pair; `sign` gives a token of it, and `jwk` is its public half as a set has it. */
export async function makeKey(alg, kid, { alg: said = alg, ...more } = {}) {
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true })
  const jwk = { ...await exportJWK(publicKey), use: 'sig', ...(kid && { kid }), ...(said && { alg: said }), ...more }
  const sign = (user = 'ada', { kid: named = kid, claims } = {}) => new SignJWT({ documents: { '*': 'write' }, ...claims })
    .setProtectedHeader({ alg, ...(named && { kid: named }) })
    .setSubject(user)
    .setIssuedAt()
    .setExpirationTime('1h')
    .sign(privateKey)
  return { alg, kid, jwk, sign, privateKey, publicKey }
}

/** An issuer on a port of its own; it may be down until `start`, and answers what `answer` says. */
export class Issuer {
  constructor(t, { tls } = {}) {
    this.keys = []
    this.asked = 0
    this.port = 0
    this.tls = tls
    t.after(() => this.stop())
  }

  /** What it answers; tests put something else here. */
  answer(_request, response) {
    response.setHeader('content-type', 'application/jwk-set+json').end(JSON.stringify({ keys: this.keys.map(key => key.jwk ?? key) }))
  }

  async start() {
    const listener = (request, response) => { this.asked++; this.answer(request, response) }
    this.server = this.tls ? createSecureServer(this.tls, listener) : createServer(listener)
    await new Promise(resolve => this.server.listen(this.port, '127.0.0.1', resolve))
    this.port = this.server.address().port
    return this
  }

  async stop() {
    const server = this.server
    this.server = undefined
    if (!server) return
    server.closeAllConnections()
    await new Promise(resolve => server.close(resolve))
  }

  get url() { return `${this.tls ? 'https' : 'http'}://127.0.0.1:${this.port}/keys?planted=secret` }
}
