// The lines that connect any Yjs editor to this server.

import { BASE, socketAddress } from './server'

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
