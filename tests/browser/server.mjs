// The server as these tests start it.

import { Server, endedWith, folderFor, mintToken as mint, run } from '../lib/server.mjs'

/**
 * Starts a server on a free port with an empty folder; when the test `t` ends, it is killed and the folder removed.
 *
 * @param {import('node:test').TestContext} t
 * @param {{ command?: 'serve' | 'demo', flags?: string[], env?: Record<string, string> }} [options]
 */
export function startServer(t, { command, flags, env } = {}) {
  return endedWith(t, new Server(folderFor(t, 'browser'), { command, flags, variables: env })).start()
}

/** What `cowrite token` prints: for one `PATTERN=write` or `PATTERN=read`. */
export async function mintToken(secret, grant, expires = '1h') {
  return mintTokenWith(secret, ['--expires', expires], grant)
}

/** The same with more of what the token says, such as `--name=Ada`. */
export async function mintTokenWith(secret, flags, grant) {
  return mint(secret, ['--sub', 'tester', ...flags, '--document', grant])
}

/** What people wrote into a document of a server that has stopped (`cowrite doc export --as text`). */
export async function exportText(server, name) {
  const { code, out, err } = await run(['doc', 'export', name, '--as', 'text', '--data', server.data])
  if (code !== 0) throw new Error(err)
  return out.trim()
}
