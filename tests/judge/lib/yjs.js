// The versions of Yjs that sit at the table. A *family* is what may edit one document together; every version reads
// every family, as far as it can.

/** Yjs warns when it is loaded twice, since documents of one must not meet types of the other. Here they never do. */
const alone = async name => {
  delete globalThis['__ $YJS$ __']
  return import(name)
}

const Y14 = await alone('@y/y')
const Y136 = await alone('yjs')
const Y135 = await alone('yjs-135')

/** `{ name, Y, is14 }` of each version. */
export const V136 = { name: '13.6', Y: Y136, is14: false }
export const V135 = { name: '13.5', Y: Y135, is14: false }
export const V14 = { name: '14', Y: Y14, is14: true }

export const VERSIONS = [V136, V135, V14]
export const FAMILIES = { 13: [V136, V135], 14: [V14] }

/** A document without a life of its own: what it is fed with is all that it holds. */
export const fresh = (version, { gc = true } = {}) => {
  const doc = new version.Y.Doc({ guid: 'judged', gc })
  // Nobody may count on its id: it never writes.
  doc.clientID = 3000000019
  return doc
}

/** A document that was fed with these updates, in this order. */
export const fed = (version, updates, options) => {
  const doc = fresh(version, options)
  for (const update of updates) version.Y.applyUpdate(doc, update, 'fed')
  return doc
}

/** Whether something that it was fed with waits for something else. */
export const waits = doc => doc.store.pendingStructs !== null || doc.store.pendingDs !== null

/** A state vector as a sorted text. */
export const vectorText = (version, bytes) =>
  [...version.Y.decodeStateVector(bytes)].filter(([, clock]) => clock > 0).sort(([a], [b]) => a - b).map(([client, clock]) => `${client}:${clock}`).join(' ')
