// The one row of `clerk_sync.state`: which Clerk instance this table belongs to, and where the passes stand.
import { sql } from 'drizzle-orm'
import type { TableCatalog } from './catalog.ts'
import { type Executor, query } from './database.ts'
import { newHold } from './hold.ts'
import { isOurs } from './users.ts'

export interface State {
  readonly instanceId: string
  /** Clerk's clock, ms. */
  readonly watermark: number | null
  /** What the last full pass left and could name, as it was saved. */
  readonly difference: unknown
  /** True once what was pending has settled. */
  readonly isFullPassDue: boolean
  /** The table that is there now; null if there is none. */
  readonly tableIdentity: string | null
  /** Whether that is the one that the watermark and the difference are about. */
  readonly isSameTable: boolean
}

/** Where a pass leaves things. */
export interface Checkpoint {
  /** Clerk's clock, ms; null: Clerk had no users. */
  readonly watermark: number | null
  readonly difference: object
  /** When a full pass is due again, ms from now; null: nothing is pending; undefined: as it was. */
  readonly fullPassDueInMs: number | null | undefined
}

/**
 * What tells the users table from every other: its name, its number in the catalogue and its file. A table that was
 * dropped and made anew or restored has another number, one that was truncated has another file. So has one that was
 * rewritten (`vacuum full`), which costs a full pass.
 */
const tableIdentity =
  sql.raw(`(select format('%I.%I %s %s', n.nspname, c.relname, c.oid, pg_relation_filenode(c.oid))
  from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = to_regclass('users'))`)

/** What settles later than in a day is looked at once a day. */
const dueMsMax = 86_400_000
/** A time beyond that was stored by a clock that was ahead. */
const dueWithin = sql.raw(`interval '25 hours'`)

/** The state, or undefined where nothing has been bound yet. */
export async function readState(executor: Executor, catalog: TableCatalog): Promise<State | undefined> {
  if (!catalog.ownTables.has('state')) return undefined
  const known = catalog.ownColumns.has('state.table_identity') ? sql`table_identity` : sql`null`
  const [row] = await query<Omit<State, 'difference'> & { difference: string | null }>(
    executor,
    sql`select instance_id as "instanceId", (extract(epoch from watermark) * 1000)::float8 as watermark,
          difference::text as difference, coalesce(full_pass_due_at <= now() or full_pass_due_at > now() + ${dueWithin}, false) as "isFullPassDue",
          ${tableIdentity} as "tableIdentity", coalesce(${known} = ${tableIdentity}, false) as "isSameTable"
        from clerk_sync.state`,
  )
  if (row === undefined) return undefined
  return { ...row, difference: row.difference === null ? null : JSON.parse(row.difference) }
}

/** It is not known yet whether the rows that are there are of this instance's users. */
const firstLook = sql`case when exists (select from users u where ${isOurs}) then ${newHold('first-look')} end`

/**
 * Binds the table to an instance if it is not bound yet, or if it was bound to `replaced`: then watermark and known
 * difference, which belong to that one, are cleared. Where the table has rows of ours, deletions are put on hold. Returns
 * the instance that is bound afterwards, which may be another one.
 */
export async function bindInstance(
  executor: Executor,
  instanceId: string,
  replaced: string | undefined,
): Promise<string | undefined> {
  const [bound] = await query<{ instance_id: string }>(
    executor,
    sql`select instance_id from clerk_sync.state`,
  )
  if (bound?.instance_id === instanceId) return instanceId
  await query(
    executor,
    sql`insert into clerk_sync.state (instance_id, deletion_hold) values (${instanceId}, ${firstLook})
        -- the first instance wins
        on conflict do nothing`,
  )
  if (replaced !== undefined) {
    await query(
      executor,
      sql`update clerk_sync.state set instance_id = ${instanceId}, watermark = null, difference = null,
            full_pass_due_at = null, deletion_hold = ${firstLook}
          -- only the accepted instance goes
          where instance_id = ${replaced}`,
    )
  }
  const [row] = await query<{ instance_id: string }>(executor, sql`select instance_id from clerk_sync.state`)
  return row?.instance_id
}

/** Notes how far Clerk has been read, what is open, and of which table that is true: the one that the pass began with. */
export async function saveCheckpoint(
  executor: Executor,
  instanceId: string,
  checkpoint: Checkpoint,
  tableIdentity: string | null,
): Promise<void> {
  const { watermark, fullPassDueInMs } = checkpoint
  const moment = watermark === null ? null : new Date(watermark).toISOString()
  const due =
    fullPassDueInMs === undefined
      ? sql`full_pass_due_at`
      : sql`now() + least(${fullPassDueInMs}::float8, ${dueMsMax}) * interval '1 millisecond'`
  await query(
    executor,
    sql`update clerk_sync.state set watermark = ${moment}::timestamptz,
          difference = ${JSON.stringify(checkpoint.difference)}::jsonb, full_pass_due_at = ${due},
          table_identity = ${tableIdentity}
        -- only for this instance
        where instance_id = ${instanceId}`,
  )
}
