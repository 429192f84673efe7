// The lines that connect any Yjs editor to this server.

import { BASE, socketAddress } from './server'

/** The program of an editor of rich text, all of it. */
export function tiptapProgram(): string {
  return program("import { Editor } from '@tiptap/core'\nimport { Collaboration } from '@tiptap/extension-collaboration'\nimport { StarterKit } from '@tiptap/starter-kit'", "new Editor({\n  element: document.body,\n  extensions: [StarterKit.configure({ undoRedo: false }), Collaboration.configure({ document: doc })],\n})")
}

/** `imports` and `rest`: what comes with it. */
export function program(imports: string, rest: string): string {
  return `import * as Y from 'yjs'
import { WebsocketProvider } from 'y-websocket'
import { trackSaved } from '${location.origin}${BASE}track-saved.js'
${imports}

const doc = new Y.Doc()
const provider = new WebsocketProvider('${socketAddress()}', encodeURIComponent('team/minutes'), doc)
trackSaved(provider).subscribe(({ state }) => console.log(state))
${rest}
`
}
