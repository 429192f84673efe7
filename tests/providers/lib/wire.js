// Messages of y-websocket and updates of Yjs, byte by byte: what no stock provider sends, and what it hears.
import WebSocket from 'ws'

import { until, within } from '../../lib/wait.mjs'

/** lib0's variable length, up to 2^53 - 1. */
export const varUint = value => value < 128 ? [value] : [value % 128 | 128, ...varUint(Math.floor(value / 128))]

/** A text with its length before it. */
export const string = text => { const bytes = Buffer.from(text); return [...varUint(bytes.length), ...bytes] }

const framed = (head, bytes) => Buffer.concat([Buffer.from([...head, ...varUint(bytes.length)]), Buffer.from(bytes)])
export const step1 = (stateVector = [0]) => framed([0, 0], stateVector)
export const step2 = (bytes = [0, 0]) => framed([0, 1], bytes)
export const update = bytes => framed([0, 2], bytes)
export const savedQuestion = serial => framed([102], varUint(serial))

/** The awareness of one client id. */
export function announcement(client, clock = 1, json = '{}') {
  const entry = [1, ...varUint(client), ...varUint(clock), ...string(json)]
  return framed([1], entry)
}

/** An update with structs of one client, from a clock on. */
export function structs(client, clock, all) {
  const head = [1, ...varUint(all.length), ...varUint(client), ...varUint(clock)]
  return Buffer.concat([Buffer.from(head), ...all.map(bytes => Buffer.from(bytes)), Buffer.from([0])])
}

/** What is in a message of the server: its kind, and its content without the length. */
export function heard(message) {
  const bytes = new Uint8Array(message)
  let at = bytes[0] === 0 ? 2 : 1
  while (bytes[at] > 127) at++
  const kinds = ['step1', 'step2', 'update']
  return { kind: bytes[0] === 0 ? kinds[bytes[1]] : bytes[0], content: bytes.subarray(at + 1) }
}

/** A socket that says what a test tells it, with all that it heard; ended when the test ends. */
export async function speaker(t, server, name, options) {
  const socket = new WebSocket(`${server.url}/${name}`, options)
  const speaker = { socket, heard: [], say: bytes => socket.send(bytes) }
  speaker.closed = new Promise(resolve => socket.once('close', (code, reason) => resolve({ code, reason: reason.toString() })))
  socket.on('message', message => speaker.heard.push(heard(message)))
  socket.on('error', () => {})
  t.after(() => socket.terminate())
  await within('the connection is open', new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject)))
  return speaker
}

/** Resolves when all that a speaker sent is durable. */
export async function confirmed(speaker) {
  const serial = speaker.serial = (speaker.serial ?? 0) + 1
  // It has nothing else that it would have to send first.
  if (serial === 1) speaker.say(step2())
  speaker.say(savedQuestion(serial))
  const answered = () => speaker.heard.some(({ kind, content }) => kind === 102 && Buffer.from(content).equals(Buffer.from(varUint(serial))))
  await until('it is saved', answered, 150_000)
}
