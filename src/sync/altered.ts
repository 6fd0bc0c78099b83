// Users whose row the database changes on the way in, as a trigger that lower-cases addresses does. Such a user is rejected
// by name, and is not written again until Clerk's values or the row's change: else every run would rewrite the row.
import { createHash } from 'node:crypto'
import type { AlteredRow } from '../db/altered.ts'
import { type CurrentRow, type SyncedValues, syncedKeys, users } from '../db/schema.ts'
import type { Write } from '../db/users.ts'
import type { Pass } from './pass.ts'
import type { Change, Plan } from './plan.ts'

/** What a trigger made of which values: equal for equal ones, and telling neither. */
function fingerprintOf(stored: CurrentRow['values'], wanted: Write['values']): string {
  const values = syncedKeys.map((key) => [stored[key], wanted[key]])
  return createHash('sha256').update(JSON.stringify(values)).digest('base64url').slice(0, 22)
}

/** In words, by the columns that differ. */
export function alterationText(stored: CurrentRow['values'], wanted: Write['values']): string {
  const columns = syncedKeys.filter((key) => stored[key] !== wanted[key]).map((key) => users[key].name)
  return `a trigger of the database changes ${columns.join(', ')}`
}

/** True if writing these values would make the same row again, as the fingerprint of an earlier write says. */
export function isKnownAlteration(
  fingerprint: string | undefined,
  stored: CurrentRow['values'],
  wanted: Write['values'],
): boolean {
  return fingerprint !== undefined && fingerprint === fingerprintOf(stored, wanted)
}

/**
 * The plan without updates that the database would change again as it did before; these users are rejected, and of their
 * rows only Clerk's times are written, so that the grace and late deliveries go by the version that Clerk has.
 */
export function leaveAltered(pass: Pass, plan: Plan): Plan {
  if (pass.altered.size === 0) return plan
  const updates: Change[] = []
  const refreshes = [...plan.refreshes]
  for (const change of plan.updates) {
    const { write, row } = change
    if (row === undefined || !isKnownAlteration(pass.altered.get(write.clerkId), row.values, write.values)) {
      updates.push(change)
      continue
    }
    pass.tally.altered.set(write.clerkId, fingerprintOf(row.values, write.values))
    pass.tally.rejected.set(write.clerkId, alterationText(row.values, write.values))
    const hasNews = row.clerkCreatedAt !== write.clerkCreatedAt || row.clerkUpdatedAt !== write.clerkUpdatedAt
    if (hasNews) refreshes.push({ write: { ...write, values: row.values as SyncedValues }, row })
  }
  return { ...plan, updates, refreshes }
}

/** Rejects the users whose rows the database has changed, and remembers what it made of their values. */
export function rejectAltered(pass: Pass, rows: readonly AlteredRow[], writes: readonly Write[]): void {
  const wanted = new Map(writes.map((write) => [write.clerkId, write.values]))
  for (const { clerkId, values } of rows) {
    const meant = wanted.get(clerkId)
    if (meant === undefined) continue
    pass.tally.altered.set(clerkId, fingerprintOf(values, meant))
    pass.tally.rejected.set(clerkId, alterationText(values, meant))
  }
}
