// Python, in an environment of its own.
import { execFile, spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const path = relative => fileURLToPath(new URL(relative, import.meta.url))

// On Debian the module is a package of its own, without which no environment can be made.
const hasPython = spawnSync('python3', ['-c', 'import venv, ensurepip']).status === 0
export const skip = hasPython ? false : 'python3 with venv is missing (Debian: apt-get install python3-venv)'

let installed

/** The interpreter that has what `tests/providers/python-guide` asks for. */
export async function interpreter() {
  installed ??= promisify(execFile)(path('../../../scripts/python-install'), ['tests/providers/python-guide'])
  await installed
  return path('../python-guide/.venv/bin/python')
}
