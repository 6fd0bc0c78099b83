// Plan and apply for the users at hand: reads their rows, plans, and has the plan written.
import type { CurrentRow, DesiredUser } from '../db/schema.ts'
import { readTombstones } from '../db/tombstones.ts'
import { readRows } from '../db/users.ts'
import { leaveAltered } from './altered.ts'
import type { FailureHandler } from './failed-write.ts'
import { retryLater } from './failed-writes.ts'
import type { Finding } from './finding.ts'
import type { PassContext } from './pass.ts'
import { isSettled, type Plan, planPage, planVerified } from './plan.ts'

/** Clerk takes up to 100 ids in one request. */
const idsPerRequest = 100

/**
 * Makes the rows of these users what Clerk says, and finds the rows as they were. `onFailure` says what becomes of users
 * that Postgres refuses. Throws `SyncError`.
 */
export async function* applyUsers(
  pass: PassContext,
  desired: readonly DesiredUser[],
  onFailure: FailureHandler = retryLater(pass),
): AsyncGenerator<Finding, void> {
  if (desired.length === 0) return
  const planned = desired.map((user) => user.clerkId)
  yield { planned }
  const { db } = pass.database
  const rows = await readRows(db, planned, pass.catalog)
  const found = new Set(rows.map((row) => row.clerkId))
  const rowless = planned.filter((id) => !found.has(id))
  const tombstones = await readTombstones(db, rowless, pass.tombstonesBlockSince, pass.catalog)
  const { plan, left } = leaveAltered(pass.altered, planPage(desired, rows, tombstones, pass.clock))
  const waitsForClock = plan.pending.some((id) => found.has(id))
  yield { ...left, clockDoubt: waitsForClock ? pass.clock.doubt : undefined }
  yield* applyPlan(pass, plan, onFailure)
  for (let start = 0; start < plan.unverified.length; start += idsPerRequest) {
    yield* verifyRows(pass, plan.unverified.slice(start, start + idsPerRequest), onFailure)
  }
  yield { rows }
}

/** Rows whose version no listing explains: Clerk is asked for those very users. */
async function* verifyRows(
  pass: PassContext,
  unverified: readonly CurrentRow[],
  onFailure: FailureHandler,
): AsyncGenerator<Finding, void> {
  const userIds = unverified.map((row) => row.clerkId)
  const answer = await pass.clerk.listUsers({ limit: idsPerRequest, userIds })
  // A version that lay in the future when the page came may be a change made while Postgres kept us waiting: then this
  // answer, too, may lag behind it.
  const settled = new Set(unverified.filter((row) => isSettled(row, pass.clock)).map((row) => row.clerkId))
  const users = answer.users.flatMap((user) =>
    user.kind === 'user' && settled.has(user.clerkId) ? [user.desired] : [],
  )
  const { plan, left } = leaveAltered(pass.altered, planVerified(users, unverified))
  yield { ...left, clockDoubt: settled.size < unverified.length ? pass.clock.doubt : undefined }
  yield* applyPlan(pass, plan, onFailure)
}

async function* applyPlan(
  pass: PassContext,
  plan: Plan,
  onFailure: FailureHandler,
): AsyncGenerator<Finding, void> {
  const settlesInMs = pass.options.graceMs
  yield {
    unchanged: plan.unchanged,
    pendingUsers: plan.pending.map((clerkId) => ({ clerkId, settlesInMs })),
  }
  if (plan.creates.length + plan.updates.length + plan.refreshes.length === 0) return
  yield* pass.writer.write(pass, plan, onFailure)
}
