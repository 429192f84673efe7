// Edits under a client id that is taken, written again under a new one: the demo's module with Yjs alone, no browser.

import assert from 'node:assert/strict'
import { mkdir, writeFile } from 'node:fs/promises'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { build } from 'vite'

const FOLDER = fileURLToPath(new URL('dist/', import.meta.url))
await mkdir(FOLDER, { recursive: true })
const { builtUpon, knownFrom, movedOn, noteWritten, takenFrom, Y } = await bundled()

/** The module and the Yjs that it uses. */
async function bundled() {
  const module = fileURLToPath(new URL('../../web-demo/src/', import.meta.url))
  await writeFile(`${FOLDER}rewrite-entry.js`, `export * from '${module}rewrite.ts'\nexport * as Y from '${module}../node_modules/yjs'\n`)
  const [{ output }] = await build({
    configFile: false,
    logLevel: 'error',
    build: { write: false, minify: false, lib: { entry: `${FOLDER}rewrite-entry.js`, formats: ['es'] } },
  })
  await writeFile(`${FOLDER}rewrite.mjs`, output[0].code)
  return await import(`${FOLDER}rewrite.mjs`)
}

const page = (client) => {
  const doc = new Y.Doc()
  doc.clientID = client
  return doc
}
const sync = (from, to) => Y.applyUpdate(to, Y.encodeStateAsUpdate(from, Y.encodeStateVector(to)), 'remote')
/** A page that has all of `doc` and writes under `client`, whoever else does. */
const copyOf = (doc, client) => {
  const copy = page(0)
  sync(doc, copy)
  copy.clientID = client
  return copy
}
/** Which edits of `doc` are written here from now on. */
const writtenIn = (doc) => {
  const written = new Map()
  doc.on('afterTransaction', (transaction) => {
    if (transaction.local) noteWritten(written, transaction)
  })
  return written
}
const docOf = (...updates) => {
  const doc = new Y.Doc()
  for (const update of updates) Y.applyUpdate(doc, update)
  return doc
}
/** The page's document as it goes on under a new client id. */
const goesOn = (doc, taken, written) => {
  const upon = new Map([[doc.clientID, written]])
  return docOf(movedOn({ update: Y.encodeStateAsUpdate(doc), written, upon }, [{ ...taken, author: 99 }]).update)
}
const textOf = (doc) => doc.getText('text').toString()
const isWhole = (doc) => doc.store.pendingStructs === null && doc.store.pendingDs === null

test('w35_the_reason_of_4409_says_whose_numbers_are_taken_from_where_on', () => {
  assert.deepEqual(takenFrom('another page writes under this client id: client 12 from clock 7'), { client: 12, clock: 7 })
  assert.deepEqual(takenFrom('another page writes under this client id, from clock 0'), { clock: 0 })
  assert.deepEqual(takenFrom('another page writes under this client id'), {})
})

test('w35_what_two_pages_wrote_under_one_client_id_is_there_once_each', () => {
  const common = page(1)
  common.getText('text').insert(0, 'common.')
  const [server, mine] = [copyOf(common, 1), copyOf(common, 1)]
  const written = writtenIn(mine)
  server.getText('text').insert(7, ' theirs')
  mine.getText('text').insert(7, ' mine')
  mine.getText('text').insert(0, 'Very ')
  mine.getText('text').delete(5, 1)
  assert.equal(textOf(mine), 'Very ommon. mine')

  const next = goesOn(mine, { client: 1, clock: 7 }, written)
  assert.equal(textOf(next), 'Very ommon. mine')
  sync(server, next)
  sync(next, server)

  assert.equal(textOf(next), textOf(server))
  assert.equal(textOf(server).length, 'Very ommon. mine theirs'.length)
  for (const part of ['Very ommon.', ' mine', ' theirs']) assert.ok(textOf(server).includes(part), textOf(server))
  assert.ok(isWhole(next) && isWhole(server))
})

test('w35_formats_nested_types_and_deletions_keep_their_shape', () => {
  const common = page(1)
  const write = (doc, words) => {
    const [heading, text] = [new Y.XmlElement('heading'), new Y.XmlText()]
    doc.getXmlFragment('default').insert(doc.getXmlFragment('default').length, [heading])
    heading.setAttribute('level', '2')
    heading.insert(0, [text])
    text.insert(0, words)
    text.format(0, 3, { bold: true })
    text.delete(words.length - 1, 1)
  }
  write(common, 'common!')
  const from = Y.getState(common.store, 1)
  const [server, mine] = [copyOf(common, 1), copyOf(common, 1)]
  const written = writtenIn(mine)
  write(server, 'theirs!')
  write(mine, 'mine!')

  const next = goesOn(mine, { client: 1, clock: from }, written)
  sync(server, next)
  sync(next, server)

  const of = (words) => `<heading level="2"><bold>${words.slice(0, 3)}</bold>${words.slice(3)}</heading>`
  const shown = server.getXmlFragment('default').toString()
  assert.equal(next.getXmlFragment('default').toString(), shown)
  assert.ok([of('common') + of('theirs') + of('mine'), of('common') + of('mine') + of('theirs')].includes(shown), shown)
})

test('w35_what_came_from_elsewhere_under_the_taken_numbers_is_not_taken_for_ours', () => {
  const common = page(1)
  common.getText('text').insert(0, 'x')
  const [server, mine] = [copyOf(common, 1), copyOf(common, 1)]
  const written = writtenIn(mine)
  server.getText('text').insert(1, 'theirs')
  mine.getText('text').insert(1, 'm')
  // Of theirs, the first clock is known by number: only what follows it is taken.
  sync(server, mine)
  assert.equal(textOf(mine), 'xmheirs')
  // Yjs sees that somebody else has the client id, and goes on under another one, upon what it wrote before.
  assert.notEqual(mine.clientID, 1)
  mine.getText('text').insert(2, 'ef')
  mine.getText('text').delete(3, 1)
  assert.deepEqual(written.get(1), [{ from: 1, to: 2 }])

  const next = goesOn(mine, { client: 1, clock: 1 }, written)
  sync(server, next)
  sync(next, server)

  assert.equal(textOf(next), textOf(server))
  assert.ok(['xmetheirs', 'xtheirsme'].includes(textOf(server)), textOf(server))
  assert.ok(isWhole(next) && isWhole(server))
})

test('w37_windows_that_have_the_same_edits_give_them_the_same_numbers', () => {
  const common = page(1)
  common.getText('text').insert(0, 'x')
  const [server, mine, tab, late] = [copyOf(common, 1), copyOf(common, 1), copyOf(common, 2), copyOf(common, 3)]
  const [written, writtenInTab] = [writtenIn(mine), writtenIn(tab)]
  const tell = (update, doc, known) => {
    doc.once('afterTransaction', (transaction) => noteWritten(known, transaction))
    Y.applyUpdate(doc, update, 'window')
  }
  mine.on('update', (update) => tell(update, tab, writtenInTab))
  server.getText('text').insert(1, 'theirs')
  // One window hears of theirs before, so that it knows the end of ours only.
  const writtenInLate = writtenIn(late)
  sync(server, late)
  mine.on('update', (update) => tell(update, late, writtenInLate))
  mine.getText('text').insert(1, 'mine, and more')
  mine.getText('text').delete(3, 2)
  tab.getText('text').insert(3, '[tab]')
  late.getText('text').insert(late.getText('text').length, '[late]')
  assert.equal(textOf(tab), 'xmi[tab], and more')

  const taken = { client: 1, clock: 1 }
  const docs = [[late, writtenInLate], [tab, writtenInTab], [mine, written]].map(([doc, known]) => goesOn(doc, taken, known))
  for (const doc of docs) sync(doc, server)
  for (const doc of docs) sync(server, doc)

  const text = textOf(server)
  for (const doc of docs) {
    assert.equal(textOf(doc), text)
    assert.ok(isWhole(doc))
  }
  assert.ok(isWhole(server))
  for (const part of ['x', 'mi[tab], and more', 'theirs', '[late]']) assert.equal(text.split(part).length, 2, text)
  assert.equal(text.length, 'xmi[tab], and moretheirs[late]'.length)
})

test('w37_what_was_written_here_is_found_among_what_others_wrote_under_the_same_numbers', () => {
  const common = page(1)
  common.getText('text').insert(0, 'x')
  const [server, mine] = [copyOf(common, 1), copyOf(common, 1)]
  const [kept, own] = [[Y.encodeStateAsUpdate(common)], []]
  server.getText('text').insert(1, 'theirs is longer')
  kept.push(Y.encodeStateAsUpdate(server, Y.encodeStateVector(common)))
  mine.on('update', (update) => {
    kept.push(update)
    own.push({ update, upon: new Map() })
  })
  for (const letter of 'mine') mine.getText('text').insert(mine.getText('text').length, letter)
  assert.equal(textOf(docOf(...kept)), 'xtheirs is longer')

  const known = knownFrom(kept, own)
  assert.deepEqual([...known.written], [[1, [{ from: 1, to: 5 }]]])
  const next = docOf(movedOn(known, [{ client: 1, clock: 1, author: 99 }]).update)
  sync(next, server)
  sync(server, next)

  assert.equal(textOf(next), textOf(server))
  assert.ok(['xminetheirs is longer', 'xtheirs is longermine'].includes(textOf(next)), textOf(next))
})

// With a search among all ranges for each it takes minutes.
test('w125_what_a_large_paste_builds_on_is_found_at_once', { timeout: 60_000 }, () => {
  const doc = page(1)
  const written = writtenIn(doc)
  const own = []
  doc.on('update', (update) => own.push({ update, upon: builtUpon(update, written) }))
  const paragraph = () => {
    const paragraph = new Y.XmlElement('paragraph')
    paragraph.insert(0, [new Y.XmlText('a paragraph of many')])
    return paragraph
  }
  doc.getXmlFragment('text').insert(0, Array.from({ length: 12_000 }, paragraph))

  const ranges = own[0].upon.get(1)
  assert.equal(ranges.length, 12_000)
  assert.ok(ranges.every(({ from }, at) => at === 0 || from > ranges[at - 1].to), 'in their order, and apart')
  const known = knownFrom([], own)
  assert.deepEqual(known.upon, new Map([[1, own[0].upon]]))
})

test('w37_an_edit_builds_on_what_its_window_had_under_the_number', () => {
  for (const hasOurs of [false, true]) {
    const common = page(1)
    common.getText('text').insert(0, 'x')
    const [server, mine, tab] = [copyOf(common, 1), copyOf(common, 1), copyOf(common, 2)]
    const [kept, own] = [[Y.encodeStateAsUpdate(common)], []]
    const writtenInTab = new Map()
    tab.on('afterTransaction', (transaction) => {
      if (transaction.local || hasOurs) noteWritten(writtenInTab, transaction)
    })
    for (const [doc, written] of [[mine, new Map()], [tab, writtenInTab]]) {
      doc.on('update', (update, _origin, _doc, { local }) => {
        if (local) own.push({ update, upon: builtUpon(update, written) })
      })
    }
    server.getText('text').insert(1, 'THEIRS')
    mine.getText('text').insert(1, 'ours')
    sync(hasOurs ? mine : server, tab)
    tab.getText('text').insert(3, '[tab]')
    if (!hasOurs) sync(tab, server)

    // What the server has already keeps its references, or it would be another edit under the same number.
    const next = docOf(movedOn(knownFrom(kept, own), [{ client: 1, clock: 1, author: 99 }]).update)
    sync(server, next)
    sync(next, server)

    const [first, second] = hasOurs ? ['ou[tab]rs', 'THEIRS'] : ['ours', 'TH[tab]EIRS']
    assert.equal(textOf(next), textOf(server))
    assert.ok([`x${first}${second}`, `x${second}${first}`].includes(textOf(next)), textOf(next))
    assert.ok(isWhole(next) && isWhole(server))
  }
})

test('w37_a_window_that_has_the_copies_already_copies_nothing_again', () => {
  const common = page(1)
  common.getText('text').insert(0, 'x')
  const mine = copyOf(common, 1)
  const written = writtenIn(mine)
  mine.getText('text').insert(1, 'ours')
  const first = goesOn(mine, { client: 1, clock: 1 }, written)
  // The server passes on what another window has brought there.
  sync(first, mine)

  const next = goesOn(mine, { client: 1, clock: 1 }, written)

  assert.equal(textOf(next), 'xours')
  assert.equal(Y.getState(next.store, 99), 4)
})

test('w37_what_another_window_built_upon_taken_numbers_is_left_to_that_window', () => {
  const common = page(1)
  common.getText('text').insert(0, 'x')
  const [mine, tab] = [copyOf(common, 1), copyOf(common, 2)]
  const written = new Map()
  mine.on('afterTransaction', (transaction) => noteWritten(written, transaction))
  tab.getText('text').insert(0, '<')
  mine.getText('text').insert(1, 'ours')
  sync(mine, tab)
  tab.getText('text').insert(tab.getText('text').length, '>')
  sync(tab, mine)
  assert.equal(textOf(mine), '<xours>')

  const next = goesOn(mine, { client: 1, clock: 1 }, written)
  assert.equal(textOf(next), '<xours')
  assert.ok(isWhole(next))
})

test('w35_others_edits_that_came_meanwhile_stay_whoever_they_build_on', () => {
  const common = page(1)
  common.getText('text').insert(0, 'x')
  const [server, mine, third] = [copyOf(common, 1), copyOf(common, 1), copyOf(common, 3)]
  server.getText('text').insert(1, 'theirs')
  mine.getText('text').insert(1, 'mine')
  sync(server, third)
  third.getText('text').insert(7, '!')
  third.getText('text').insert(0, '?')
  sync(third, server)
  sync(third, mine)

  const next = goesOn(mine, { client: 1, clock: 1 }, new Map([[1, [{ from: 1, to: 5 }]]]))
  sync(server, next)
  sync(next, server)

  assert.equal(textOf(next), textOf(server))
  assert.ok(['?xminetheirs!', '?xtheirs!mine'].includes(textOf(server)), textOf(server))
})

test('w35_random_pages_with_one_client_id_lose_nothing_and_double_nothing', () => {
  let met = 0
  for (let seed = 1; seed <= 300; seed++) {
    const random = randomOf(seed)
    const common = page(1)
    const write = (doc, sign) => {
      const text = doc.getText('text')
      const at = Math.floor(random() * (text.length + 1))
      const choice = random()
      if (choice < 0.6) text.insert(at, sign.repeat(1 + Math.floor(random() * 3)), random() < 0.5 ? { bold: true } : {})
      else if (choice < 0.8 && at < text.length) text.format(at, 1, { italic: random() < 0.5 || null })
      else if (at < text.length && !doc.keep) text.delete(at, 1)
    }
    for (let i = 0; i < 6; i++) write(common, 'c')
    const from = Y.getState(common.store, 1)
    const [server, mine, third] = [copyOf(common, 1), copyOf(common, 1), copyOf(common, 3)]
    // Nobody deletes from here on, so that each letter can be counted.
    for (const doc of [server, mine, third]) doc.keep = true
    const written = writtenIn(mine)
    for (let i = 0; i < 6; i++) {
      write(server, 't')
      write(mine, 'm')
      write(third, 'o')
    }
    if (random() < 0.5) sync(third, server)
    const count = (doc, sign) => textOf(doc).split(sign).length - 1
    const before = [['c', common], ['t', server], ['m', mine], ['o', third]].map(([sign, doc]) => [sign, count(doc, sign)])

    const next = goesOn(mine, { client: 1, clock: from }, written)
    for (const [a, b] of [[third, server], [server, next], [next, server]]) sync(a, b)

    assert.deepEqual(before.map(([sign]) => [sign, count(server, sign)]), before, `seed ${seed}`)
    assert.deepEqual(next.getText('text').toDelta(), server.getText('text').toDelta(), `seed ${seed}`)
    assert.ok(isWhole(next) && isWhole(server), `seed ${seed}`)
    met += before[1][1] > 0 && before[2][1] > 0
  }
  assert.ok(met > 200, 'nothing happened')
})

/** mulberry32 */
function randomOf(seed) {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}
