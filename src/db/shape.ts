// What the database has: looked up, never assumed, so that a dry run can read a tutorial's table before any migration
// and a run can say what is missing by name. Reads only.
import { sql } from 'drizzle-orm'
import { SyncError } from '../errors.ts'
import { type Executor, query } from './database.ts'
import { syncedKeys, users } from './schema.ts'

export interface Shape {
  /** The columns of `users`; undefined if there is no such table. */
  readonly userColumns: ReadonlySet<string> | undefined
  /** Columns of the app that an insert must give, and we cannot. */
  readonly unfillableColumns: readonly string[]
  /** What the synced columns that are there take, by name. */
  readonly syncedColumns: ReadonlyMap<string, ColumnLimits>
  /** The tables in the schema `clerk_sync`. */
  readonly ownTables: ReadonlySet<string>
  /** Their columns, as `table.column`: a dry run may meet the tables of an older version. */
  readonly ownColumns: ReadonlySet<string>
}

/** What a value of a column must be like. */
export interface ColumnLimits {
  /** True if null is refused. */
  readonly isRequired: boolean
  /** The most characters of a `varchar(n)` or `char(n)`; null without a bound. */
  readonly lengthMax: number | null
}

/** The columns of `users` that a table must have to be adopted: what a webhook tutorial leaves behind. */
const adoptableColumns = [users.clerkId.name, users.name.name, users.imageUrl.name]

const syncedNames = new Set<string>(syncedKeys.map((key) => users[key].name))

const writtenColumns = new Set([
  users.clerkId.name,
  ...syncedNames,
  users.clerkCreatedAt.name,
  users.clerkUpdatedAt.name,
])

/** Looks at the catalogue. Throws `configuration` if `users` is a table that cannot be adopted. */
export async function readShape(executor: Executor): Promise<Shape> {
  const columns = await query<{
    name: string
    must_be_given: boolean
    is_required: boolean
    length_max: number | null
  }>(
    executor,
    sql`select a.attname as name, a.attnotnull as is_required,
          -- four bytes of its own come on top
          case when a.atttypid in ('varchar'::regtype, 'bpchar'::regtype) and a.atttypmod > 4
            then a.atttypmod - 4 end as length_max,
          a.attnotnull and not a.atthasdef and a.attidentity = '' and a.attgenerated = '' as must_be_given
        from pg_attribute a
        where a.attrelid = to_regclass('users') and a.attnum > 0 and not a.attisdropped`,
  )
  const ownColumns = await query<{ table: string; name: string }>(
    executor,
    sql`select c.relname as table, a.attname as name
        from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid
        where n.nspname = 'clerk_sync' and c.relkind in ('r', 'p') and a.attnum > 0 and not a.attisdropped`,
  )
  const userColumns = columns.length > 0 ? new Set(columns.map((column) => column.name)) : undefined
  const missing = adoptableColumns.filter((name) => userColumns !== undefined && !userColumns.has(name))
  if (missing.length > 0) {
    throw new SyncError('configuration', `the users table lacks the column ${missing.join(', ')}`, {
      hint: 'Point DATABASE_URL at the database of your app, or rename the table that is not about Clerk users.',
    })
  }
  return {
    userColumns,
    unfillableColumns: columns
      .filter((column) => column.must_be_given && !writtenColumns.has(column.name))
      .map((column) => column.name),
    syncedColumns: new Map(
      columns
        .filter((column) => syncedNames.has(column.name))
        .map(({ name, is_required, length_max }) => [
          name,
          { isRequired: is_required, lengthMax: length_max },
        ]),
    ),
    ownTables: new Set(ownColumns.map((column) => column.table)),
    ownColumns: new Set(ownColumns.map((column) => `${column.table}.${column.name}`)),
  }
}
