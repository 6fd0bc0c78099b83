// What the history of runs says as a whole: the last success, and since when something has been open. Reads only.
import { sql } from 'drizzle-orm'
import type { TableCatalog } from './catalog.ts'
import { type Executor, query } from './database.ts'

/** Runs that came to their end: what they counted is what stood then. */
const ended = sql.raw(`status in ('succeeded', 'partial', 'withheld') and pass <> 'user'`)

/** The newest run that left nothing open. */
export interface LastSuccess {
  readonly runId: number
  readonly pass: string
  readonly startedAt: string
  readonly finishedAt: string
  /** Since its end, by Postgres's clock. */
  readonly ageSeconds: number
}

/** Something that the newest run left open. */
export interface OpenItem {
  readonly what: 'withheld' | 'rejected' | 'pending' | 'failing'
  /** Deletions, users, users and rows, or runs in a row. */
  readonly count: number
  /** The start of the first run of the unbroken series that left it open. */
  readonly since: string
  readonly ageSeconds: number
}

const iso = (time: ReturnType<typeof sql.raw>) =>
  sql`to_char(${time} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`

/** The newest full or incremental pass that succeeded; undefined if none did within the 30 days that runs are kept. */
export async function readLastSuccess(
  executor: Executor,
  catalog: TableCatalog,
): Promise<LastSuccess | undefined> {
  if (!catalog.ownTables.has('runs')) return undefined
  const [row] = await query<LastSuccess>(
    executor,
    sql`select id::float8 as "runId", pass, ${iso(sql.raw('started_at'))} as "startedAt",
          ${iso(sql.raw('finished_at'))} as "finishedAt",
          greatest(0, extract(epoch from now() - finished_at))::float8 as "ageSeconds"
        from clerk_sync.runs where status = 'succeeded' and pass <> 'user' order by id desc limit 1`,
  )
  return row
}

/** What stands open after the newest run, and since when. */
export async function readOpenItems(executor: Executor, catalog: TableCatalog): Promise<OpenItem[]> {
  if (!catalog.ownTables.has('runs')) return []
  return query<OpenItem>(
    executor,
    sql`with counted as (
          select id, started_at, k.what, coalesce((counts ->> k.what)::float8, 0) as count
          from clerk_sync.runs cross join (values ('withheld'), ('rejected'), ('pending')) as k(what) where ${ended}
        ), newest as (
          select distinct on (what) what, count from counted order by what, id desc
        ), since as (
          select c.what, min(c.started_at) as at from counted c
          -- the series is unbroken since the last run that counted none
          where c.id > coalesce((select max(o.id) from counted o where o.what = c.what and o.count = 0), 0)
          group by c.what
        ), failing as (
          select count(*)::float8 as count, min(started_at) as at from clerk_sync.runs
          where pass <> 'user' and status in ('failed', 'refused', 'abandoned')
            and id > coalesce((select max(id) from clerk_sync.runs where ${ended}), 0)
        ), open as (
          select 'failing' as what, count, at from failing where count > 0
          union all
          select n.what, n.count, s.at from newest n join since s using (what) where n.count > 0
        )
        select what, count, ${iso(sql.raw('at'))} as since,
          greatest(0, extract(epoch from now() - at))::float8 as "ageSeconds"
        from open order by array_position(array['failing', 'withheld', 'rejected', 'pending'], what)`,
  )
}
