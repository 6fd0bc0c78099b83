// A reset: the app has made its table anew, a tool has dropped columns that it does not know, or part of our own is gone.
// What is missing is seen by the dry run and by the worker, and the next run makes it again and the table equal.
import { randomBytes } from 'node:crypto'
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { type Database, openDatabase } from '../../src/db/database.ts'
import { hasPendingMigrations, migrate } from '../../src/db/migrate.ts'
import { seedUsers } from '../../src/dev/sandbox/seed.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { createWorld, type World } from '../support/world.ts'

const closers: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

function opened(url: string): Database {
  const database = openDatabase(url, { connections: 1 })
  closers.push(() => database.close())
  return database
}
/** Migrated as the code under test migrates, so that its role owns what it made. */
async function syncedWorld(): Promise<World> {
  const world = await createWorld({ empty: true, users: seedUsers({ count: 20, seed: 6 }) })
  closers.push(() => world.close())
  expect((await world.sync()).report.status).toBe('succeeded')
  return world
}
async function emptyDatabase(): Promise<TestDatabase> {
  const created = await createTestDatabase({ empty: true })
  closers.push(() => created.drop())
  return created
}

const tutorial = `create table users (id uuid primary key default gen_random_uuid(), clerk_id text not null,
  name text not null, image_url text not null, created_at timestamp default now() not null,
  updated_at timestamp default now() not null)`

describe('a run makes again', () => {
  test.each<[says: string, reset: string]>([
    ['a users table that is gone', 'drop table users'],
    ['what a users table made anew lacks', `drop table users; ${tutorial}`],
    [
      'columns that drizzle-kit push has dropped',
      'alter table users drop clerk_created_at, drop clerk_updated_at, drop email',
    ],
    [
      'the unique key, though other unique indexes are there',
      `alter table users drop constraint users_clerk_id_unique;
       create unique index on users (clerk_id, name); create unique index on users (clerk_id) where name <> ''`,
    ],
    ['the index by creation time', 'drop index users_clerk_created_at_idx'],
    ['the tombstones', 'drop table clerk_sync.tombstones'],
    ['the history', 'drop table clerk_sync.runs'],
    ['the state', 'drop table clerk_sync.state'],
    ['the ledger of migrations', 'drop table clerk_sync.migrations'],
    ['a column of the history', 'alter table clerk_sync.runs drop deleted'],
    [
      'the index that is the lease, though another one has its column',
      'drop index clerk_sync.runs_one_running; create index on clerk_sync.runs (status)',
    ],
    ['all of our own', 'drop schema clerk_sync cascade'],
    [
      'all that there was',
      'drop table users; drop table clerk_sync.runs, clerk_sync.tombstones, clerk_sync.first_seen',
    ],
  ])('%s', async (_says, reset) => {
    const world = await syncedWorld()
    const database = opened(world.database.url)
    expect(await hasPendingMigrations(database.db)).toBe(false)
    await world.database.sql.unsafe(reset)
    expect(await hasPendingMigrations(database.db)).toBe(true)
    const dry = await world.sync({ dryRun: true })
    expect(dry.report).toMatchObject({ status: 'succeeded', error: null })
    expect(await hasPendingMigrations(database.db)).toBe(true)
    // It would see nothing of what has gone from the rows.
    const { report } = await world.sync({ pass: 'incremental' })
    expect(report).toMatchObject({ status: 'succeeded', pass: 'full' })
    expect(await world.rows()).toEqual(world.wanted())
    expect(await hasPendingMigrations(database.db)).toBe(false)
    expect(await migrate(database)).toEqual({ applied: 0 })
    expect((await world.sync()).report).toMatchObject({ status: 'succeeded', counts: { unchanged: 20 } })
  })

  test('nothing that the app has in its place: no row and no column of its own', async () => {
    const world = await syncedWorld()
    const { sql } = world.database
    await sql.unsafe(`alter table users add plan text default 'free'; alter table users drop email;
      drop index users_clerk_created_at_idx; create index mine on users (clerk_created_at);
      drop table clerk_sync.tombstones`)
    const look = () => sql`select clerk_id, id, created_at, plan from users order by clerk_id`
    const before = await look()
    await world.sync()
    expect(await look()).toEqual(before)
    const indexes = await sql`select from pg_indexes where indexdef like '%(clerk_created_at)'`
    expect(indexes).toHaveLength(2)
    await sql`drop index users_clerk_created_at_idx`
    expect(await hasPendingMigrations(opened(world.database.url).db)).toBe(false)
  })
})

test('a role that may not is told the command, but not for an index without which all goes on', async () => {
  const world = await createWorld({ users: seedUsers({ count: 20, seed: 6 }) })
  closers.push(() => world.close())
  const { sql } = world.database
  const name = `clerk_sync_test_${randomBytes(6).toString('hex')}`
  await sql.unsafe(`create role ${name} login password 'none'; revoke create on schema public from public;
    grant usage on schema clerk_sync to ${name};
    grant select, insert, update, delete on all tables in schema clerk_sync, public to ${name}`)
  closers.push(() => sql.unsafe(`drop owned by ${name}; drop role ${name}`))
  const { host, port, database } = sql.options
  const databaseUrl = `postgres://${name}:none@${host[0]}:${port[0]}/${database}`
  await sql.unsafe('drop index users_clerk_created_at_idx; drop index clerk_sync.runs_started_at_idx')
  expect((await world.sync({ databaseUrl })).report).toMatchObject({ status: 'succeeded' })
  await sql.unsafe('alter table users drop email')
  expect((await world.sync({ databaseUrl })).report).toMatchObject({
    status: 'refused',
    error: { kind: 'configuration', hint: expect.stringContaining('npm run db:migrate') },
  })
})

test('a migration that cannot be repeated as it is passes over what is there', async () => {
  const empty = await emptyDatabase()
  const folder = await mkdtemp(join(tmpdir(), 'clerk-sync-migrations-'))
  closers.push(() => rm(folder, { recursive: true, force: true }))
  await cp(resolve(import.meta.dirname, '../../drizzle'), folder, { recursive: true })
  // As drizzle-kit writes it for one more field.
  await writeFile(join(folder, '9999_username.sql'), 'ALTER TABLE "users" ADD COLUMN "username" text;')
  const journalPath = join(folder, 'meta/_journal.json')
  const journal = JSON.parse(await readFile(journalPath, 'utf8'))
  journal.entries.push({
    idx: 9999,
    version: '7',
    when: 4102444800000,
    tag: '9999_username',
    breakpoints: true,
  })
  await writeFile(journalPath, JSON.stringify(journal))
  const database = opened(empty.url)
  await migrate(database, folder)
  const names = async () => {
    const rows = await empty.sql`select attname as name from pg_attribute
      where attrelid = 'users'::regclass and attnum > 0 and not attisdropped order by attname`
    return rows.map((row) => row.name)
  }
  const before = await names()
  for (const reset of ['alter table users drop email', 'drop table users']) {
    await empty.sql.unsafe(reset)
    await migrate(database, folder)
    expect(await names()).toEqual(before)
  }
  expect(before).toContain('username')
})

test('what no migration makes is said, and nothing is kept of the try', async () => {
  const world = await syncedWorld()
  await world.database.sql`alter table clerk_sync.runs drop notes`
  await world.database.sql`alter table users drop email`
  const database = opened(world.database.url)
  await expect(migrate(database)).rejects.toMatchObject({
    kind: 'configuration',
    message: expect.stringContaining('clerk_sync.runs.notes'),
  })
  const columns = await world.database.sql`
    select from information_schema.columns where table_name = 'users' and column_name = 'email'`
  expect(columns).toHaveLength(0)
})

test('a role’s own limit of time does not end a migration', async () => {
  const empty = await emptyDatabase()
  const role = new URL(empty.url).username
  await empty.sql.unsafe(`
    create function slow() returns event_trigger language plpgsql as $$ begin perform pg_sleep(2.5); end $$;
    create event trigger slow on ddl_command_end when tag in ('CREATE SCHEMA') execute function slow();
    do $$ begin execute format('alter role ${role} in database %I set statement_timeout = 2000',
      current_database()); end $$`)
  expect((await migrate(opened(empty.url))).applied).toBeGreaterThan(0)
}, 30_000)

describe('a users table that cannot be kept equal is named before anything is written:', () => {
  test.each<[says: string, ddl: string, message: string]>([
    ['a view', `${tutorial.replace('users', 'people')}; create view users as select * from people`, 'a view'],
    [
      'a materialized view',
      `${tutorial.replace('users', 'people')}; create materialized view users as select * from people`,
      'a materialized view',
    ],
    [
      'a generated column',
      `create table users (clerk_id text, first text, image_url text, name text generated always as (first || '!') stored)`,
      'name of the users table is generated',
    ],
  ])('%s', async (_says, ddl, message) => {
    const world = await createWorld({ empty: true, users: seedUsers({ count: 3, seed: 6 }) })
    closers.push(() => world.close())
    await world.database.sql.unsafe(ddl)
    const refused = { kind: 'configuration', message: expect.stringContaining(message) }
    for (const dryRun of [true, false]) {
      expect((await world.sync({ dryRun })).report).toMatchObject({ status: 'refused', error: refused })
    }
    await expect(migrate(opened(world.database.url))).rejects.toMatchObject(refused)
  })

  test('no schema at all', async () => {
    const world = await createWorld({ empty: true, users: seedUsers({ count: 3, seed: 6 }) })
    closers.push(() => world.close())
    await world.database.sql`drop schema public cascade`
    for (const dryRun of [true, false]) {
      expect((await world.sync({ dryRun })).report).toMatchObject({
        status: 'refused',
        error: { kind: 'configuration', hint: expect.stringContaining('?schema=') },
      })
    }
  })
})
