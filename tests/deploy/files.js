// The files that say how servers are run, as their readers read them, and what the binary makes of what they say.
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'

import { parse as parseToml } from 'smol-toml'
import { parseAllDocuments } from 'yaml'

import { run } from '../providers/lib/server.js'

const root = new URL('../../', import.meta.url)

export const path = name => fileURLToPath(new URL(name, root))
export const text = name => readFile(path(name), 'utf8')
export const toml = async name => parseToml(await text(name))
export const yaml = async name => {
  const all = parseAllDocuments(await text(name), { merge: true })
  for (const { errors, warnings } of all) for (const error of [...errors, ...warnings]) throw error
  return all.map(one => one.toJS())
}

/** The variables that the binary knows, and how long a stop takes at most, in seconds. */
export async function settings() {
  const { output } = await run(['serve', '--help'])
  return {
    known: new Set([...output.matchAll(/\[env:\s+(COWRITE_\w+)/g)].map(([, name]) => name)),
    stopSeconds: Number(/--shutdown-timeout[^]*?\[default: (\d+)s\]/.exec(output)[1]),
  }
}

/** What the image sets: the address and the folder. */
export async function image() {
  const [, listen] = /COWRITE_LISTEN=(\S+)/.exec(await text('Dockerfile'))
  return { port: Number(listen.split(':')[1]), uid: Number(/useradd .*--uid (\d+)/.exec(await text('Dockerfile'))[1]) }
}

/** Throws unless the binary takes these words. */
export async function understood(words) {
  const { code, output } = await run([...words, '--help'])
  if (code !== 0) throw new Error(`cowrite ${words.join(' ')}: ${output}`)
}

/** An address of this machine that nobody else has. */
export const ownAddress = () => `127.${[0, 0, 0].map(() => 1 + Math.floor(250 * Math.random())).join('.')}`

/** Values for secrets that a file leaves to its reader. */
export const secrets = database => ({
  COWRITE_DATABASE_URL: database,
  COWRITE_CLUSTER_SECRET: 'cluster-secret-of-at-least-32-bytes',
  COWRITE_JWT_SECRET: 'jwt-secret-of-at-least-thirty-two-bytes',
})
