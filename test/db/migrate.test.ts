// Migrations, and the adoption of a users table that a webhook tutorial left behind: no row and no foreign column is lost.
import { randomBytes } from 'node:crypto'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { type Database, openDatabase } from '../../src/db/database.ts'
import { hasPendingMigrations, migrate } from '../../src/db/migrate.ts'
import type { SandboxUser } from '../../src/dev/sandbox/sandbox.ts'
import { seedUsers } from '../../src/dev/sandbox/seed.ts'
import { createTestDatabase, type TestDatabase, tableStatistics } from '../support/database.ts'
import { createWorld, type World } from '../support/world.ts'

const closers: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})
const roles: string[] = []
afterAll(async () => {
  if (roles.length === 0) return
  const { sql, drop } = await createTestDatabase({ empty: true })
  for (const role of roles) await sql`drop role ${sql(role)}`
  await drop()
})

async function emptyDatabase(): Promise<TestDatabase> {
  const created = await createTestDatabase({ empty: true })
  closers.push(() => created.drop())
  return created
}
function opened(url: string): Database {
  const database = openDatabase(url, { connections: 1 })
  closers.push(() => database.close())
  return database
}
async function emptyWorld(users: SandboxUser[]): Promise<World> {
  const world = await createWorld({ empty: true, users })
  closers.push(() => world.close())
  return world
}

const schemas = async ({ sql }: TestDatabase) => {
  const rows = await sql<{ name: string }[]>`
    select nspname as name from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema' order by 1`
  return rows.map((row) => row.name)
}
const columns = ({ sql }: TestDatabase) => sql`
  select column_name, data_type, is_nullable, column_default, character_maximum_length
  from information_schema.columns where table_schema = 'public' and table_name = 'users' order by ordinal_position`

/** What the tutorial's schema makes, but for the unique `clerk_id`. */
const tutorial = (over: { time?: string; text?: string; rest?: string } = {}) => {
  const { time = 'timestamp', text = 'text', rest = '' } = over
  return `create table users (
    id uuid primary key default gen_random_uuid(), clerk_id ${text} not null, name ${text} not null,
    image_url ${text} not null, created_at ${time} default now() not null, updated_at ${time} default now() not null${rest})`
}
const unique = `; alter table users add constraint users_clerk_id_unique unique (clerk_id)`

/** Rows as the tutorial's webhook would have left them; every 10th with an old name, every 7th without its picture. */
const fill = async ({ sql }: TestDatabase, users: readonly SandboxUser[], wanted: World['wanted']) => {
  const values = wanted()
  const rows = users.map((user, index) => ({
    clerk_id: user.id,
    name: index % 10 === 0 ? 'Old Name' : (values.get(user.id)?.name ?? ''),
    image_url: index % 7 === 0 ? '' : (values.get(user.id)?.imageUrl ?? ''),
  }))
  await sql`insert into users (clerk_id, name, image_url, created_at, updated_at)
    select clerk_id, name, image_url, '2024-05-06 07:08:09', '2024-06-07 08:09:10'
    from jsonb_to_recordset(${sql.json(rows)}) as r(clerk_id text, name text, image_url text)`
}

describe('a tutorial’s table of 1,000 rows', () => {
  test('is adopted in place: nothing is lost, and only what Clerk has changed moves updated_at', async () => {
    const users = seedUsers({ count: 1000, seed: 4 })
    const world = await emptyWorld(users)
    const { sql } = world.database
    await sql.unsafe(tutorial({ rest: `, plan text default 'free', score integer` }) + unique)
    await fill(world.database, users, world.wanted)
    await sql`update users set score = hashtext(clerk_id), plan = 'plan of ' || clerk_id`
    await sql.unsafe(`
      create table posts (author uuid not null references users (id) on delete cascade, title text);
      insert into posts select id, clerk_id from users;
      create table audit (clerk_id text, was text);
      create function note() returns trigger language plpgsql security definer as
        $$ begin insert into audit values (old.clerk_id, old.name); return new; end $$;
      create trigger note before update of name on users for each row execute function note()`)
    const look = () => sql`select clerk_id, id, created_at::text, plan, score from users order by clerk_id`
    const before = await look()
    const ages = async () => {
      const rows = await sql<{ clerk_id: string; moved: boolean }[]>`
        select clerk_id, updated_at <> '2024-06-07 08:09:10' as moved from users`
      return new Map(rows.map((row) => [row.clerk_id, row.moved]))
    }

    const dry = await world.sync({ dryRun: true })
    expect(dry.report).toMatchObject({ status: 'succeeded', runId: null })
    expect(dry.report.notes).toEqual([
      expect.stringMatching(/^a run would first apply the migrations .* keeps all it has and gets users\./),
      expect.stringMatching(/^a run would bind the table to instance ins_/),
      'a dry run cannot foresee what the trigger note will say',
    ])
    expect(dry.report.counts).toMatchObject({ seen: 1000, created: 0, deleted: 0, pending: 0 })
    expect(await schemas(world.database)).toEqual(['public'])
    expect(await columns(world.database)).toHaveLength(8)
    expect(await look()).toEqual(before)

    const { report } = await world.sync()
    expect(report).toMatchObject({ status: 'succeeded', counts: dry.report.counts })
    expect(await world.rows()).toEqual(world.wanted())
    expect(await look()).toEqual(before)
    const wanted = world.wanted()
    const changes = users.map((user, index) => {
      const { email, name, imageUrl } = wanted.get(user.id) ?? {}
      const isNew =
        email !== null || (index % 10 === 0 && name !== 'Old Name') || (index % 7 === 0 && imageUrl !== '')
      return [user.id, isNew] as const
    })
    expect(await ages()).toEqual(new Map(changes))
    expect(changes.filter(([, isNew]) => !isNew).length).toBeGreaterThan(10)
    const [counts] =
      await sql`select (select count(*)::int from posts) as posts, (select count(*)::int from audit) as audited`
    expect(counts?.posts).toBe(1000)
    // The app's trigger sees our updates like any other.
    expect(counts?.audited).toBe(report.counts.updated)

    const settled = await tableStatistics(sql)
    expect((await world.sync()).report.counts).toMatchObject({ unchanged: 1000, updated: 0, refreshed: 0 })
    expect(await tableStatistics(sql)).toEqual(settled)
  })
})

describe('the tutorial’s table', () => {
  const variants: [says: string, ddl: string, hasOurConstraint: boolean][] = [
    ['with a unique constraint', tutorial() + unique, true],
    ['with a unique index only', `${tutorial()}; create unique index on users (clerk_id)`, false],
    [
      'with a unique index that includes more',
      `${tutorial()}; create unique index on users (clerk_id) include (name)`,
      false,
    ],
    ['with timestamptz', tutorial({ time: 'timestamptz' }) + unique, true],
    ['with varchar(255)', tutorial({ text: 'varchar(255)' }) + unique, true],
    ['with no unique clerk_id at all', tutorial(), true],
    [
      'with unique indexes that prove nothing',
      `${tutorial()}; create unique index on users (clerk_id, name); create unique index on users (lower(clerk_id));
        create unique index on users (clerk_id) where name <> ''`,
      true,
    ],
    ['with an email of its own', tutorial({ rest: ', email varchar(200)' }) + unique, true],
    [
      'with nothing but what it must have',
      'create table users (clerk_id text, name text, image_url text)',
      true,
    ],
  ]
  test.each(variants)('%s is adopted and equal after one run', async (_says, ddl, hasOurConstraint) => {
    const users = seedUsers({ count: 40, seed: 5 })
    const world = await emptyWorld(users)
    await world.database.sql.unsafe(ddl)
    const hasTimes = ddl.includes('created_at')
    if (hasTimes) await fill(world.database, users.slice(0, 30), world.wanted)
    else
      await world.database
        .sql`insert into users ${world.database.sql(users.slice(0, 30).map(({ id }) => ({ clerk_id: id, name: '', image_url: '' })))}`
    const types = await columns(world.database)
    const { report } = await world.sync()
    expect(report).toMatchObject({ status: 'succeeded', notes: [], counts: { seen: 40, created: 10 } })
    expect(await world.rows()).toEqual(world.wanted())
    // What was there keeps its type and nullability, and what came is nullable or has a default.
    const adopted = await columns(world.database)
    expect(adopted.slice(0, types.length)).toEqual(types)
    for (const column of adopted.slice(types.length)) {
      expect(column.is_nullable === 'YES' || column.column_default !== null).toBe(true)
    }
    const constraints = await world.database.sql`
      select from pg_constraint where conrelid = 'users'::regclass and conname = 'users_clerk_id_unique'`
    expect(constraints).toHaveLength(hasOurConstraint ? 1 : 0)
    // The app's old webhook goes on inserting with the columns that it knows.
    await world.database.sql`insert into users (clerk_id, name, image_url) values ('user_webhook', 'New', '')`
    expect((await world.sync()).report.counts).toMatchObject({ unchanged: 40, pending: 1 })
  })

  test('with a clerk_id twice is refused in words, and nothing has changed', async () => {
    const users = seedUsers({ count: 3, seed: 5 })
    const world = await emptyWorld(users)
    const { sql } = world.database
    await sql.unsafe(tutorial())
    await fill(world.database, users, world.wanted)
    await fill(world.database, users.slice(0, 1), world.wanted)
    const look = () => sql`select u.* from users u order by id`
    const [rows, types] = [await look(), await columns(world.database)]
    const { report } = await world.sync()
    expect(report).toMatchObject({
      status: 'failed',
      error: { kind: 'contract', message: 'a migration failed; nothing of it was kept' },
    })
    expect(report.error?.hint).toContain('clerk_id')
    expect(report.error?.hint).toContain(`${users[0]?.id} (2 rows)`)
    const [, statement = ''] = /(select .*)$/.exec(report.error?.hint ?? '') ?? []
    expect(await sql.unsafe(statement)).toHaveLength(2)
    await sql`update users set clerk_id = 'ada@example.com' where clerk_id = ${users[0]?.id ?? ''}`
    const other = await world.sync()
    expect(other.report.error?.hint).toContain('… (2 rows)')
    expect(JSON.stringify(other)).not.toContain('ada@example.com')
    await sql`update users set clerk_id = ${users[0]?.id ?? ''} where clerk_id = 'ada@example.com'`
    expect(await look()).toEqual(rows)
    expect(await columns(world.database)).toEqual(types)
    expect(await schemas(world.database)).toEqual(['public'])
  })

  test('that is about something else is a matter of configuration, and is not touched', async () => {
    const world = await emptyWorld(seedUsers({ count: 3, seed: 5 }))
    await world.database.sql`create table users (id serial primary key, login text, name text)`
    const types = await columns(world.database)
    for (const dryRun of [true, false]) {
      const { report } = await world.sync({ dryRun })
      expect(report).toMatchObject({
        status: 'refused',
        error: { kind: 'configuration', message: 'the users table lacks the column clerk_id, image_url' },
      })
    }
    expect(await columns(world.database)).toEqual(types)
    expect(await schemas(world.database)).toEqual(['public'])
  })
})

describe('migrate', () => {
  test('four times at once on an empty database applies each migration once', async () => {
    const empty = await emptyDatabase()
    const databases = [1, 2, 3, 4].map(() => opened(empty.url))
    expect(await hasPendingMigrations(databases[0]?.db as Database['db'])).toBe(true)
    const results = await Promise.all(databases.map((database) => migrate(database)))
    const applied = results.map((result) => result.applied).sort((a, b) => a - b)
    const [known] = await empty.sql<{ count: number }[]>`select count(*)::int from clerk_sync.migrations`
    expect(applied).toEqual([0, 0, 0, known?.count])
    expect(known?.count).toBeGreaterThan(0)
    expect(await hasPendingMigrations(databases[0]?.db as Database['db'])).toBe(false)
    expect(await migrate(databases[0] as Database)).toEqual({ applied: 0 })
  })

  test('with nothing pending waits for nobody, not for another migrator either', async () => {
    const created = await createTestDatabase()
    closers.push(() => created.drop())
    const other = created.connect()
    await other`begin`
    await other`lock table users, clerk_sync.runs`
    await other`select pg_advisory_xact_lock(7163371136806975353)`
    expect(await migrate(opened(created.url))).toEqual({ applied: 0 })
    await other`rollback`
  })

  test('that fails late leaves nothing behind', async () => {
    const empty = await emptyDatabase()
    await empty.sql.unsafe(`create table users (clerk_id text, name text, image_url text);
      create function refuse() returns event_trigger language plpgsql as $$ begin
        if exists (select from pg_event_trigger_ddl_commands() where object_identity like '%users_clerk_created_at_idx')
        then raise exception 'no'; end if; end $$;
      create event trigger refuse on ddl_command_end execute function refuse()`)
    await expect(migrate(opened(empty.url))).rejects.toMatchObject({ kind: 'contract' })
    expect(await schemas(empty)).toEqual(['public'])
    expect(await columns(empty)).toHaveLength(3)
  })

  test('gives up where the app holds the table, and leaves nothing behind', async () => {
    const empty = await emptyDatabase()
    await empty.sql.unsafe(tutorial() + unique)
    const app = empty.connect()
    await app`begin`
    await app`select from users`
    const started = performance.now()
    await expect(migrate(opened(empty.url))).rejects.toMatchObject({
      kind: 'transient',
      message: 'the migration waited too long for the users table',
    })
    expect(performance.now() - started).toBeLessThan(20_000)
    await app`commit`
    expect(await schemas(empty)).toEqual(['public'])
    expect(await columns(empty)).toHaveLength(6)
  })
})

describe('a role that may not create', () => {
  /** A login of its own, without any right in the database but to connect. */
  async function roleIn({ sql, url }: TestDatabase): Promise<{ name: string; url: string }> {
    const name = `clerk_sync_test_${randomBytes(6).toString('hex')}`
    roles.push(name)
    await sql`create role ${sql(name)} login password 'none'`
    await sql`revoke create on schema public from public`
    const own = new URL(url)
    own.username = name
    own.password = 'none'
    return { name, url: own.href }
  }

  test('works with nothing pending, with the rights to the tables alone', async () => {
    const world = await createWorld({ users: seedUsers({ count: 20, seed: 6 }) })
    closers.push(() => world.close())
    const { sql } = world.database
    const role = await roleIn(world.database)
    await sql`grant usage on schema clerk_sync to ${sql(role.name)}`
    await sql`grant select, insert, update, delete on all tables in schema clerk_sync, public to ${sql(role.name)}`
    expect(await migrate(opened(role.url))).toEqual({ applied: 0 })
    const first = await world.sync({ databaseUrl: role.url })
    expect(first.report).toMatchObject({ status: 'succeeded', error: null, counts: { created: 20 } })
    world.sandbox.users.delete(world.sandbox.users.all()[3]?.id ?? '')
    const second = await world.sync({ databaseUrl: role.url })
    expect(second.report).toMatchObject({ status: 'succeeded', counts: { deleted: 1 } })
    expect(await world.rows()).toEqual(world.wanted())
  })

  test.each([
    ['an empty database', undefined],
    ['a tutorial’s table', tutorial() + unique],
  ])('is told the command with something pending on %s', async (_what, ddl) => {
    const world = await emptyWorld(seedUsers({ count: 3, seed: 6 }))
    if (ddl !== undefined) await world.database.sql.unsafe(ddl)
    const role = await roleIn(world.database)
    await world.database
      .sql`grant select, insert, update, delete on all tables in schema public to ${world.database.sql(role.name)}`
    const { report } = await world.sync({ databaseUrl: role.url })
    expect(report).toMatchObject({ status: 'refused', runId: null, error: { kind: 'configuration' } })
    expect(report.error?.hint).toContain('npm run db:migrate')
    expect(await schemas(world.database)).toEqual(['public'])
  })
})
