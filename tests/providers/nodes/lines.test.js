// A page that is connected again while its first line has not ended: whatever comes of that one, the page is saved.
import assert from 'node:assert/strict'
import { connect as dial, createServer } from 'node:net'
import { describe, test } from 'node:test'

import { connect as connectYWebsocket, newest, saved, synced } from '../lib/clients.js'
import { ownerOf, startNodes } from '../lib/cluster.js'
import { connections, follow } from '../lib/followed.js'
import { until } from '../../lib/wait.mjs'

/** An address that leads to a node, and to another one when it is told so; connections can be cut, and be lost without a word. */
async function startAddress(t, node) {
  const [pairs, lost, front] = [new Set(), [], { node }]
  const server = createServer(socket => {
    const [host, port] = front.node.address.split(':')
    const behind = dial({ host, port })
    const pair = [socket, behind]
    pair.forEach(one => one.on('error', () => {}).on('close', () => pair.forEach(other => other.destroy())))
    pairs.add(pair)
    socket.pipe(behind).pipe(socket)
  })
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
  front.cut = () => pairs.forEach(([socket]) => socket.destroy())
  // The client notices, and its node does not.
  front.lose = () => {
    for (const [socket, behind] of pairs) {
      socket.removeAllListeners('close').unpipe().destroy()
      lost.push(behind.unpipe().resume())
    }
    pairs.clear()
  }
  t.after(() => { front.cut(); lost.forEach(behind => behind.destroy()); server.close() })
  front.address = `127.0.0.1:${server.address().port}`
  front.url = `ws://${front.address}/ws`
  return front
}

describe('a page on a second line', () => {
  for (const provider of ['y-websocket 3.1.0', 'hocuspocus 4.8.0', 'y-sweet 0.9.1']) {
    test(`n67 a page whose first line ends when it is back is saved, and others see it (${provider})`, async t => {
      const nodes = await startNodes(t, 2)
      const [owner, carrier] = nodes
      const other = connectYWebsocket(t, newest, owner, 'plan')
      await synced(other)
      other.text.insert(0, 'plan: ')
      await saved(other)
      assert.equal(await ownerOf(nodes, 'plan'), 0)
      const front = await startAddress(t, carrier)
      const client = connections[provider](t, front, 'plan')
      const page = follow(t, client)
      await until('it has the document', () => client.text.toString() === 'plan: ')
      client.text.insert(6, 'one')
      await page.until('saved')
      const lines = async () => await owner.metric('cowrite_connections')
      assert.equal(await lines(), 2)

      // Nobody tells the owner that this line has ended.
      await carrier.freeze()
      front.node = owner
      front.cut()
      await until('it is back', async () => await lines() === 3)
      other.text.insert(0, 'our ')
      await until('it has what is new', () => client.text.toString() === 'our plan: one')
      await carrier.stop('SIGKILL')
      await until('the first line has ended', async () => await lines() === 2)
      client.text.insert(client.text.length, ' and two')

      await page.until('saved')
      await until('the other has it', () => other.text.toString() === 'our plan: one and two')
    })

    test(`n68 a page whose first line died before its node is saved within seconds (${provider})`, async t => {
      const nodes = await startNodes(t, 2)
      const [owner, carrier] = nodes
      const other = connectYWebsocket(t, newest, owner, 'plan')
      await synced(other)
      other.text.insert(0, 'plan: ')
      await saved(other)
      assert.equal(await ownerOf(nodes, 'plan'), 0)
      const front = await startAddress(t, carrier)
      const client = connections[provider](t, front, 'plan')
      const page = follow(t, client)
      await until('it has the document', () => client.text.toString() === 'plan: ')
      client.text.insert(6, 'one')
      await page.until('saved')

      // Its node takes the first line for one that lives, for half a minute at least.
      front.lose()
      other.text.insert(0, 'our ')
      await until('it is back', () => client.text.toString() === 'our plan: one')
      client.text.insert(client.text.length, ' and two')

      await page.until('saved')
      await until('the other has it', () => other.text.toString() === 'our plan: one and two')
    })
  }
})
