// A primary that is killed under people while its standby takes over (`scripts/with-postgres --standby`).
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

import { sql } from './cluster.js'
import { until } from './wait.js'

/** The primary and the standby, as URLs. */
export const hosts = () => [process.env.TEST_POSTGRES, process.env.TEST_POSTGRES_STANDBY]

/** Runs what `scripts/with-postgres` has put beside its restart program. */
export const does = name => promisify(execFile)(process.env.TEST_POSTGRES_RESTART.replace(/restart$/, name))

/** From now on each commit waits for the standby. */
export async function waitForStandby() {
  const [primary] = hosts()
  await sql(primary, "alter system set synchronous_standby_names = '*'")
  await sql(primary, 'select pg_reload_conf()')
  await until('it waits', async () => await sql(primary, 'show synchronous_standby_names') === '*' &&
    await sql(primary, "select count(*) from pg_stat_replication where sync_state = 'sync'") === '1')
}
