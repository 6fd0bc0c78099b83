// What a full pass does about rows that no page returned: it has Clerk confirm that their users are gone, plans those who
// are not, and deletes what the policy and the guard allow. Nothing is deleted unless the pass has read all of Clerk.
import type { CurrentRow } from '../db/schema.ts'
import type { AbsenceTracker } from './absence-tracker.ts'
import { readAllowance } from './allowance.ts'
import { readApprovedRows, settleApprovedRows } from './approval.ts'
import { candidatesPerRequest, confirmAlone, confirmCandidates } from './candidates.ts'
import { type Allowance, decideDeletions, isApproved } from './deletion-policy.ts'
import type { Findings } from './findings.ts'
import { syncUsers } from './page.ts'
import type { PassContext } from './pass.ts'
import { leftForGrace, leftUnproven, noteAges } from './pending.ts'
import { isSettled } from './plan.ts'
import { keepBack } from './withheld.ts'

/** What asking for the candidates by id has shown. */
export interface Absences {
  /** Rows whose users Clerk denies. */
  readonly absent: readonly CurrentRow[]
  /** Settled or not: candidates that were not asked about, since the run may not delete them anyway. */
  readonly unasked: readonly string[]
  readonly allowance: Allowance
}

/**
 * Asks Clerk for the candidates by id, and stops once more are denied than the guard lets through. Plans and writes the
 * users that Clerk returns after all. Deletes nothing.
 */
export async function confirmAbsences(
  pass: PassContext,
  findings: Findings,
  tracker: AbsenceTracker,
): Promise<Absences> {
  const none = { absent: [], unasked: [], allowance: { allowed: 0, hold: undefined, hourlyMax: 0 } }
  const queue = tracker.absent()
  if (queue.length === 0) return none
  if (!findings.isComplete()) {
    const note = `${queue.length} rows were on no page; the pass was incomplete, so they stay`
    findings.add({ notes: [note] })
    return none
  }
  const allowance = await readAllowance(pass, findings.holdToCome())
  const approved = readApprovedRows(pass)
  // A pass that saw no user has no canary. Then its answers count only with an operator's approval.
  const mayAskAnyway = pass.options.approveDeletes !== undefined
  const askedMax = Math.max(allowance.allowed, pass.writer.absentMin)
  // Rows that are not on the approved list do not use the approval up.
  const usesAllowance = (row: CurrentRow) => approved === 'unknown' || isApproved(approved, row.clerkId)
  const absent: CurrentRow[] = []
  while (queue.length > 0 && absent.filter(usesAllowance).length <= askedMax) {
    pass.signal.throwIfAborted()
    pass.onPhase('confirming', queue.length)
    const ids = queue.splice(0, candidatesPerRequest)
    const found = await confirmCandidates(pass, ids, tracker.canaries(), mayAskAnyway)
    findings.add(leftForGrace(pass, found.pending))
    findings.add(await noteAges(pass, found.pending))
    if (!found.isProven) {
      const note = 'Clerk was asked by id for rows that were on no page, and its answer proved nothing'
      findings.add({ isIncomplete: true, notes: [note] })
      return none
    }
    if (found.unasked.length > 0) {
      return { absent, unasked: [...found.unasked, ...queue], allowance: { ...allowance, allowed: 0 } }
    }
    absent.push(...found.absent)
    await syncUsers(pass, findings, tracker, found.alive)
  }
  return { absent, unasked: queue, allowance }
}

/** Deletes what is absent, if everything else allows it. `count` is how many users Clerk counts. */
export async function deleteAbsent(
  pass: PassContext,
  findings: Findings,
  tracker: AbsenceTracker,
  { absent, unasked, allowance }: Absences,
  count: number,
): Promise<void> {
  const ids = absent.map((row) => row.clerkId)
  const decision = decideDeletions({
    policy: pass.options.policy,
    absent: ids,
    unasked,
    allowance,
    approved: settleApprovedRows(pass, readApprovedRows(pass), [...ids, ...unasked]),
    reading: { shortfall: findings.shortfall(), seen: findings.counts().seen, count },
  })
  await findings.collect(keepBack(pass, decision, true))
  const allowed = new Set(decision.allowed)
  const rows = await confirmOneByOne(
    pass,
    findings,
    tracker,
    absent.filter((row) => allowed.has(row.clerkId)),
  )
  // These answers had a `Date` as well. If the clock is in doubt by now, no row counts as settled.
  const unsettled = rows.filter((row) => !isSettled(row, pass.clock))
  const settled = rows.filter((row) => isSettled(row, pass.clock))
  findings.add(leftForGrace(pass, unsettled))
  await findings.collect(pass.writer.deleteRows(pass, settled, allowance))
}

/** Returns the rows whose users Clerk denies also when it is asked for them alone. */
async function confirmOneByOne(
  pass: PassContext,
  findings: Findings,
  tracker: AbsenceTracker,
  rows: readonly CurrentRow[],
): Promise<readonly CurrentRow[]> {
  const { absent, alive, foundIds, unproven } = await confirmAlone(pass, rows)
  if (foundIds.length === 0) return absent
  const note =
    'Clerk has users that its answers to questions by id left out; no row is deleted until they agree'
  findings.add({ isUnproven: true, notes: [note], ...leftUnproven(pass, unproven) })
  for (const clerkId of foundIds) pass.log.warn({ clerkId }, 'user is in no list, but Clerk has it')
  await syncUsers(pass, findings, tracker, alive)
  return absent
}
