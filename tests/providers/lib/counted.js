// Servers that count what each client takes, and how handshakes with them end.
import WebSocket from 'ws'

import { mintToken, startServer } from './server.js'
import { within } from '../../lib/wait.mjs'

const secret = 'a secret of at least thirty-two bytes'
export const behindProxy = (t, ...flags) => startServer(t, ['--trust-proxy', 'x-forwarded-for', ...flags])
export const guarded = (t, ...flags) => behindProxy(t, '--jwt-secret', secret, ...flags)
export const tokenOf = sub => mintToken(secret, ['--sub', sub, '--document', '*=write'])
export const from = address => ({ headers: { 'x-forwarded-for': address } })

/** How a handshake ends: the status and when to retry, or the close code, or that it stays open. */
export function attempt(t, server, name, options, route = 'ws') {
  const socket = new WebSocket(`ws://${server.address}/${route}/${name}`, options)
  t.after(() => socket.terminate())
  return within('an answer', new Promise((resolve, reject) => {
    socket.on('error', reject)
    socket.once('unexpected-response', (_request, response) => {
      let text = ''
      response.on('data', data => { text += data })
      response.on('end', () => resolve({ status: response.statusCode, retry: Number(response.headers['retry-after']), text }))
    })
    socket.once('close', (code, reason) => resolve({ code, text: reason.toString() }))
    // Whoever is let in is told what the server has.
    socket.once('message', (bytes, isBinary) => isBinary && bytes[0] === 0 && resolve({ socket }))
  }))
}
