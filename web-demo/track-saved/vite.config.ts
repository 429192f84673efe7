import { fileURLToPath } from 'node:url'

import { defineConfig } from 'vite'

// The module that the server serves at /track-saved.js: one file, which can be copied into a project and read there.
export default defineConfig({
  publicDir: false,
  build: {
    target: 'es2022',
    minify: false,
    outDir: fileURLToPath(new URL('../dist', import.meta.url)),
    emptyOutDir: false,
    lib: { entry: fileURLToPath(new URL('track-saved.ts', import.meta.url)), formats: ['es'], fileName: () => 'track-saved.js' },
  },
})
