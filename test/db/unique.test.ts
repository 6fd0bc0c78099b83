// What a unique constraint reads, and rows that are blanked within a transaction: by the same guards as any write.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type Database, type Executor, openDatabase, savepoint } from '../../src/db/database.ts'
import { blankUsers, readUniqueColumns } from '../../src/db/unique.ts'
import { insertUsers, updateUsers, type Write } from '../../src/db/users.ts'
import { writeTransaction } from '../../src/db/write-transaction.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'

const version = Date.parse('2026-03-01T12:00:00.123Z')
const plain = { runId: null, deletionLock: 'none' } as const
const email = [{ name: 'email', takesNull: true }]

let testDatabase: TestDatabase
let database: Database
beforeAll(async () => {
  testDatabase = await createTestDatabase()
  database = openDatabase(testDatabase.url)
})
afterAll(async () => {
  await database.close()
  await testDatabase.drop()
})
beforeEach(async () => {
  await testDatabase.sql`truncate users`
})

const write = (clerkId: string, address: string, over: Partial<Write> = {}): Write => ({
  clerkId,
  values: { name: 'Ada', email: address, imageUrl: '' },
  clerkCreatedAt: version,
  clerkUpdatedAt: version,
  ...over,
})
const inTransaction = <T>(work: (tx: Executor) => Promise<T>) => writeTransaction(database, plain, work)
const insert = (...writes: Write[]) => inTransaction((tx) => insertUsers(tx, writes, 0))
const look = async (clerkId: string) => {
  const [row] = await testDatabase.sql`
    select name, email, image_url, clerk_created_at::text, clerk_updated_at::text, updated_at::text
    from users where clerk_id = ${clerkId}`
  return row
}

describe('the columns that a constraint reads', () => {
  test.each([
    ['a plain index', 'create unique index it on users (email)', email],
    ['an expression', 'create unique index it on users (lower(email))', email],
    [
      'the condition of a partial index',
      `create unique index it on users (name) where email is not null`,
      [...email, { name: 'name', takesNull: false }],
    ],
    ['a column of the app', 'create unique index it on users (email, created_at)', email],
    ['a constraint', 'alter table users add constraint it unique (email)', email],
    [
      'an exclusion on an expression',
      'alter table users add constraint it exclude (lower(email) with =)',
      email,
    ],
    [
      'nulls that are the same',
      'create unique index it on users (email) nulls not distinct',
      [{ name: 'email', takesNull: false }],
    ],
    ['nothing of ours', 'create unique index it on users (created_at)', []],
    ['another table', 'create table posts (email text); create unique index it on posts (email)', []],
  ])('are ours among them: %s', async (_says, ddl, expected) => {
    await testDatabase.sql.unsafe(ddl)
    const columns = await readUniqueColumns(database.db, ['it'])
    await testDatabase.sql.unsafe(
      'alter table users drop constraint if exists it; drop index if exists it; drop table if exists posts',
    )
    expect(columns).toEqual(expected)
  })

  test('take no null where one of several constraints takes none', async () => {
    await testDatabase.sql.unsafe(`create unique index it on users (email);
      create unique index other on users (email) nulls not distinct`)
    const columns = await readUniqueColumns(database.db, ['it', 'other'])
    await testDatabase.sql.unsafe('drop index it; drop index other')
    expect(columns).toEqual([{ name: 'email', takesNull: false }])
  })
})

describe('a blank', () => {
  test('is null where that is allowed, else a text of that row alone; all else stays', async () => {
    await insert(write('user_a', 'a@example.com'), write('user_A', 'b@example.com'))
    const before = await look('user_a')
    const writes = [write('user_A', 'new-b@example.com'), write('user_a', 'new-a@example.com')]
    const columns = [...email, { name: 'name', takesNull: false }]
    expect((await inTransaction((tx) => blankUsers(tx, writes, columns, 'pass'))).sort()).toEqual([
      'user_A',
      'user_a',
    ])
    const [a, A] = [await look('user_a'), await look('user_A')]
    expect(a).toEqual({
      ...before,
      email: null,
      name: expect.stringMatching(/^clerk-sync-\w{32}@placeholder\.invalid$/),
    })
    expect(A?.name.toLowerCase()).not.toBe(a?.name.toLowerCase())
  })

  test.each([
    ['holds a newer version', 'pass', { clerkUpdatedAt: version - 1 }, false],
    ['holds the same version, of which a pass has read the user', 'pass', {}, true],
    ['holds the same version, and a webhook asks', 'webhook', {}, false],
    ['holds an older version, and a webhook asks', 'webhook', { clerkUpdatedAt: version + 1 }, true],
    [
      'holds a newer version that was judged',
      'pass',
      { clerkUpdatedAt: version - 1, replaces: version },
      true,
    ],
  ] as const)('goes by the version: the row %s', async (_says, by, over, isBlanked) => {
    await insert(write('user_a', 'a@example.com'))
    const writes = [write('user_a', 'new@example.com', over)]
    expect(await inTransaction((tx) => blankUsers(tx, writes, email, by))).toEqual(
      isBlanked ? ['user_a'] : [],
    )
    expect((await look('user_a'))?.email).toBe(isBlanked ? null : 'a@example.com')
  })

  test('leaves rows alone that have the values already, or where no column is to be blanked', async () => {
    await insert(write('user_a', 'a@example.com'))
    const blank = (address: string, columns = email) =>
      inTransaction((tx) => blankUsers(tx, [write('user_a', address)], columns, 'pass'))
    expect(await blank('a@example.com')).toEqual([])
    expect(await blank('new@example.com', [])).toEqual([])
    expect((await look('user_a'))?.email).toBe('a@example.com')
  })

  test('keeps the row for the one who blanked it, until the right values are there', async () => {
    await insert(write('user_a', 'a@example.com'))
    const newer = write('user_a', 'new@example.com', { clerkUpdatedAt: version + 1 })
    await inTransaction(async (tx) => {
      await blankUsers(tx, [newer], email, 'pass')
      const other = testDatabase.connect()
      await other`set lock_timeout = '50ms'`
      await expect(other`update users set name = 'Bo' where clerk_id = 'user_a'`).rejects.toMatchObject({
        code: '55P03',
      })
      expect(await other`select email from users`).toEqual([{ email: 'a@example.com' }])
      await updateUsers(tx, [newer], 'pass')
    })
    expect((await look('user_a'))?.email).toBe('new@example.com')
  })
})

test('what fails within a savepoint undoes itself alone', async () => {
  await inTransaction(async (tx) => {
    await insertUsers(tx, [write('user_a', 'a@example.com')], 0)
    const failing = savepoint(tx, async (inner) => {
      await insertUsers(inner, [write('user_b', 'b@example.com')], 0)
      throw new Error('no')
    })
    await expect(failing).rejects.toThrow('no')
    await savepoint(tx, (inner) => insertUsers(inner, [write('user_c', 'c@example.com')], 0))
  })
  const rows = await testDatabase.sql`select clerk_id from users order by 1`
  expect(rows.map((row) => row.clerk_id)).toEqual(['user_a', 'user_c'])
})
