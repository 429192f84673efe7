// The recipes in docs/proxies.md, as they stand there, in the real proxies: only addresses, certificates and folders are others.
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { promisify } from 'node:util'

import { DocumentManager } from '@y-sweet/sdk'
import WebSocket from 'ws'
import * as Y from 'yjs'

import { connect, newest, saved, synced } from '../lib/clients.js'
import { connect as connectHocuspocus, newest as newestHocuspocus, settled } from '../lib/hocuspocus.js'
import { freePort } from '../../lib/ports.mjs'
import { atEnd, folderFor, mintToken, startServer } from '../lib/server.js'
import { until, within } from '../../lib/wait.mjs'
import { connect as connectYSweet, serverToken } from '../lib/y-sweet.js'

const SECRET = '0123456789abcdef0123456789abcdef'
/** Names that a proxy could make others of. The last one is no `a/b`. */
const NAMES = ['a/b', 'a//b', 'a/../b', 'a/./b', 'a?b', 'a#b', 'a%b', 'a b', 'a+b', 'a;b=c', 'a\\b', 'ä', '/a', 'a/', 'a%2Fb']

const docs = await readFile(new URL('../../../docs/proxies.md', import.meta.url), 'utf8')
const recipe = language => {
  const found = [...docs.matchAll(/^```(\w+) recipe\n([\s\S]*?)^```$/gm)].filter(([, name]) => name === language)
  assert.equal(found.length, 1, `one recipe for ${language}`)
  return found[0][2]
}

/** A proxy's configuration around the recipe, and the command that runs it in the foreground. */
const proxies = {
  nginx: folder => ({
    file: 'nginx.conf',
    text: `daemon off; user root; pid ${folder}/pid; error_log ${folder}/log/error.log; events {}
      http { client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/temp; fastcgi_temp_path ${folder}/f;
      uwsgi_temp_path ${folder}/u; scgi_temp_path ${folder}/s; access_log off;
      ${recipe('nginx')} }`,
    command: ['nginx', '-c', join(folder, 'nginx.conf'), '-e', join(folder, 'log/error.log')],
  }),
  caddy: folder => ({
    file: 'Caddyfile',
    text: `{\n admin off\n auto_https disable_redirects\n skip_install_trust\n}\n${recipe('caddyfile')}`,
    command: ['caddy', 'run', '--adapter', 'caddyfile', '--config', join(folder, 'Caddyfile')],
    variables: { XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder },
  }),
  apache: folder => ({
    file: 'apache.conf',
    text: `${['mpm_event', 'authz_core', 'ssl', 'socache_shmcb', 'proxy', 'proxy_http'].map(module =>
      `LoadModule ${module}_module /usr/lib/apache2/modules/mod_${module}.so`).join('\n')}
      User www-data\nGroup www-data\nServerName localhost\nPidFile ${folder}/pid\nErrorLog ${folder}/log/error.log\nDefaultRuntimeDir ${folder}\nListen 127.0.0.1:443\n${recipe('apache')}`,
    command: ['apache2', '-X', '-f', join(folder, 'apache.conf')],
  }),
}

let certificate
let folder
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cowrite-certificate-'))
  const [key, pem] = ['key', 'pem'].map(name => join(folder, name))
  await promisify(execFile)('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2',
    '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-keyout', key, '-out', pem])
  certificate = { key, pem, ca: await readFile(pem) }
})
after(() => rm(folder, { recursive: true, force: true }))

/** Starts a proxy in front of `server` and returns where it is. */
async function start(t, name, server, port) {
  const folder = folderFor(t, name)
  await Promise.all(['log/nginx', 'log/apache2'].map(inner => mkdir(join(folder, inner), { recursive: true })))
  const { file, text, command, variables } = proxies[name](folder)
  const own = text
    .replaceAll('127.0.0.1:8080', server.address)
    .replaceAll('/etc/ssl/docs.example.pem', certificate.pem)
    .replaceAll('/etc/ssl/docs.example.key', certificate.key)
    .replaceAll('/var/log/', `${folder}/log/`)
    .replaceAll(/\b443\b/g, String(port))
    .replaceAll('docs.example', name === 'caddy' ? `https://localhost:${port}` : 'localhost')
  await writeFile(join(folder, file), own)
  const child = spawn(command[0], command.slice(1), { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin`, ...variables } })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', text => { said += text })
  const ended = new Promise(resolve => child.once('exit', resolve))
  child.once('error', error => { said += error })
  atEnd(t, () => {
    child.kill('SIGTERM')
    return ended
  })
  const proxy = { name, folder, port, url: `wss://localhost:${port}/collab`, said: () => said }
  await until(`${name} answers`, async () => {
    if (child.exitCode !== null) throw new Error(`${name} ended: ${said}\n${await logs(proxy)}`)
    return ask(proxy, '/collab/').then(() => true, () => false)
  })
  return proxy
}

/** The answer to a request for a path, which is sent as it is written here. */
function ask({ port }, path, { method = 'GET', headers = {}, body } = {}) {
  return within(`an answer to ${path}`, new Promise((resolve, reject) => {
    const asked = request({ host: 'localhost', port, path, method, headers, ca: certificate.ca }, answer => {
      let text = ''
      answer.on('data', part => { text += part })
      answer.on('end', () => resolve({ status: answer.statusCode, headers: answer.headers, text }))
    })
    asked.on('error', reject)
    asked.end(body)
  }))
}

async function logs({ folder, said }) {
  const files = await readdir(join(folder, 'log'), { recursive: true, withFileTypes: true })
  const texts = files.filter(file => file.isFile()).map(file => readFile(join(file.parentPath, file.name), 'utf8'))
  return [said(), ...await Promise.all(texts)].join('\n')
}

for (const name of Object.keys(proxies)) {
  test(`e37 ${name}, by its recipe: every wire, every name, the demo, and nothing of an operator`, async t => {
    const port = await freePort()
    const server = await startServer(t, ['--base-path', '/collab', '--public-url', `https://localhost:${port}/collab`,
      '--jwt-secret', SECRET, '--server-token', serverToken, '--admin-token', `${SECRET}-of-an-operator`])
    const token = await mintToken(SECRET, ['--sub', 'ada', '--document', '*=write'])
    const proxy = await start(t, name, server, port)
    /** Connects as a browser does: from a page of that origin, over TLS. */
    class Secure extends WebSocket {
      constructor(url, protocols) {
        super(url, protocols, { ca: certificate.ca, origin: `https://localhost:${port}` })
        this.on('error', () => {})
      }
    }

    // Not every page encodes the slashes of a name.
    const rooms = NAMES.map(document => [document, encodeURIComponent(document)]).concat([['b//c', 'b//c'], ['b/c', 'b/c'], ['/c', '/c']])
    for (const [document, room] of rooms) {
      const params = { params: { token } }
      const far = connect(t, newest, { url: `${proxy.url}/ws` }, room, { ...params, WebSocketPolyfill: Secure })
      const near = connect(t, newest, { url: `ws://${server.address}/collab/ws` }, encodeURIComponent(document), params)
      await until(`${document} is synced`, () => {
        assert.deepEqual(far.closes.map(({ code }) => code).filter(code => code >= 4400), [], document)
        return far.provider.synced && near.provider.synced
      })
      far.text.insert(0, `<${document}>`)
      await saved(far)
      await until(`${document} is the same`, () => near.text.toString() === `<${document}>`)
      far.provider.destroy()
      near.provider.destroy()
    }

    const wire = { provider: new newestHocuspocus.HocuspocusProviderWebsocket({ url: `${proxy.url}/hocuspocus`, WebSocketPolyfill: Secure, quiet: true }) }
    t.after(() => wire.provider.destroy())
    const hocuspocus = connectHocuspocus(t, newestHocuspocus, server, 'a//b', { token, wire })
    await settled(hocuspocus)
    assert.equal(hocuspocus.text.toString(), '<a//b>')
    const manager = new DocumentManager(`ys://${encodeURIComponent(serverToken)}@${server.address}/collab`)
    const clientToken = await manager.getClientToken('a/b')
    assert.ok(clientToken.url.startsWith(`${proxy.url}/d/`), clientToken.url)
    const ySweet = connectYSweet(t, 'a/b', async () => clientToken, { WebSocketPolyfill: Secure })
    await until('y-sweet has it', () => ySweet.text.toString() === '<a/b>')

    // More than any of them takes by default, in one message and in one body.
    const large = 'x'.repeat(3_000_000)
    const writer = connect(t, newest, { url: `${proxy.url}/ws` }, 'large', { params: { token }, WebSocketPolyfill: Secure })
    await synced(writer)
    writer.text.insert(0, large)
    await saved(writer)
    const doc = new Y.Doc()
    doc.getText('text').insert(0, large)
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/octet-stream' }
    const posted = await ask(proxy, '/collab/d/a%2F%2Fb%2Flarge/update', { method: 'POST', headers, body: Y.encodeStateAsUpdate(doc) })
    assert.equal(posted.status, 200, posted.text)

    const page = await ask(proxy, '/collab/d/a%2F%2Fb', { headers: { accept: 'text/html' } })
    assert.equal(page.status, 200)
    const [, script] = page.text.match(/src="(\/collab\/assets\/[^"]+\.js)"/)
    assert.equal((await ask(proxy, script)).status, 200)
    const slash = await ask(proxy, '/collab')
    assert.equal(slash.status, 308)
    assert.equal(new URL(slash.headers.location, `https://localhost:${port}`).pathname, '/collab/')

    const climbing = ['/collab/..', '/collab/%2e%2e', '/collab/..%2f', '/collab/%2e%2e%2f', '/collab/d/../..', '/collab/;/..']
    const roots = ['', '/', '//', '/collab', '/collab/', ...climbing, ...climbing.map(path => `${path}/`)]
    for (const path of roots.flatMap(root => [`${root}/metrics`, `${root}/version`, `${root}/admin/sessions`])) {
      const authorization = `Bearer ${SECRET}-of-an-operator`
      const answer = await ask(proxy, path, { headers: { authorization } })
      assert.doesNotMatch(answer.text, /cowrite_connections|"sessions"|"version"/, path)
    }
    const signature = token.split('.')[2]
    const lines = (await logs(proxy)).split('\n').filter(line => line.includes(signature) || line.includes(clientToken.token))
    assert.deepEqual(lines, [])
  })
}
