// One Postgres for all tests of a project, what surrounds it, and a migrated database that each test file copies. The
// rule: nothing of it outlives the run, however that ends, and no test ever meets a real database or a real Clerk.
import { randomBytes } from 'node:crypto'
import postgres from 'postgres'
import type { TestProject } from 'vitest/node'
import { openDatabase } from '../../src/db/database.ts'
import { migrate } from '../../src/db/migrate.ts'
import { createRoles } from './minimal-role.ts'
import { startPgbouncer } from './pgbouncer.ts'
import { startServer } from './server.ts'

declare module 'vitest' {
  export interface ProvidedContext {
    /** A superuser's URL of the server that the tests use. Its database is nobody's: make your own. */
    postgresUrl: string
    /** What the names of this run's databases begin with; the template's is this and `template`. */
    databasePrefix: string
    /** How the code under test comes to a migrated database and to an empty one. The names in them are to be replaced. */
    codeUrls: { migrated: string; empty: string }
    /** Whether that way leads through a pooler. */
    isPooled: boolean
  }
}

/** Starts what the project's name says, or takes TEST_DATABASE_URL's. Gives what takes it all away again. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  for (const name of Object.keys(process.env)) {
    // Workers and the commands that they start inherit this environment.
    if (/^(DATABASE_URL$|CLERK_|PG)/.test(name)) delete process.env[name]
  }
  const databasePrefix = `clerk_sync_test_${randomBytes(4).toString('hex')}_`
  const environment = await openEnvironment(project.name, databasePrefix)
  const { url, pooledUrl = url } = environment
  let codeUrls = { migrated: pooledUrl, empty: pooledUrl }
  try {
    await createTemplate(url, `${databasePrefix}template`, async (templateUrl) => {
      if (project.name === 'minimal-role') codeUrls = await createRoles(templateUrl)
    })
  } catch (error) {
    await environment.stop()
    throw error
  }
  project.provide('postgresUrl', url)
  project.provide('databasePrefix', databasePrefix)
  project.provide('codeUrls', codeUrls)
  project.provide('isPooled', pooledUrl !== url)
  return environment.stop
}

interface Environment {
  readonly url: string
  readonly pooledUrl?: string
  stop(): Promise<void>
}

async function openEnvironment(name: string, databasePrefix: string): Promise<Environment> {
  const other = process.env.TEST_DATABASE_URL
  if (name === '' && other) return { url: other, stop: () => dropDatabases(other, databasePrefix) }
  const server = await startServer({ version: name === 'postgres-15' ? '15' : 'embedded' })
  if (name !== 'pgbouncer') return server
  try {
    const pooler = await startPgbouncer(server)
    // First the pooler: it would go on trying to reach a server that has stopped.
    const stop = () => pooler.stop().then(() => server.stop())
    return { url: server.url, pooledUrl: pooler.url, stop }
  } catch (error) {
    await server.stop()
    throw error
  }
}

async function createTemplate(
  serverUrl: string,
  name: string,
  prepare: (templateUrl: string) => Promise<void>,
): Promise<void> {
  const admin = postgres(serverUrl, { max: 1, onnotice: () => {} })
  try {
    await admin`create database ${admin(name)} template template0 encoding 'UTF8'`
    const url = new URL(serverUrl)
    url.pathname = name
    const database = openDatabase(url.href)
    await migrate(database).finally(() => database.close())
    await prepare(url.href)
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
