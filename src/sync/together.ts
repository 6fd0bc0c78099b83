// Users who hold each other's values: two have swapped their addresses, or many have handed theirs on in a circle. Under a
// unique constraint no order of single writes leads there, so they are written in one transaction: first the columns in
// question are blanked in all of their rows, then each row gets its right values. The rule: no other row is touched,
// and a blank is never committed.

import { type Executor, savepoint, WriteError } from '../db/database.ts'
import { blankUsers, checkAtOnce, type UniqueColumn } from '../db/unique.ts'
import { insertUsers, updateUsers, type Write, type WrittenBy } from '../db/users.ts'
import { asPrivilegeError } from '../db/write-error.ts'

/** A user that was refused alone. */
export interface Member {
  readonly write: Write
  readonly hasRow: boolean
  readonly failure: WriteError
}

export interface Settlement {
  readonly updated: readonly string[]
  readonly created: readonly string[]
  /** Members that could not be written with the others, and by what; null where the database swallows the write. */
  readonly stuck: ReadonlyMap<string, WriteError | null>
}

/** How the writes of one settlement are guarded. */
interface Guards {
  readonly columns: readonly UniqueColumn[]
  readonly by: WrittenBy
  /** Tombstones left after this moment block (Postgres's clock, ms). */
  readonly tombstonesBlockSince: number
}

/** Ends the transaction, so that nothing of it is kept. */
class Stuck extends Error {
  override readonly name = 'Stuck'
  readonly members: ReadonlyMap<string, WriteError | null>

  constructor(members: ReadonlyMap<string, WriteError | null>) {
    super('some of the users cannot be written together')
    this.members = members
  }
}

/**
 * Writes the members together, without those that a row outside of the group keeps from it, and without those that wait
 * for one of these: a round finds who is stuck, and the next one goes without them. `begin` runs a transaction that takes
 * the deletion lock if it is told so. Gives up, with what is stuck so far, after `stuckMax` members or `roundsMax` rounds. Throws
 * what `begin` throws.
 */
export async function settleTogether(
  members: readonly Member[],
  guards: Guards,
  limits: { readonly membersMin: number; readonly stuckMax: number; readonly roundsMax: number },
  begin: <T>(deletionLock: 'shared' | 'none', write: (tx: Executor) => Promise<T>) => Promise<T>,
): Promise<Settlement> {
  const stuck = new Map<string, WriteError | null>()
  for (let round = 1; ; round++) {
    const group = members.filter(({ write }) => !stuck.has(write.clerkId))
    const nobody = { updated: [], created: [], stuck }
    if (group.length < limits.membersMin || stuck.size > limits.stuckMax || round > limits.roundsMax)
      return nobody
    const deletionLock = group.some((member) => !member.hasRow) ? 'shared' : 'none'
    try {
      return {
        ...(await begin(deletionLock, (tx) => writeTogether(tx, group, guards, limits.stuckMax))),
        stuck,
      }
    } catch (error) {
      // A lock, or a constraint that is checked at the commit: nothing was written, and no single user is the cause.
      if (error instanceof WriteError) return nobody
      if (!(error instanceof Stuck)) throw error
      for (const [id, failure] of error.members) stuck.set(id, failure)
    }
  }
}

async function writeTogether(
  tx: Executor,
  group: readonly Member[],
  guards: Guards,
  stuckMax: number,
): Promise<{ updated: string[]; created: string[] }> {
  const { columns, by, tombstonesBlockSince } = guards
  const stuck = new Map<string, WriteError | null>()
  const inParts = (
    writes: readonly Write[],
    write: (inner: Executor, part: readonly Write[]) => Promise<string[]>,
  ) => writeParts(tx, writes, write, stuck, stuckMax)
  const writesOf = (hasRow: boolean) =>
    group.filter((member) => member.hasRow === hasRow).map((member) => member.write)
  // A deferred constraint is checked before the commit, or it could not be said whose row it refuses.
  await checkAtOnce(tx)
  const blanked = await inParts(writesOf(true), (inner, part) => blankUsers(inner, part, columns, by))
  if (stuck.size > 0) throw new Stuck(stuck)
  const updated = await inParts(writesOf(true), (inner, part) => updateUsers(inner, part, by))
  const created = await inParts(writesOf(false), (inner, part) =>
    insertUsers(inner, part, tombstonesBlockSince),
  )
  // A trigger of the app may swallow the second write: then the blank must not stay.
  const isWritten = new Set(updated)
  for (const id of blanked) if (!isWritten.has(id) && !stuck.has(id)) stuck.set(id, null)
  if (stuck.size > 0) throw new Stuck(stuck)
  return { updated, created }
}

/** Writes as many at once as Postgres takes; who is refused alone goes to `stuck`. Returns the ids written. */
async function writeParts(
  tx: Executor,
  writes: readonly Write[],
  write: (tx: Executor, part: readonly Write[]) => Promise<string[]>,
  stuck: Map<string, WriteError | null>,
  stuckMax: number,
): Promise<string[]> {
  const [first] = writes
  if (first === undefined || stuck.size > stuckMax) return []
  try {
    return await savepoint(tx, (inner) => write(inner, writes))
  } catch (thrown) {
    const error = asPrivilegeError(thrown)
    const isOfOneUser = error instanceof WriteError && (error.kind === 'row' || error.kind === 'privilege')
    // All that is blanked is locked by now: each further wait for a lock would be the app's, too.
    if (!isOfOneUser) throw error
    if (writes.length === 1) {
      stuck.set(first.clerkId, error)
      return []
    }
    const middle = Math.ceil(writes.length / 2)
    const left = await writeParts(tx, writes.slice(0, middle), write, stuck, stuckMax)
    return [...left, ...(await writeParts(tx, writes.slice(middle), write, stuck, stuckMax))]
  }
}
