// Rows that wait: for the grace, or for a pass whose answers agree. Nothing is known yet of their users.
import { noteFirstSeen } from '../db/first-seen.ts'
import type { CurrentRow } from '../db/schema.ts'
import { deletesRows } from './deletion-policy.ts'
import { writeFenced } from './fenced.ts'
import { noteClockMissing, type Pass, settlesIn } from './pass.ts'

const dayMs = 24 * 3600_000

/** A row without a version settles within a day, any other within the grace after the version. */
export function leaveForGrace(pass: Pass, row: CurrentRow): void {
  pass.tally.counts.pending++
  pass.tally.kept.pending.add(row.clerkId)
  const { latest, graceMs } = pass.clock
  const isOnlyClockMissing = row.clerkUpdatedAt !== null || row.isDayOld
  // Under the other policy the row would stay with a clock, too.
  if (isOnlyClockMissing && deletesRows(pass.options.policy)) noteClockMissing(pass)
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

/** The row waits for a pass whose answers agree: whether it has a user is not known. */
export function leaveUnproven(pass: Pass, row: CurrentRow): void {
  pass.tally.counts.pending++
  pass.tally.kept.pending.add(row.clerkId)
  settlesIn(pass, pass.options.graceMs)
}
