// What the database lacks of what the migrations made. The rule: the catalogue is asked and not the ledger of migrations,
// since an app may drop and make its tables anew, and `drizzle-kit push` drops columns that it does not know.
import { sql } from 'drizzle-orm'
import { getTableConfig, type PgTable } from 'drizzle-orm/pg-core'
import { arrayParameter, type Executor, query } from './database.ts'
import { firstSeen, runs, state, tombstones, users } from './schema.ts'

/** The columns of `users` that a table must have to be adopted: what a webhook tutorial leaves behind. */
export const adoptableColumns = [users.clerkId.name, users.name.name, users.imageUrl.name]

/** Something that the migrations made and that is not there. */
export interface Missing {
  /** For people: `users.email`, `a unique users.clerk_id`, `clerk_sync.runs.deleted`. */
  readonly what: string
  /** The column or the index, as the migrations write it. */
  readonly name: string
}

const nameOf = (table: PgTable) => {
  const { schema, name } = getTableConfig(table)
  return schema === undefined ? name : `${schema}.${name}`
}
const tables = [users, runs, state, tombstones, firstSeen]
/** The id of `users` is the app's, where it made the table. */
const notOurs = new Set([...adoptableColumns, users.id.name].map((name) => `users.${name}`))
const columns = tables
  .flatMap((table) => getTableConfig(table).columns.map(({ name }) => ({ table: nameOf(table), name })))
  .filter(({ table, name }) => !notOurs.has(`${table}.${name}`))
const indexes = tables.flatMap((table) =>
  getTableConfig(table).indexes.map(({ config }) => ({
    table: nameOf(table),
    name: config.name ?? '',
    column: (config.columns[0] as { name?: string } | undefined)?.name ?? '',
    isUnique: config.unique,
  })),
)

/** The name of the constraint that makes an id stand in one row. */
export const clerkIdKey = 'users_clerk_id_unique'

/** Looks at the catalogue: what is missing, in the order of the schema. Reads only. */
export async function readMissing(executor: Executor): Promise<Missing[]> {
  return query<Missing>(
    executor,
    sql`with relation as (
          select c.oid, c.relowner, case when c.oid = to_regclass('users') then 'users' else 'clerk_sync.' || c.relname end as name
          from pg_class c join pg_namespace n on n.oid = c.relnamespace
          where c.oid = to_regclass('users') or (n.nspname = 'clerk_sync' and c.relkind in ('r', 'p'))),
        indexed as (
          select r.name as relation, a.attname as "column", x.relname as name, i.indisunique and i.indisvalid and i.indimmediate
            and i.indpred is null and i.indnkeyatts = 1 as is_key
          from relation r join pg_index i on i.indrelid = r.oid join pg_class x on x.oid = i.indexrelid
            join pg_attribute a on a.attrelid = r.oid and a.attnum = i.indkey[0])
        select w.relation || '.' || w.name as what, w.name
        from unnest(${arrayParameter(
          columns.map((each) => each.table),
          'text',
        )}, ${arrayParameter(
          columns.map((each) => each.name),
          'text',
        )}) as w(relation, name)
        where not exists (select from relation r join pg_attribute a on a.attrelid = r.oid
          where r.name = w.relation and a.attname = w.name)
        union all
        select 'a unique users.clerk_id', ${clerkIdKey} from relation r
        where r.name = 'users' and not exists (select from indexed i
          where i.relation = 'users' and i."column" = 'clerk_id' and i.is_key)
        union all
        select 'the index ' || w.name, w.name
        from unnest(${arrayParameter(
          indexes.map((each) => each.table),
          'text',
        )}, ${arrayParameter(
          indexes.map((each) => each.name),
          'text',
        )}, ${arrayParameter(
          indexes.map((each) => each.column),
          'text',
        )}, ${arrayParameter(
          indexes.map((each) => String(each.isUnique)),
          'text',
        )}) as w(relation, name, "column", is_unique) join relation r on r.name = w.relation
        where not exists (select from indexed i where i.relation = w.relation
            and case when w.is_unique::bool then i.name = w.name else i."column" = w."column" end)
          -- without it all goes on, only slower: made by a role that may
          and (w.is_unique::bool or pg_has_role(r.relowner, 'usage'))`,
  )
}
