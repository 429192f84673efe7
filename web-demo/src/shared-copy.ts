// What the windows of this browser share of a document, in IndexedDB.
//
// There is the copy that y-indexeddb keeps, and in its "custom" store, which y-indexeddb leaves to others, what was
// written in this browser and nobody has confirmed: update by update, as it was written, with what it builds on. Of
// the copy alone nobody could tell whether an edit was written here, or by another page under the same number.
//
// And there are the moves: the edits of which the windows have agreed that they go on under a new client id. After
// each, the windows share another copy (and another BroadcastChannel), so that a window which has not heard of the
// move yet brings nothing back. What is left in the copies before it is brought over, and taken out there when it is
// in the copy of now.

import * as idb from 'lib0/indexeddb'

import { SCOPE } from './server'
import type { Move, Own } from './rewrite'

/** What a copy holds, and under which keys. */
export interface Copy {
  readonly updates: readonly Uint8Array[]
  readonly updateKeys: readonly IDBValidKey[]
  /** The updates of this browser that nobody has confirmed. */
  readonly own: readonly Own[]
  readonly ownKeys: readonly string[]
}

const MOVES = 'moves'
const UPDATES = 'updates'
const OWN = 'custom'

/** The database of the copy after so many moves. */
export function copyName(name: string, moves: number): string {
  return moves === 0 ? `cowrite${SCOPE}:${name}` : `cowrite${SCOPE}#${moves}:${name}`
}

/** The moves of a document so far. Rejects if the browser refuses, and may never answer. */
export async function movesOf(name: string): Promise<readonly Move[]> {
  return withMoves((store) => read(store, name), 'readonly')
}

/** Adds a move if there are `known` of them: of several windows one wins. Returns all there are now. */
export async function addMove(name: string, known: number, move: Move): Promise<readonly Move[]> {
  return withMoves(async (store) => {
    const moves = await read(store, name)
    if (moves.length > known) return moves
    await idb.rtop(store.put([...moves, move], name))
    return [...moves, move]
  }, 'readwrite')
}

async function withMoves(use: (store: IDBObjectStore) => Promise<readonly Move[]>, access: IDBTransactionMode): Promise<readonly Move[]> {
  const db = await idb.openDB(`cowrite-moves${SCOPE}`, (created) => idb.createStores(created, [[MOVES]]))
  try {
    const transaction = db.transaction([MOVES], access, { durability: 'strict' })
    const moves = await use(transaction.objectStore(MOVES))
    await ended(transaction)
    return moves
  } finally {
    db.close()
  }
}

async function read(store: IDBObjectStore, name: string): Promise<readonly Move[]> {
  const stored: unknown = await idb.get(store, name)
  return Array.isArray(stored) ? (stored as Move[]) : []
}

/** What a copy holds now; nothing if there is none. */
export async function readCopy(database: string): Promise<Copy> {
  return withCopy(database, 'readonly', async (updates, own) => {
    const [all, updateKeys, written, ownKeys] = await Promise.all([idb.getAll(updates), idb.getAllKeys(updates), idb.getAll(own), idb.getAllKeys(own)])
    return { updates: all as Uint8Array[], updateKeys: updateKeys as IDBValidKey[], own: written as unknown[] as Own[], ownKeys: ownKeys as string[] }
  })
}

/** Takes out what was read. */
export async function empty(database: string, { updateKeys, ownKeys }: Copy): Promise<void> {
  await withCopy(database, 'readwrite', async (updates, own) => {
    for (const key of updateKeys) updates.delete(key)
    for (const key of ownKeys) own.delete(key)
  })
}

async function withCopy<T>(database: string, access: IDBTransactionMode, use: (updates: IDBObjectStore, own: IDBObjectStore) => Promise<T>): Promise<T> {
  // As y-indexeddb would create it.
  const db = await idb.openDB(database, (created) => idb.createStores(created, [[UPDATES, { autoIncrement: true }], [OWN]]))
  try {
    const transaction = db.transaction([UPDATES, OWN], access)
    const result = await use(transaction.objectStore(UPDATES), transaction.objectStore(OWN))
    await ended(transaction)
    return result
  } finally {
    db.close()
  }
}

/** What the windows of this browser wrote and nobody has confirmed. */
export async function readOwn(db: IDBDatabase): Promise<Own[]> {
  return (await idb.getAll(db.transaction([OWN], 'readonly').objectStore(OWN))) as unknown[] as Own[]
}

/** Keeps an update of this browser until it is confirmed. */
export function keepOwn(db: IDBDatabase, key: string, own: Own): void {
  // With both stores in it, it is over before y-indexeddb puts the same update into the copy.
  db.transaction([OWN, UPDATES], 'readwrite').objectStore(OWN).put(own, key)
}

export function forgetOwn(db: IDBDatabase, keys: readonly string[]): void {
  const own = db.transaction([OWN], 'readwrite').objectStore(OWN)
  for (const key of keys) own.delete(key)
}

/** Waits until all that was written to this database so far is in it. */
export async function isStored(db: IDBDatabase): Promise<void> {
  const transaction = db.transaction([UPDATES, OWN], 'readonly')
  transaction.objectStore(UPDATES).getKey(0)
  await ended(transaction)
}

async function ended(transaction: IDBTransaction): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    transaction.oncomplete = () => resolve()
    transaction.onabort = () => reject(transaction.error)
  })
}
