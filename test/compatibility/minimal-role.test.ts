// That the code under test has the rights that docs/configuration.md grants, and no other. The rule: each test names a right that is
// missing, so that a statement which needs it fails in the tests beside this one.
import postgres from 'postgres'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'

let migrated: TestDatabase
let empty: TestDatabase
const clients: postgres.Sql[] = []

beforeAll(async () => {
  migrated = await createTestDatabase()
  empty = await createTestDatabase({ empty: true })
})
afterAll(async () => {
  await Promise.all(clients.map((client) => client.end()))
  await migrated.drop()
  await empty.drop()
})

const loginTo = ({ url }: TestDatabase) => {
  const client = postgres(url, { max: 1, prepare: false })
  clients.push(client)
  return client
}

test.each([
  ['take a column that is not synced', `select id from users`],
  ['take updated_at', `select updated_at from users`],
  ['write the app’s columns', `update users set created_at = now()`],
  [
    'insert an id of its own',
    `insert into users (id, clerk_id, name, image_url) values (gen_random_uuid(), 'a', '', '')`,
  ],
  ['empty a table', `truncate clerk_sync.runs`],
  ['change a table', `alter table users add column plan text`],
  ['delete the state', `delete from clerk_sync.state`],
  ['pretend that a migration was applied', `insert into clerk_sync.migrations (id, hash) values (1, '')`],
  ['create a table', `create table public.mine ()`],
  ['create a schema', `create schema mine`],
])('the role that syncs may not %s', async (_what, statement) => {
  await expect(loginTo(migrated).unsafe(statement)).rejects.toMatchObject({ code: '42501' })
})

test('neither role is a superuser, owns the database or is a member of another role', async () => {
  for (const database of [migrated, empty]) {
    const [role] = await loginTo(database)`
      select rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls as is_mighty,
        pg_get_userbyid(datdba) = current_user as is_owner,
        exists (select from pg_auth_members where member = r.oid) as is_member
      from pg_roles r, pg_database where rolname = current_user and datname = current_database()`
    expect(role).toEqual({ is_mighty: false, is_owner: false, is_member: false })
  }
})

test('the role that migrates may create schemas and tables, and does not own what else the app has', async () => {
  await empty.sql`create table posts (title text)`
  const client = loginTo(empty)
  await expect(client`alter table posts add column body text`).rejects.toMatchObject({ code: '42501' })
  await empty.sql`create table users (clerk_id text)`
  await client`alter table users add column name text`
  await client`create schema mine`
})
