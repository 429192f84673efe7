// Backups in a bucket of a real S3 server, which checks signatures (moto), with a line between that fails.
import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'

import { Client } from '../lib/client.js'
import { Dice } from '../lib/dice.js'
import { run as cowrite } from '../../lib/server.mjs'
import { lineTo, objectStore, skip, variables } from '../lib/object-store.js'
import { folderFor, serverFor } from '../lib/server.js'
import { until } from '../lib/wait.js'

const DOCUMENTS = ['a', 'b', 'c']

/** Appends text to each document, saved when this resolves. */
async function write(server, text) {
  await Promise.all(DOCUMENTS.map(async name => {
    const client = new Client(server.url, name)
    await client.when('it is synced', () => client.synced)
    client.doc.getText('t').insert(client.doc.getText('t').length, text)
    await client.saved()
    client.end()
  }))
}

/** The text of a document in a data folder on which no server runs. */
async function content(data, name) {
  const { code, out, err } = await cowrite(['doc', 'export', name, '--data', data, '--as', 'json'], {})
  assert.equal(code, 0, err)
  return JSON.parse(out)
}

async function done(args, variables) {
  const { code, out, err } = await cowrite(args, variables)
  assert.equal(code, 0, `${args.join(' ')}: ${out}${err}`)
  return out
}

/** Restores to a new folder and answers what each document holds there. */
async function restored(folder, target, variables, ...flags) {
  const data = join(folder, `restored-${Math.random()}`)
  await done(['restore', target, '--data', data, ...flags], variables)
  return await Promise.all(DOCUMENTS.map(name => content(data, name)))
}

const shown = texts => assert.ok(texts.every(text => JSON.stringify(text).length > 2), JSON.stringify(texts))

test('B26, B27, B32: what a folder has a bucket has: runs, only what is new, verify, a time, one of many runs', { skip }, async t => {
  const store = await objectStore(t)
  const folder = folderFor(t)
  const data = join(folder, 'data')
  const target = 's3://backups/some/where'
  const server = await serverFor(t, data, { flags: ['--keep-history', '1h', '--threads', '2'] }).start()
  const backup = (...flags) => done(['backup', target, '--data', data, ...flags], store.variables)

  await write(server, 'first')
  assert.match(await backup(), /^run 1 of \S+: 3 documents; 1 file copied \(.*\), 0 kept\n$/)
  const texts = [await restored(folder, target, store.variables)]
  shown(texts[0])
  const between = new Date().toISOString()
  await write(server, 'second')
  assert.match(await backup(), /^run 2 of .*; 1 file copied/)
  assert.match(await backup(), /^run 3 of .*; 0 files copied \(0 B\), 1 kept/)
  texts.push(await restored(folder, target, store.variables))

  assert.notDeepEqual(texts[1], texts[0])
  assert.deepEqual(await restored(folder, target, store.variables, '--run', '1'), texts[0])
  assert.deepEqual(await restored(folder, target, store.variables, '--at', between), texts[0])
  const verified = await done(['verify', target, '--all'], store.variables)
  assert.equal(verified.match(/nothing is damaged/g).length, 3, verified)

  assert.match(await backup('--keep', '0s'), /^run 4 of .*; 3 older runs removed\n$/)
  assert.deepEqual(await restored(folder, target, store.variables), texts[1])
  assert.match((await cowrite(['restore', target, '--data', join(folder, 'x'), '--run', '1'], store.variables)).err, /no run 1/)
})

test('B26: a wrong key, a bucket that is not there, and nobody who answers are told, and no secret', { skip }, async t => {
  const store = await objectStore(t)
  const folder = folderFor(t)
  const data = join(folder, 'data')
  const server = await serverFor(t, data, {}).start()
  await write(server, 'x')
  await server.stop()
  const secret = 'a-secret-that-nobody-may-see'

  for (const [target, changed, expected] of [
    ['s3://backups/p', { AWS_SECRET_ACCESS_KEY: secret }, /the store refuses these credentials: SignatureDoesNotMatch/],
    ['s3://elsewhere/p', {}, /there is no such bucket/],
    ['s3://backups/p', { AWS_ALLOW_HTTP: 'false' }, /http/],
  ]) {
    const chosen = { ...store.variables, RUST_LOG: 'trace', ...changed }
    for (const args of [['backup', target, '--data', data], ['verify', target], ['restore', target, '--data', join(folder, 'r')]]) {
      const { code, out, err } = await cowrite(args, chosen)
      assert.equal(code, 1, out)
      assert.match(err, expected)
      for (const hidden of [secret, store.secret, store.key]) assert.ok(!err.includes(hidden), err)
    }
  }
  const { code, err } = await cowrite(['backup', `s3://${store.key}:${secret}@backups/p`, '--data', data], store.variables)
  assert.equal(code, 2)
  assert.match(err, /keys and the endpoint come from variables/)
  assert.ok(!err.includes(secret), err)
})

test('B29, B31: two backups at once are two whole runs; another store is refused', { skip }, async t => {
  const store = await objectStore(t)
  const folder = folderFor(t)
  const [data, other] = [join(folder, 'data'), join(folder, 'other')]
  const target = 's3://backups/p'
  for (const each of [data, other]) {
    const server = await serverFor(t, each, {}).start()
    await write(server, each)
    await server.stop()
  }
  const slow = await lineTo(t, store.port, () => ({ delayMs: 20 }))
  const slowly = variables({ ...store, port: slow.port })

  const all = await Promise.all([1, 2, 3].map(() => done(['backup', target, '--data', data], slowly)))
  // Those that began in the same millisecond are one and the same: nothing has changed between them.
  const times = new Map(all.map(said => said.match(/^run (\d) of (\S+): /).slice(1)))
  const runs = new Set(all.map(said => said.match(/ of (\S+): /)[1])).size
  assert.deepEqual([...times.keys()].sort(), ['1', '2', '3'].slice(0, runs))
  const verified = await done(['verify', target, '--all'], store.variables)
  assert.equal(verified.match(/3 documents, .*nothing is damaged/g).length, runs, verified)

  const refused = await cowrite(['backup', target, '--data', other], store.variables)
  assert.equal(refused.code, 1)
  assert.match(refused.err, /holds backups of another store/)
  // What a server does that lost its volume and begins anew in the same place.
  rmSync(data, { recursive: true })
  const fresh = await serverFor(t, data, {}).start()
  await write(fresh, 'fresh')
  const lost = await cowrite(['backup', target, '--data', data], store.variables)
  assert.match(lost.err, /holds backups of another store .* restore that one/)
})

test('B30: a line that cuts, delays and swallows, and kills, leave no run that is not whole, and the next run heals', { skip }, async t => {
  const seed = Number(process.env.SEED ?? Date.now() % 2 ** 32)
  t.diagnostic(`SEED=${seed}`)
  const dice = new Dice(seed)
  const store = await objectStore(t)
  const folder = folderFor(t)
  const data = join(folder, 'data')
  const target = 's3://backups/p'
  const server = await serverFor(t, data).start()
  let ill = true
  const line = await lineTo(t, store.port, () => {
    if (!ill) return undefined
    switch (dice.from(0, 4)) {
      case 0: return { cutUp: dice.from(0, 60_000) }
      case 1: return { cutDown: dice.from(0, 3_000) }
      case 2: return { swallow: dice.oneIn(2) }
      case 3: return { delayMs: dice.from(0, 200) }
    }
  })
  const through = variables({ ...store, port: line.port })
  let [whole, failed] = [0, 0]

  for (let round = 0; round < 6; round++) {
    await write(server, `${round},${dice.text(20_000)}`)
    ill = true
    const killAfterMs = round % 3 === 2 ? 30 + dice.from(0, 600) : undefined
    const { code, err } = await cowrite(['backup', target, '--data', data], through, { killAfterMs })
    t.diagnostic(`round ${round}: ${code ?? 'killed'} ${err.trim()}`)
    if (code === 0) whole++
    else failed++
    // However it ended, every run that is there is whole.
    const verified = await cowrite(['verify', target, '--all'], store.variables)
    if (whole > 0 || !/there is no run in it/.test(verified.err)) assert.equal(verified.code, 0, verified.err)
    assert.ok((verified.out.match(/nothing is damaged/g) ?? []).length >= whole, verified.out)
  }
  assert.ok(line.faults > 0, 'nothing happened')
  ill = false
  await done(['backup', target, '--data', data, '--keep', '0s'], through)
  await server.stop()
  const expected = await Promise.all(DOCUMENTS.map(name => content(data, name)))
  ill = true
  const answer = await until('a restore gets through', async () => {
    const to = join(folder, `r${Math.random()}`)
    const { code } = await cowrite(['restore', target, '--data', to], through)
    return code === 0 && to
    // By luck: most do not.
  }, 180_000)
  assert.deepEqual(await Promise.all(DOCUMENTS.map(name => content(answer, name))), expected)
  t.diagnostic(`${whole} runs got through, ${failed} did not, ${line.faults} faults`)
})

test('B27, B30: a piece that does not arrive or arrives damaged is in no run, and a run of which the answer was lost is one', { skip }, async t => {
  const store = await objectStore(t)
  const data = join(folderFor(t), 'data')
  const target = 's3://backups/p'
  const server = await serverFor(t, data).start()
  await write(server, 'x')
  let request
  let seen = 0
  const line = await lineTo(t, store.port, () => ({ request: first => request(first) }))
  const through = variables({ ...store, port: line.port })
  const once = (pattern, fault) => {
    seen = 0
    return first => pattern.test(first) && seen++ === 0 ? fault : undefined
  }
  const runs = async () => (await cowrite(['verify', target, '--all'], store.variables)).out.match(/^run \d+/gm) ?? []

  for (const [fault, expected] of [
    [first => /^PUT .*\/segments\//.test(first) ? 'cut' : undefined, /cannot write s3:\/\/backups\/p\/segments/],
    [first => /^GET .*\/segments\//.test(first) ? 'flip' : undefined, /never reads back as it was written/],
  ]) {
    request = fault
    const { code, err } = await cowrite(['backup', target, '--data', data], through)
    assert.equal(code, 1)
    assert.match(err, expected)
    assert.deepEqual(await runs(), [])
  }
  request = once(/^GET .*\/segments\//, 'flip')
  await done(['backup', target, '--data', data], through)
  assert.ok(seen > 1, 'it was read again')
  await write(server, 'y')
  request = once(/^PUT .*\/runs\//, 'swallow')
  await done(['backup', target, '--data', data], through)
  assert.ok(seen > 1, 'it was written again')
  assert.deepEqual(await runs(), ['run 1', 'run 2'])
  await done(['verify', target, '--all'], store.variables)
})

test('B33, B34: a server backs itself up, says when it cannot and goes on, and a lost volume comes back', { skip }, async t => {
  const store = await objectStore(t)
  const folder = folderFor(t)
  const data = join(folder, 'data')
  const target = 's3://backups/live'
  let down = false
  const line = await lineTo(t, store.port, () => down ? { cutUp: 0 } : undefined)
  const through = { ...variables({ ...store, port: line.port }), COWRITE_BACKUP_TO: target, COWRITE_BACKUP_EVERY: '5s' }
  const server = await serverFor(t, data, { flags: [], variables: through }).start()

  await until('the first run', async () => await server.metric('cowrite_backup_runs_total') >= 1)
  await write(server, 'before')
  // A run may have begun before.
  const written = Date.now() / 1000
  await until('a run that has it', async () => await server.metric('cowrite_backup_last_success_timestamp_seconds') > written)
  assert.ok(await server.metric('cowrite_backup_bytes_total') > 0)
  assert.ok(Math.abs(await server.metric('cowrite_backup_last_success_timestamp_seconds') - Date.now() / 1000) < 600)
  const saved = await restored(folder, target, store.variables)
  shown(saved)

  down = true
  await until('a run fails', async () => await server.metric('cowrite_backup_failures_total') >= 1)
  assert.equal((await fetch(`${server.http}/readyz`)).status, 200)
  await write(server, 'while the store is down')
  down = false
  const runs = await server.metric('cowrite_backup_runs_total')
  await until('runs go on', async () => await server.metric('cowrite_backup_runs_total') > runs)
  await write(server, 'last')

  assert.deepEqual(await server.stop(), { code: 0, signal: null })
  assert.match(server.log, /backup to s3:\/\/backups\/live: run 1 of/)
  assert.match(server.log, /backup to s3:\/\/backups\/live: cannot/)
  assert.ok(!server.log.includes(store.secret))
  const expected = await Promise.all(DOCUMENTS.map(name => content(data, name)))
  rmSync(data, { recursive: true })
  assert.deepEqual(await restored(folder, target, store.variables), expected, 'the last run has what was written last')
})

test('B34: a stop does not wait for a store that does not answer longer than it may', { skip }, async t => {
  const store = await objectStore(t)
  const line = await lineTo(t, store.port, () => ({ swallow: true }))
  const through = { ...variables({ ...store, port: line.port }), AWS_TIMEOUT: '5m', COWRITE_BACKUP_TO: 's3://backups/live' }
  const server = await serverFor(t, join(folderFor(t), 'data'), { flags: ['--shutdown-timeout', '2s'], variables: through }).start()
  await write(server, 'x')

  assert.deepEqual(await server.stop(), { code: 0, signal: null })
  assert.match(server.log, /the last run was not done before the time to stop ran out/)
})
