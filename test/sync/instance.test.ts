import { afterEach, describe, expect, test } from 'vitest'
import type { Sandbox } from '../../src/dev/sandbox/sandbox.ts'
import { seedUsers } from '../../src/dev/sandbox/seed.ts'
import { exitCodeOf } from '../../src/sync/report.ts'
import type { TestDatabase } from '../support/database.ts'
import { createWorld, type SyncOptions, type World } from '../support/world.ts'

const here = 'ins_2aBcDeFgHiJkLmNoPqRsTuVwXyZ'
const there = 'ins_9zYxWvUtSrQpOnMlKjIhGfEdCbA'
const noFlags = { detailedExitcode: false, skipIfRunning: false }

const closers: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

const usersOf = (instanceId: string, count = 12) =>
  seedUsers({ count, seed: instanceId === here ? 1 : 2, instanceId })

async function worldOf(
  instanceId: string,
  options: { empty?: boolean; count?: number } = {},
): Promise<World> {
  const { empty = false, count } = options
  const world = await createWorld({ instanceId, empty, users: usersOf(instanceId, count) })
  closers.push(() => world.close())
  return world
}

/** The same database, seen through a key of another instance. */
async function through(world: World, instanceId: string): Promise<{ sandbox: Sandbox; sync: World['sync'] }> {
  const other = await worldOf(instanceId)
  const sync = (options?: SyncOptions) => other.sync({ ...options, databaseUrl: world.database.url })
  return { sandbox: other.sandbox, sync }
}

/** Everything that a run could have written, with the transaction that wrote it, but for its line in the history. */
async function dump({ sql }: TestDatabase) {
  const tables = await sql<{ schema: string; name: string }[]>`
    select schemaname as schema, tablename as name from pg_tables
    where schemaname not in ('pg_catalog', 'information_schema') order by 1, 2`
  const rows = []
  for (const { schema, name } of tables) {
    if (name === 'runs') continue
    rows.push([
      schema,
      name,
      await sql`select t.*, t.xmin::text as written_by from ${sql(schema)}.${sql(name)} t order by 1`,
    ])
  }
  const columns =
    await sql`select table_schema, table_name, column_name, data_type from information_schema.columns
    where table_schema not in ('pg_catalog', 'information_schema') order by 1, 2, ordinal_position`
  const schemas = await sql`select nspname from pg_namespace where nspname !~ '^pg_t' order by 1`
  const sequences = await sql`
    select schemaname, sequencename, last_value from pg_sequences where sequencename <> 'runs_id_seq' order by 1, 2`
  return { schemas: [...schemas], columns: [...columns], sequences: [...sequences], rows }
}

const tutorial = `create table users (id uuid primary key default gen_random_uuid(), clerk_id text unique not null,
  name text not null, image_url text not null, created_at timestamp default now() not null,
  updated_at timestamp default now() not null)`

async function fill({ sql }: TestDatabase, ids: readonly string[]) {
  for (const id of ids)
    await sql`insert into users (clerk_id, name, image_url) values (${id}, 'Somebody', '')`
}

/** Runs that are refused, in earnest and dry: exit 78, and not one byte has changed. */
async function expectRefused(
  database: TestDatabase,
  sync: World['sync'],
  message: RegExp,
  options: SyncOptions = {},
): Promise<string> {
  const before = await dump(database)
  let hint = ''
  for (const dryRun of [true, false]) {
    const outcome = await sync({ ...options, dryRun })
    expect(outcome.report).toMatchObject({
      status: 'refused',
      dryRun,
      error: { kind: 'refused' },
    })
    expect(outcome.report.error?.message).toMatch(message)
    expect(outcome.report.counts).toMatchObject({ seen: 0, created: 0, deleted: 0 })
    expect(exitCodeOf(outcome, noFlags)).toBe(78)
    expect(await dump(database)).toEqual(before)
    hint = outcome.report.error?.hint ?? ''
  }
  return hint
}

describe('a table bound to one instance', () => {
  test('refuses a key of another, and says both ways out', async () => {
    const world = await worldOf(here)
    await world.sync()
    const other = await through(world, there)
    const hint = await expectRefused(world.database, other.sync, new RegExp(`${there}.*${here}`))
    expect(hint).toContain(`npm run sync -- --accept-instance ${there}`)
    expect(hint).toContain(`key of ${here}`)
    // Clerk was asked for the instance and for nothing else.
    expect(other.sandbox.requests.map((request) => request.endpoint)).toEqual(['instance', 'instance'])
  })

  test('refuses it with an approval too, and with the wrong instance accepted', async () => {
    const world = await worldOf(here)
    await world.sync()
    const other = await through(world, there)
    await expectRefused(world.database, other.sync, /belongs to/, { approveDeletes: 100 })
    await expectRefused(world.database, other.sync, /names another instance than the key/, {
      acceptInstance: here,
    })
  })

  test('refuses it for one user and for an incremental pass as well', async () => {
    const world = await worldOf(here)
    await world.sync()
    const other = await through(world, there)
    const [gone] = world.sandbox.users.all()
    await expectRefused(world.database, other.sync, /belongs to/, { pass: 'incremental' })
    await expectRefused(world.database, other.sync, /belongs to/, { pass: 'user', userId: gone?.id ?? '' })
  })

  test('does not follow the other for one user alone: a run of the first may be under way', async () => {
    const world = await worldOf(here)
    await world.sync()
    const other = await through(world, there)
    const [theirs] = other.sandbox.users.all()
    const one = { pass: 'user', userId: theirs?.id ?? '', acceptInstance: there } as const
    await expectRefused(world.database, other.sync, /a single user does not move the table/, one)
  })

  test('refuses it though its rows have all gone', async () => {
    const world = await worldOf(here)
    await world.sync()
    await world.database.sql`delete from users`
    const other = await through(world, there)
    await expectRefused(world.database, other.sync, /belongs to/)
  })

  test('follows the other once that is accepted by name; the guard still keeps the old rows', async () => {
    const world = await worldOf(here, { count: 60 })
    await world.sync()
    const [before] = await world.database
      .sql`select instance_id, watermark is null as no_watermark from clerk_sync.state`
    expect(before).toEqual({ instance_id: here, no_watermark: false })
    const other = await through(world, there)
    other.sandbox.users.delete(other.sandbox.users.all()[0]?.id ?? '')
    const accepted = await other.sync({ acceptInstance: there })
    expect(accepted.report).toMatchObject({
      status: 'withheld',
      instanceId: there,
      counts: { created: 11, deleted: 0, withheld: 60 },
    })
    expect((await world.rows()).size).toBe(71)
    const [after] = await world.database.sql`select instance_id from clerk_sync.state`
    expect(after).toEqual({ instance_id: there })
    // From now on it is the first key that is refused.
    await expectRefused(world.database, world.sync, new RegExp(`belongs to ${there}`))
  })

  test('takes the accepted instance’s name without harm where it is the bound one', async () => {
    const world = await worldOf(here)
    await world.sync()
    const { report } = await world.sync({ acceptInstance: here })
    expect(report).toMatchObject({ status: 'succeeded', counts: { unchanged: 12 } })
  })

  test('forgets what it knew of the old instance the moment it follows another', async () => {
    const world = await worldOf(here)
    await world.sync()
    const other = await through(world, there)
    // The pass ends before it could note a watermark of its own.
    other.sandbox.faults.add({ endpoint: 'list', kind: 401, times: Number.POSITIVE_INFINITY })
    const { report } = await other.sync({ acceptInstance: there })
    expect(report).toMatchObject({ status: 'failed', error: { kind: 'configuration' } })
    const [state] = await world.database
      .sql`select instance_id, watermark, difference, full_pass_due_at from clerk_sync.state`
    expect(state).toEqual({ instance_id: there, watermark: null, difference: null, full_pass_due_at: null })
  })
})

describe('the very first run', () => {
  test('refuses a table with rows that the instance knows none of, before any migration', async () => {
    const world = await worldOf(here, { empty: true })
    await world.database.sql.unsafe(tutorial)
    await fill(
      world.database,
      usersOf(there).map((user) => user.id),
    )
    const hint = await expectRefused(world.database, world.sync, /knows none of them/)
    expect(hint).toContain(`npm run sync -- --accept-instance ${here}`)
  })

  test('refuses it on a migrated database too, and asks for no more than 100 users', async () => {
    const world = await worldOf(here)
    await fill(
      world.database,
      usersOf(there, 130).map((user) => user.id),
    )
    await expectRefused(world.database, world.sync, /knows none of them/)
    const asked = world.sandbox.requests.filter((request) => request.endpoint === 'list')
    expect(asked.map((request) => request.query.getAll('user_id').length)).toEqual([100, 100])
  })

  test.each([
    ['ignores the filter', 'ignored'],
    ['answers with nobody', 'empty'],
  ] as const)('refuses rows it does not know where Clerk %s', async (_what, userIdFilter) => {
    const world = await worldOf(here)
    await fill(
      world.database,
      usersOf(there).map((user) => user.id),
    )
    world.sandbox.userIdFilter = userIdFilter
    await expectRefused(world.database, world.sync, /knows none of them/)
  })

  test('refuses a table of which the instance knows fewer than half, and says how many', async () => {
    const world = await worldOf(here)
    const strangers = usersOf(there, 12).map((user) => user.id)
    const known = world.sandbox.users.all().map((user) => user.id)
    await fill(world.database, [...strangers, ...known.slice(0, 11)])
    const hint = await expectRefused(
      world.database,
      world.sync,
      /^Clerk knows 11 of 23 rows .* fewer than half/,
    )
    expect(hint).toContain(`npm run sync -- --accept-instance ${here}`)
    await fill(world.database, known.slice(11))
    expect((await world.sync()).report).toMatchObject({ status: 'succeeded', counts: { pending: 12 } })
  })

  test('goes on where the instance knows half of them; the others settle and pass the guard like any row', async () => {
    const world = await worldOf(here)
    const strangers = usersOf(there, 11).map((user) => user.id)
    const known = world.sandbox.users.all().map((user) => user.id)
    await fill(world.database, [...strangers, ...known.slice(0, 11)])
    const { report } = await world.sync()
    expect(report).toMatchObject({ status: 'succeeded', counts: { created: 1, deleted: 0, pending: 11 } })
    expect((await world.rows()).size).toBe(23)
    await world.database.sql`update users set created_at = now() - interval '2 days'`
    expect((await world.sync()).report).toMatchObject({
      status: 'withheld',
      counts: { withheld: 11, deleted: 0 },
    })
    const approved = await world.sync({ approveDeletes: 11 })
    expect(approved.report).toMatchObject({ status: 'succeeded', counts: { deleted: 11 } })
    expect(await world.rows()).toEqual(world.wanted())
  })

  test('goes on with rows it does not know once the instance is accepted, and not if another is', async () => {
    const world = await worldOf(here)
    await fill(
      world.database,
      usersOf(there).map((user) => user.id),
    )
    await expectRefused(world.database, world.sync, /names another instance than the key/, {
      acceptInstance: there,
    })
    const { report } = await world.sync({ acceptInstance: here })
    expect(report).toMatchObject({
      status: 'succeeded',
      instanceId: here,
      counts: { created: 12, pending: 12 },
    })
  })

  test('needs nobody’s word for an empty table, nor for one whose rows are not ours', async () => {
    const world = await worldOf(here)
    await fill(world.database, ['org_1', 'service account', 'user_with-dash'])
    const { report } = await world.sync()
    expect(report).toMatchObject({ status: 'succeeded', counts: { created: 12, pending: 0 } })
    const [state] = await world.database.sql`select instance_id from clerk_sync.state`
    expect(state).toEqual({ instance_id: here })
  })

  test('binds nothing where the key is refused or Clerk does not say which instance it is', async () => {
    const world = await worldOf(here, { empty: true })
    const before = await dump(world.database)
    expect((await world.sync({ secretKey: 'sk_test_wrong' })).report).toMatchObject({
      status: 'refused',
      error: { kind: 'configuration' },
    })
    world.sandbox.faults.add({ endpoint: 'instance', kind: 'object', times: Number.POSITIVE_INFINITY })
    expect((await world.sync()).report).toMatchObject({ status: 'failed', error: { kind: 'contract' } })
    expect(await dump(world.database)).toEqual(before)
  })

  test('of two keys at once binds one instance, whichever was first, and no user of the other gets in', async () => {
    const world = await worldOf(here)
    const other = await through(world, there)
    const [a, b] = await Promise.all([world.sync(), other.sync()])
    const [state] = await world.database.sql<
      { instance_id: string }[]
    >`select instance_id from clerk_sync.state`
    const statuses = [a.report.status, b.report.status]
    expect(statuses.filter((status) => status === 'succeeded')).toHaveLength(1)
    const winner = state?.instance_id === here ? world.sandbox : other.sandbox
    const ids = winner.users.all().map((user) => user.id)
    expect([...(await world.rows()).keys()].sort()).toEqual(ids.sort())
  })
})

describe('a dry run', () => {
  test('writes nothing at all, on an empty database, a tutorial’s table and a synced one', async () => {
    const world = await worldOf(here, { empty: true })
    const empty = await dump(world.database)
    const first = await world.sync({ dryRun: true })
    expect(first.report).toMatchObject({ status: 'succeeded', runId: null, counts: { created: 12 } })
    expect(first.changes).toHaveLength(12)
    expect(await dump(world.database)).toEqual(empty)

    await world.database.sql.unsafe(tutorial)
    await fill(
      world.database,
      world.sandbox.users
        .all()
        .slice(0, 5)
        .map((user) => user.id),
    )
    const adopted = await dump(world.database)
    expect((await world.sync({ dryRun: true })).report.counts).toMatchObject({ created: 7, updated: 5 })
    expect(await dump(world.database)).toEqual(adopted)

    await world.sync()
    const [gone, changed] = world.sandbox.users.all()
    world.sandbox.users.delete(gone?.id ?? '')
    world.sandbox.users.update(changed?.id ?? '', { first_name: 'Changed' })
    const synced = await dump(world.database)
    const last = await world.sync({ dryRun: true })
    expect(last.report.counts).toMatchObject({ created: 0, updated: 1, deleted: 1, unchanged: 10 })
    expect(exitCodeOf(last, { ...noFlags, detailedExitcode: true })).toBe(2)
    expect(await dump(world.database)).toEqual(synced)
  })
})
