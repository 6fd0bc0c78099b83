// Plan and apply for the users at hand: reads their rows, plans, writes in one short transaction. A batch that Postgres
// refuses is repeated user by user, so that one user's trouble is never another's.
import { PostgresRefusal } from '../db/database.ts'
import { type CurrentRow, type DesiredUser, syncedKeys } from '../db/schema.ts'
import { readTombstones, wereDeletedByRuns } from '../db/tombstones.ts'
import { insertUsers, readRows, refreshUsers, updateUsers } from '../db/users.ts'
import { writeFenced } from './fenced.ts'
import { noteClockMissing, type Pass, settlesIn } from './pass.ts'
import { type Change, isSettled, type Plan, planDoubtful, planPage } from './plan.ts'
import { rejectWrite } from './refusals.ts'

/** Clerk takes up to 100 ids in one request. */
const idsPerRequest = 100
/** How often a write is tried when another transaction is in the way. */
export const lockTries = 2

/** Makes the rows of these users what Clerk says. Gives the rows as they were. Throws `SyncError`. */
export async function applyUsers(pass: Pass, desired: readonly DesiredUser[]): Promise<CurrentRow[]> {
  if (desired.length === 0) return []
  const ids = desired.map((user) => user.clerkId)
  // Whatever kept a user out before, it is looked at anew.
  for (const id of ids) pass.tally.rejected.delete(id)
  const { db } = pass.database
  const current = await readRows(db, ids, pass.shape)
  const found = new Set(current.map((row) => row.clerkId))
  const rowless = ids.filter((id) => !found.has(id))
  const tombstones = await readTombstones(db, rowless, pass.youngSince, pass.shape)
  const plan = planPage(desired, current, tombstones, pass.clock)
  if (plan.pending.some((id) => found.has(id))) noteClockMissing(pass)
  await applyPlan(pass, plan)
  for (let start = 0; start < plan.doubtful.length; start += idsPerRequest) {
    await settleDoubts(pass, plan.doubtful.slice(start, start + idsPerRequest))
  }
  return current
}

/** Rows whose version no listing explains: Clerk is asked for those very users. */
async function settleDoubts(pass: Pass, doubtful: readonly CurrentRow[]): Promise<void> {
  const userIds = doubtful.map((row) => row.clerkId)
  const answer = await pass.clerk.listUsers({ limit: idsPerRequest, userIds })
  // A version that lay in the future when the page came may be a change made while Postgres kept us waiting: then this
  // answer, too, may lag behind it.
  const settled = new Set(doubtful.filter((row) => isSettled(row, pass.clock)).map((row) => row.clerkId))
  if (settled.size < doubtful.length) noteClockMissing(pass)
  const users = answer.users.flatMap((user) =>
    user.kind === 'user' && settled.has(user.clerkId) ? [user.desired] : [],
  )
  await applyPlan(pass, planDoubtful(users, doubtful))
}

async function applyPlan(pass: Pass, plan: Plan): Promise<void> {
  const { counts } = pass.tally
  counts.unchanged += plan.unchanged.length
  counts.pending += plan.pending.length
  for (const id of plan.pending) pass.tally.pendingUsers.add(id)
  if (plan.pending.length > 0) settlesIn(pass, pass.options.graceMs)
  if (plan.creates.length + plan.updates.length + plan.refreshes.length === 0) return
  if (pass.dryRun) await showPlan(pass, plan)
  else await writePlan(pass, plan)
}

async function showPlan(pass: Pass, plan: Plan): Promise<void> {
  const { counts } = pass.tally
  counts.created += plan.creates.length
  counts.updated += plan.updates.length
  counts.refreshed += plan.refreshes.length
  const created = plan.creates.map((change) => change.write.clerkId)
  if (await wereDeletedByRuns(pass.database.db, created, pass.youngSince, pass.shape)) {
    pass.tally.holdToCome = 'returned'
  }
  for (const change of plan.creates) pass.onChange({ kind: 'create', change })
  for (const change of plan.updates) pass.onChange({ kind: 'update', change })
  for (const change of plan.refreshes) pass.onChange({ kind: 'refresh', change })
}

type Batch = Pick<Plan, 'creates' | 'updates' | 'refreshes'>

const changesOf = (plan: Batch) => [...plan.creates, ...plan.updates, ...plan.refreshes]

async function writePlan(pass: Pass, plan: Batch): Promise<void> {
  if (changesOf(plan).length === 1) return writeAlone(pass, plan)
  try {
    await writeBatch(pass, plan)
  } catch (error) {
    if (!(error instanceof PostgresRefusal)) throw error
    // One of them is in trouble; it says nothing about the others.
    for (const change of plan.creates)
      await writeAlone(pass, { creates: [change], updates: [], refreshes: [] })
    for (const change of plan.updates)
      await writeAlone(pass, { creates: [], updates: [change], refreshes: [] })
    for (const change of plan.refreshes)
      await writeAlone(pass, { creates: [], updates: [], refreshes: [change] })
  }
}

async function writeAlone(pass: Pass, plan: Batch): Promise<void> {
  pass.signal.throwIfAborted()
  const [change] = changesOf(plan)
  if (change === undefined) return
  for (let tryNumber = 1; ; tryNumber++) {
    try {
      return await writeBatch(pass, plan)
    } catch (error) {
      if (!(error instanceof PostgresRefusal)) throw error
      if (error.kind === 'lock' && tryNumber < lockTries) continue
      return refuse(pass, change, error)
    }
  }
}

async function writeBatch(pass: Pass, plan: Batch): Promise<void> {
  const { counts } = pass.tally
  const writes = (changes: readonly Change[]) => changes.map((change) => change.write)
  const done = await writeFenced(pass, plan.creates.length > 0 ? 'shared' : 'none', async (tx) => ({
    // Updates first: an address that one user gives up may be another's in the same page.
    updated: plan.updates.length > 0 ? await updateUsers(tx, writes(plan.updates)) : [],
    refreshed: plan.refreshes.length > 0 ? await refreshUsers(tx, writes(plan.refreshes)) : [],
    created: plan.creates.length > 0 ? await insertUsers(tx, writes(plan.creates), pass.youngSince) : [],
  }))
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
 * What was planned, taken by Postgres and yet not written: somebody was faster, and whose news is newer is the next
 * run's to see. Where nobody was, a trigger or rule of the app swallows it: that must not be silent.
 */
async function noteUnwritten(pass: Pass, changes: readonly Change[]): Promise<void> {
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

function refuse(pass: Pass, change: Change, refusal: PostgresRefusal): void {
  const { clerkId } = change.write
  pass.tally.refused.set(clerkId, change.write)
  rejectWrite(pass, clerkId, refusal)
}

/** Tries the refused once more, after the deletions: an old row may have owned what a new one needs. */
export async function retryRefused(pass: Pass): Promise<void> {
  for (const user of [...pass.tally.refused.values()]) {
    pass.tally.refused.delete(user.clerkId)
    pass.tally.rejected.delete(user.clerkId)
    await applyUsers(pass, [user])
  }
}
