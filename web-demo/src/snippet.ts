// The lines that connect any Yjs editor to this server.

import { BASE, socketAddress } from './server'

/** The program of an editor of rich text, all of it. */
export function tiptapProgram(): string {
  return `import * as Y from 'yjs'
import { WebsocketProvider } from 'y-websocket'
import { trackSaved } from '${location.origin}${BASE}track-saved.js'
import { Editor } from '@tiptap/core'
import { Collaboration } from '@tiptap/extension-collaboration'
import { StarterKit } from '@tiptap/starter-kit'

const doc = new Y.Doc()
const provider = new WebsocketProvider('${socketAddress()}', encodeURIComponent('team/minutes'), doc)
trackSaved(provider).subscribe(({ state }) => console.log(state))
new Editor({
  element: document.body,
  extensions: [StarterKit.configure({ undoRedo: false }), Collaboration.configure({ document: doc })],
})
`
}
