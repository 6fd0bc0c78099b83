// Plan and apply for the users at hand: reads their rows, plans, and writes or, in a dry run, shows what it would write.
import type { CurrentRow, DesiredUser } from '../db/schema.ts'
import { readTombstones, wereDeletedByRuns } from '../db/tombstones.ts'
import { readRows } from '../db/users.ts'
import { leaveAltered } from './altered.ts'
import { withoutRefused } from './forecast.ts'
import { noteClockMissing, type Pass, settlesIn } from './pass.ts'
import { isSettled, type Plan, planDoubtful, planPage } from './plan.ts'
import { refuseForNow } from './refusals.ts'
import { type Refuse, writeChanges } from './writer.ts'

/** Clerk takes up to 100 ids in one request. */
const idsPerRequest = 100
/**
 * Makes the rows of these users what Clerk says. Returns the rows as they were. `refuse` says what becomes of users that
 * Postgres refuses. Throws `SyncError`.
 */
export async function applyUsers(
  pass: Pass,
  desired: readonly DesiredUser[],
  refuse: Refuse = refuseForNow(pass),
): Promise<CurrentRow[]> {
  if (desired.length === 0) return []
  const ids = desired.map((user) => user.clerkId)
  // Whatever kept a user out before, it is looked at anew.
  for (const id of ids) pass.tally.rejected.delete(id)
  const { db } = pass.database
  const current = await readRows(db, ids, pass.shape)
  const found = new Set(current.map((row) => row.clerkId))
  const rowless = ids.filter((id) => !found.has(id))
  const tombstones = await readTombstones(db, rowless, pass.youngSince, pass.shape)
  const plan = leaveAltered(pass, planPage(desired, current, tombstones, pass.clock))
  if (plan.pending.some((id) => found.has(id))) noteClockMissing(pass)
  await applyPlan(pass, plan, refuse)
  for (let start = 0; start < plan.doubtful.length; start += idsPerRequest) {
    await settleDoubts(pass, plan.doubtful.slice(start, start + idsPerRequest), refuse)
  }
  return current
}

/** Rows whose version no listing explains: Clerk is asked for those very users. */
async function settleDoubts(pass: Pass, doubtful: readonly CurrentRow[], refuse: Refuse): Promise<void> {
  const userIds = doubtful.map((row) => row.clerkId)
  const answer = await pass.clerk.listUsers({ limit: idsPerRequest, userIds })
  // A version that lay in the future when the page came may be a change made while Postgres kept us waiting: then this
  // answer, too, may lag behind it.
  const settled = new Set(doubtful.filter((row) => isSettled(row, pass.clock)).map((row) => row.clerkId))
  if (settled.size < doubtful.length) noteClockMissing(pass)
  const users = answer.users.flatMap((user) =>
    user.kind === 'user' && settled.has(user.clerkId) ? [user.desired] : [],
  )
  await applyPlan(pass, leaveAltered(pass, planDoubtful(users, doubtful)), refuse)
}

async function applyPlan(pass: Pass, plan: Plan, refuse: Refuse): Promise<void> {
  const { counts } = pass.tally
  counts.unchanged += plan.unchanged.length
  counts.pending += plan.pending.length
  for (const id of plan.pending) pass.tally.pendingUsers.add(id)
  if (plan.pending.length > 0) settlesIn(pass, pass.options.graceMs)
  if (plan.creates.length + plan.updates.length + plan.refreshes.length === 0) return
  if (pass.dryRun) await showPlan(pass, plan)
  else await writeChanges(pass, plan, refuse)
}

async function showPlan(pass: Pass, plan: Plan): Promise<void> {
  const { counts } = pass.tally
  const creates = withoutRefused(pass, plan.creates)
  const updates = withoutRefused(pass, plan.updates)
  counts.created += creates.length
  counts.updated += updates.length
  counts.refreshed += plan.refreshes.length
  const created = creates.map((change) => change.write.clerkId)
  if (await wereDeletedByRuns(pass.database.db, created, pass.youngSince, pass.shape)) {
    pass.tally.holdToCome = 'returned'
  }
  for (const change of creates) pass.onChange({ kind: 'create', change })
  for (const change of updates) pass.onChange({ kind: 'update', change })
  for (const change of plan.refreshes) pass.onChange({ kind: 'refresh', change })
}
