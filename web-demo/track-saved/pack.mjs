// Builds the package and puts it where the server's files are: node pack.mjs FOLDER
//
// The folder gets `cowrite-track-saved.tgz`, which npm installs, and `track-saved.d.ts`, the types of the module that the
// server serves as one file.

import { execFileSync } from 'node:child_process'
import { copyFileSync, readFileSync, renameSync } from 'node:fs'
import path from 'node:path'

const { dirname } = import.meta
const folder = path.resolve(process.argv[2])
const { name, version } = JSON.parse(readFileSync(path.join(dirname, 'package.json'), 'utf8'))

const npm = (...args) => execFileSync('npm', args, { cwd: dirname, stdio: ['ignore', 'ignore', 'inherit'] })
npm('run', 'build')
npm('pack', '--ignore-scripts', '--pack-destination', folder)
renameSync(path.join(folder, `${name}-${version}.tgz`), path.join(folder, `${name}.tgz`))
copyFileSync(path.join(dirname, 'dist/track-saved.d.ts'), path.join(folder, 'track-saved.d.ts'))
