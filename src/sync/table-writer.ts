// The writer of a run that is not a dry one.
import { noteFirstSeen } from '../db/first-seen.ts'
import { deleteRows } from './deletions.ts'
import type { Writer } from './pass.ts'
import { passTransaction } from './pass-transaction.ts'
import { writeChanges } from './writer.ts'

export const tableWriter: Writer = {
  write: writeChanges,
  deleteRows,
  async *leaveRows() {},
  noteAges(pass, clerkIds) {
    return passTransaction(pass, 'none', (tx) => noteFirstSeen(tx, clerkIds, pass.catalog, false))
  },
  absentMin: 0,
  changesTable: true,
}
