// What a page pays to open a stored document: from the moment when its provider connects until it holds all of it. The stock
// peer beside it sends Yjs' own state in one message.
//
// `npm run opening` takes some minutes, `npm run opening -- 3` fewer. It prints medians in ms, for pages whose code is cold (a page that opens its first
// document) and warm (that has opened it before).

import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { gunzipSync } from 'node:zlib'

import * as encoding from 'lib0/encoding'
import { build } from 'vite'
import WebSocketPolyfill, { WebSocketServer } from 'ws'
import { WebsocketProvider } from 'y-websocket'
import { writeSyncStep1, writeSyncStep2 } from 'y-protocols/sync'
import * as Y from 'yjs'

import { launch, until } from './browser.mjs'
import { startServer } from './server.mjs'

const ROUNDS = Number(process.argv[2] ?? 5)

/** A paper, as its author typed it. */
function paper() {
  const { txns } = JSON.parse(gunzipSync(readFileSync(new URL('../data/automerge-paper.json.gz', import.meta.url))))
  const doc = new Y.Doc()
  const text = doc.getText('t')
  for (const { patches } of txns) {
    for (const [at, deleted, inserted] of patches) {
      if (deleted > 0) text.delete(at, deleted)
      if (inserted !== '') text.insert(at, inserted)
    }
  }
  return doc
}

/** Paragraphs of forty authors, `bytes` in all. */
function wiki(bytes) {
  const doc = new Y.Doc()
  const list = doc.getArray('t')
  let random = 7
  const below = (most) => (random = random * 48_271 % 2_147_483_647) % most
  for (let written = 0; written < bytes;) {
    if (below(20) === 0) doc.clientID = 1_000 + below(40)
    const words = Array.from({ length: 12 }, () => below(1e9).toString(36)).join(' ')
    const paragraph = new Y.XmlText(words)
    list.insert(below(list.length + 1), [paragraph])
    paragraph.format(below(20), 9, { bold: true })
    written += words.length + 40
  }
  return doc
}

/** What a stock server does for who comes: one message with all that Yjs encodes. This one has it ready. */
async function stockPeer(t, docs) {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' })
  await once(server, 'listening')
  t.after(() => server.close())
  const says = (write) => {
    const message = encoding.createEncoder()
    encoding.writeVarUint(message, 0)
    write(message)
    return encoding.toUint8Array(message)
  }
  const ready = Object.fromEntries(Object.entries(docs).map(([name, doc]) => [name, {
    asks: says((message) => writeSyncStep1(message, doc)),
    answer: says((message) => writeSyncStep2(message, doc)),
  }]))
  server.on('connection', (socket, { url }) => {
    const { asks, answer } = ready[url.slice(1)]
    socket.on('message', ([kind, step]) => { if (kind === 0 && step === 0) socket.send(answer) })
    socket.send(asks)
  })
  return `ws://127.0.0.1:${server.address().port}`
}

const PROGRAM = `
import { WebsocketProvider } from 'y-websocket'
import * as Y from 'yjs'
globalThis.opens = (address, name, length) => new Promise((resolve, reject) => {
  const doc = new Y.Doc()
  const began = performance.now()
  const provider = new WebsocketProvider(address, name, doc, { disableBc: true })
  provider.once('sync', () => {
    const took = performance.now() - began
    const held = doc.get('t', name === 'paper' ? Y.Text : Y.Array).length
    provider.destroy()
    if (held === length) resolve(took)
    else reject(new Error(held + ' of ' + length))
  })
})`

/** A page that opens documents; it has its own site. */
async function site(t) {
  const { output } = await build({
    configFile: false,
    logLevel: 'error',
    root: new URL('.', import.meta.url).pathname,
    plugins: [{ name: 'program', resolveId: (id) => id === '/program.js' ? id : null, load: (id) => id === '/program.js' ? PROGRAM : null }],
    build: { write: false, reportCompressedSize: false, rollupOptions: { input: '/program.js', preserveEntrySignatures: false } },
  })
  const server = createServer((request, response) => {
    const isPage = request.url === '/'
    response.setHeader('content-type', isPage ? 'text/html' : 'text/javascript')
    response.end(isPage ? '<!doctype html><title>opens</title><script type="module" src="/program.js"></script>' : output[0].code)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  return `http://127.0.0.1:${server.address().port}`
}

const median = (numbers) => numbers.toSorted((a, b) => a - b)[numbers.length >> 1]

async function measure(t) {
  const docs = { paper: paper(), 'wiki-600-kB': wiki(600_000), 'wiki-2-MB': wiki(2_000_000), 'wiki-6-MB': wiki(6_000_000) }
  const origin = await site(t)
  const server = await startServer(t, { flags: ['--allow-origin', origin] })
  const addresses = { cowrite: `${server.origin.replace('http', 'ws')}/ws`, stock: await stockPeer(t, docs) }
  for (const [name, doc] of Object.entries(docs)) {
    const options = { disableBc: true, WebSocketPolyfill }
    const copy = new Y.Doc()
    const providers = [doc, copy].map((one) => new WebsocketProvider(addresses.cowrite, name, one, options))
    await until(`${name} is there`, async () => Buffer.compare(Y.encodeStateVector(copy), Y.encodeStateVector(doc)) === 0)
    providers.forEach((provider) => provider.destroy())
  }
  const browser = await launch()
  t.after(() => browser.close())
  for (const [name, doc] of Object.entries(docs)) {
    const times = { cold: { cowrite: [], stock: [] }, warm: { cowrite: [], stock: [] } }
    for (let round = 0; round < ROUNDS; round++) {
      for (const who of round % 2 === 0 ? ['cowrite', 'stock'] : ['stock', 'cowrite']) {
        const context = await browser.newContext()
        const page = await context.newPage()
        await page.goto(origin)
        await page.waitForFunction(() => globalThis.opens !== undefined)
        for (const how of ['cold', 'unused', 'unused', 'warm']) {
          const took = await page.evaluate((args) => globalThis.opens(...args), [addresses[who], name, doc.get('t').length])
          times[how]?.[who].push(took)
        }
        await context.close()
      }
    }
    const bytes = Y.encodeStateAsUpdate(doc).length
    for (const [how, { cowrite, stock }] of Object.entries(times)) {
      const [ours, theirs] = [median(cowrite), median(stock)]
      console.log(`${name}, ${(bytes / 1e3).toFixed(0)} kB, ${how}: ${ours.toFixed(0)} ms, one message ${theirs.toFixed(0)} ms, ${(ours / theirs).toFixed(2)} times`)
    }
  }
}

const ends = []
try {
  await measure({ name: 'opening', after: (end) => ends.unshift(end), signal: new AbortController().signal })
} finally {
  for (const end of ends) await end()
}
