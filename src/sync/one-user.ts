// `--user`: one user through the same plan, without the lease. The row goes when Clerk denies the user twice, alone and
// in a list by id that proves itself by another user of the table, and when the guard lets it go.
import { readOtherIds, readRows } from '../db/users.ts'
import { readAllowance } from './allowance.ts'
import { applyUsers } from './apply.ts'
import { readApprovedRows } from './approval.ts'
import { askByIds } from './candidates.ts'
import { decideDeletions, deletesRows } from './deletion-policy.ts'
import type { Finding } from './finding.ts'
import type { Findings } from './findings.ts'
import { desiredOf, seenUsers } from './page.ts'
import type { PassContext } from './pass.ts'
import { leftForGrace, noteAges } from './pending.ts'
import { isSettled } from './plan.ts'
import { settleRefused } from './settle.ts'
import { keepBack } from './withheld.ts'

/** How many other rows are read to find canaries, and how many of these are tried in turn. */
const canariesRead = 20
const canariesMax = 5

/** Reconciles one user. Throws `SyncError`. */
export async function reconcileUser(pass: PassContext, findings: Findings, clerkId: string): Promise<void> {
  const { user } = await pass.clerk.fetchUser(clerkId)
  if (user === 'denied') await findings.collect(deleteIfGone(pass, clerkId))
  else if (user.kind === 'unreadable') findings.add({ seen: 1, unreadable: 1 })
  else {
    findings.add(seenUsers([user]))
    await findings.collect(applyUsers(pass, desiredOf([user])))
    await findings.collect(settleRefused(pass, findings.retries(), findings.withheld()))
  }
}

async function* deleteIfGone(pass: PassContext, clerkId: string): AsyncGenerator<Finding, void> {
  const [row] = await readRows(pass.database.db, [clerkId], pass.catalog)
  if (row === undefined) {
    yield { notes: ['neither Clerk nor the table has this user'] }
    return
  }
  const canaries = await readCanaries(pass, clerkId)
  const listed = await askByIds(pass, [row], canaries)
  if (listed === undefined || listed.length > 0) {
    yield { isUnproven: true, notes: [listed === undefined ? unprovenText : contradictionText] }
    return
  }
  if (!isSettled(row, pass.clock)) {
    yield leftForGrace(pass, [row])
    yield await noteAges(pass, [row])
    return
  }
  const { policy, approveDeletes } = pass.options
  // An answer without a canary counts only with an approval, as in a pass that saw no user.
  const isProven = canaries.length > 0 || approveDeletes !== undefined
  if (!isProven && deletesRows(policy)) {
    yield { notes: ['no other row of the table could prove that Clerk knows its users'] }
  }
  const allowance = await readAllowance(pass, undefined)
  const decision = decideDeletions({
    policy,
    absent: isProven ? [clerkId] : [],
    unasked: isProven ? [] : [clerkId],
    allowance: isProven ? allowance : { ...allowance, allowed: 0 },
    approved: readApprovedRows(pass),
    reading: { shortfall: 0, seen: 0, count: 0 },
  })
  yield* keepBack(pass, decision, false)
  if (decision.allowed.length > 0) yield* pass.writer.deleteRows(pass, [row], allowance)
}

const unprovenText = 'Clerk was asked by id, and its answer proved nothing; the row stays'
const contradictionText = 'Clerk denies this user in one answer and not in another; the row stays'

/** The ids of other rows that have settled: Clerk has to know at least one of their users for its answer to count. */
async function readCanaries(pass: PassContext, clerkId: string): Promise<string[]> {
  const { db } = pass.database
  const rows = await readRows(db, await readOtherIds(db, clerkId, canariesRead, pass.catalog), pass.catalog)
  const settled = rows.filter((row) => isSettled(row, pass.clock))
  return settled.slice(0, canariesMax).map((row) => row.clerkId)
}
