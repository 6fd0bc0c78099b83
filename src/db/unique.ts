// The SQL for values that may stand in one row only: which columns a unique constraint reads, and how rows are blanked in
// them for the length of a transaction.
import { type SQL, sql } from 'drizzle-orm'
import { arrayParameter, type Executor, query } from './database.ts'
import { syncedKeys, users } from './schema.ts'
import { differs, type Write, type WrittenBy, writeGuarded } from './users.ts'

/** A column of ours that a unique constraint reads. */
export interface UniqueColumn {
  readonly name: string
  /** True where null is allowed and never equal to another null. */
  readonly takesNull: boolean
}

/** The columns of ours that these constraints or indexes read, in plain or within an expression. */
export async function readUniqueColumns(
  executor: Executor,
  constraints: readonly string[],
): Promise<UniqueColumn[]> {
  const rows = await query<{ name: string; takes_null: boolean }>(
    executor,
    sql`select a.attname as name,
          -- before PostgreSQL 15 nulls are always distinct
          bool_and(not a.attnotnull
            and coalesce(not (to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, true)) as takes_null
        from pg_index i join pg_class c on c.oid = i.indexrelid
          join pg_attribute a on a.attrelid = i.indrelid and a.attnum > 0
        where i.indrelid = to_regclass('users') and c.relname = any(${arrayParameter(constraints, 'text')})
          and (a.attnum = any(i.indkey) or exists (select from pg_depend d
            where d.classid = 'pg_class'::regclass and d.objid = i.indexrelid
              and d.refclassid = 'pg_class'::regclass and d.refobjid = i.indrelid and d.refobjsubid = a.attnum))
          and a.attname = any(${arrayParameter(
            syncedKeys.map((key) => users[key].name),
            'text',
          )})
        group by a.attname order by a.attname`,
  )
  return rows.map((row) => ({ name: row.name, takesNull: row.takes_null }))
}

/**
 * Blanks the columns in the rows that `updateUsers` would write, and locks them: null, or where that is not allowed a
 * text that no other row has and that looks like an address. Versions stay. Returns the ids of the rows. The caller's
 * transaction writes the right values before it commits.
 */
export async function blankUsers(
  tx: Executor,
  writes: readonly Write[],
  columns: readonly UniqueColumn[],
  by: WrittenBy,
): Promise<string[]> {
  if (columns.length === 0) return []
  const blank = (column: UniqueColumn): SQL =>
    column.takesNull ? sql`null` : sql`'clerk-sync-' || md5(u.clerk_id) || '@placeholder.invalid'`
  return writeGuarded(
    tx,
    writes,
    by,
    columns.map((column) => sql`${sql.identifier(column.name)} = ${blank(column)}`),
    differs,
  )
}

/** Has deferrable constraints speak with each statement of the transaction, not at its end. */
export async function checkAtOnce(tx: Executor): Promise<void> {
  await query(tx, sql`set constraints all immediate`)
}
