// "Pull the plug": has the server's process killed while somebody writes, and shows what became of each letter. Only
// `cowrite demo` starts a server that lets a page do that.
//
// Everything that is shown was measured here: times by this page's clock, letters by asking the server for a copy.

import { Unplug } from 'lucide'
import * as Y from 'yjs'

import { button, h } from './dom'
import { compareLetters, type Counts } from './letters'
import { aboutServer, pullThePlug } from './server'
import type { Session } from './session'

/** The process is killed with this letter after the button... */
const LETTERS = 6
/** ...or after this long, in ms, whatever is written. */
const WAIT_MS = 5_000
/** How often the page looks, in ms. */
const LOOK_MS = 5
/** How often it asks whether the server is back, in ms. */
const ASK_MS = 25
/** How long each step may take, in ms. */
const PATIENCE_MS = 60_000

interface Report {
  readonly killed: number
  readonly next: number
  /** Since the page asked for the kill, in ms. */
  readonly times: { readonly lost: number; readonly answered: number; readonly saved: number }
  readonly counts: Counts
}

/** The section with the button; hidden unless the server has a plug. `focus` brings the caret back. */
export function createPlug(session: Session, focus: () => void, signal: AbortSignal): HTMLElement {
  const said = h('p', { role: 'status', class: 'plug-said' })
  const result = h('div', { class: 'plug-result' })
  const pull = button('Pull the plug', { icon: Unplug, class: 'quiet' }, () => void run())
  const element = h('section', { class: 'plug', 'aria-labelledby': 'plug-title', hidden: true },
    h('h2', { id: 'plug-title' }, 'Kill the server while you write'),
    h('p', {}, 'This server runs on your own machine. The button has its process killed in the middle of a word, with SIGKILL, of which it hears nothing, and started again. Then this page compares every letter with the server’s copy.'),
    h('div', { class: 'actions' }, pull, said),
    result)

  const run = async (): Promise<void> => {
    pull.disabled = true
    result.replaceChildren()
    said.textContent = 'Write on: the process is killed while you do.'
    focus()
    try {
      const report = await measure(session, signal, (step) => (said.textContent = step))
      said.textContent = sentenceOf(report.counts)
      result.replaceChildren(...tablesOf(report))
    } catch (error) {
      if (signal.aborted) return
      said.textContent = error instanceof Error ? error.message : String(error)
    }
    pull.disabled = false
  }
  void aboutServer().then((about) => (element.hidden = about?.process == null))
  return element
}

async function measure(session: Session, signal: AbortSignal, say: (step: string) => void): Promise<Report> {
  const { provider } = session
  const killed = (await aboutServer())?.process
  if (killed == null) throw new Error('This server has no plug to pull, or does not answer. Start it with “cowrite demo”.')
  await written(session, signal)

  const begin = performance.now()
  const since = (): number => performance.now() - begin
  const refused = pullThePlug()
  await Promise.race([until(() => !provider.wsconnected, signal, 'The connection was not lost.'), refused])
  const lost = since()
  const { confirmed } = session
  say('Killed. Write on: your letters are kept in this browser.')
  const next = await untilAnotherProcess(killed, signal)
  const answered = since()
  await until(() => provider.synced && session.view.saved.state === 'saved', signal, 'The server is back, but has not said that everything is saved.')
  const saved = since()
  say('Saved. Comparing every letter…')
  const held = Y.decodeStateVector(Y.encodeStateVector(session.doc))
  const copy = await session.freshCopy(PATIENCE_MS)
  const counts = compareLetters(session.doc, copy, session.authors, confirmed, held)
  copy.destroy()
  return { killed, next, times: { lost, answered, saved }, counts }
}

/** Waits until somebody is in the middle of a word, or does not write. */
async function written({ doc }: Session, signal: AbortSignal): Promise<void> {
  let letters = 0
  const count = (_update: Uint8Array, _origin: unknown, _doc: unknown, { local }: { local: boolean }): void => {
    if (local) letters++
  }
  doc.on('update', count)
  const begin = performance.now()
  try {
    await until(() => letters >= LETTERS || performance.now() - begin > WAIT_MS, signal, '')
  } finally {
    doc.off('update', count)
  }
}

async function untilAnotherProcess(killed: number, signal: AbortSignal): Promise<number> {
  const end = performance.now() + PATIENCE_MS
  for (;;) {
    const process = (await aboutServer())?.process
    if (process != null && process !== killed) return process
    if (performance.now() > end) throw new Error('The server has not come back. The terminal in which it was started says why.')
    await pause(ASK_MS, signal)
  }
}

async function until(condition: () => boolean, signal: AbortSignal, otherwise: string): Promise<void> {
  const end = performance.now() + PATIENCE_MS
  while (!condition()) {
    if (performance.now() > end) throw new Error(otherwise)
    await pause(LOOK_MS, signal)
  }
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms))
  signal.throwIfAborted()
}

function sentenceOf({ all, confirmed, unconfirmed }: Counts): string {
  const missing = [all, confirmed, unconfirmed].reduce((most, { here, there }) => Math.max(most, here - there), 0)
  return missing === 0 ? 'Nothing was lost.' : `${missing} letters are not in the server’s copy.`
}

function tablesOf({ killed, next, times, counts }: Report): HTMLElement[] {
  const steps: readonly [number, string][] = [
    [0, `This page asked for the death of process ${killed}`],
    [times.lost, 'The connection was lost'],
    [times.answered, `Process ${next} answers in its place`],
    [times.saved, 'Connected again, and everything is saved'],
  ]
  const letters: readonly [string, keyof Counts][] = [
    ['Of yours, saved before the kill', 'confirmed'],
    ['Of yours, only in this browser then, or written since', 'unconfirmed'],
    ['In all, whoever wrote them', 'all'],
  ]
  return [
    table('What happened', ['After', 'Step'], steps.map(([ms, step]) => [`${Math.round(ms)}\u00a0ms`, step])),
    table('Letters', ['Letters', 'In this page', 'In the server’s copy'], letters.map(([label, which]) => [label, String(counts[which].here), String(counts[which].there)])),
  ]
}

function table(caption: string, heads: readonly string[], rows: readonly (readonly string[])[]): HTMLElement {
  return h('table', {},
    h('caption', {}, caption),
    h('thead', {}, h('tr', {}, ...heads.map((head) => h('th', { scope: 'col' }, head)))),
    h('tbody', {}, ...rows.map((cells) => h('tr', {}, ...cells.map((cell) => h('td', {}, cell))))))
}
