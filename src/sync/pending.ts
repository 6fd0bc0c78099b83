// Rows that wait: for the grace, or for a pass whose answers agree. Nothing is known yet of their users.
import type { CurrentRow } from '../db/schema.ts'
import { deletesRows } from './deletion-policy.ts'
import type { Finding } from './finding.ts'
import type { PassContext } from './pass.ts'

const dayMs = 24 * 3600_000

/** The rows are left for the grace: without a version they settle within a day, else within the grace after the version. */
export function leftForGrace(pass: PassContext, rows: readonly CurrentRow[]): Finding {
  const { latest, graceMs, doubt } = pass.clock
  const settlesInMs = ({ clerkUpdatedAt }: CurrentRow) => {
    if (clerkUpdatedAt === null) return dayMs
    return latest === undefined ? graceMs : clerkUpdatedAt + graceMs - latest
  }
  const isOnlyClockMissing = rows.some((row) => row.clerkUpdatedAt !== null || row.isDayOld)
  return {
    pendingRows: rows.map((row) => ({ clerkId: row.clerkId, settlesInMs: settlesInMs(row) })),
    // Under the other policy the row would stay with a clock, too.
    clockDoubt: isOnlyClockMissing && deletesRows(pass.options.policy) ? doubt : undefined,
  }
}

/** The rows wait for a pass whose answers agree: whether they have a user is not known. */
export function leftUnproven(pass: PassContext, rows: readonly CurrentRow[]): Finding {
  const settlesInMs = pass.options.graceMs
  return { pendingRows: rows.map(({ clerkId }) => ({ clerkId, settlesInMs })) }
}

/** For rows of unknown age it counts from the first pass that saw them. */
export async function noteAges(pass: PassContext, rows: readonly CurrentRow[]): Promise<Finding> {
  const ids = rows.flatMap((row) => (row.clerkUpdatedAt === null && !row.isDayOld ? [row.clerkId] : []))
  if (ids.length === 0) return {}
  const count = await pass.writer.noteAges(pass, ids)
  if (count === 0) return {}
  return {
    notes: [
      'rows without a version and without a creation time in the past stay until a day after they were first met',
    ],
  }
}
