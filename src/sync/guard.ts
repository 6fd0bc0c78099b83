// The deletion guard: how many rows a run may delete, and whether what it read is whole enough to delete at all. Pure.

/** At most this part of the table within an hour… */
const hourlyShare = 0.1
/** …but small tables may lose a handful, */
const hourlyFloor = 10
/** and no table more than this without an operator's approval. */
const hourlyCeiling = 500
/** A listing may fall short of Clerk's own count by so much before nothing is deleted. */
const shortfallShare = 0.001
const shortfallFloor = 5

/**
 * How many rows a run may delete. An approval is a ceiling for that one run and leaves the hour out; `MAX_DELETES`
 * replaces the whole formula, but not the hour.
 */
export function allowedDeletions(facts: {
  /** Rows of ours in the table. */
  rows: number
  /** Deletions of the last hour, over all runs without an approval. */
  recent: number
  maxDeletes: number | undefined
  approved: number | undefined
}): number {
  if (facts.approved !== undefined) return facts.approved
  const hourly =
    facts.maxDeletes ?? Math.min(hourlyCeiling, Math.max(hourlyFloor, Math.floor(facts.rows * hourlyShare)))
  return Math.max(0, hourly - facts.recent)
}

/**
 * How many of the users that Clerk counts were not seen. Only a user missing from both counts is missing: who was
 * deleted meanwhile is in the first alone, who was created meanwhile in the second alone.
 */
export function shortfallOf(facts: {
  countBefore: number
  countAfter: number
  /** Seen, and created before the pass began. */
  seenOld: number
  seen: number
}): number {
  return Math.max(0, Math.min(facts.countBefore - facts.seenOld, facts.countAfter - facts.seen))
}

/** True if this many unseen users forbid every deletion. */
export function isShortfallGrave(shortfall: number, seen: number, count: number): boolean {
  if (shortfall === 0) return false
  return shortfall > Math.max(shortfallFloor, count * shortfallShare) || seen < count / 2
}
