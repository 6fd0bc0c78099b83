// Postgres's clock, and what becomes of times that it has not reached. After a failover to a host that is behind, or a
// correction of the clock, what was stored lies in the future: compared with now() it would be young, alive and not due
// until the clock has caught up. The rule: such a time counts as of now.
import { sql } from 'drizzle-orm'
import { type Executor, query } from './database.ts'

/** A transaction that began before another one's commit sees times that are seconds ahead of its own `now()`. */
export const soon = sql.raw(`(now() + interval '30 seconds')`)

/** Postgres's clock, ms: the start of a dry run, which has no row to tell it. */
export async function readClock(executor: Executor): Promise<number> {
  const [row] = await query<{ now: number }>(
    executor,
    sql`select (extract(epoch from now()) * 1000)::float8 as now`,
  )
  if (row === undefined) throw new Error('a select without a table gave no row')
  return row.now
}

/**
 * Brings back to now what the clock has not reached: a heartbeat, whose holder is silent from here on unless it beats
 * again; deletions that the guard counts; tombstones, which stay young for the grace.
 */
export async function bringBackTimes(tx: Executor): Promise<void> {
  await query(
    tx,
    sql`with stones as (update clerk_sync.tombstones set deleted_at = now() where deleted_at > ${soon})
        update clerk_sync.runs set heartbeat_at = least(heartbeat_at, now()), deleted_at = least(deleted_at, now())
        where (status = 'running' and heartbeat_at > ${soon}) or deleted_at > ${soon}`,
  )
}
