// Writes the changes of a plan: as a batch in one short transaction, and where Postgres refuses the batch, in ever smaller
// parts, so that one user's trouble is never another's. What becomes of the refused is for `FailureHandler` to say.
import { readAltered } from '../db/altered.ts'
import { WriteError } from '../db/database.ts'
import { type CurrentRow, syncedKeys } from '../db/schema.ts'
import { readTombstones } from '../db/tombstones.ts'
import { insertUsers, readRows, refreshUsers, updateUsers } from '../db/users.ts'
import { rejectAlteredRows } from './altered.ts'
import type { FailureHandler } from './failed-write.ts'
import type { Finding } from './finding.ts'
import type { PassContext } from './pass.ts'
import { lockTries, passTransaction, refusalOf } from './pass-transaction.ts'
import type { Batch, Change } from './plan.ts'

/** What gives up an address goes before what takes one. */
const kinds = ['updates', 'refreshes', 'creates'] as const

const changesOf = (batch: Batch) => kinds.flatMap((kind) => batch[kind])

/** Writes the batch, whole or in parts. Throws `SyncError`, also where `onFailure` says that too many were refused. */
export async function* writeChanges(
  pass: PassContext,
  batch: Batch,
  onFailure: FailureHandler,
): AsyncGenerator<Finding, void> {
  const changes = changesOf(batch)
  const written = await refusalOf(() => writeBatch(pass, batch))
  if (!(written instanceof WriteError)) {
    yield written
    const ids = new Set([written.updated, written.refreshed, written.created].flat())
    yield await explainUnwritten(
      pass,
      changes.filter((change) => !ids.has(change.write.clerkId)),
    )
    return
  }
  const refused = onFailure(changes, written)
  if (refused !== undefined) {
    yield refused.finding
    if (refused.error !== undefined) throw refused.error
    return
  }
  for (const part of partsOf(batch, partSizeOf(changes.length, written))) {
    pass.signal.throwIfAborted()
    yield* writeChanges(pass, part, onFailure)
  }
}

/**
 * Halves find one refused user among 500 in 18 transactions. Behind a lock each of these would wait for 2 seconds, and
 * behind a slow trigger for longer: there each user is tried alone.
 */
function partSizeOf(length: number, failure: WriteError): number {
  return failure.kind === 'row' || failure.kind === 'privilege' ? Math.ceil(length / 2) : 1
}

function partsOf(batch: Batch, size: number): Batch[] {
  const all = kinds.flatMap((kind) => batch[kind].map((change) => ({ kind, change })))
  const parts: Batch[] = []
  for (let start = 0; start < all.length; start += size) {
    const part = all.slice(start, start + size)
    const only = (kind: (typeof kinds)[number]) =>
      part.flatMap((each) => (each.kind === kind ? [each.change] : []))
    parts.push({ updates: only('updates'), refreshes: only('refreshes'), creates: only('creates') })
  }
  return parts
}

type Written = Finding & {
  readonly updated: readonly string[]
  readonly refreshed: readonly string[]
  readonly created: readonly string[]
}

async function writeBatch(pass: PassContext, plan: Batch): Promise<Written> {
  const writes = (changes: readonly Change[]) => changes.map((change) => change.write)
  const all = writes(changesOf(plan))
  const { altered, ...written } = await passTransaction(
    pass,
    plan.creates.length > 0 ? 'shared' : 'none',
    async (tx) => ({
      // Updates first: an address that one user gives up may be another's in the same page.
      updated: plan.updates.length > 0 ? await updateUsers(tx, writes(plan.updates)) : [],
      refreshed: plan.refreshes.length > 0 ? await refreshUsers(tx, writes(plan.refreshes)) : [],
      created:
        plan.creates.length > 0 ? await insertUsers(tx, writes(plan.creates), pass.tombstonesBlockSince) : [],
      altered: await readAltered(tx, all),
    }),
    all.length === 1 ? lockTries.ofOne : lockTries.ofMany,
  )
  return { ...written, ...rejectAlteredRows(altered, all) }
}

/**
 * What was planned, taken by Postgres and yet not written: another writer was faster, and the next run sees whose news is
 * newer. Where there was none, a trigger or rule of the app swallows it: that must not be silent.
 */
export async function explainUnwritten(pass: PassContext, changes: readonly Change[]): Promise<Finding> {
  if (changes.length === 0) return {}
  const { db } = pass.database
  const ids = changes.map((change) => change.write.clerkId)
  const rows = new Map((await readRows(db, ids, pass.catalog)).map((row) => [row.clerkId, row]))
  const tombstones = await readTombstones(db, ids, pass.tombstonesBlockSince, pass.catalog)
  const isSwallowed = ({ write: { clerkId }, row: before }: Change) => {
    const row = rows.get(clerkId)
    return before === undefined
      ? row === undefined && tombstones.get(clerkId) !== 'blocking'
      : row !== undefined && isSameRow(before, row)
  }
  const swallowed = changes.filter(isSwallowed)
  const overtaken = changes.filter((change) => !isSwallowed(change))
  return {
    rejected: swallowed.map(({ write: { clerkId } }) => ({ clerkId, reason: swallowedText })),
    pendingUsers: overtaken.map(({ write: { clerkId } }) => ({
      clerkId,
      settlesInMs: pass.options.graceMs,
    })),
  }
}

/** Why a user is rejected whose write Postgres has taken and not made. */
export const swallowedText = 'the database does not take the write'

function isSameRow(a: CurrentRow, b: CurrentRow): boolean {
  return (
    a.clerkCreatedAt === b.clerkCreatedAt &&
    a.clerkUpdatedAt === b.clerkUpdatedAt &&
    syncedKeys.every((key) => a.values[key] === b.values[key])
  )
}
