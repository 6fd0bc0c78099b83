// What a webhook writes: the same guarded statements as a pass, for one user, in one transaction. Late, repeated and
// reordered deliveries end in the same row: a stale version loses, and any tombstone blocks, since only a pass, which
// has read all of Clerk, may lift one.
import { readAltered } from '../db/altered.ts'
import type { TableCatalog } from '../db/catalog.ts'
import { type Database, type Executor, WriteError } from '../db/database.ts'
import type { DesiredUser, SyncedValues } from '../db/schema.ts'
import { statementMsFor } from '../db/timeouts.ts'
import { deleteUser } from '../db/tombstones.ts'
import { readUniqueColumns } from '../db/unique.ts'
import { insertUsers, readRows, refreshUsers, updateUsers } from '../db/users.ts'
import { writeTransaction } from '../db/write-transaction.ts'
import { isSyncError, SyncError } from '../errors.ts'
import { alterationText, isKnownAlteration } from './altered.ts'
import { deletesRows, type Policy } from './deletion-policy.ts'
import { isUnique } from './failed-writes.ts'
import { settleTogether } from './together.ts'
import { WaitingDeliveries } from './waiting.ts'

export type DeliveryOutcome =
  | 'created'
  | 'updated'
  | 'refreshed'
  /** The row has this version or a newer one, or a deletion came first. */
  | 'stale'
  | 'deleted'
  /** There was no row; the tombstone will keep late news out. */
  | 'absent'
  /** `SYNC_POLICY` is `upsert-only`. */
  | 'kept'
  /** The app's schema refuses the row, and would refuse it again. */
  | 'refused'

export interface Delivered {
  readonly outcome: DeliveryOutcome
  /** Of `refused`: by what. Of a row that was written: what the database has changed in it. */
  readonly reason?: string
  /** Ids of users who had been refused before and could be written now. */
  readonly settled?: readonly string[]
}

/** A lock is tried again at once; Svix tries a 503 again in seconds. */
const tries = { lock: 2, 'deletion-lock': 2 }
/** Every tombstone is younger than that. */
const always = Number.NEGATIVE_INFINITY

/** How many rounds may search for the users that cannot be written, while Svix waits for the answer. */
const roundsMax = 4

/**
 * Writes a user as a webhook has it, and together with it those of `waiting` who waited for it. `alteredBefore` is the
 * fingerprint of what the database made of this user's values, as a pass has met it. Throws `transient` for whatever a
 * repeat of the delivery can cure.
 */
export async function deliverUser(
  database: Database,
  catalog: TableCatalog,
  user: DesiredUser,
  waiting: WaitingDeliveries = new WaitingDeliveries(),
  alteredBefore?: string,
): Promise<Delivered> {
  let alteration: string | undefined
  const noteAlteration = async (tx: Executor, outcome: DeliveryOutcome) => {
    const [row] = outcome === 'stale' ? [] : await readAltered(tx, [user])
    alteration = row === undefined ? undefined : alterationText(row.values, user.values)
    return outcome
  }
  const written = await orRefusal(async () => {
    const outcome = await writeTransaction(
      database,
      { runId: null, deletionLock: 'none', tries },
      async (tx) => {
        // Within the transaction: outside of it a lock on the whole table would be waited for without end.
        const [row] = await readRows(tx, [user.clerkId], catalog)
        if (row === undefined) return undefined
        // The database would make the same row of it again: only Clerk's times are news.
        const isKnown = isKnownAlteration(alteredBefore, row.values, user.values)
        const write = isKnown ? { ...user, values: row.values as SyncedValues } : user
        return noteAlteration(tx, await writeNewer(tx, write))
      },
    )
    if (outcome !== undefined) return outcome
    return writeTransaction(database, { runId: null, deletionLock: 'shared', tries }, async (tx) => {
      const created = await insertUsers(tx, [user], always)
      return noteAlteration(tx, created.length > 0 ? 'created' : await writeNewer(tx, user))
    })
  })
  if (typeof written !== 'string') return deliverRefused(database, catalog, user, written, waiting)
  if (written === 'stale') return { outcome: written }
  waiting.delete(user.clerkId)
  // What this user had given up may be what another one waits for.
  const settled = written === 'updated' ? await settleWaiting(database, catalog, waiting, 1) : {}
  return { outcome: written, ...(alteration === undefined ? {} : { reason: alteration }), ...settled }
}

/** Another row holds a value of this user: if the delivery of that row's user was refused, too, both can be written now. */
async function deliverRefused(
  database: Database,
  catalog: TableCatalog,
  user: DesiredUser,
  failure: WriteError,
  waiting: WaitingDeliveries,
): Promise<Delivered> {
  const refused = {
    outcome: 'refused',
    reason: `refused by ${failure.constraint} (${failure.code})`,
  } as const
  if (!isUnique(failure)) return refused
  waiting.add(user, failure)
  const { settled = [] } = await settleWaiting(database, catalog, waiting, 2)
  if (!settled.includes(user.clerkId)) return { ...refused, ...(settled.length > 0 ? { settled } : {}) }
  return { outcome: 'updated', settled }
}

/** Writes those who wait, if there are at least `membersMin`. Whatever goes wrong here is no failure of the delivery. */
async function settleWaiting(
  database: Database,
  catalog: TableCatalog,
  waiting: WaitingDeliveries,
  membersMin: number,
): Promise<Pick<Delivered, 'settled'>> {
  if (waiting.all().length < membersMin) return {}
  try {
    const ids = waiting.all().map(({ user }) => user.clerkId)
    const rows = await writeTransaction(database, { runId: null, deletionLock: 'none' }, (tx) =>
      readRows(tx, ids, catalog),
    )
    const versions = new Map(rows.map((row) => [row.clerkId, row.clerkUpdatedAt]))
    for (const { user } of waiting.all()) {
      if ((versions.get(user.clerkId) ?? Number.NEGATIVE_INFINITY) >= user.clerkUpdatedAt) {
        waiting.delete(user.clerkId)
      }
    }
    const members = waiting.all().map(({ user, failure }) => ({
      write: user,
      hasRow: versions.has(user.clerkId),
      failure,
    }))
    const columns = await readUniqueColumns(
      database.db,
      members.map(({ failure }) => failure.constraint),
    )
    const { updated, created } = await settleTogether(
      members,
      { columns, by: 'webhook', tombstonesBlockSince: always },
      { membersMin, stuckMax: members.length, roundsMax },
      (deletionLock, write) => writeTransaction(database, { runId: null, deletionLock }, write),
    )
    const settled = [...updated, ...created]
    for (const id of settled) waiting.delete(id)
    return settled.length > 0 ? { settled } : {}
  } catch (error) {
    if (isSyncError(error) || error instanceof WriteError) return {}
    throw error
  }
}

/**
 * Deletes a user whatever its row's version, and leaves a tombstone. Then writes those who waited for what the row had.
 * Throws `transient` as above.
 */
export async function deliverDeletion(
  database: Database,
  clerkId: string,
  policy: Policy,
  others?: { readonly catalog: TableCatalog; readonly waiting: WaitingDeliveries },
): Promise<Delivered> {
  others?.waiting.delete(clerkId)
  if (!deletesRows(policy)) return { outcome: 'kept' }
  const deleted = await orRefusal(async () => {
    const isDeleted = await writeTransaction(
      database,
      { runId: null, deletionLock: 'exclusive', tries },
      (tx) => deleteUser(tx, clerkId, statementMsFor(database.deleteMsMax)),
    )
    return isDeleted ? 'deleted' : 'absent'
  })
  if (typeof deleted !== 'string') {
    return { outcome: 'refused', reason: `refused by ${deleted.constraint} (${deleted.code})` }
  }
  if (deleted === 'absent' || others === undefined) return { outcome: deleted }
  return { outcome: deleted, ...(await settleWaiting(database, others.catalog, others.waiting, 1)) }
}

async function writeNewer(tx: Executor, user: DesiredUser): Promise<DeliveryOutcome> {
  if ((await updateUsers(tx, [user], 'webhook')).length > 0) return 'updated'
  return (await refreshUsers(tx, [user], 'webhook')).length > 0 ? 'refreshed' : 'stale'
}

/** The outcome, or what the app's schema refuses the row by. Throws for all that a repeat can cure. */
async function orRefusal(write: () => Promise<DeliveryOutcome>): Promise<DeliveryOutcome | WriteError> {
  try {
    return await write()
  } catch (error) {
    if (!(error instanceof WriteError)) throw error
    if (error.kind === 'row') return error
    const facts = { code: error.code }
    if (error.kind === 'privilege') {
      throw new SyncError('configuration', 'the database role lacks a privilege', {
        hint: 'Grant what docs/configuration.md lists to the role in DATABASE_URL.',
        facts,
      })
    }
    if (error.kind === 'timeout') {
      throw new SyncError('transient', 'the write was cut off because it took too long', {
        hint: 'Is an index missing on a table that refers to users? DELETE_TIMEOUT_SECONDS is how long a deletion may take.',
        facts,
      })
    }
    throw new SyncError('transient', 'another transaction held the row for too long', { facts })
  }
}
