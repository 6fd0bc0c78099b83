// `--user`: one user through the same plan, without the lease. The row goes when two endpoints both deny the user.
import { readRows } from '../db/users.ts'
import { applyUsers } from './apply.ts'
import { deleteBatch } from './deletions.ts'
import { noteClockMissing, type Pass } from './pass.ts'
import { isSettled } from './plan.ts'

/** Reconciles one user. Throws `SyncError`. */
export async function reconcileUser(pass: Pass, clerkId: string): Promise<void> {
  const { tally } = pass
  const { user } = await pass.clerk.fetchUser(clerkId)
  if (user === 'denied') {
    await deleteIfGone(pass, clerkId)
    return
  }
  tally.counts.seen = 1
  if (user.kind === 'user') await applyUsers(pass, [user.desired])
  else if (user.kind === 'rejected') tally.rejected.set(clerkId, user.reason)
  else tally.unreadable = 1
}

async function deleteIfGone(pass: Pass, clerkId: string): Promise<void> {
  const { tally } = pass
  const [row] = await readRows(pass.database.db, [clerkId], pass.shape)
  if (row === undefined) {
    tally.notes.add('neither Clerk nor the table has this user')
    return
  }
  const listed = await pass.clerk.listUsers({ limit: 100, userIds: [clerkId] })
  if (listed.users.length > 0) {
    tally.unproven = true
    tally.notes.add('Clerk denies this user in one answer and not in another; the row stays')
    return
  }
  if (!isSettled(row, pass.clock)) {
    tally.counts.pending = 1
    noteClockMissing(pass)
    return
  }
  if (pass.options.policy === 'upsert-only') {
    tally.counts.withheld = 1
    tally.notes.add('the row without a user stays: SYNC_POLICY is upsert-only')
    return
  }
  if (pass.dryRun) {
    tally.counts.deleted = 1
    pass.onChange({ kind: 'delete', clerkId })
    return
  }
  await deleteBatch(pass, [row])
}
