// The rows of the users that changed last, remembered from pass to pass. A restore of an earlier state of the table's rows
// restores these, too: if anything has changed in Clerk since that state, the newest change is one of them. So reading
// three rows finds a restored table that looks the same in the catalogue.
import { readTombstones } from '../db/tombstones.ts'
import { readRows } from '../db/users.ts'
import type { NewestRow } from './known-difference.ts'
import type { PassContext } from './pass.ts'

/** More than one, since the newest may be deleted or may not have been written. */
export const newestKept = 3

/** The rows that these users have now. */
export async function readNewest(pass: PassContext, clerkIds: readonly string[]): Promise<NewestRow[]> {
  const rows = await readRows(pass.database.db, clerkIds, pass.catalog)
  return rows.flatMap(({ clerkId, clerkUpdatedAt }) =>
    clerkUpdatedAt !== null && Number.isFinite(clerkUpdatedAt) ? [{ clerkId, version: clerkUpdatedAt }] : [],
  )
}

/** True if a row is older than it was left, or is gone without a deletion of ours. */
export async function isTableOlder(pass: PassContext, newest: readonly NewestRow[]): Promise<boolean> {
  const { db } = pass.database
  const ids = newest.map((each) => each.clerkId)
  const versions = new Map(
    (await readRows(db, ids, pass.catalog)).map((row) => [row.clerkId, row.clerkUpdatedAt]),
  )
  const tombstones = await readTombstones(db, ids, pass.tombstonesBlockSince, pass.catalog)
  return newest.some(({ clerkId, version }) => {
    const found = versions.get(clerkId)
    return found === undefined ? !tombstones.has(clerkId) : found === null || found < version
  })
}
