// One Postgres for all tests, with a migrated database that each test file copies. The rule: nothing of it outlives the
// run, however that ends, and no test ever meets a real database or a real Clerk.
import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { chmod, mkdtemp, rm, statfs } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import postgres from 'postgres'
import type { TestProject } from 'vitest/node'
import { openDatabase } from '../../src/db/database.ts'
import { migrate } from '../../src/db/migrate.ts'
import { openEmbeddedPostgres } from '../../src/dev/embedded-postgres.ts'

declare module 'vitest' {
  export interface ProvidedContext {
    /** A superuser's URL of the server that the tests use. Its database is nobody's: make your own. */
    postgresUrl: string
    /** What the names of this run's databases begin with; the template's is this and `template`. */
    databasePrefix: string
  }
}

/** Starts the server, or takes TEST_DATABASE_URL's, and makes the template. Gives what takes it all away again. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  for (const name of Object.keys(process.env)) {
    // Workers and the commands that they start inherit this environment.
    if (/^(DATABASE_URL$|CLERK_|PG)/.test(name)) delete process.env[name]
  }
  const databasePrefix = `clerk_sync_test_${randomBytes(4).toString('hex')}_`
  const other = process.env.TEST_DATABASE_URL
  const server = other
    ? { url: other, stop: () => dropDatabases(other, databasePrefix) }
    : await startServer()
  try {
    await createTemplate(server.url, `${databasePrefix}template`)
  } catch (error) {
    await server.stop()
    throw error
  }
  project.provide('postgresUrl', server.url)
  project.provide('databasePrefix', databasePrefix)
  return server.stop
}

/**
 * Starts a Postgres in memory where there is room for it. Gives a superuser's URL, and what takes it all away again.
 * `settings` win over those that make it quick.
 */
export async function startServer(settings: Settings = {}): Promise<Server> {
  if (!(await hasRoom(memory))) return startServerIn(tmpdir(), settings)
  // A folder in memory may forbid to run programs, and the binaries are copied there if they cannot be read in place.
  return startServerIn(memory, settings).catch(() => startServerIn(tmpdir(), settings))
}

type Settings = Readonly<Record<string, string>>

interface Server {
  readonly url: string
  readonly stop: () => Promise<void>
}

/** A copy of the template is 300 small files: 15 ms in memory, 15 to 300 ms on disks. */
const memory = '/dev/shm'

/** Containers have 64 MB there, in which a first Postgres would fit and the tests would not. */
async function hasRoom(folder: string): Promise<boolean> {
  const found = await statfs(folder).catch(() => undefined)
  return found !== undefined && found.bavail * found.bsize > 4_000_000_000
}

async function startServerIn(parent: string, settings: Settings): Promise<Server> {
  const folder = await mkdtemp(join(parent, 'clerk-sync-test-'))
  const reaper = startReaper(folder)
  const stop = async () => {
    reaper.stdin?.end()
    await once(reaper, 'exit')
  }
  try {
    return await startServerAt(folder, stop, settings)
  } catch (error) {
    await stop()
    throw error
  }
}

async function startServerAt(folder: string, stop: () => Promise<void>, settings: Settings): Promise<Server> {
  // mkdtemp closes it to others, and Postgres runs as another user if the tests run as root.
  await chmod(folder, 0o711)
  const embedded = await openEmbeddedPostgres({
    directory: folder,
    settings: {
      fsync: 'off',
      synchronous_commit: 'off',
      full_page_writes: 'off',
      max_connections: '200',
      // Room for the log is memory, and a checkpoint without fsync costs little.
      max_wal_size: '256MB',
      // The template is copied all the time, and a vacuum in it would make the copy wait.
      autovacuum: 'off',
      ...settings,
    },
  })
  return {
    url: embedded.url,
    stop: async () => {
      await embedded.release()
      await stop()
      // Elsewhere if the folder was not good enough for Postgres.
      await rm(embedded.directory, { recursive: true, force: true })
    },
  }
}

/**
 * A shell in a session of its own that waits for the end of its input, which the system closes with this process: so the
 * server and its folder go even after Ctrl-C or SIGKILL, and even if a test has left a connection open.
 */
function startReaper(folder: string): ChildProcess {
  const script = `
    cat >/dev/null
    pid=$(head -n 1 "$1/postgres/cluster/data/postmaster.pid" 2>/dev/null)
    tries=0
    while [ -n "$pid" ] && kill -QUIT "$pid" 2>/dev/null && [ $tries -lt 100 ]; do tries=$((tries + 1)); sleep 0.1; done
    rm -rf "$1"`
  return spawn('/bin/sh', ['-c', script, 'sh', folder], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  })
}

async function createTemplate(serverUrl: string, name: string): Promise<void> {
  const admin = postgres(serverUrl, { max: 1, onnotice: () => {} })
  try {
    await admin`create database ${admin(name)} template template0 encoding 'UTF8'`
    const url = new URL(serverUrl)
    url.pathname = name
    const database = openDatabase(url.href)
    await migrate(database).finally(() => database.close())
    // A connection to it would make every copy fail; its last one may still be going.
    await admin`alter database ${admin(name)} allow_connections false`
    await admin`select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = ${name}`
  } finally {
    await admin.end()
  }
}

async function dropDatabases(serverUrl: string, prefix: string): Promise<void> {
  const admin = postgres(serverUrl, { max: 1, onnotice: () => {} })
  try {
    const found = await admin<{ name: string }[]>`
      select datname as name from pg_database where starts_with(datname, ${prefix})`
    for (const { name } of found) await admin`drop database ${admin(name)} with (force)`
  } finally {
    await admin.end()
  }
}
