// `cowrite import`: real Yjs reads what was imported from folders of the real servers (tests/fixtures/import).
import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

import * as Y from 'yjs'

import { exact } from '../../fixtures/yjs/exact.js'
import { connect, newest, synced } from '../lib/clients.js'
import { folderFor, run, startServer } from '../lib/server.js'
import { until } from '../../lib/wait.mjs'

const fixture = path => fileURLToPath(new URL(`../../fixtures/import/${path}`, import.meta.url))

for (const source of ['hocuspocus/db.sqlite', 'y-sweet', 'y-leveldb-0.1', 'y-leveldb-0.2', 'files']) {
  test(`b16 ${source}: a real client reads what Yjs reads of the source`, async t => {
    const server = await startServer(t)
    const contents = JSON.parse(await readFile(fixture(`${source.split('/')[0]}.json`)))

    const { output } = await run(['import', fixture(source), '--to', server.url])

    assert.match(output, /: 5 imported[,;]/)
    for (const [name, content] of Object.entries(contents)) {
      if (name.includes('\u0007')) continue
      const client = connect(t, newest, server, name)
      await synced(client)
      assert.equal(exact(client.doc), content, name)
    }
  })
}

test('b20 a server that is killed meanwhile gets all of it when it is back', async t => {
  const server = await startServer(t)
  const source = folderFor(t, 'import')
  const many = 600
  for (let number = 0; number < many; number++) {
    const doc = new Y.Doc()
    doc.getText('text').insert(0, `text ${number}`)
    await writeFile(join(source, `d${number}.bin`), Y.encodeStateAsUpdate(doc))
  }
  const imported = run(['import', source, '--to', server.url])
  let ended = false
  imported.then(() => { ended = true })
  const listed = async () => (await run(['doc', 'list', '--data', server.data])).output.split('\n').length - 1

  await until('some are there', async () => await listed() > 20)
  await server.stop('SIGKILL')
  assert.equal(ended, false, 'it was not finished')
  await server.start()
  const { code, output } = await imported

  assert.equal(code, 0, output)
  await server.stop('SIGKILL')
  assert.equal(await listed(), many)
})

test('b16 f16 what was imported of very many client ids is imported again, and completed', async t => {
  const server = await startServer(t)
  const source = folderFor(t, 'import')
  const crowd = new Y.Doc()
  for (let client = 1; client <= 5_000; client++) {
    const page = new Y.Doc()
    page.clientID = 100_000 + client
    page.getText(`text ${client % 7}`).insert(0, 'x')
    Y.applyUpdate(crowd, Y.encodeStateAsUpdate(page))
  }
  const imports = async () => {
    await writeFile(join(source, 'crowd.bin'), Y.encodeStateAsUpdate(crowd))
    return (await run(['import', source, '--to', server.url])).output
  }

  assert.match(await imports(), /: 1 imported/)
  const again = await imports()
  assert.doesNotMatch(again, /: 1 imported/, again)
  crowd.getText('text').insert(0, 'more')
  await imports()

  const client = connect(t, newest, server, 'crowd')
  await synced(client)
  assert.equal(exact(client.doc), exact(crowd))
})
