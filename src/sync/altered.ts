// Users whose row the database changes on the way in, as a trigger that lower-cases addresses does. Such a user is rejected
// by name, and is not written again until Clerk's values or the row's change: else every run would rewrite the row.
import { createHash } from 'node:crypto'
import type { AlteredRow } from '../db/altered.ts'
import { type CurrentRow, type SyncedValues, syncedKeys, users } from '../db/schema.ts'
import type { Write } from '../db/users.ts'
import type { Finding } from './finding.ts'
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
export function leaveAltered(known: ReadonlyMap<string, string>, plan: Plan): { plan: Plan; left: Finding } {
  if (known.size === 0) return { plan, left: {} }
  const updates: Change[] = []
  const left: Alteration[] = []
  const refreshes = [...plan.refreshes]
  for (const change of plan.updates) {
    const { write, row } = change
    if (row === undefined || !isKnownAlteration(known.get(write.clerkId), row.values, write.values)) {
      updates.push(change)
      continue
    }
    left.push({ clerkId: write.clerkId, stored: row.values, wanted: write.values })
    const hasNews = row.clerkCreatedAt !== write.clerkCreatedAt || row.clerkUpdatedAt !== write.clerkUpdatedAt
    if (hasNews) refreshes.push({ write: { ...write, values: row.values as SyncedValues }, row })
  }
  return { plan: { ...plan, updates, refreshes }, left: rejectAltered(left) }
}

/** The users whose rows the database has changed while they were written are rejected. */
export function rejectAlteredRows(rows: readonly AlteredRow[], writes: readonly Write[]): Finding {
  const meant = new Map(writes.map((write) => [write.clerkId, write.values]))
  return rejectAltered(
    rows.flatMap(({ clerkId, values: stored }) => {
      const wanted = meant.get(clerkId)
      return wanted === undefined ? [] : [{ clerkId, stored, wanted }]
    }),
  )
}

/** What a row holds, and what was to be written to it. */
interface Alteration {
  readonly clerkId: string
  readonly stored: CurrentRow['values']
  readonly wanted: Write['values']
}

/** Rejects the users, and remembers what the database made of their values. */
function rejectAltered(alterations: readonly Alteration[]): Finding {
  return {
    altered: alterations.map(({ clerkId, stored, wanted }) => [clerkId, fingerprintOf(stored, wanted)]),
    rejected: alterations.map(({ clerkId, stored, wanted }) => ({
      clerkId,
      reason: alterationText(stored, wanted),
    })),
  }
}
