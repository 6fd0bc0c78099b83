// The tables. `users` belongs to the app as much as to us: we name only the columns we sync. Everything that is ours
// alone lives in the schema `clerk_sync`, out of the way of the app's own migrations.
// One more synced field is two edits: a column in `syncedColumns`, a line in the mapping (clerk/user.ts).
import { sql } from 'drizzle-orm'
import {
  bigint,
  boolean,
  check,
  index,
  integer,
  jsonb,
  pgSchema,
  pgTable,
  text,
  timestamp,
  uniqueIndex,
  uuid,
} from 'drizzle-orm/pg-core'

/** The columns whose values come from Clerk. Diff, SQL and dry-run output follow from this object. */
export const syncedColumns = {
  name: text('name').notNull(),
  /** The primary address. */
  email: text('email'),
  /** Empty where Clerk has no picture. */
  imageUrl: text('image_url').notNull(),
}

/** A moment on Clerk's clock, in the milliseconds that Clerk counts. */
const clerkTime = (name: string) => timestamp(name, { withTimezone: true, precision: 3 })
/** A moment on Postgres's clock. */
const postgresTime = (name: string) => timestamp(name, { withTimezone: true, precision: 3 })

export const users = pgTable(
  'users',
  {
    id: uuid('id').primaryKey().defaultRandom(),
    clerkId: text('clerk_id').notNull().unique(),
    ...syncedColumns,
    clerkCreatedAt: clerkTime('clerk_created_at'),
    /** The version of the row: Clerk's `updated_at`. Null in an adopted row, which is older than any version. */
    clerkUpdatedAt: clerkTime('clerk_updated_at'),
    createdAt: postgresTime('created_at').notNull().defaultNow(),
    updatedAt: postgresTime('updated_at').notNull().defaultNow(),
  },
  (table) => [index('users_clerk_created_at_idx').on(table.clerkCreatedAt)],
)

/** The keys of `syncedColumns`, in their order. */
export const syncedKeys = Object.keys(syncedColumns) as (keyof typeof syncedColumns)[]

/** The values of one user that come from Clerk, as they stand in the row. */
export type SyncedValues = Pick<typeof users.$inferSelect, keyof typeof syncedColumns>

/** One user as Clerk wants it: what the row should hold. Times are milliseconds on Clerk's clock. */
export interface DesiredUser {
  readonly clerkId: string
  readonly values: SyncedValues
  readonly clerkCreatedAt: number
  /** The version. */
  readonly clerkUpdatedAt: number
}

/** One row as the table has it. Times are milliseconds on Clerk's clock, null in an adopted row. */
export interface CurrentRow {
  readonly clerkId: string
  /** Null where an adopted table still lacks the column (only in a dry run). */
  readonly values: { readonly [K in keyof SyncedValues]: string | null }
  readonly clerkCreatedAt: number | null
  readonly clerkUpdatedAt: number | null
  /**
   * True once the row's own `created_at` is a day old, or, where that says nothing about the age, once the row was first seen a day ago:
   * from then on a row without a version has settled.
   */
  readonly isDayOld: boolean
}

export const clerkSync = pgSchema('clerk_sync')

/** The memory of deletions: what keeps late news from putting a user back. Kept 30 days. */
export const tombstones = clerkSync.table(
  'tombstones',
  {
    clerkId: text('clerk_id').primaryKey(),
    deletedAt: postgresTime('deleted_at').notNull().defaultNow(),
    /** The run that deleted; null for a webhook, which the deletion guard does not count. */
    runId: bigint('run_id', { mode: 'number' }),
  },
  (table) => [index('tombstones_deleted_at_idx').on(table.deletedAt)],
)

/** When a row without a version and without a creation time was first seen. Its age counts from then. */
export const firstSeen = clerkSync.table('first_seen', {
  clerkId: text('clerk_id').primaryKey(),
  firstSeenAt: postgresTime('first_seen_at').notNull().defaultNow(),
})

/**
 * The lease and the history in one: the running row is the lease, at most one at a time. A run for a single user (pass
 * `user`) has its row too and needs no lease. Kept 30 days.
 */
export const runs = clerkSync.table(
  'runs',
  {
    id: bigint('id', { mode: 'number' }).primaryKey().generatedAlwaysAsIdentity(),
    pass: text('pass').notNull(),
    trigger: text('trigger').notNull(),
    status: text('status').notNull(),
    /** Null where the run ended before Clerk named the instance. */
    instanceId: text('instance_id'),
    host: text('host').notNull(),
    /** The ceiling of an operator's approval; the guard's hourly count leaves such runs out. */
    approveDeletes: integer('approve_deletes'),
    startedAt: postgresTime('started_at').notNull().defaultNow(),
    heartbeatAt: postgresTime('heartbeat_at').notNull().defaultNow(),
    finishedAt: postgresTime('finished_at'),
    counts: jsonb('counts'),
    /** Rows deleted so far, counted in the transaction that deletes them: what the guard's hour is made of. */
    deleted: integer('deleted').notNull().default(0),
    /** When the last of them was deleted. */
    deletedAt: postgresTime('deleted_at'),
    requests: jsonb('requests'),
    notes: jsonb('notes'),
    /** The first 100 users that could not be mapped or written: `{clerkId, reason}`. */
    rejected: jsonb('rejected'),
    /** The first 100 rows whose deletion was withheld. */
    withheld: jsonb('withheld'),
    error: jsonb('error'),
  },
  (table) => [
    uniqueIndex('runs_one_running')
      .on(table.status)
      .where(sql`${table.status} = 'running' and ${table.pass} <> 'user'`),
    index('runs_started_at_idx').on(table.startedAt),
  ],
)

/** One row: the instance this table belongs to, and where the passes stand. */
export const state = clerkSync.table(
  'state',
  {
    id: boolean('id').primaryKey().default(true),
    instanceId: text('instance_id').notNull(),
    /** Clerk's newest `updated_at` at the start of the last complete writing pass, less 10 minutes. */
    watermark: clerkTime('watermark'),
    /** Users in Clerk less rows in the table, as the last full pass left it and could name. */
    difference: jsonb('difference'),
    /** When the youngest pending row settles, so that a full pass is due again. */
    fullPassDueAt: postgresTime('full_pass_due_at'),
    /** The table that all of this speaks of: made anew, restored or another one, it is due for a full pass. */
    tableIdentity: text('table_identity'),
    /** Why deletions wait for an operator's approval, whatever the guard allows; null if they do not. */
    deletionHold: text('deletion_hold'),
  },
  (table) => [check('state_one_row', sql`${table.id}`)],
)
