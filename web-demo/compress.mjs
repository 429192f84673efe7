// Beside each text file of a folder: the same, compressed as well as it can be. The server has no time for that.
// `node compress.mjs dist`

import { readFile, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { brotliCompress, constants, gzip } from 'node:zlib'

const CODINGS = {
  br: (text) => promisify(brotliCompress)(text, { params: { [constants.BROTLI_PARAM_MODE]: constants.BROTLI_MODE_TEXT, [constants.BROTLI_PARAM_SIZE_HINT]: text.length } }),
  gz: (text) => promisify(gzip)(text, { level: constants.Z_BEST_COMPRESSION }),
}

const folder = process.argv[2]
const names = (await readdir(folder, { recursive: true })).filter((name) => /\.(js|css|svg|md|txt|ts)$/.test(name))
await Promise.all(names.map(async (name) => {
  const text = await readFile(join(folder, name))
  for (const [ending, compress] of Object.entries(CODINGS)) {
    const small = await compress(text)
    if (small.length < text.length) await writeFile(join(folder, `${name}.${ending}`), small)
  }
}))
