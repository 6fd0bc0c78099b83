// PgBouncer in transaction mode, as hosts of Postgres put it in front, and what makes its ways visible: it is warm, so
// that a client's transactions go to one server connection after the other, and what a session is left with is found.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chown, mkdir, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import postgres from 'postgres'
import { freePort } from '../../src/dev/embedded-postgres/cluster.ts'
import { prepareHome } from '../../src/dev/embedded-postgres/home.ts'
import { pgbouncerPath } from './environments.ts'
import type { Server } from './server.ts'

/** Starts a pooler in front of the server. The caller stops it before the server, in whose folder it lives. */
export async function startPgbouncer(server: Server): Promise<{ url: string; stop: () => Promise<void> }> {
  const { account } = await prepareHome(server.folder, () => {})
  const folder = join(server.folder, 'pgbouncer')
  await mkdir(folder, { mode: 0o700 })
  const url = new URL(server.url)
  const port = await freePort()
  const files = {
    'users.txt': `"${url.username}" "${url.password}"\n`,
    'pgbouncer.ini': iniOf(url, port, folder),
  }
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text, { mode: 0o600 })
  if (account !== undefined) {
    for (const name of ['', ...Object.keys(files)]) await chown(join(folder, name), account.uid, account.gid)
  }
  // A shell that ends it when this process ends, as the server's reaper does. Being its parent, it knows the process.
  const script = '"$@" </dev/null >/dev/null 2>&1 & cat >/dev/null; kill -KILL $!; wait'
  const leash = spawn('/bin/sh', ['-c', script, 'sh', pgbouncerPath, join(folder, 'pgbouncer.ini')], {
    ...account,
    cwd: '/',
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  const stop = async () => {
    leash.stdin?.end()
    await once(leash, 'exit')
  }
  url.port = String(port)
  try {
    await waitForPort(port)
  } catch (error) {
    await stop()
    throw error
  }
  return { url: url.href, stop }
}

/** As many as the widest pool of a test, so that its clients now and then wait for each other. */
const poolSize = 6

function iniOf(server: URL, port: number, folder: string): string {
  return `
[databases]
* = host=${server.hostname} port=${server.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
logfile = ${folder}/log
auth_type = scram-sha-256
auth_file = ${folder}/users.txt
; roles that a test makes are looked up
auth_user = ${server.username}
pool_mode = transaction
default_pool_size = ${poolSize}
max_client_conn = 1000
; a test that keeps others waiting for good fails, rather than hangs
query_wait_timeout = 20
idle_transaction_timeout = 20
; the connection that has been idle for longest is next, not the one that has just been used
server_round_robin = 1
`
}

async function waitForPort(port: number): Promise<void> {
  const deadline = Date.now() + 10_000
  for (;;) {
    const socket = connect(port, '127.0.0.1')
    const answers = await once(socket, 'connect').then(
      () => true,
      () => false,
    )
    socket.destroy()
    if (answers) return
    if (Date.now() > deadline) throw new Error('PgBouncer does not listen')
    await sleep(20)
  }
}

/** Fewer than three would be none to change to while a transaction is held. */
const warmCount = 3

/** Makes the pool of this login and database so large that no transaction meets the backend of the one before. */
export async function warmPool(url: string): Promise<void> {
  await inEachOf(url, warmCount, async () => {})
}

/** Throws if a server connection of this database and login has something on it that its next client would meet. */
export async function expectCleanSessions(url: string, admin: postgres.Sql): Promise<void> {
  const [idle] = await admin<{ count: number }[]>`
    select count(*)::int from pg_stat_activity
    where datname = current_database() and usename = ${new URL(url).username} and state = 'idle'
      and pid <> pg_backend_pid()`
  const connections = Math.min(idle?.count ?? 0, poolSize)
  const left = await inEachOf(url, connections, async (sql) => {
    const rows = await sql<{ what: string }[]>`
      select format('the setting %s = %s', name, setting) as what from pg_settings
        where source = 'session'
          -- the pooler itself gives each client its own
          and name not in ('application_name', 'client_encoding', 'DateStyle', 'TimeZone', 'standard_conforming_strings')
          -- each transaction begins with the default
          and name not like 'transaction_%'
      union all select format('the prepared statement %s', statement) from pg_prepared_statements
      union all select format('the cursor %s', name) from pg_cursors where is_holdable
      union all select format('the channel %s', channel) from pg_listening_channels() as channel
      union all select 'an advisory lock' from pg_locks where pid = pg_backend_pid() and locktype = 'advisory'
      union all select 'a temporary schema' where pg_my_temp_schema() <> 0`
    return rows.map((row) => row.what)
  })
  const found = new Set(left.flat())
  if (found.size > 0) throw new Error(`sessions behind the pooler were left with ${[...found].join(', ')}`)
}

/** Runs it in so many transactions that are open at the same time, hence on as many server connections. */
async function inEachOf<T>(url: string, count: number, run: (sql: postgres.Sql) => Promise<T>): Promise<T[]> {
  const clients = Array.from({ length: count }, () =>
    postgres(url, { max: 1, prepare: false, fetch_types: false, onnotice: () => {} }),
  )
  try {
    await Promise.all(clients.map((sql) => sql`begin`))
    const results = await Promise.all(clients.map(run))
    await Promise.all(clients.map((sql) => sql`rollback`))
    return results
  } finally {
    await Promise.all(clients.map((sql) => sql.end({ timeout: 1 })))
  }
}
