// The guards that SQL repeats, with transactions held open at the worst moment.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { readCatalog } from '../../src/db/catalog.ts'
import { type Database, type Executor, openDatabase, transaction, WriteError } from '../../src/db/database.ts'
import type { SyncedValues } from '../../src/db/schema.ts'
import { deleteUsers, forgetOldTombstones, readTombstones } from '../../src/db/tombstones.ts'
import {
  insertUsers,
  readAbsentIds,
  readRows,
  readUndatedIds,
  refreshUsers,
  updateUsers,
  type Write,
} from '../../src/db/users.ts'
import { writeTransaction } from '../../src/db/write-transaction.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'

const version = Date.parse('2026-03-01T12:00:00.123Z')
const hourMs = 3600_000
const longAgo = Date.parse('2001-01-01T00:00:00.000Z')

let testDatabase: TestDatabase
let database: Database
const open: Held<unknown>[] = []

beforeAll(async () => {
  testDatabase = await createTestDatabase()
  database = openDatabase(testDatabase.url, { connections: 6 })
})
afterAll(async () => {
  await database.close()
  await testDatabase.drop()
})
beforeEach(async () => {
  await testDatabase.sql`truncate users, clerk_sync.tombstones, clerk_sync.runs`
})
afterEach(async () => {
  for (const held of open.splice(0)) await held.end().catch(() => {})
})

const ada: SyncedValues = { name: 'Ada', email: 'ada@example.com', imageUrl: 'https://img/a' }
const write = (clerkId: string, over: Partial<Write> = {}): Write => ({
  clerkId,
  values: ada,
  clerkCreatedAt: version - 1000,
  clerkUpdatedAt: version,
  ...over,
})
const named = (name: string): SyncedValues => ({ ...ada, name })
const plain = { runId: null, deletionLock: 'none' } as const
const shared = { runId: null, deletionLock: 'shared' } as const
const exclusive = { runId: null, deletionLock: 'exclusive' } as const

const insert = (...writes: Write[]) =>
  writeTransaction(database, shared, (tx) => insertUsers(tx, writes, longAgo))
const update = (...writes: Write[]) => writeTransaction(database, plain, (tx) => updateUsers(tx, writes))
const refresh = (...writes: Write[]) => writeTransaction(database, plain, (tx) => refreshUsers(tx, writes))
const remove = (clerkId: string, clerkUpdatedAt: number | null = version) =>
  writeTransaction(database, exclusive, (tx) => deleteUsers(tx, [{ clerkId, clerkUpdatedAt }], null))

/** The line of a run under way. */
const beginRun = async () => {
  await testDatabase.sql`delete from clerk_sync.runs`
  const [run] = await testDatabase.sql<{ id: number }[]>`
    insert into clerk_sync.runs (pass, trigger, status, host) values ('full', 'cli', 'running', 'here')
    returning id::int`
  if (run === undefined) throw new Error('the insert returned no row')
  return run.id
}

/** Everything of a row that a write could have touched, and the transaction that wrote it. */
const look = async (clerkId: string) => {
  const [row] = await testDatabase.sql`
    select name, email, image_url, clerk_created_at::text, clerk_updated_at::text, created_at::text, updated_at::text,
      id::text, xmin::text, xmax::text from users where clerk_id = ${clerkId}`
  return row
}
const nameOf = async (clerkId: string) => (await look(clerkId))?.name
const idsIn = async (table: 'users' | 'clerk_sync.tombstones') => {
  const rows = await testDatabase.sql<
    { clerk_id: string }[]
  >`select clerk_id from ${testDatabase.sql(table)} order by 1`
  return rows.map((row) => row.clerk_id)
}

interface Held<T> {
  /** What the write gave; the transaction is still open. */
  readonly result: T
  /** Commits. */
  end(): Promise<T>
}

/** Runs the write and keeps its transaction open. */
async function hold<T>(
  options: Parameters<typeof writeTransaction>[1],
  write: (tx: Executor) => Promise<T>,
): Promise<Held<T>> {
  let release = () => {}
  const released = new Promise<void>((resolve) => {
    release = resolve
  })
  const held = await new Promise<Held<T>>((resolve, reject) => {
    const committed = writeTransaction(database, options, async (tx) => {
      const result = await write(tx)
      resolve({
        result,
        end: () => {
          release()
          return committed
        },
      })
      await released
      return result
    })
    committed.catch(reject)
  })
  open.push(held)
  return held
}

/** The same for a statement of the app's. */
async function holdApp(statement: string): Promise<{ commit(): Promise<void> }> {
  const app = testDatabase.connect()
  await app.unsafe(`begin; ${statement}`)
  const commit = async () => {
    await app`commit`
    await app.end()
  }
  open.push({ result: undefined, end: commit })
  return { commit }
}

/** Until so many sessions have waited for a lock, and for so long. */
async function blocked(count: number, milliseconds = 0): Promise<void> {
  const deadline = Date.now() + 1500
  for (;;) {
    const [waiting] = await testDatabase.sql<{ count: number }[]>`
      select count(*)::int from pg_locks join pg_stat_activity using (pid)
      where datname = current_database() and wait_event_type = 'Lock' and not granted
        and waitstart <= clock_timestamp() - ${milliseconds} * interval '1 millisecond'`
    if (waiting?.count === count) return
    if (Date.now() > deadline) throw new Error(`${waiting?.count} sessions wait, not ${count}`)
  }
}

/** Which of these rows no transaction holds a lock on that an update would have to wait for. */
const freeRows = async (...clerkIds: string[]) => {
  const rows = await testDatabase.sql<{ clerk_id: string }[]>`
    select clerk_id from users where clerk_id = any(${clerkIds}) order by 1 for update skip locked`
  return rows.map((row) => row.clerk_id)
}

describe('the deletion lock', () => {
  test('makes a deletion wait for an insert under way, and see its row', async () => {
    const inserting = await hold(shared, (tx) => insertUsers(tx, [write('user_a')], longAgo))
    const removed = remove('user_a')
    await blocked(1)
    await inserting.end()
    expect(await removed).toEqual(['user_a'])
    expect(await idsIn('users')).toEqual([])
    expect(await idsIn('clerk_sync.tombstones')).toEqual(['user_a'])
  })

  test('makes a later insert wait for a deletion under way, and see its tombstone', async () => {
    await insert(write('user_a'))
    const deleting = await hold(exclusive, (tx) =>
      deleteUsers(tx, [{ clerkId: 'user_a', clerkUpdatedAt: version }], null),
    )
    const inserted = insert(write('user_a'))
    await blocked(1)
    await deleting.end()
    expect(await inserted).toEqual([])
    expect(await idsIn('users')).toEqual([])
  })

  test('stamps a tombstone with the time of the deletion, not of the transaction that waited', async () => {
    await insert(write('user_a'))
    const inserting = await hold(shared, (tx) => insertUsers(tx, [write('user_b')], longAgo))
    const removed = remove('user_a')
    await blocked(1)
    const [clock] = await testDatabase.sql<{ at: Date }[]>`select clock_timestamp()::timestamptz(3) as at`
    await inserting.end()
    await removed
    const [tombstone] = await testDatabase.sql<{ late: boolean }[]>`
      select deleted_at >= ${clock?.at ?? ''} as late from clerk_sync.tombstones`
    expect(tombstone).toEqual({ late: true })
  })

  test('lets inserts pass each other, and an update pass a deletion', async () => {
    await insert(write('user_a'), write('user_c'))
    await hold(shared, (tx) => insertUsers(tx, [write('user_b')], longAgo))
    expect(await insert(write('user_d'))).toEqual(['user_d'])
    for (const held of open.splice(0)) await held.end()
    await hold(exclusive, (tx) => deleteUsers(tx, [{ clerkId: 'user_a', clerkUpdatedAt: version }], null))
    expect(await update(write('user_c', { values: named('Bo') }))).toEqual(['user_c'])
  })

  test('is taken before any row is locked, and read committed even where the database has another default', async () => {
    await testDatabase.sql.unsafe(
      `alter database ${new URL(testDatabase.url).pathname.slice(1)} set default_transaction_isolation = 'repeatable read'`,
    )
    const strict = openDatabase(testDatabase.url, { connections: 1 })
    try {
      const inserting = await hold(shared, (tx) => insertUsers(tx, [write('user_a')], longAgo))
      const removed = writeTransaction(strict, exclusive, (tx) =>
        deleteUsers(tx, [{ clerkId: 'user_a', clerkUpdatedAt: version }], null),
      )
      await blocked(1)
      const [locks] = await testDatabase.sql<{ rows: number }[]>`
        select count(*)::int as rows from pg_locks l join pg_stat_activity a using (pid)
        where a.wait_event = 'advisory' and l.locktype = 'relation' and l.relation = 'users'::regclass`
      expect(locks).toEqual({ rows: 0 })
      await inserting.end()
      expect(await removed).toEqual(['user_a'])
    } finally {
      await strict.close()
      await testDatabase.sql.unsafe(
        `alter database ${new URL(testDatabase.url).pathname.slice(1)} reset default_transaction_isolation`,
      )
    }
  })
})

describe('an insert', () => {
  test('writes every value, and Clerk’s times to the millisecond', async () => {
    await insert(write('user_a'))
    expect(await look('user_a')).toMatchObject({
      name: 'Ada',
      email: 'ada@example.com',
      image_url: 'https://img/a',
    })
    const [row] = await readRows(database.db, ['user_a'], await readCatalog(database.db))
    expect(row).toEqual({
      clerkId: 'user_a',
      values: ada,
      clerkCreatedAt: version - 1000,
      clerkUpdatedAt: version,
      isDayOld: false,
    })
  })

  test('is blocked by a tombstone younger than the grace, and lifts an older one', async () => {
    const now = Date.now()
    const at = (ms: number) => new Date(ms)
    await testDatabase.sql`insert into clerk_sync.tombstones (clerk_id, deleted_at)
      values ('user_young', ${at(now + 1)}), ('user_edge', ${at(now)}), ('user_old', ${at(now - 1)}),
        ('user_other', ${at(now - 1)})`
    const stones = await readTombstones(
      database.db,
      ['user_young', 'user_edge', 'user_old', 'user_none'],
      now,
      await readCatalog(database.db),
    )
    expect(stones).toEqual(
      new Map([
        ['user_young', 'blocking'],
        ['user_edge', 'expired'],
        ['user_old', 'expired'],
      ]),
    )
    const writes = ['user_young', 'user_edge', 'user_old'].map((id) => write(id))
    const inserted = await writeTransaction(database, shared, (tx) => insertUsers(tx, writes, now))
    expect(inserted.sort()).toEqual(['user_edge', 'user_old'])
    expect(await idsIn('users')).toEqual(['user_edge', 'user_old'])
    expect(await idsIn('clerk_sync.tombstones')).toEqual(['user_other', 'user_young'])
  })

  test('is blocked by a tombstone of any age where nothing counts as old', async () => {
    await testDatabase.sql`insert into clerk_sync.tombstones (clerk_id, deleted_at) values ('user_a', '2001-01-01')`
    const inserted = writeTransaction(database, shared, (tx) =>
      insertUsers(tx, [write('user_a'), write('user_b')], Number.NEGATIVE_INFINITY),
    )
    expect(await inserted).toEqual(['user_b'])
    expect(await idsIn('clerk_sync.tombstones')).toEqual(['user_a'])
  })

  test('executed again writes nothing, and leaves a row that somebody else inserted as it is', async () => {
    await insert(write('user_a'))
    const before = await look('user_a')
    expect(await insert(write('user_a', { values: named('Bo'), clerkUpdatedAt: version + 1 }))).toEqual([])
    expect(await look('user_a')).toEqual(before)
  })

  test('keeps the tombstone of a user it did not insert', async () => {
    await insert(write('user_a'))
    await testDatabase.sql`insert into clerk_sync.tombstones (clerk_id, deleted_at) values ('user_a', '2001-01-01')`
    expect(await insert(write('user_a'))).toEqual([])
    expect(await idsIn('clerk_sync.tombstones')).toEqual(['user_a'])
  })

  test('goes in the order of the ids: what waits has not yet touched what comes later', async () => {
    await holdApp(`insert into users (clerk_id, name, image_url) values ('user_b', 'App', '')`)
    const inserted = insert(write('user_c'), write('user_b'), write('user_a'))
    await blocked(1)
    const app = testDatabase.connect()
    await app`set lock_timeout = '300ms'`
    // Had user_c been inserted already, this would wait for it.
    await app`begin`
    await app`insert into users (clerk_id, name, image_url) values ('user_c', 'App', '')`
    await app`rollback`
    for (const held of open.splice(0)) await held.end()
    expect((await inserted).sort()).toEqual(['user_a', 'user_c'])
    expect(await nameOf('user_b')).toBe('App')
  })
})

describe('an update', () => {
  test('writes a newer version, and the very same one', async () => {
    await insert(write('user_a'))
    expect(await update(write('user_a', { values: named('Bo') }))).toEqual(['user_a'])
    expect(await update(write('user_a', { values: named('Cy'), clerkUpdatedAt: version + 1 }))).toEqual([
      'user_a',
    ])
    expect(await nameOf('user_a')).toBe('Cy')
  })

  test('at the very same version is a pass’s alone: a webhook may be old news', async () => {
    await insert(write('user_a'))
    const before = await look('user_a')
    const byWebhook = (over: Partial<Write>) =>
      writeTransaction(database, plain, async (tx) => [
        ...(await updateUsers(tx, [write('user_a', { values: named('Bo'), ...over })], 'webhook')),
        ...(await refreshUsers(tx, [write('user_a', { clerkCreatedAt: 5, ...over })], 'webhook')),
      ])
    expect(await byWebhook({})).toEqual([])
    expect(await look('user_a')).toEqual(before)
    expect(await byWebhook({ clerkUpdatedAt: version + 1 })).toEqual(['user_a'])
    expect(await nameOf('user_a')).toBe('Bo')
  })

  test('loses against a newer version, by a millisecond', async () => {
    await insert(write('user_a'))
    const before = await look('user_a')
    expect(await update(write('user_a', { values: named('Bo'), clerkUpdatedAt: version - 1 }))).toEqual([])
    expect(await refresh(write('user_a', { clerkUpdatedAt: version - 1 }))).toEqual([])
    expect(await look('user_a')).toEqual(before)
  })

  test('loses against a newer version that is written while it waits for the row', async () => {
    await insert(write('user_a'))
    const newer = await hold(plain, (tx) =>
      updateUsers(tx, [write('user_a', { values: named('Newer'), clerkUpdatedAt: version + 9 })]),
    )
    const stale = update(write('user_a', { values: named('Stale'), clerkUpdatedAt: version + 1 }))
    await blocked(1)
    await newer.end()
    expect(await stale).toEqual([])
    expect(await nameOf('user_a')).toBe('Newer')
  })

  test('wins over an older version that is written while it waits for the row', async () => {
    await insert(write('user_a'))
    const older = await hold(plain, (tx) =>
      updateUsers(tx, [write('user_a', { values: named('Older'), clerkUpdatedAt: version + 1 })]),
    )
    const fresh = update(write('user_a', { values: named('Fresh'), clerkUpdatedAt: version + 9 }))
    await blocked(1)
    await older.end()
    expect(await fresh).toEqual(['user_a'])
    expect(await nameOf('user_a')).toBe('Fresh')
  })

  test('cannot insert: not without a row, and not where a deletion is under way', async () => {
    expect(await update(write('user_a'))).toEqual([])
    expect(await refresh(write('user_a'))).toEqual([])
    await insert(write('user_a'))
    const deleting = await hold(exclusive, (tx) =>
      deleteUsers(tx, [{ clerkId: 'user_a', clerkUpdatedAt: version }], null),
    )
    const updated = update(write('user_a', { values: named('Bo'), clerkUpdatedAt: version + 1 }))
    await blocked(1)
    await deleting.end()
    expect(await updated).toEqual([])
    expect(await idsIn('users')).toEqual([])
  })

  test('executed again writes nothing', async () => {
    await insert(write('user_a'))
    const changed = write('user_a', { values: named('Bo'), clerkUpdatedAt: version + 1 })
    await update(changed)
    const before = await look('user_a')
    expect(await update(changed)).toEqual([])
    expect(await refresh(changed)).toEqual([])
    expect(await look('user_a')).toEqual(before)
  })

  test('moves updated_at with a mapped value and leaves id and created_at, a refresh leaves it too', async () => {
    await insert(write('user_a'))
    await testDatabase.sql`update users set created_at = '2020-01-01', updated_at = '2020-01-01'`
    const before = await look('user_a')
    expect(await refresh(write('user_a', { clerkCreatedAt: 5, clerkUpdatedAt: version + 1 }))).toEqual([
      'user_a',
    ])
    const refreshed = await look('user_a')
    expect(refreshed).toMatchObject({
      id: before?.id,
      created_at: before?.created_at,
      updated_at: before?.updated_at,
    })
    expect(refreshed?.clerk_updated_at).not.toBe(before?.clerk_updated_at)
    await update(write('user_a', { values: named('Bo'), clerkUpdatedAt: version + 2 }))
    const updated = await look('user_a')
    expect(updated).toMatchObject({ id: before?.id, created_at: before?.created_at })
    expect(updated?.updated_at).not.toBe(before?.updated_at)
  })

  test('takes any version over an adopted row, which has none', async () => {
    await testDatabase.sql`insert into users (clerk_id, name, image_url) values ('user_a', 'Ada', 'x'), ('user_b', 'Ada', 'x')`
    expect(await update(write('user_a', { clerkUpdatedAt: 1 }))).toEqual(['user_a'])
    await testDatabase.sql`update users set email = 'ada@example.com', image_url = 'https://img/a' where clerk_id = 'user_b'`
    expect(await refresh(write('user_b', { clerkUpdatedAt: 1 }))).toEqual(['user_b'])
  })

  test('sees an address come where there was none, and go again; a refresh does not mind that there is none', async () => {
    const without = { ...ada, email: null }
    await insert(write('user_a', { values: without }))
    expect(await refresh(write('user_a', { values: without, clerkUpdatedAt: version + 1 }))).toEqual([
      'user_a',
    ])
    expect(await update(write('user_a', { clerkUpdatedAt: version + 1 }))).toEqual(['user_a'])
    expect((await look('user_a'))?.email).toBe(ada.email)
    expect(await update(write('user_a', { values: without, clerkUpdatedAt: version + 1 }))).toEqual([
      'user_a',
    ])
    expect((await look('user_a'))?.email).toBeNull()
  })

  test('of the creation time alone is a refresh', async () => {
    await insert(write('user_a'))
    expect(await refresh(write('user_a', { clerkCreatedAt: 5 }))).toEqual(['user_a'])
    expect((await look('user_a'))?.clerk_created_at).toContain('1970-01-01')
  })

  test('does not refresh a row whose values are others by now', async () => {
    await insert(write('user_a', { values: named('Bo') }))
    expect(await refresh(write('user_a', { clerkUpdatedAt: version + 1 }))).toEqual([])
  })

  test('replaces a newer version only while it is the one it was planned against', async () => {
    await insert(write('user_a', { clerkUpdatedAt: version + hourMs }))
    const back = (replaces: number) => write('user_a', { values: named('Back'), replaces })
    expect(await update(back(version + hourMs - 1))).toEqual([])
    expect(await update(back(version + hourMs + 1))).toEqual([])
    expect(await update(back(version + hourMs))).toEqual(['user_a'])
    const [row] = await readRows(database.db, ['user_a'], await readCatalog(database.db))
    expect(row).toMatchObject({ values: named('Back'), clerkUpdatedAt: version })
    expect(await update(back(version + hourMs))).toEqual([])
  })

  test('does not replace a version that a third one has replaced while it waits', async () => {
    await insert(write('user_a', { clerkUpdatedAt: version + hourMs }))
    const third = await hold(plain, (tx) =>
      updateUsers(tx, [write('user_a', { values: named('Third'), clerkUpdatedAt: version + 2 * hourMs })]),
    )
    const back = update(write('user_a', { values: named('Back'), replaces: version + hourMs }))
    await blocked(1)
    await third.end()
    expect(await back).toEqual([])
    expect(await nameOf('user_a')).toBe('Third')
  })

  test.each(['infinity', '20000-01-01T00:00:00Z', '2030-01-01T00:00:00.123Z'])(
    'replaces a version of %s',
    async (time) => {
      await insert(write('user_a'))
      await testDatabase.sql`update users set clerk_updated_at = ${time}::text::timestamptz`
      const [row] = await readRows(database.db, ['user_a'], await readCatalog(database.db))
      const replaces = row?.clerkUpdatedAt ?? 0
      expect(replaces).toBeGreaterThan(version)
      expect(await update(write('user_a', { values: named('Bo'), replaces }))).toEqual(['user_a'])
      expect(await nameOf('user_a')).toBe('Bo')
    },
  )
})

describe('a deletion', () => {
  test('takes only the version that was judged', async () => {
    await insert(write('user_a'))
    expect(await remove('user_a', version - 1)).toEqual([])
    expect(await remove('user_a', version + 1)).toEqual([])
    expect(await remove('user_a', null)).toEqual([])
    expect(await idsIn('users')).toEqual(['user_a'])
    expect(await idsIn('clerk_sync.tombstones')).toEqual([])
    expect(await remove('user_a')).toEqual(['user_a'])
    expect(await idsIn('users')).toEqual([])
    expect(await idsIn('clerk_sync.tombstones')).toEqual(['user_a'])
  })

  test('takes a row without a version that was judged so, and at infinity likewise', async () => {
    await testDatabase.sql`insert into users (clerk_id, name, image_url, clerk_updated_at)
      values ('user_a', '', '', null), ('user_b', '', '', 'infinity')`
    expect(await remove('user_a', version)).toEqual([])
    expect(await remove('user_a', null)).toEqual(['user_a'])
    expect(await remove('user_b', Number.POSITIVE_INFINITY)).toEqual(['user_b'])
  })

  test('spares a row that got a newer version while it waited', async () => {
    await insert(write('user_a'))
    const newer = await hold(plain, (tx) =>
      updateUsers(tx, [write('user_a', { values: named('Bo'), clerkUpdatedAt: version + 1 })]),
    )
    const removed = remove('user_a')
    await blocked(1)
    await newer.end()
    expect(await removed).toEqual([])
    expect(await nameOf('user_a')).toBe('Bo')
    expect(await idsIn('clerk_sync.tombstones')).toEqual([])
  })

  test('executed again deletes nothing and leaves the tombstone as it was', async () => {
    await insert(write('user_a'))
    await remove('user_a')
    await testDatabase.sql`update clerk_sync.tombstones set deleted_at = '2020-01-01'`
    expect(await remove('user_a')).toEqual([])
    const [tombstone] = await testDatabase.sql<{ year: number }[]>`
      select extract(year from deleted_at)::int as year from clerk_sync.tombstones`
    expect(tombstone).toEqual({ year: 2020 })
  })

  test('renews the tombstone of a user who was back in between, and names the run', async () => {
    await insert(write('user_a'))
    await testDatabase.sql`insert into clerk_sync.tombstones (clerk_id, deleted_at, run_id)
      values ('user_a', '2020-01-01', 3)`
    const runId = await beginRun()
    await writeTransaction(database, exclusive, (tx) =>
      deleteUsers(tx, [{ clerkId: 'user_a', clerkUpdatedAt: version }], runId),
    )
    const [tombstone] = await testDatabase.sql`
      select run_id::int, deleted_at > now() - interval '1 minute' as is_new from clerk_sync.tombstones`
    expect(tombstone).toEqual({ run_id: runId, is_new: true })
  })

  test('counts in the run’s own line what it has deleted, and when, one batch after the other', async () => {
    await insert(write('user_a'), write('user_b'), write('user_c'), write('user_d'))
    const runId = await beginRun()
    const deleted = (...ids: string[]) =>
      writeTransaction(database, exclusive, (tx) =>
        deleteUsers(
          tx,
          ids.map((clerkId) => ({ clerkId, clerkUpdatedAt: version })),
          runId,
        ),
      )
    const line = async () => {
      const [row] = await testDatabase.sql`
        select deleted, deleted_at > now() - interval '1 minute' as is_new from clerk_sync.runs where id = ${runId}`
      return row
    }
    await deleted('user_nobody')
    expect(await line()).toEqual({ deleted: 0, is_new: null })
    await deleted('user_a', 'user_b', 'user_nobody')
    await testDatabase.sql`update clerk_sync.runs set deleted_at = '2020-01-01' where deleted = 2`
    await deleted('user_c')
    expect(await line()).toEqual({ deleted: 3, is_new: true })
    await remove('user_d')
    expect(await line()).toEqual({ deleted: 3, is_new: true })
  })

  test('is undone where the run has lost its lease before the rows could be counted', async () => {
    await insert(write('user_a'))
    const runId = await beginRun()
    const deleted = writeTransaction(database, exclusive, async (tx) => {
      await testDatabase.sql`update clerk_sync.runs set status = 'abandoned' where id = ${runId}`
      return deleteUsers(tx, [{ clerkId: 'user_a', clerkUpdatedAt: version }], runId)
    })
    await expect(deleted).rejects.toMatchObject({ kind: 'busy', facts: { lost: 'lease' } })
    expect(await idsIn('users')).toEqual(['user_a'])
    expect(await idsIn('clerk_sync.tombstones')).toEqual([])
  })

  test('of a list deletes those that fit, each by its own version', async () => {
    await insert(write('user_a'), write('user_b', { clerkUpdatedAt: version + 1 }), write('user_c'))
    const judged = ['user_a', 'user_b', 'user_c'].map((clerkId) => ({ clerkId, clerkUpdatedAt: version }))
    const deleted = await writeTransaction(database, exclusive, (tx) => deleteUsers(tx, judged, null))
    expect(deleted.sort()).toEqual(['user_a', 'user_c'])
    expect(await idsIn('users')).toEqual(['user_b'])
  })
})

describe('row locks', () => {
  const four = ['user_a', 'user_b', 'user_c', 'user_d']
  const backwards = (over: Partial<Write>) => four.toReversed().map((id) => write(id, over))

  test.each([
    ['an update', () => update(...backwards({ values: named('Bo') }))],
    ['a refresh', () => refresh(...backwards({ clerkUpdatedAt: version + 1 }))],
    [
      'a deletion',
      () =>
        writeTransaction(database, exclusive, (tx) =>
          deleteUsers(
            tx,
            four.toReversed().map((clerkId) => ({ clerkId, clerkUpdatedAt: version })),
            null,
          ),
        ),
    ],
  ])('are taken by %s in the order of the ids, whatever the order of the list', async (_what, run) => {
    // The table's own order is not the ids' either.
    for (const each of backwards({})) await insert(each)
    const app = await holdApp(`select from users where clerk_id = 'user_b' for update`)
    const written = run()
    await blocked(1)
    expect(await freeRows(...four)).toEqual(['user_c', 'user_d'])
    await app.commit()
    expect((await written).sort()).toEqual(four)
  })

  test('are not taken on rows that stay as they are', async () => {
    await insert(...four.map((id) => write(id)))
    await hold(plain, async (tx) => ({
      updated: await updateUsers(tx, [
        write('user_a', { values: named('Stale'), clerkUpdatedAt: version - 1 }),
        write('user_b', { values: named('Bo') }),
        write('user_c'),
      ]),
      refreshed: await refreshUsers(tx, [
        write('user_a', { clerkUpdatedAt: version - 1 }),
        write('user_c'),
        write('user_d', { clerkUpdatedAt: version + 1 }),
      ]),
    }))
    expect(open[0]?.result).toEqual({ updated: ['user_b'], refreshed: ['user_d'] })
    expect(await freeRows(...four)).toEqual(['user_a', 'user_c'])
  })

  test('are not taken by a deletion on rows that have moved on, nor by an insert on rows that are there', async () => {
    await insert(write('user_a'), write('user_b'))
    await hold(exclusive, (tx) =>
      deleteUsers(
        tx,
        [
          { clerkId: 'user_a', clerkUpdatedAt: version - 1 },
          { clerkId: 'user_b', clerkUpdatedAt: version },
        ],
        null,
      ),
    )
    expect(await freeRows('user_a', 'user_b')).toEqual(['user_a'])
    for (const held of open.splice(0)) await held.end()
    await hold(shared, (tx) => insertUsers(tx, [write('user_a'), write('user_c')], longAgo))
    expect(await freeRows('user_a')).toEqual(['user_a'])
  })

  test('leave the app’s foreign keys alone: a row under update can be referenced', async () => {
    await insert(write('user_a'))
    await testDatabase.sql`create table posts (author text references users (clerk_id))`
    await hold(plain, (tx) => updateUsers(tx, [write('user_a', { values: named('Bo') })]))
    await testDatabase.sql`insert into posts values ('user_a')`
    for (const held of open.splice(0)) await held.end()
    await testDatabase.sql`drop table posts`
  })
})

describe('a lock that is not to be had', () => {
  test('is given up after two seconds: a row’s as lock, the deletion lock’s as deletion-lock, and neither has written', async () => {
    await insert(write('user_a'), write('user_b'))
    await holdApp(`select from users where clerk_id = 'user_a' for update`)
    await hold(shared, async () => {})
    const started = performance.now()
    const tried = (each: Promise<unknown>) => each.catch((error: unknown) => error)
    const waiting = [
      tried(update(write('user_a', { values: named('Bo') }), write('user_b', { values: named('Bo') }))),
      tried(remove('user_b')),
    ]
    // The insert queues behind the deletion. Had both begun at once, it would be a toss-up who gives up first.
    await blocked(2, 300)
    const outcomes = await Promise.all([...waiting, tried(insert(write('user_c')))])
    const elapsedMs = performance.now() - started
    expect(outcomes[0]).toMatchObject({ name: 'WriteError', kind: 'lock', code: '55P03' })
    expect(outcomes[1]).toMatchObject({ name: 'WriteError', kind: 'deletion-lock', code: '55P03' })
    expect(outcomes[2]).toEqual(['user_c'])
    expect(elapsedMs).toBeGreaterThan(1900)
    expect(elapsedMs).toBeLessThan(3500)
    expect(await nameOf('user_b')).toBe('Ada')
    expect(await idsIn('clerk_sync.tombstones')).toEqual([])
  })

  test('keeps an insert from passing a deletion: the deletion lock again, not the row', async () => {
    await insert(write('user_a'))
    await hold(exclusive, async () => {})
    await holdApp(`insert into users (clerk_id, name, image_url) values ('user_z', 'App', '')`)
    await expect(insert(write('user_b'))).rejects.toMatchObject({ kind: 'deletion-lock' })
  })

  test('of an insert that another transaction has under way is a lock', async () => {
    await holdApp(`insert into users (clerk_id, name, image_url) values ('user_z', 'App', '')`)
    await expect(insert(write('user_z'))).rejects.toMatchObject({ kind: 'lock', code: '55P03' })
  })

  test.each([
    ['a deletion, which an app’s cascade may slow down, a minute at most', exclusive, '1min'],
    ['an insert as long as it needs', shared, '0'],
    ['an update as long as it needs', plain, '0'],
  ])('is one thing, slow work another: %s', async (_says, options, statement) => {
    const settings = await writeTransaction(database, options, (tx) =>
      tx.execute<{ lock: string; statement: string }>(
        `select current_setting('lock_timeout') as lock, current_setting('statement_timeout') as statement`,
      ),
    )
    expect(settings[0]).toEqual({ lock: '2s', statement })
  })

  test('does not outlast the transaction: the next one has the session’s own timeouts', async () => {
    const one = openDatabase(testDatabase.url, { connections: 1 })
    try {
      await writeTransaction(one, exclusive, async () => {})
      const after = await transaction(one, (tx) =>
        tx.execute<{ lock: string; statement: string }>(
          `select current_setting('lock_timeout') as lock, current_setting('statement_timeout') as statement`,
        ),
      )
      expect(after[0]).toEqual({ lock: '0', statement: '0' })
    } finally {
      await one.close()
    }
  })
})

describe('what Postgres refuses', () => {
  const refusalOf = (write: Promise<unknown>) =>
    write.then(
      () => undefined,
      (error: unknown) => error,
    )

  test('names the constraint and holds no value of the row', async () => {
    await testDatabase.sql`alter table users add constraint short_email check (length(email) < 20)`
    const failure = await refusalOf(
      insert(write('user_a', { values: { ...ada, email: 'somebody.long@example.com' } })),
    )
    await testDatabase.sql`alter table users drop constraint short_email`
    expect(failure).toBeInstanceOf(WriteError)
    expect(failure).toMatchObject({ kind: 'row', code: '23514', constraint: 'short_email' })
    const shown = `${(failure as Error).stack} ${JSON.stringify(failure)} ${String((failure as Error).cause)}`
    expect(shown).not.toContain('example.com')
  })

  test.each([
    ['a plain raise', `raise exception 'no %', new.email`, 'P0001'],
    [
      'a raise with a code of the app’s own',
      `raise exception 'no %', new.email using errcode = 'UE001'`,
      'UE001',
    ],
    ['an assertion', `assert false, new.email`, 'P0004'],
    ['a strict select without a row', `select 1 into strict new.name where false`, 'P0002'],
  ])('is a row’s trouble where a trigger ends in %s', async (_what, body, code) => {
    await testDatabase.sql.unsafe(`create function refuse() returns trigger language plpgsql as $$ begin ${body}; return new; end $$;
      create trigger refuse before insert on users for each row execute function refuse()`)
    const failure = await refusalOf(insert(write('user_a')))
    await testDatabase.sql`drop function refuse() cascade`
    expect(failure).toMatchObject({ name: 'WriteError', kind: 'row', code })
    expect(`${(failure as Error).stack} ${JSON.stringify(failure)}`).not.toContain('example.com')
  })

  test('is found at the commit too, where a constraint is deferred', async () => {
    await testDatabase.sql`alter table users add constraint one_name unique (name) deferrable initially deferred`
    await insert(write('user_a'))
    const failure = await refusalOf(insert(write('user_b')))
    await testDatabase.sql`alter table users drop constraint one_name`
    expect(failure).toMatchObject({
      name: 'WriteError',
      kind: 'row',
      code: '23505',
      constraint: 'one_name',
    })
    expect(await idsIn('users')).toEqual(['user_a'])
  })
})

describe('rows to look for', () => {
  test('are ours in the span, open below and closed above, but for those seen and those that are not ours', async () => {
    const at = (ms: number) => new Date(ms)
    await testDatabase.sql`insert into users (clerk_id, name, image_url, clerk_created_at) values
      ('user_1', '', '', ${at(1000)}), ('user_2', '', '', ${at(2000)}), ('user_3', '', '', ${at(3000)}),
      ('user_seen', '', '', ${at(2000)}), ('user_x y', '', '', ${at(2000)}), ('org_2', '', '', ${at(2000)}),
      ('user_', '', '', ${at(2000)}), (E'user_2\n', '', '', ${at(2000)}), ('user_infinity', '', '', 'infinity'),
      ('user_minusInfinity', '', '', '-infinity'), ('user_undated', '', '', null), ('', '', '', null)`
    const catalog = await readCatalog(database.db)
    const absent = (after: number | undefined, upTo: number | undefined) =>
      readAbsentIds(database.db, { after, upTo }, ['user_seen'], catalog).then((ids) => ids.sort())
    expect(await absent(1000, 2000)).toEqual(['user_2'])
    expect(await absent(undefined, 1000)).toEqual(['user_1', 'user_minusInfinity'].sort())
    expect(await absent(2000, undefined)).toEqual(['user_3', 'user_infinity'])
    expect(await absent(999, 1000)).toEqual(['user_1'])
    // A user that is rejected for its time may close a span there.
    expect(await absent(2000, 1e16)).toEqual(['user_3', 'user_infinity'])
    expect(await absent(undefined, undefined)).toEqual(
      ['user_1', 'user_2', 'user_3', 'user_infinity', 'user_minusInfinity'].sort(),
    )
    expect(await readUndatedIds(database.db, catalog)).toEqual(['user_undated'])
  })

  test('are known to be a day old once they are, and where their own time tells no age, once they were met a day ago', async () => {
    await testDatabase.sql`alter table users alter created_at drop not null`
    await testDatabase.sql`insert into users (clerk_id, name, image_url, created_at) values
      ('user_new', '', '', now() - interval '23 hours 59 minutes'), ('user_old', '', '', now() - interval '24 hours 1 second'),
      ('user_null', '', '', null), ('user_infinity', '', '', 'infinity'), ('user_minusInfinity', '', '', '-infinity'),
      ('user_ahead', '', '', now() + interval '1 hour'), ('user_met', '', '', null), ('user_metToday', '', '', null),
      ('user_metAhead', '', '', now() + interval '1 hour'), ('user_newAndMet', '', '', now() - interval '1 hour')`
    await testDatabase.sql`insert into clerk_sync.first_seen values
      ('user_met', now() - interval '24 hours 1 second'), ('user_metToday', now() - interval '23 hours 59 minutes'),
      ('user_metAhead', now() - interval '25 hours'), ('user_newAndMet', now() - interval '25 hours')`
    const ids = (await testDatabase.sql`select clerk_id from users`).map((row) => row.clerk_id)
    const rows = await readRows(database.db, ids, await readCatalog(database.db))
    await testDatabase.sql`delete from users`
    await testDatabase.sql`delete from clerk_sync.first_seen`
    await testDatabase.sql`alter table users alter created_at set not null`
    expect(Object.fromEntries(rows.map((row) => [row.clerkId, row.isDayOld]))).toEqual(
      Object.fromEntries([
        ['user_new', false],
        ['user_old', true],
        ['user_null', false],
        ['user_infinity', false],
        ['user_minusInfinity', false],
        ['user_ahead', false],
        ['user_met', true],
        ['user_metToday', false],
        ['user_metAhead', true],
        ['user_newAndMet', false],
      ]),
    )
  })
})

test('tombstones are forgotten after 30 days, not sooner', async () => {
  await testDatabase.sql`insert into clerk_sync.tombstones (clerk_id, deleted_at) values
    ('user_a', now() - interval '30 days 1 minute'), ('user_b', now() - interval '29 days 23 hours')`
  await forgetOldTombstones(database.db)
  expect(await idsIn('clerk_sync.tombstones')).toEqual(['user_b'])
})
