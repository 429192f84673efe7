// Files that rotted while the server was stopped: it starts, refuses the documents concerned with 1011, names
// them, and serves all others.
//
// DAMAGE=500 tries so many damages; the ordinary run a few.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'

import { Client } from '../lib/client.js'
import { Ended } from '../lib/watched.js'
import { Dice } from '../lib/dice.js'
import { Ledger, Writer, judge, judgeServer } from '../lib/oracle.js'
import { folderFor, serverFor } from '../lib/server.js'
import { TINY, session } from '../lib/session.js'
import { until } from '../lib/wait.js'

const seed = Number(process.env.SEED ?? Date.now() % 2 ** 32)
const tries = Number(process.env.DAMAGE ?? 12)

/** A stopped store of a few documents in several segments; answers its files with their lengths. */
async function stoppedStore(t, { killed = false } = {}) {
  const dice = new Dice(seed)
  const folder = folderFor(t)
  const pristine = join(folder, 'pristine')
  const server = serverFor(t, pristine, { flags: TINY })
  const ledger = new Ledger()
  await server.start()
  await session(ledger, server.url, { dice, documents: 6, steps: 8, ballast: 3_000 })
  if (killed) {
    await server.kill()
  } else {
    assert.deepEqual(await server.stop(), { code: 0, signal: null })
  }
  const files = []
  for (const entry of readdirSync(pristine, { withFileTypes: true, recursive: true })) {
    const path = join(entry.parentPath ?? entry.path, entry.name)
    const bytes = entry.isFile() ? statSync(path).size : 0
    if (bytes > 0) files.push({ path: path.slice(pristine.length + 1), bytes })
  }
  return { folder, pristine, ledger, dice, files, data: join(folder, 'data') }
}

/** A fresh copy of the store, with the damage done to it. */
function damaged({ pristine, data }, path, harm) {
  rmSync(data, { recursive: true, force: true })
  cpSync(pristine, data, { recursive: true })
  harm(join(data, path))
}

/** Each document is whole or refused with 1011; answers the refused ones. */
async function judgeEach(ledger, url) {
  const refused = []
  for (const document of ledger.documents.keys()) {
    // A server whose sled is not open yet says 1013: sled may have what is damaged in the journal.
    const close = await until(`${document} is whole or refused`, async () => {
      const close = await judgeOne(ledger, url, document)
      return close?.code === 1013 ? undefined : { code: 1000, ...close }
    })
    if (close.code === 1000) continue
    assert.equal(close.code, 1011, close.reason)
    refused.push(document)
  }
  return refused
}

/** The document is whole; answers the server's close when it refuses it. */
async function judgeOne(ledger, url, document) {
  const reader = new Client(url, document)
  try {
    await reader.whenSynced()
    judge(ledger, document, reader.doc)
  } catch (error) {
    if (!(error instanceof Ended)) throw error
    return error.close
  } finally {
    reader.end()
  }
}

test('a byte flipped or a file cut: refused documents are named, the others work and take edits', async t => {
  t.diagnostic(`seed ${seed}`)
  const segments = ({ files }) => files.filter(({ path }) => path.endsWith('.segment')).length
  let store = await stoppedStore(t)
  // Where a machine is slow, upkeep may have put all of it together before the stop.
  for (let again = 0; again < 5 && segments(store) < 2; again++) store = await stoppedStore(t)
  const { ledger, dice, files, data } = store
  const journal = files.filter(({ path }) => path.startsWith('journal/'))
  assert.ok(segments(store) >= 2, JSON.stringify(files))
  assert.ok(journal.some(({ path }) => path.endsWith('.hint')), JSON.stringify(files))
  assert.ok(files.some(({ path }) => path.startsWith('sled-')), JSON.stringify(files))
  let refusals = 0

  for (let i = 0; i < tries; i++) {
    const { path, bytes } = dice.pick(i % 4 === 3 ? files : journal)
    const at = dice.from(0, bytes - 1)
    const cut = dice.oneIn(4)
    const what = `${path} ${cut ? 'cut' : 'flipped'} at byte ${at} of ${bytes}`
    damaged(store, path, file => {
      if (cut) return truncateSync(file, at)
      const content = readFileSync(file)
      content[at] ^= 1 << dice.from(0, 7)
      writeFileSync(file, content)
    })
    const server = serverFor(t, data, { flags: TINY })
    try {
      await server.start()
      const refused = await judgeEach(ledger, server.url)
      refusals += refused.length
      const counted = await server.metric('cowrite_store_documents_damaged')
      for (const document of refused) await until(`${document} is named`, () => server.log.includes(document))
      // Only the segments hold what is nowhere else, and one byte of them is one record's at most.
      const most = !path.endsWith('.segment') ? 0 : cut ? ledger.documents.size : 1
      assert.ok(counted >= refused.length && counted <= most, `${what}: ${counted} are counted as damaged`)
      assert.ok(refused.length <= most, `${what}: ${refused} are refused`)
      const other = [...ledger.documents.keys()].find(document => !refused.includes(document)) ?? 'a new one'
      const copy = structuredClone(ledger.writers(other))
      const writer = new Writer(ledger, other, 'afterwards')
      await writer.connect(server.url)
      writer.write()
      await writer.whenAcknowledged()
      writer.end()
      await server.kill()
      await server.start()
      const later = await judgeEach(ledger, server.url)
      assert.deepEqual(later, refused, `${what}: who is refused does not change`)
      if (copy.size > 0) ledger.documents.set(other, copy)
      else ledger.documents.delete(other)
    } catch (error) {
      error.message = `seed ${seed}, ${what}: ${error.message}\n${server.log.slice(-3_000)}`
      throw error
    } finally {
      await server.kill()
    }
  }
  t.diagnostic(`${tries} damages, ${refusals} documents refused`)
})

test('a torn tail after a kill costs nothing acknowledged', async t => {
  t.diagnostic(`seed ${seed}`)
  const store = await stoppedStore(t, { killed: true })
  const { ledger, dice, files, data } = store
  const last = files.filter(({ path }) => path.endsWith('.segment')).map(({ path }) => path).sort().at(-1)

  for (let i = 0; i < 6; i++) {
    const rubbish = Buffer.from(dice.text(dice.from(1, 9_000)))
    damaged(store, last, file => writeFileSync(file, i % 2 ? rubbish : Buffer.alloc(rubbish.length), { flag: 'a' }))
    const server = serverFor(t, data, { flags: TINY })
    await server.start()
    await judgeServer(ledger, server.url)
    assert.equal(await server.metric('cowrite_store_documents_damaged'), 0)
    await server.kill()
  }
})

const harms = {
  removed: folder => rmSync(folder, { recursive: true }),
  emptied: folder => { rmSync(folder, { recursive: true }); mkdirSync(folder) },
  'a file instead of a folder': folder => { rmSync(folder, { recursive: true }); writeFileSync(folder, 'x') },
  'garbage in every file': folder => eachFile(folder, path => writeFileSync(path, Buffer.alloc(statSync(path).size, 0xa5))),
  'every file empty': folder => eachFile(folder, path => truncateSync(path, 0)),
  'a pipe that nobody writes to in place of its file': folder => {
    rmSync(join(folder, 'db'))
    execFileSync('mkfifo', [join(folder, 'db')])
  },
  'not readable as a configuration': folder => writeFileSync(join(folder, 'conf'), 'nonsense'),
}
for (const [name, harm] of Object.entries(harms)) {
  test(`sled ${name}: the server starts, serves everything, and rebuilds it`, async t => {
    const store = await stoppedStore(t)
    const { ledger, data, files } = store
    const sled = files.find(({ path }) => path.startsWith('sled-')).path.split('/')[0]
    damaged(store, sled, harm)
    const server = serverFor(t, data, { flags: TINY })

    await server.start()
    await judgeServer(ledger, server.url)
    assert.equal((await server.ready()).ready, true)
    const writer = new Writer(ledger, 'doc-0', 'afterwards')
    await writer.connect(server.url)
    writer.write()
    await writer.whenAcknowledged()
    writer.end()
    if (!name.startsWith('a pipe')) {
      await until('sled is rebuilt', async () => await server.metric('cowrite_store_rebuilding') === 0)
    }
    const { code } = await server.stop()
    assert.equal(code, 0, server.log.slice(-2_000))
    await server.start()
    await judgeServer(ledger, server.url)
  })
}

function eachFile(folder, change) {
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    if (entry.isFile()) change(join(entry.parentPath ?? entry.path, entry.name))
  }
}
