// Every stock provider, followed by the packed `cowrite-track-saved`, against a server with a key.
import { trackSaved } from '../dist/node_modules/cowrite-track-saved/dist/track-saved.js'
import * as yWebsocket from './clients.js'
import * as hocuspocus from './hocuspocus.js'
import { mintToken } from './server.js'
import { until } from '../../lib/wait.mjs'
import * as ySweet from './y-sweet.js'

export const secret = 'a secret of at least thirty-two bytes'

/** A token for user `sub` (`ada` unless it is said); `grants` is what `--document` takes. */
export const token = (grants, sub = 'ada') => mintToken(secret, ['--sub', sub, '--document', grants])

const overYWebsocket = Provider => (t, server, name, jwt) =>
  yWebsocket.connect(t, Provider, server, encodeURIComponent(name), { params: { token: jwt } })

const overHocuspocus = version => (t, server, name, jwt) => hocuspocus.connect(t, version, server, name, { token: jwt })

const overYSweet = (t, server, name, jwt) =>
  ySweet.connect(t, name, async () => ({ url: `ws://${server.address}/d/${name}/ws`, docId: name, token: jwt }))

/** How a page connects to a document by each provider: `(t, server, name, jwt)`. */
export const connections = {
  ...Object.fromEntries(Object.entries(yWebsocket.versions).map(([name, Provider]) => [name, overYWebsocket(Provider)])),
  ...Object.fromEntries(Object.entries(hocuspocus.versions).map(([name, version]) => [name, overHocuspocus(version)])),
  'y-sweet 0.9.1': overYSweet,
}

/** Follows a client until the test ends: `saved`, and the views that it went through. */
export function follow(t, client, options = {}) {
  const saved = trackSaved(client.provider, options)
  const followed = { saved, views: [], until: (state, limit) => until(`it is ${state}`, () => saved.state === state, limit) }
  saved.subscribe(view => followed.views.push(view))
  t.after(() => saved.destroy())
  return followed
}

