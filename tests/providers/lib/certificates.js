// Certificates of an authority that only these tests know.
import { generateKeyPairSync } from 'node:crypto'

import forge from 'node-forge'

const { pki } = forge
let serial = 1

function pair() {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048, privateKeyEncoding: { type: 'pkcs1', format: 'pem' }, publicKeyEncoding: { type: 'spki', format: 'pem' } })
  const secret = pki.privateKeyFromPem(privateKey)
  return { pem: privateKey, secret, open: pki.setRsaPublicKey(secret.n, secret.e) }
}

function certificate(name, keys, issuer, signs, extensions) {
  const made = pki.createCertificate()
  made.publicKey = keys.open
  made.serialNumber = String(serial++).padStart(2, '0')
  made.validity.notBefore = new Date(Date.now() - 3_600_000)
  made.validity.notAfter = new Date(Date.now() + 3_600_000)
  made.setSubject([{ name: 'commonName', value: name }])
  made.setIssuer([{ name: 'commonName', value: issuer }])
  made.setExtensions(extensions)
  made.sign(signs, forge.md.sha256.create())
  return pki.certificateToPem(made)
}

/** An authority: `ca` is its certificate, `issue` makes one for this machine under a name. */
export function authority() {
  const keys = pair()
  const ca = certificate('test authority', keys, 'test authority', keys.secret, [
    { name: 'basicConstraints', cA: true, critical: true }, { name: 'keyUsage', keyCertSign: true, critical: true }])
  const issue = name => {
    const own = pair()
    const cert = certificate(name, own, 'test authority', keys.secret, [
      { name: 'basicConstraints', cA: false },
      { name: 'extKeyUsage', serverAuth: true },
      { name: 'subjectAltName', altNames: [{ type: 2, value: 'localhost' }, { type: 7, ip: '127.0.0.1' }] }])
    return { cert, key: own.pem }
  }
  return { ca, issue }
}
