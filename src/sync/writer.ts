// Writes the changes of a plan: as a batch in one short transaction, and where Postgres refuses the batch, in ever smaller
// parts, so that one user's trouble is never another's. What becomes of the refused is for `Refuse` to say.
import { readAltered } from '../db/altered.ts'
import { PostgresRefusal } from '../db/database.ts'
import { type CurrentRow, syncedKeys } from '../db/schema.ts'
import { readTombstones } from '../db/tombstones.ts'
import { insertUsers, readRows, refreshUsers, updateUsers } from '../db/users.ts'
import { rejectAltered } from './altered.ts'
import { writeFenced } from './fenced.ts'
import { type Pass, settlesIn } from './pass.ts'
import type { Change, Plan } from './plan.ts'

/** How often a write is tried when another transaction is in the way. */
export const lockTries = 2

export type Batch = Pick<Plan, 'creates' | 'updates' | 'refreshes'>

/** Says what becomes of refused changes. Returns false where smaller parts of them have to be tried first. */
export type Refuse = (changes: readonly Change[], refusal: PostgresRefusal) => boolean

/** What gives up an address goes before what takes one. */
const kinds = ['updates', 'refreshes', 'creates'] as const

const changesOf = (batch: Batch) => kinds.flatMap((kind) => batch[kind])

/** Writes the batch, whole or in parts. Throws `SyncError`, and what `refuse` throws. */
export async function writeChanges(pass: Pass, batch: Batch, refuse: Refuse): Promise<void> {
  const changes = changesOf(batch)
  for (let tryNumber = 1; ; tryNumber++) {
    try {
      return await writeBatch(pass, batch)
    } catch (error) {
      if (!(error instanceof PostgresRefusal)) throw error
      const isAlone = changes.length === 1
      if (isAlone && error.kind === 'lock' && tryNumber < lockTries) continue
      if (refuse(changes, error) || isAlone) return
      for (const part of partsOf(batch, partSizeOf(changes.length, error))) {
        pass.signal.throwIfAborted()
        await writeChanges(pass, part, refuse)
      }
      return
    }
  }
}

/**
 * Halves find one refused user among 500 in 18 transactions. Behind a lock each of these would wait for 2 seconds, and
 * behind a slow trigger for longer: there each user is tried alone.
 */
function partSizeOf(length: number, refusal: PostgresRefusal): number {
  return refusal.kind === 'row' || refusal.kind === 'privilege' ? Math.ceil(length / 2) : 1
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

async function writeBatch(pass: Pass, plan: Batch): Promise<void> {
  const { counts } = pass.tally
  const writes = (changes: readonly Change[]) => changes.map((change) => change.write)
  const all = writes(changesOf(plan))
  const done = await writeFenced(pass, plan.creates.length > 0 ? 'shared' : 'none', async (tx) => ({
    // Updates first: an address that one user gives up may be another's in the same page.
    updated: plan.updates.length > 0 ? await updateUsers(tx, writes(plan.updates)) : [],
    refreshed: plan.refreshes.length > 0 ? await refreshUsers(tx, writes(plan.refreshes)) : [],
    created: plan.creates.length > 0 ? await insertUsers(tx, writes(plan.creates), pass.youngSince) : [],
    altered: await readAltered(tx, all),
  }))
  rejectAltered(pass, done.altered, all)
  counts.updated += done.updated.length
  counts.refreshed += done.refreshed.length
  counts.created += done.created.length
  const written = new Set([...done.updated, ...done.refreshed, ...done.created])
  await noteUnwritten(
    pass,
    changesOf(plan).filter((change) => !written.has(change.write.clerkId)),
  )
}

/**
 * What was planned, taken by Postgres and yet not written: another writer was faster, and the next run sees whose news is
 * newer. Where there was none, a trigger or rule of the app swallows it: that must not be silent.
 */
export async function noteUnwritten(pass: Pass, changes: readonly Change[]): Promise<void> {
  if (changes.length === 0) return
  const { db } = pass.database
  const ids = changes.map((change) => change.write.clerkId)
  const rows = new Map((await readRows(db, ids, pass.shape)).map((row) => [row.clerkId, row]))
  const tombstones = await readTombstones(db, ids, pass.youngSince, pass.shape)
  for (const { write, row: before } of changes) {
    const row = rows.get(write.clerkId)
    const isUntouched =
      before === undefined
        ? row === undefined && tombstones.get(write.clerkId) !== 'young'
        : row !== undefined && isSameRow(before, row)
    if (isUntouched) pass.tally.rejected.set(write.clerkId, 'the database does not take the write')
    else {
      pass.tally.counts.pending++
      pass.tally.pendingUsers.add(write.clerkId)
      settlesIn(pass, pass.options.graceMs)
    }
  }
}

function isSameRow(a: CurrentRow, b: CurrentRow): boolean {
  return (
    a.clerkCreatedAt === b.clerkCreatedAt &&
    a.clerkUpdatedAt === b.clerkUpdatedAt &&
    syncedKeys.every((key) => a.values[key] === b.values[key])
  )
}
