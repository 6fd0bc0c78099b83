// What hangs on users in the app's own tables, counted on a real catalogue.
import { randomBytes } from 'node:crypto'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type Database, openDatabase } from '../../src/db/database.ts'
import { readDependents } from '../../src/db/dependents.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'

let testDatabase: TestDatabase
let database: Database
const ids = ['user_1', 'user_2', 'user_3']

beforeEach(async () => {
  testDatabase = await createTestDatabase()
  database = openDatabase(testDatabase.url)
  await testDatabase.sql`insert into users (clerk_id, name, image_url) select id, 'x', '' from unnest(${ids}::text[]) as id`
})
afterEach(async () => {
  await database.close()
  await testDatabase.drop()
})
const run = (ddl: string) => testDatabase.sql.unsafe(ddl)
/** The role of the code under test may be another than the tables' owner. */
const allow = () => run('grant select on all tables in schema public to public')

test('counts the rows that a cascade takes along over all its levels, and no others', async () => {
  await run(`
    create table posts (id int primary key, author text references users (clerk_id) on delete cascade);
    create table "Comments" (post int references posts on delete cascade, writer text);
    create table likes (a text, post int references posts on delete cascade, liker text references users (clerk_id) on delete cascade);
    insert into posts values (1, 'user_1'), (2, 'user_1'), (3, 'user_3');
    insert into "Comments" values (1, 'x'), (2, 'x'), (2, 'x'), (3, 'x');
    insert into likes values ('both', 1, 'user_2'), ('one', 3, 'user_2'), ('none', 3, 'user_3')`)
  await allow()
  const found = await readDependents(database, ['user_1', 'user_2'])
  expect(new Map(found.map(({ table, rows }) => [table, rows]))).toEqual(
    new Map([
      ['"Comments"', 3],
      ['likes', 2],
      ['posts', 2],
    ]),
  )
  expect(found.every(({ onDelete }) => onDelete === 'deleted')).toBe(true)
  expect(await readDependents(database, [])).toEqual([])
})

test('tells rows that would be changed and rows that forbid the deletion', async () => {
  await run(`
    create table notes (author text references users (clerk_id) on delete set null);
    create table orders (buyer text references users (clerk_id));
    insert into notes values ('user_1'); insert into orders values ('user_1'), ('user_2')`)
  await allow()
  expect(await readDependents(database, ids)).toEqual([
    { table: 'orders', onDelete: 'forbids', rows: 2 },
    { table: 'notes', onDelete: 'changed', rows: 1 },
  ])
})

test('ends on tables that refer to each other and to themselves, and follows keys of several columns', async () => {
  await run(`
    create table teams (org int, id int, owner text references users (clerk_id) on delete cascade,
      parent_org int, parent int, primary key (org, id),
      foreign key (parent_org, parent) references teams on delete cascade);
    create table members (org int, team int, boss text, id int primary key,
      foreign key (org, team) references teams on delete cascade);
    alter table teams add first_member int references members on delete cascade;
    insert into teams values (1, 1, 'user_1', null, null); insert into members values (1, 1, 'x', 7)`)
  await allow()
  expect(await readDependents(database, ['user_1'])).toEqual(
    expect.arrayContaining([
      { table: 'members', onDelete: 'deleted', rows: 1 },
      { table: 'teams', onDelete: 'deleted', rows: 1 },
    ]),
  )
})

test('says so where the role may not read a table', async () => {
  await run(`create table secrets (owner text references users (clerk_id) on delete cascade);
    insert into secrets values ('user_1'); revoke all on secrets from public`)
  const role = `reader_${randomBytes(4).toString('hex')}`
  await run(`create role ${role} login password 'x'; grant usage on schema public to ${role};
    grant select on users to ${role}`)
  const url = Object.assign(new URL(testDatabase.url), { username: role, password: 'x' }).href
  const reader = openDatabase(url)
  try {
    expect(await readDependents(reader, ['user_1'])).toEqual([
      { table: 'secrets', onDelete: 'deleted', rows: null, unknown: 'no right to read the table' },
    ])
  } finally {
    await reader.close()
    await run(`drop owned by ${role}; drop role ${role}`)
  }
})
