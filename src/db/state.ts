// The one row of `clerk_sync.state`: which Clerk instance this table belongs to, and where the passes stand.
import { sql } from 'drizzle-orm'
import { type Executor, query } from './database.ts'
import type { Shape } from './shape.ts'

export interface State {
  readonly instanceId: string
  /** Clerk's clock, ms. */
  readonly watermark: number | null
}

/** The state, or undefined where nothing has been bound yet. */
export async function readState(executor: Executor, shape: Shape): Promise<State | undefined> {
  if (!shape.ownTables.has('state')) return undefined
  const [row] = await query<State>(
    executor,
    sql`select instance_id as "instanceId", (extract(epoch from watermark) * 1000)::float8 as watermark
        from clerk_sync.state`,
  )
  return row
}

/**
 * Binds the table to an instance if it is not bound yet, or if it was bound to `replaced`: then watermark and known
 * difference, which spoke of that one, go. Gives the instance that is bound afterwards, which may be another's.
 */
export async function bindInstance(
  executor: Executor,
  instanceId: string,
  replaced: string | undefined,
): Promise<string | undefined> {
  await query(
    executor,
    sql`insert into clerk_sync.state (instance_id) values (${instanceId}) on conflict do nothing`,
  )
  if (replaced !== undefined && replaced !== instanceId) {
    await query(
      executor,
      sql`update clerk_sync.state set instance_id = ${instanceId}, watermark = null, difference = null,
            full_pass_due_at = null where instance_id = ${replaced}`,
    )
  }
  const [row] = await query<{ instance_id: string }>(executor, sql`select instance_id from clerk_sync.state`)
  return row?.instance_id
}

/** Notes how far Clerk has been read. `watermark` is ms on Clerk's clock; null: Clerk had no users. */
export async function saveWatermark(
  executor: Executor,
  instanceId: string,
  watermark: number | null,
): Promise<void> {
  const moment = watermark === null ? null : new Date(watermark).toISOString()
  await query(
    executor,
    sql`update clerk_sync.state set watermark = ${moment}::timestamptz where instance_id = ${instanceId}`,
  )
}
