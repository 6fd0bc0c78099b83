// The SQL that reads `users` and writes to it; what deletes is in tombstones.ts. Bulk statements take one array parameter
// per column (`unnest`). Each write repeats the plan's guards, because the world moves between plan and apply; executed
// twice, it writes nothing more.
import { type SQL, sql } from 'drizzle-orm'
import type { PgColumn } from 'drizzle-orm/pg-core'
import type { TableCatalog } from './catalog.ts'
import { arrayParameter, type Executor, query } from './database.ts'
import { isDayOld } from './first-seen.ts'
import { type CurrentRow, type DesiredUser, syncedKeys, users } from './schema.ts'
import { epochMs, isoTime, moment } from './times.ts'
import { liftTombstones } from './tombstones.ts'

/** Rows whose `clerk_id` has another form are the app's own: never asked for, counted or deleted. */
export const isOurs = sql.raw(`u.clerk_id ~ '^user_[A-Za-z0-9]+$'`)

/** A desired user whose row may hold a newer version, which is then `replaces`: Clerk was asked for that very user. */
export interface Write extends DesiredUser {
  readonly replaces?: number
}

/** The rows of these users, by id. Columns that an adopted table still lacks read as null. */
export async function readRows(
  executor: Executor,
  clerkIds: readonly string[],
  catalog: TableCatalog,
): Promise<CurrentRow[]> {
  if (catalog.userColumns === undefined || clerkIds.length === 0) return []
  const has = (column: PgColumn) => catalog.userColumns?.has(column.name) === true
  const columns = syncedKeys.map((key) => {
    const column = users[key]
    return has(column) ? sql`u.${sql.identifier(column.name)}::text as ${sql.identifier(key)}` : nothing(key)
  })
  const time = (key: 'clerkCreatedAt' | 'clerkUpdatedAt') =>
    has(users[key]) ? sql`${epochMs(users[key].name)} as ${sql.identifier(key)}` : nothing(key)
  const found = await query<Record<string, string | number | boolean | null>>(
    executor,
    sql`select u.clerk_id, ${sql.join([...columns, time('clerkCreatedAt'), time('clerkUpdatedAt')], sql`, `)},
          ${isDayOld(catalog)} as is_day_old
        from users u where u.clerk_id = any(${arrayParameter(clerkIds, 'text')}) order by u.clerk_id`,
  )
  return found.map((row) => ({
    clerkId: row.clerk_id as string,
    values: Object.fromEntries(syncedKeys.map((key) => [key, row[key]])) as CurrentRow['values'],
    clerkCreatedAt: row.clerkCreatedAt as number | null,
    clerkUpdatedAt: row.clerkUpdatedAt as number | null,
    isDayOld: row.is_day_old as boolean,
  }))
}

/** The ids of our rows created after `after` and not after `upTo` (ms; undefined is without bound), but for `seen`. */
export async function readAbsentIds(
  executor: Executor,
  span: { after: number | undefined; upTo: number | undefined },
  seen: readonly string[],
  catalog: TableCatalog,
): Promise<string[]> {
  if (catalog.userColumns?.has(users.clerkCreatedAt.name) !== true) return []
  const bounds = [
    ...(span.after === undefined ? [] : [sql`u.clerk_created_at > ${moment(span.after)}`]),
    ...(span.upTo === undefined ? [] : [sql`u.clerk_created_at <= ${moment(span.upTo)}`]),
  ]
  const rows = await query<{ clerk_id: string }>(
    executor,
    sql`select u.clerk_id from users u
        where ${sql.join([...bounds, sql`u.clerk_created_at is not null`, isOurs], sql` and `)}
          and u.clerk_id <> all(${arrayParameter(seen, 'text')})`,
  )
  return rows.map((row) => row.clerk_id)
}

/** The ids of our rows without a creation time: an adopted table's, or inserted by the app's old webhook. */
export async function readUndatedIds(executor: Executor, catalog: TableCatalog): Promise<string[]> {
  if (catalog.userColumns === undefined) return []
  const undated = catalog.userColumns.has(users.clerkCreatedAt.name)
    ? sql`u.clerk_created_at is null`
    : sql`true`
  const rows = await query<{ clerk_id: string }>(
    executor,
    sql`select u.clerk_id from users u where ${undated} and ${isOurs}`,
  )
  return rows.map((row) => row.clerk_id)
}

/** How many rows are ours. */
export async function countRows(executor: Executor, catalog: TableCatalog): Promise<number> {
  if (catalog.userColumns === undefined) return 0
  const [row] = await query<{ count: number }>(
    executor,
    sql`select count(*)::float8 as count from users u where ${isOurs}`,
  )
  return row?.count ?? 0
}

/** How many of these ids have a row. */
export async function countRowsOf(
  executor: Executor,
  clerkIds: readonly string[],
  catalog: TableCatalog,
): Promise<number> {
  if (catalog.userColumns === undefined || clerkIds.length === 0) return 0
  const [row] = await query<{ count: number }>(
    executor,
    sql`select count(*)::float8 as count from users u where u.clerk_id = any(${arrayParameter(clerkIds, 'text')})`,
  )
  return row?.count ?? 0
}

/** Up to `limit` ids of our rows, spread over all of them: a sample to show Clerk, the same at every look. */
export async function readSampleIds(
  executor: Executor,
  limit: number,
  catalog: TableCatalog,
): Promise<string[]> {
  if (catalog.userColumns === undefined) return []
  const rows = await query<{ clerk_id: string }>(
    executor,
    sql`select u.clerk_id from users u where ${isOurs} order by md5(u.clerk_id) limit ${limit}`,
  )
  return rows.map((row) => row.clerk_id)
}

/** Up to `limit` ids of our rows other than this user's, spread over all of them, for each user others. */
export async function readOtherIds(
  executor: Executor,
  clerkId: string,
  limit: number,
  catalog: TableCatalog,
): Promise<string[]> {
  if (catalog.userColumns === undefined) return []
  const rows = await query<{ clerk_id: string }>(
    executor,
    sql`select u.clerk_id from users u where ${isOurs} and u.clerk_id <> ${clerkId}
        order by md5(u.clerk_id || ${clerkId}), u.clerk_id limit ${limit}`,
  )
  return rows.map((row) => row.clerk_id)
}

/**
 * Inserts users that have no row. Returns the ids inserted; their older tombstones go, as `liftTombstones` says. The
 * caller's transaction holds the deletion lock, so that every deletion either sees these rows or left a tombstone that this statement sees.
 */
export async function insertUsers(
  tx: Executor,
  writes: readonly Write[],
  tombstonesBlockSince: number,
): Promise<string[]> {
  const columns = [
    'clerk_id',
    ...syncedKeys.map((key) => users[key].name),
    'clerk_created_at',
    'clerk_updated_at',
  ]
  const names = sql.join(
    columns.map((name) => sql.identifier(name)),
    sql`, `,
  )
  const rows = await query<{ clerk_id: string }>(
    tx,
    sql`insert into users (${names}) select ${names} from ${unnest(writes)} d
        -- a tombstone blocks
        where not exists (select from clerk_sync.tombstones t
          where t.clerk_id = d.clerk_id and t.deleted_at > ${moment(tombstonesBlockSince)})
        order by clerk_id
        -- whoever was first wins; the next pass compares
        on conflict (clerk_id) do nothing
        returning clerk_id`,
  )
  const created = rows.map((row) => row.clerk_id)
  if (created.length > 0) await liftTombstones(tx, created, tombstonesBlockSince)
  return created
}

/** A pass also writes at an equal version, since it read the whole user just now; a webhook may be old news. */
export type WrittenBy = 'pass' | 'webhook'

/** Writes changed values, and `updated_at` with them. Returns the ids of the rows written. Never inserts. */
export async function updateUsers(
  tx: Executor,
  writes: readonly Write[],
  by: WrittenBy = 'pass',
): Promise<string[]> {
  const values = syncedKeys.map((key) => assignment(users[key]))
  return writeRows(tx, writes, by, [...values, sql`updated_at = now()`], differs)
}

/** Writes Clerk's times only: the values are the same, `updated_at` stays. Returns the ids of the rows written. */
export async function refreshUsers(
  tx: Executor,
  writes: readonly Write[],
  by: WrittenBy = 'pass',
): Promise<string[]> {
  return writeRows(
    tx,
    writes,
    by,
    [],
    sql`
      -- other values are an update's
      (${valuesOf('u')}) is not distinct from (${valuesOf('d')})
      -- equal times need no write
      and (u.clerk_created_at, u.clerk_updated_at) is distinct from (d.clerk_created_at, d.clerk_updated_at)`,
  )
}

function writeRows(
  tx: Executor,
  writes: readonly Write[],
  by: WrittenBy,
  assignments: SQL[],
  changed: SQL,
): Promise<string[]> {
  const times = [users.clerkCreatedAt, users.clerkUpdatedAt].map(assignment)
  return writeGuarded(tx, writes, by, [...assignments, ...times], changed)
}

/** Writes the assignments to the rows that hold no newer version and for which `changed` is true, in one order. */
export async function writeGuarded(
  tx: Executor,
  writes: readonly Write[],
  by: WrittenBy,
  assignments: SQL[],
  changed: SQL,
): Promise<string[]> {
  const older = sql.raw(by === 'pass' ? '<=' : '<')
  const rows = await query<{ clerk_id: string }>(
    tx,
    sql`with d as (select * from ${unnest(writes)} d),
        -- one order of row locks for all: no deadlocks among us, and none on rows that stay as they are
        locked as materialized (select u.clerk_id from users u join d using (clerk_id)
          where
            -- stale pages lose
            (u.clerk_updated_at is null or u.clerk_updated_at ${older} d.clerk_updated_at
              or ${epochMs('clerk_updated_at')} = d.replaces)
            -- the second execution writes nothing
            and ${changed}
          order by u.clerk_id for no key update of u)
        update users u set ${sql.join(assignments, sql`, `)}
        from d join locked using (clerk_id)
        where u.clerk_id = d.clerk_id
        returning u.clerk_id`,
  )
  return rows.map((row) => row.clerk_id)
}

/** The writes as a row source, one array parameter per column. */
export function unnest(writes: readonly Write[]): SQL {
  const column = (
    name: string,
    type: string,
    value: (write: Write) => string | number | null,
    wire = 'text',
  ) => ({
    name: sql.identifier(name),
    type: sql.raw(type),
    values: arrayParameter(writes.map(value), wire),
  })
  const columns = [
    column('clerk_id', 'text', (write) => write.clerkId),
    ...syncedKeys.map((key) =>
      column(users[key].name, users[key].getSQLType(), (write) => write.values[key]),
    ),
    column('clerk_created_at', 'timestamptz(3)', (write) => isoTime(write.clerkCreatedAt)),
    column('clerk_updated_at', 'timestamptz(3)', (write) => isoTime(write.clerkUpdatedAt)),
    column('replaces', 'float8', (write) => write.replaces ?? null, 'float8'),
  ]
  const names = columns.map((each) => each.name)
  const casts = columns.map((each) => sql`${each.name}::${each.type} as ${each.name}`)
  const arrays = columns.map((each) => each.values)
  return sql`(select ${list(casts)} from unnest(${list(arrays)}) as raw(${list(names)}))`
}

const list = (parts: SQL[] | ReturnType<typeof sql.identifier>[]) => sql.join(parts as SQL[], sql`, `)

const nothing = (key: string) => sql`null as ${sql.identifier(key)}`

const assignment = (column: { name: string }) =>
  sql`${sql.identifier(column.name)} = d.${sql.identifier(column.name)}`

/** Byte for byte, whatever collation the app's column has: a name that changes in case alone has changed. */
const valuesOf = (alias: 'u' | 'd') =>
  sql.join(
    syncedKeys.map((key) => sql`${sql.raw(alias)}.${sql.identifier(users[key].name)}::text collate "C"`),
    sql`, `,
  )

/** A value of the row (u) is not what Clerk wants (d). */
export const differs = sql`(${valuesOf('u')}) is distinct from (${valuesOf('d')})`
