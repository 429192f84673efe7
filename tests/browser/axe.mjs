// What axe objects to.

import { readFile } from 'node:fs/promises'

const AXE = await readFile(new URL('node_modules/axe-core/axe.min.js', import.meta.url), 'utf8')
const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']

/** What axe objects to in the page as it is now, in light and in dark: the page follows the system, without loading again. */
export async function violations(page) {
  const all = []
  for (const colorScheme of ['dark', 'light']) {
    await page.emulateMedia({ colorScheme })
    if (await page.evaluate(() => globalThis.axe === undefined)) await page.evaluate(AXE)
    const found = await page.evaluate((runOnly) => globalThis.axe.run(document, { runOnly, resultTypes: ['violations'] }), RULES)
    for (const { id, nodes } of found.violations) {
      all.push(`${id} in ${colorScheme}: ${nodes.map(({ target, failureSummary }) => `${target} ${failureSummary}`).join(' | ')}`)
    }
  }
  return all
}
