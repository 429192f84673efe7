// What "How it is made" gives is built and run. The first word of a test is its rule in docs/SPEC.md.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { dirname, extname, join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

import { launch, openWindow, until, untilStatus } from './browser.mjs'
import { startServer } from './server.mjs'

const MODULES = fileURLToPath(new URL('../../web-demo/node_modules', import.meta.url))
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css' }

let browser
before(async () => { browser = await launch() })
after(() => browser.close())

/** A site of its own, whose files are in a folder that comes later. */
async function site(t) {
  const shown = { folder: '' }
  const server = createServer(async ({ url }, response) => {
    const path = url === '/' ? '/index.html' : url
    const content = await readFile(join(shown.folder, path)).catch(() => null)
    response.writeHead(content === null ? 404 : 200, { 'content-type': TYPES[extname(path)] ?? 'application/octet-stream' }).end(content)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  return Object.assign(shown, { origin: `http://127.0.0.1:${server.address().port}` })
}

/** What somebody does there, and what of it whoever opens the same document here sees. */
const USES = {
  document: ['d', async (page) => {
    await page.locator('.ProseMirror').click()
    await page.keyboard.type('Typed there\n- item')
  }, '.ProseMirror h1', 'Typed there'],
  code: ['code', async (page) => {
    await page.locator('.cm-content').click()
    await page.keyboard.type('typed_there()')
  }, '.cm-line', 'typed_there()'],
  board: ['board', async (page) => {
    await page.locator('.board').focus()
    await page.keyboard.press('n')
    await page.keyboard.type('typed there')
  }, '.note-words', 'typed there'],
  room: ['room', async (page) => {
    await page.getByRole('textbox', { name: 'Message' }).fill('typed there')
    await page.keyboard.press('Enter')
  }, '.messages', 'typed there'],
}

for (const [kind, [folder, use, place, words]] of Object.entries(USES)) {
  test(`w132_what_is_copied_of_the_${kind}_is_a_project_that_runs`, async (t) => {
    const copy = await site(t)
    const server = await startServer(t, { flags: ['--allow-origin', copy.origin] })
    const page = await openWindow(t, browser, { permissions: ['clipboard-read', 'clipboard-write'] })
    await page.goto(`${server.origin}/${folder}/original`)
    await untilStatus(page, 'Saved')
    await page.getByRole('button', { name: 'More', exact: true }).click()
    await page.getByRole('button', { name: 'How it is made' }).click()
    await page.getByRole('button', { name: 'Copy it' }).click()
    await page.getByRole('button', { name: 'Copied' }).waitFor()
    const parts = (await page.evaluate(() => navigator.clipboard.readText())).replaceAll('\r\n', '\n').split(/^\/\/ file: (.*)\n/m).slice(1)
    const files = new Map(Array.from({ length: parts.length / 2 }, (_, at) => [parts[2 * at], parts[2 * at + 1]]))

    // The same as files.
    const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Save the files' }).click()])
    const inside = await promisify(execFile)('python3', ['-c', 'import sys, json, zipfile; z = zipfile.ZipFile(sys.argv[1]); assert z.testzip() is None; print(json.dumps({n: z.read(n).decode() for n in z.namelist()}))', await download.path()], { maxBuffer: 1e8 })
    const saved = JSON.parse(inside.stdout)
    assert.deepEqual(Object.keys(saved), [...files.keys()])
    for (const [name, text] of files) assert.equal(text.trimEnd(), saved[name].trimEnd(), name)

    const project = await mkdtemp(join(tmpdir(), 'cowrite-made-'))
    t.after(() => rm(project, { recursive: true, force: true }))
    for (const [name, text] of files) {
      await mkdir(dirname(join(project, name)), { recursive: true })
      await writeFile(join(project, name), text)
    }
    // In place of `npm install`: the same versions of the same packages, and no others than those that are named.
    const { dependencies, devDependencies } = JSON.parse(files.get('package.json'))
    for (const [name, version] of Object.entries({ ...dependencies, ...devDependencies })) {
      assert.equal(JSON.parse(await readFile(join(MODULES, name, 'package.json'), 'utf8')).version, version, name)
      await mkdir(dirname(join(project, 'node_modules', name)), { recursive: true })
      await symlink(join(MODULES, name), join(project, 'node_modules', name))
    }
    for (const command of [['typescript/bin/tsc'], ['vite/bin/vite.js', 'build', '--logLevel', 'error']]) {
      const [program, ...args] = command
      await promisify(execFile)(process.execPath, [join(MODULES, program), ...args], { cwd: project }).catch(({ stdout, stderr, message }) => assert.fail(`${message}\n${stdout}\n${stderr}`))
    }
    copy.folder = join(project, 'dist')

    const there = await openWindow(t, browser)
    await there.goto(copy.origin)
    await until('it has what it needs', async () => await there.locator(place.split(' ')[0]).count() > 0 || await there.locator('.board').count() > 0)
    await use(there)
    const here = await openWindow(t, browser)
    await here.goto(`${server.origin}/${folder}/team/minutes`)
    await here.locator(place, { hasText: words }).first().waitFor()
  })
}
