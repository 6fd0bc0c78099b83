// What hangs on rows of `users` in other tables: the rows that a deletion would take along by `on delete cascade`, over all
// levels, those that it would change, and those that forbid it. The catalogue tells the tables. Reads only; a count that
// takes too long, or that the role may not make, is reported as unknown.
import { type SQL, sql } from 'drizzle-orm'
import { isSyncError } from '../errors.ts'
import { arrayParameter, type Database, type Executor, query, transaction, WriteError } from './database.ts'

/** What becomes of rows that refer to deleted ones. */
export type OnDelete = 'deleted' | 'changed' | 'forbids'

export interface Dependents {
  /** As SQL names it from the role's search path. */
  readonly table: string
  readonly onDelete: OnDelete
  /** Null where it is unknown. */
  readonly rows: number | null
  /** Why it is unknown. */
  readonly unknown?: 'no right to read the table' | 'counting took too long'
}

interface ForeignKey {
  readonly table: string
  readonly parent: string
  readonly columns: string[]
  readonly parentColumns: string[]
  readonly action: string
}

/** A cascade over more tables in a row, or more tables in all, is not followed further. */
const levelsMax = 5
const tablesMax = 50
/** For one table. */
const countMsMax = 3000
const cascade = 'c'
const kinds: Readonly<Record<string, OnDelete>> = {
  c: 'deleted',
  n: 'changed',
  d: 'changed',
  a: 'forbids',
  r: 'forbids',
}

/** Returns the tables with rows that hang on these users, those that would lose rows first. */
export async function readDependents(database: Database, clerkIds: readonly string[]): Promise<Dependents[]> {
  if (clerkIds.length === 0) return []
  const found: Dependents[] = []
  for (const { table, onDelete, where } of conditionsOf(await readForeignKeys(database.db), clerkIds)) {
    const counted = await countWithin(database, table, where)
    if (counted.rows !== 0) found.push({ table, onDelete, ...counted })
  }
  const order: readonly OnDelete[] = ['deleted', 'forbids', 'changed']
  return found.sort((a, b) => order.indexOf(a.onDelete) - order.indexOf(b.onDelete))
}

/** The foreign keys that lead to `users` over cascades, nearest first. */
async function readForeignKeys(executor: Executor): Promise<ForeignKey[]> {
  return query<ForeignKey>(
    executor,
    sql`with recursive reached as (
          select to_regclass('users')::oid as oid, 0 as level
          union
          select c.conrelid, r.level + 1 from reached r join pg_constraint c on c.confrelid = r.oid
          where c.contype = 'f' and c.confdeltype = ${cascade} and c.conparentid = 0 and r.level < ${levelsMax}
        ), nearest as (select oid, min(level) as level from reached group by oid)
        select c.conrelid::regclass::text as "table", c.confrelid::regclass::text as parent,
          c.confdeltype::text as action,
          array(select a.attname::text from unnest(c.conkey) with ordinality as k(number, place)
            join pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.number order by k.place) as columns,
          array(select a.attname::text from unnest(c.confkey) with ordinality as k(number, place)
            join pg_attribute a on a.attrelid = c.confrelid and a.attnum = k.number order by k.place) as "parentColumns"
        from nearest n join pg_constraint c on c.confrelid = n.oid
        where c.contype = 'f' and c.conparentid = 0
        order by n.level, c.conrelid::regclass::text, c.conname limit ${tablesMax}`,
  )
}

interface Condition {
  readonly table: string
  readonly onDelete: OnDelete
  readonly where: SQL
}

/** Which rows of each table hang on the users: one condition for each table and for what would become of its rows. */
function conditionsOf(keys: readonly ForeignKey[], clerkIds: readonly string[]): Condition[] {
  // The nearest come first.
  const usersTable = keys[0]?.parent
  const users = sql`clerk_id = any(${arrayParameter(clerkIds, 'text')})`
  /** The rows of a table that would be deleted. Each table stands once on a way, so that a circle ends. */
  const lost = (table: string, way: readonly string[]): SQL => {
    if (table === usersTable) return users
    const leading = keys.filter(
      (key) =>
        key.table === table && key.action === cascade && !way.includes(key.parent) && way.length < levelsMax,
    )
    const each = leading.map((key) => refersTo(key, lost(key.parent, [...way, table])))
    return each.length === 0 ? sql`false` : sql`(${sql.join(each, sql` or `)})`
  }
  const conditions = new Map<string, { table: string; onDelete: OnDelete; parts: SQL[] }>()
  for (const key of keys) {
    const onDelete = kinds[key.action] ?? 'forbids'
    const name = `${onDelete} ${key.table}`
    const condition = conditions.get(name) ?? { table: key.table, onDelete, parts: [] }
    condition.parts.push(refersTo(key, lost(key.parent, [key.table])))
    conditions.set(name, condition)
  }
  return [...conditions.values()].map(({ table, onDelete, parts }) => ({
    table,
    onDelete,
    where: sql.join(parts, sql` or `),
  }))
}

function refersTo({ columns, parent, parentColumns }: ForeignKey, parentRows: SQL): SQL {
  const list = (names: readonly string[]) =>
    sql.join(
      names.map((name) => sql.identifier(name)),
      sql`, `,
    )
  // `regclass` has quoted the name where it must be.
  return sql`(${list(columns)}) in (select ${list(parentColumns)} from ${sql.raw(parent)} where ${parentRows})`
}

async function countWithin(
  database: Database,
  table: string,
  where: SQL,
): Promise<Pick<Dependents, 'rows' | 'unknown'>> {
  try {
    return await transaction(database, async (tx) => {
      await query(tx, sql`set local statement_timeout = ${sql.raw(String(countMsMax))}`)
      const [counted] = await query<{ rows: number }>(
        tx,
        sql`select count(*)::float8 as rows from ${sql.raw(table)} where ${where}`,
      )
      return { rows: counted?.rows ?? 0 }
    })
  } catch (error) {
    if (isSyncError(error) && error.facts.code === '42501')
      return { rows: null, unknown: 'no right to read the table' }
    if (error instanceof WriteError && error.kind === 'timeout')
      return { rows: null, unknown: 'counting took too long' }
    throw error
  }
}
