// What the app has put on `users` that may refuse or change a write, by name: a dry run cannot foresee what it says. Reads only.
import { sql } from 'drizzle-orm'
import { type Executor, query } from './database.ts'

/** More are not named. */
const namedMax = 10

/** Returns them in words, as `the check users_name_check`, `the trigger audit`. */
export async function readChecks(executor: Executor): Promise<string[]> {
  const rows = await query<{ what: string }>(
    executor,
    sql`select 'the ' || kind || ' ' || name as what from (
          select case contype when 'c' then 'check' when 'x' then 'exclusion constraint' else 'foreign key' end as kind,
            conname as name
          from pg_constraint where conrelid = to_regclass('users') and contype in ('c', 'x', 'f')
          union all
          select 'unique index', c.relname from pg_index i join pg_class c on c.oid = i.indexrelid
          where i.indrelid = to_regclass('users') and i.indisunique and not i.indisprimary
            and not exists (select from pg_attribute a
              where a.attrelid = i.indrelid and i.indnkeyatts = 1 and a.attnum = i.indkey[0] and a.attname = 'clerk_id')
          union all
          select 'trigger', tgname from pg_trigger where tgrelid = to_regclass('users') and not tgisinternal and tgenabled <> 'D'
        ) as found order by kind, name limit ${namedMax}`,
  )
  return rows.map(({ what }) => what)
}
