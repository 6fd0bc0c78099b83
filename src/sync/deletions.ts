// What it takes to delete a row: Clerk, asked by id, must deny the user in an answer that proves itself, the row must
// have settled, the pass must be whole, and the guard must let that many through. Anything less deletes nothing.
//
//   candidate ─ settled? ─ no ─► pending
//       │
//   asked by id, along with a canary ─ returned ─► planned like any other user
//       │ denied                     ─ no canary, or a stranger in the answer ─► proves nothing
//   asked once more, alone (of many a random sample) ─ one is found ─► proves nothing, of none of them
//       │ 404
//   guard ─ too many ─► withheld, no row is deleted
//       │
//   delete, leave a tombstone
import { createHash } from 'node:crypto'
import pLimit from 'p-limit'
import type { ReadableUser } from '../clerk/user.ts'
import { PostgresRefusal } from '../db/database.ts'
import { noteFirstSeen } from '../db/first-seen.ts'
import { statementMsFor } from '../db/patience.ts'
import type { CurrentRow } from '../db/schema.ts'
import { deleteUsers } from '../db/tombstones.ts'
import { readRows } from '../db/users.ts'
import {
  type Allowance,
  isStillAllowed,
  keepByPolicy,
  readAllowance,
  showLost,
  withhold,
} from './allowance.ts'
import { isApproved, readApprovedRows, settleApprovedRows } from './approval.ts'
import { writeFenced } from './fenced.ts'
import { isShortfallGrave } from './guard.ts'
import { noteClockMissing, type Pass, settlesIn } from './pass.ts'
import { isSettled } from './plan.ts'
import { rejectDeletion, rejectUntried } from './refusals.ts'
import { lockTries } from './writer.ts'

/** Clerk takes up to 100 ids in one request; one of them is the canary. */
const candidatesPerRequest = 99
/** An app's cascade may be slow; a transaction stays short. */
const deletionsPerTransaction = 20
/** A hundred answers one after the other would take a hundred round trips. */
const questionsAtOnce = 8
/** A dry run asks about so many rows also where the guard lets fewer through: it is there to show which ones are gone. */
const shownMax = 10_000
const dayMs = 24 * 3600_000
/** After so many deletions in a row that each took as long as one may, the others are left for the next run. */
const slowInARowMax = 5

/** What asking by id has shown. */
export interface Proof extends Allowance {
  /** Rows whose user Clerk denies. */
  readonly denied: readonly CurrentRow[]
  /** Settled or not: candidates that nobody asked about, since the guard would not let them through anyway. */
  readonly unasked: readonly string[]
}

/** Counts, plans and writes users that turned up after all. */
type Take = (users: readonly ReadableUser[]) => Promise<void>

/**
 * Asks Clerk for the candidates by id, and stops once more are denied than the guard lets through. Users that Clerk
 * returns after all are handed to `take`. Deletes nothing.
 */
export async function confirmCandidates(
  pass: Pass,
  candidates: ReadonlySet<string>,
  canaries: readonly string[],
  take: Take,
): Promise<Proof> {
  const none = { denied: [], unasked: [], allowed: 0, hold: undefined }
  if (candidates.size === 0) return none
  if (!pass.tally.complete) {
    pass.tally.notes.add(`${candidates.size} rows were on no page; the pass was incomplete, so they stay`)
    return none
  }
  const allowance = await readAllowance(pass)
  const approved = readApprovedRows(pass)
  // Rows that are not on the approved list do not use the approval up.
  const isOverAllowance = () =>
    denied.filter((row) => approved === 'unknown' || isApproved(approved, row.clerkId)).length > askedMax
  const askedMax = pass.dryRun ? Math.max(allowance.allowed, shownMax) : allowance.allowed
  const queue = [...candidates].sort()
  const denied: CurrentRow[] = []
  // A pass that saw nobody has no canary: only an operator's word makes its answers count.
  const mayAsk = canaries.length > 0 || pass.options.approveDeletes !== undefined
  while (queue.length > 0 && !isOverAllowance()) {
    pass.signal.throwIfAborted()
    pass.onPhase('confirming', queue.length)
    const rows = await readRows(pass.database.db, queue.splice(0, candidatesPerRequest), pass.shape)
    const settled = rows.filter((row) => isSettled(row, pass.clock))
    const unsettled = rows.filter((row) => !isSettled(row, pass.clock))
    for (const row of unsettled) leaveForGrace(pass, row)
    await noteAges(pass, unsettled)
    if (settled.length === 0) continue
    if (!mayAsk) {
      return { denied, unasked: [...settled.map((row) => row.clerkId), ...queue], ...allowance, allowed: 0 }
    }
    const answer = await askByIds(pass, settled, canaries)
    if (answer === undefined) {
      pass.tally.complete = false
      pass.tally.notes.add(
        'Clerk was asked by id for rows that were on no page, and its answer proved nothing',
      )
      return none
    }
    const returned = new Set(answer.map((user) => user.clerkId))
    denied.push(...settled.filter((row) => !returned.has(row.clerkId)))
    await take(answer)
  }
  return { denied, unasked: queue, ...allowance }
}

/** A row without a version settles within a day, any other within the grace after the version. */
function leaveForGrace(pass: Pass, row: CurrentRow): void {
  pass.tally.counts.pending++
  pass.tally.kept.pending.add(row.clerkId)
  const { latest, graceMs } = pass.clock
  const isOnlyClockMissing = row.clerkUpdatedAt !== null || row.isDayOld
  // Under the other policy the row would stay with a clock, too.
  if (isOnlyClockMissing && pass.options.policy === 'sync') noteClockMissing(pass)
  if (row.clerkUpdatedAt === null) settlesIn(pass, dayMs)
  else settlesIn(pass, latest === undefined ? graceMs : row.clerkUpdatedAt + graceMs - latest)
}

/** Of rows whose age nothing tells it counts from the first pass that meets them. */
export async function noteAges(pass: Pass, rows: readonly CurrentRow[]): Promise<void> {
  const ids = rows.flatMap((row) => (row.clerkUpdatedAt === null && !row.isDayOld ? [row.clerkId] : []))
  if (ids.length === 0) return
  const count = pass.dryRun
    ? await noteFirstSeen(pass.database.db, ids, pass.shape, true)
    : await writeFenced(pass, 'none', (tx) => noteFirstSeen(tx, ids, pass.shape, false))
  if (count === 0) return
  pass.tally.notes.add(
    'rows without a version and without a creation time in the past stay until a day after they were first met',
  )
}

/** Those of the rows' users that Clerk returns; undefined if no answer proves itself. */
export async function askByIds(
  pass: Pass,
  rows: readonly CurrentRow[],
  canaries: readonly string[],
): Promise<ReadableUser[] | undefined> {
  const asked = new Set(rows.map((row) => row.clerkId))
  // A canary may itself have been deleted since: then the next one is asked.
  for (const canary of canaries.length > 0 ? canaries : [undefined]) {
    const userIds = [...new Set([...asked, ...(canary === undefined ? [] : [canary])])]
    const answer = await pass.clerk.listUsers({ limit: 100, userIds, canary })
    const users = answer.users.filter((user): user is ReadableUser => user.kind !== 'unreadable')
    const isStranger = users.some((user) => user.clerkId !== canary && !asked.has(user.clerkId))
    if (users.length < answer.users.length || isStranger) return undefined
    if (canary === undefined || users.some((user) => user.clerkId === canary)) {
      return users.filter((user) => asked.has(user.clerkId))
    }
  }
  return undefined
}

/** Deletes what is denied, if everything else allows it. `count` is how many users Clerk counts. */
export async function deleteDenied(pass: Pass, proof: Proof, count: number, take: Take): Promise<void> {
  const { tally } = pass
  const ids = [...proof.denied.map((row) => row.clerkId), ...proof.unasked]
  const open = ids.length
  if (open === 0) return
  if (isShortfallGrave(tally.shortfall, tally.counts.seen, count)) {
    tally.complete = false
    tally.notes.add(
      `${open} rows were on no page; too many users that Clerk counts were on none either, so they stay`,
    )
    return
  }
  if (pass.options.policy === 'upsert-only') {
    await keepByPolicy(pass, ids)
    return
  }
  const approved = settleApprovedRows(pass, readApprovedRows(pass), ids)
  const within = proof.denied.filter((row) => isApproved(approved, row.clerkId))
  if (approved === 'unknown') {
    await withhold(pass, ids, proof, { why: 'the list that was approved is not the list of these rows' })
    return
  }
  if (proof.unasked.length > 0 || within.length > proof.allowed) {
    await withhold(pass, ids, proof)
    return
  }
  const outside = proof.denied.filter((row) => !isApproved(approved, row.clerkId)).map((row) => row.clerkId)
  if (outside.length > 0)
    await withhold(pass, outside, proof, { why: 'they are not on the list that was approved' })
  const confirmed = await confirmAlone(pass, within, take)
  // Their answers, too, have told the time: a clock in doubt by now settles nothing.
  const rows = confirmed.filter((row) => isSettled(row, pass.clock))
  for (const row of confirmed) if (!isSettled(row, pass.clock)) leaveForGrace(pass, row)
  if (pass.dryRun) {
    tally.counts.deleted += rows.length
    await showLost(
      pass,
      'delete',
      rows.map((row) => row.clerkId),
    )
    return
  }
  const ordered = startingAt(rows, pass.runId ?? 0)
  let slow = 0
  for (let start = 0; start < rows.length; start += deletionsPerTransaction) {
    pass.signal.throwIfAborted()
    pass.onPhase('deleting', rows.length - start)
    slow = await deleteBatch(pass, ordered.slice(start, start + deletionsPerTransaction), slow)
  }
}

/** The rows in their order, from another one in each run: rows that take too long must not be first in every run. */
function startingAt<T>(rows: readonly T[], place: number): T[] {
  const start = place % Math.max(rows.length, 1)
  return [...rows.slice(start), ...rows.slice(0, start)]
}

/**
 * Asks for denied users alone: all of them, or a random sample if they are many and Clerk's counts miss nobody. Returns
 * the rows that may go. A filter that leaves single users out looks like a denial, and what it did to one user it may
 * have done to any other: if Clerk has one of the users after all, none of the rows goes.
 */
async function confirmAlone(pass: Pass, rows: readonly CurrentRow[], take: Take): Promise<CurrentRow[]> {
  const { tally } = pass
  const asked =
    tally.shortfall > 0 ? rows : sampleOf(rows, pass.options.askedAloneMax, String(pass.youngSince))
  const ask = pLimit(questionsAtOnce)
  const answers = await ask.map(asked, async (row) => ({
    row,
    user: (await pass.clerk.fetchUser(row.clerkId)).user,
  }))
  const found = answers.flatMap(({ row, user }) => (user === 'denied' ? [] : [{ row, user }]))
  if (found.length === 0) return [...rows]
  tally.unproven = true
  tally.notes.add(
    'Clerk has users that its answers to questions by id left out; no row is deleted until they agree',
  )
  const foundIds = new Set(found.map(({ row }) => row.clerkId))
  for (const clerkId of foundIds) pass.log.warn({ clerkId }, 'user is in no list, but Clerk has it')
  for (const row of rows) if (!foundIds.has(row.clerkId)) leaveUnproven(pass, row)
  for (const { user } of found) if (user.kind !== 'unreadable') await take([user])
  return []
}

/** The row waits for a pass whose answers agree: whether it has a user is not known. */
function leaveUnproven(pass: Pass, row: CurrentRow): void {
  pass.tally.counts.pending++
  pass.tally.kept.pending.add(row.clerkId)
  settlesIn(pass, pass.options.graceMs)
}

/** Up to `size` rows, chosen by a hash of their ids: another seed chooses others, the same seed the same ones. */
function sampleOf(rows: readonly CurrentRow[], size: number, seed: string): CurrentRow[] {
  const rankOf = ({ clerkId }: CurrentRow) => createHash('sha256').update(`${seed} ${clerkId}`).digest('hex')
  const ranked = rows.map((row) => ({ row, rank: rankOf(row) })).sort((a, b) => (a.rank < b.rank ? -1 : 1))
  return ranked.slice(0, size).map(({ row }) => row)
}

/**
 * Deletes rows whose users Clerk denies, unless they have changed since. What Postgres refuses is rejected by name.
 * `slow` is how many deletions in a row took too long before, and the result how many have by now.
 */
export async function deleteBatch(pass: Pass, rows: readonly CurrentRow[], slow = 0): Promise<number> {
  if (rows.length > 1 && slow < slowInARowMax) {
    try {
      await deleteRows(pass, rows)
      return 0
    } catch (error) {
      if (!(error instanceof PostgresRefusal)) throw error
    }
  }
  // What the app's schema refuses for one row holds up no other.
  let slowNow = slow
  for (const row of rows) {
    if (slowNow >= slowInARowMax) {
      rejectUntried(pass, row.clerkId)
      continue
    }
    const refusal = await deleteAlone(pass, row)
    slowNow = refusal?.kind === 'timeout' ? slowNow + 1 : 0
  }
  return slowNow
}

/** Returns what Postgres refused it by, undefined where it did not. */
async function deleteAlone(pass: Pass, row: CurrentRow): Promise<PostgresRefusal | undefined> {
  pass.signal.throwIfAborted()
  for (let tryNumber = 1; ; tryNumber++) {
    try {
      await deleteRows(pass, [row])
      return undefined
    } catch (error) {
      if (!(error instanceof PostgresRefusal)) throw error
      if (error.kind === 'lock' && tryNumber < lockTries) continue
      rejectDeletion(pass, row.clerkId, error)
      return error
    }
  }
}

async function deleteRows(pass: Pass, rows: readonly CurrentRow[]): Promise<void> {
  const milliseconds = statementMsFor(pass.database.deleteMsMax)
  const deleted = await writeFenced(pass, 'exclusive', async (tx) =>
    (await isStillAllowed(tx, pass, rows.length))
      ? deleteUsers(tx, rows, pass.runId, milliseconds)
      : undefined,
  )
  if (deleted === undefined) {
    // Since Clerk was asked, another run has deleted, or a user has come back.
    const ids = rows.map((row) => row.clerkId)
    return withhold(pass, ids, { ...(await readAllowance(pass)), allowed: 0 })
  }
  pass.tally.counts.deleted += deleted.length
  await noteKept(pass, rows, new Set(deleted))
}

/** A row that is still there, with the same version, was kept by the app (a trigger, a rule): that must not be silent. */
async function noteKept(
  pass: Pass,
  rows: readonly CurrentRow[],
  deleted: ReadonlySet<string>,
): Promise<void> {
  const left = rows.filter((row) => !deleted.has(row.clerkId))
  if (left.length === 0) return
  const versions = new Map(left.map((row) => [row.clerkId, row.clerkUpdatedAt]))
  const found = await readRows(pass.database.db, [...versions.keys()], pass.shape)
  for (const row of found) {
    if (row.clerkUpdatedAt === versions.get(row.clerkId)) {
      pass.tally.kept.refused.add(row.clerkId)
      pass.tally.rejected.set(row.clerkId, 'the database keeps the row')
    } else leaveForGrace(pass, row)
  }
}
