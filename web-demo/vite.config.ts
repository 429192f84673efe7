import { defineConfig } from 'vite'

import { compiled } from './compiled'
import { madeOf } from './made-of'
import { pages } from './pages'

// `npm run dev` serves the page and passes /ws on to a Cowrite server on its default address. The Host
// header stays the page's: the server takes pages of its own origin only.
const server = process.env['COWRITE_URL'] ?? 'http://127.0.0.1:8080'

export default defineConfig({
  // The server puts its base path in front of the page's addresses; all others are relative to the file that has them.
  base: './',
  // The docs lie beside this folder.
  server: { proxy: { '/ws': { target: server, ws: true }, '/about.json': server, '/share': server, '/inspect.json': server, '/admin': server }, fs: { allow: ['..'] } },
  plugins: [madeOf(), pages(), compiled()],
  build: {
    target: 'es2022',
    // Data URLs would need holes in the server's content security policy.
    assetsInlineLimit: 0,
    license: { fileName: 'licenses.md' },
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 900,
    // Few files, since a browser asks for six at once: what the start page needs, Yjs, which stays the same for long, and what
    // all pages of documents need. What each kind needs beside that is in one more.
    rolldownOptions: {
      output: {
        codeSplitting: {
          groups: [
            { name: 'base', tags: ['$initial'] },
            { name: 'yjs', test: /node_modules[\\/](yjs|lib0|y-protocols)[\\/]|rolldown[\\/]runtime/ },
            { name: 'page', test: /[\\/]web-demo[\\/]src[\\/](?!document\.|gallery\.|docs\.|project\.|zip\.)[\w-]+\.ts$|[\\/]track-saved[\\/]|node_modules[\\/](lucide|w3c-keyname|y-websocket|y-indexeddb)[\\/]/ },
          ],
        },
      },
    },
  },
})
