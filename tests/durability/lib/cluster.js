// Several real servers on one real Postgres (`scripts/with-postgres`), each with a link of its own to the database, and one
// to each other node.
import { execFile } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'

import { Link } from './link.js'
import { Server, folderFor } from './server.js'
import { until } from './wait.js'
import { freePort } from '../../lib/ports.mjs'
import { run } from '../../lib/server.mjs'

export { run }

const SECRET = 'cluster-secret-of-at-least-32-bytes'
/** So small that snapshots are always under way; records stay, so that it is seen whose each one was. */
const FLAGS = ['--snapshot-bytes', '16KiB', '--idle-timeout', '500ms', '--threads', '2', '--keep-history', '1h']

let schemas = 0

/** Runs SQL; its rows, as text. */
export async function sql(url, text) {
  const { stdout } = await promisify(execFile)('psql', [url, '-XAtq', '-v', 'ON_ERROR_STOP=1', '-c', text])
  return stdout.trim()
}

/**
 * The database's own witness: each record must be written while the document is its holder's. It sees what the
 * statement did before it ends, under the lock that the statement has.
 */
const WITNESS = `
create table strangers (document bigint, seq bigint, wrote bigint, has bigint, at timestamptz default clock_timestamp());
create function witness() returns trigger language plpgsql as $$
declare has bigint;
begin
  select d.holder into has from cowrite_document d where d.id = new.document;
  if has is distinct from new.holder then
    insert into strangers (document, seq, wrote, has) values (new.document, new.seq, new.holder, has);
  end if;
  return null;
end $$;
create trigger witness after insert or update on cowrite_record for each row execute function witness();`

/** Records of a document whose holder had written before another one did. */
const TWO_OWNERS = `
select document, seq, holder from (
  select document, seq, holder, lag(holder) over w as before,
    min(seq) over (partition by document, holder) as first
  from cowrite_record window w as (partition by document order by seq)
) r where before is not null and before <> holder and first < seq`

/** The URL of a schema of its own, with tables and a witness. */
async function startDatabase(server) {
  const schema = `faults_${process.pid}_${schemas++}`
  await sql(server, `create schema ${schema}`)
  const url = `${server}?options=-csearch_path%3D${schema}`
  const { code, output } = await run(['db', 'init', '--database-url', url])
  if (code !== 0) throw new Error(output)
  await sql(url, WITNESS)
  return url
}

export class Node extends Server {
  /** Starts it, and again if it had ended. Its new process is another node, at the same addresses. */
  async start() {
    await super.start()
    await Promise.all(this.from.map(link => link.heal()))
    return this
  }

  /** SIGKILL. Its address refuses connections from then on, as that of a dead process does. */
  async kill() {
    const ended = super.kill()
    if (this.isRunning) {
      this.isRunning = false
      await ended
      await Promise.all(this.from.map(link => link.refuse()))
    }
    return await ended
  }
}

export class Cluster {
  /** `hosts` are the database's servers, as URLs: the first is the primary. */
  static async start(t, { count = 3, hosts = [process.env.TEST_POSTGRES], flags = [], folder } = {}) {
    if (!hosts[0]) throw new Error('run by scripts/with-postgres')
    const cluster = new Cluster()
    Object.assign(cluster, { url: await startDatabase(hosts[0]), hosts, nodes: [], links: [] })
    t.after(() => cluster.end())
    const ports = await Promise.all(Array.from({ length: count }, freePort))
    for (let i = 0; i < count; i++) {
      const peers = await Promise.all(ports.map((port, j) => i === j ? undefined : new Link(() => `127.0.0.1:${port}`).start()))
      // The other nodes are reached through the links: what the database tells of their addresses is replaced, by as
      // many bytes.
      const rewrites = bytes => peers.reduce((all, peer, j) => peer ? replaced(all, `127.0.0.1:${ports[j]}`, peer.address) : all, bytes)
      const database = await Promise.all(hosts.map(host => new Link(() => new URL(host).host, rewrites).start()))
      const own = cluster.url.replace(new URL(cluster.url).host, database.map(link => link.address).join(','))
      const server = new Node(folder ?? folderFor(t), { flags: [
        ...FLAGS, '--database-url', `${own}&sslmode=disable`, '--cluster-address', `127.0.0.1:${ports[i]}`,
        '--cluster-secret', SECRET, ...flags,
      ] })
      Object.assign(server, { index: i, database, peers: peers.filter(Boolean), from: [] })
      cluster.nodes.push(server)
      cluster.links.push(...database, ...server.peers)
      peers.forEach((peer, j) => { if (peer) peer.to = j })
    }
    for (const node of cluster.nodes) {
      for (const other of cluster.nodes) node.from.push(...other.peers.filter(peer => peer.to === node.index))
    }
    await Promise.all(cluster.nodes.map(node => cluster.begin(node)))
    await until('all know of all', async () => {
      const known = await Promise.all(cluster.nodes.map(node => node.metric('cowrite_other_nodes').catch(() => 0)))
      return known.every(number => number >= count - 1)
    })
    return cluster
  }

  /**
   * Starts a node, again and again while its database is not to be reached, or somebody else has its port for a moment, as
   * whoever supervises it does.
   */
  async begin(node) {
    const began = until(`node ${node.index} starts`, () => node.start().catch(error => {
      if (!/cannot reach|cannot listen on/.test(error.message)) throw error
    }))
    await began
    node.isRunning = true
  }

  /** Everything works again, and every node is there. */
  async heal() {
    await Promise.all(this.links.map(link => link.heal()))
    for (const node of this.nodes) {
      node.thaw()
      if (!node.isRunning) await this.begin(node)
    }
  }

  /** What the database has seen that must never be, as text; empty when all is well. */
  async strangers(url = this.url) {
    const seen = await sql(url, 'select document, seq, wrote, has, at from strangers limit 5')
    const owners = await sql(url, `${TWO_OWNERS} limit 5`)
    return [seen && `written by others than the holder: ${seen}`, owners && `two owners at a time: ${owners}`].filter(Boolean).join('; ')
  }

  async end() {
    for (const node of this.nodes) {
      try { node.thaw() } catch { /* It has ended. */ }
      node.process?.kill('SIGKILL')
    }
    this.links.forEach(link => link.end())
    await Promise.all(this.nodes.map(node => node.ended))
  }
}

/** Bytes with each `from` replaced by `to`, which is as long. */
function replaced(bytes, from, to) {
  if (from.length !== to.length) throw new Error(`${from} and ${to} are not of one length`)
  for (let at = bytes.indexOf(from); at >= 0; at = bytes.indexOf(from, at)) bytes.write(to, at)
  return bytes
}

export const pause = sleep
