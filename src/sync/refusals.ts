// What becomes of a user whose write or deletion Postgres refuses: it is rejected by name, in words that say what to
// look for. The rule: what is refused for one user ends no run; what is refused for very many is about the table, and
// does. But for a unique constraint: there the refusal is about another row, which a later page or a deletion may mend, so
// that only what stands at the end counts.
import type { PostgresRefusal } from '../db/database.ts'
import type { DesiredUser } from '../db/schema.ts'
import type { Shape } from '../db/shape.ts'
import { SyncError } from '../errors.ts'
import { approvalCommand } from './approval.ts'
import { deletesRows } from './deletion-policy.ts'
import type { Pass } from './pass.ts'
import type { Change } from './plan.ts'
import { deletionRefusalText, writeRefusalText } from './refusal-text.ts'
import type { Refuse } from './writer.ts'

/** One constraint that refuses more users than this is about the app's schema, not about a user. */
export const refusalsPerConstraint = 100
/**
 * So many users that a unique constraint refuses are told apart with their page. After that a refused batch waits as a
 * whole for the second try, or a pass over very many of them would write one by one for hours.
 */
const refusalsLookedInto = 100
/** The values of so many waiting users are kept in memory; of the others, only the ids. */
const valuesKeptMax = 1000
/** Users that still are refused and may have to be settled together: beyond that the run ends. */
const standingMax = 2000
/** So many users behind other transactions' locks: somebody holds the table, and each would wait 2 s. */
const lockRefusals = 20
/** So many users whose write was cut off: each had taken as long as Postgres lets a statement take. */
const timeoutRefusals = 20
/** What the refusals for want of a privilege are counted by. */
const privilege = 'a missing privilege'

/** A user that a unique constraint still refuses after the deletions. */
export interface Standing {
  readonly change: Change
  readonly refusal: PostgresRefusal
}

/** With its page: all that is refused is tried once more, and what no second try can mend counts at once. */
export function refuseForNow(pass: Pass): Refuse {
  return (changes, refusal) => {
    if (!isUnique(refusal)) {
      if (changes.length > 1) return false
      for (const { write } of changes) {
        letWait(pass, write)
        rejectWrite(pass, write.clerkId, refusal)
      }
      return true
    }
    const before = pass.tally.uniqueRefusals.get(refusal.constraint) ?? 0
    if (changes.length > 1 && before < refusalsLookedInto) return false
    pass.tally.uniqueRefusals.set(refusal.constraint, before + changes.length)
    for (const { write } of changes) letWait(pass, write)
    return true
  }
}

/** After the deletions: what a unique constraint refuses goes to `standing`. */
export function refuseForGood(pass: Pass, standing: Map<string, Standing>): Refuse {
  return (changes, refusal) => {
    const [change] = changes
    if (change === undefined || changes.length > 1) return false
    if (isUnique(refusal)) standing.set(change.write.clerkId, { change, refusal })
    else rejectWrite(pass, change.write.clerkId, refusal)
    if (standing.size > standingMax) throw tooMany(pass, refusal)
    return true
  }
}

/** A unique or an exclusion constraint: the refusal is about another row that has the value. */
export function isUnique(refusal: PostgresRefusal): boolean {
  return refusal.code === '23505' || refusal.code === '23P01'
}

function letWait(pass: Pass, user: DesiredUser): void {
  const { waiting } = pass.tally
  waiting.set(user.clerkId, waiting.size < valuesKeptMax ? user : undefined)
}

/** Rejects a user whose row Postgres does not write. Throws once so many are refused for one reason. */
export function rejectWrite(pass: Pass, clerkId: string, refusal: PostgresRefusal): void {
  const reasons: Record<PostgresRefusal['kind'], string> = {
    row: writeRefusalText(withColumn(refusal, pass.shape)),
    privilege: `the database role lacks a privilege to write it (${refusal.code})`,
    lock: `another transaction holds the row (${refusal.code})`,
    fence: `another transaction holds the row (${refusal.code})`,
    timeout: `the write was cut off because it took too long (${refusal.code})`,
  }
  pass.tally.rejected.set(clerkId, reasons[refusal.kind])
  countRefusal(pass, clerkId, refusal)
}

/** Of a value that is too long Postgres names no column: it is known if only one is of that length. */
function withColumn(
  refusal: PostgresRefusal,
  shape: Shape,
): Pick<PostgresRefusal, 'code' | 'constraint' | 'named'> {
  const { code, constraint, named } = refusal
  if (named.lengthMax === undefined) return refusal
  const columns = [...shape.syncedColumns].filter(([, { lengthMax }]) => lengthMax === named.lengthMax)
  const [[name] = []] = columns
  return name === undefined || columns.length > 1
    ? refusal
    : { code, constraint, named: { ...named, columns: name } }
}

/** Rejects a user whose row Postgres does not delete. Throws once so many are refused for one reason. */
export function rejectDeletion(pass: Pass, clerkId: string, refusal: PostgresRefusal): void {
  const seconds = pass.database.deleteMsMax / 1000
  const reasons: Record<PostgresRefusal['kind'], string> = {
    row: deletionRefusalText(refusal),
    privilege: `the database role lacks a privilege to delete it (${refusal.code})`,
    lock: `another transaction holds the row (${refusal.code})`,
    fence: `another transaction holds the row (${refusal.code})`,
    timeout: `the deletion took longer than ${seconds} s (${refusal.code}): is an index missing on a table that refers to users?`,
  }
  pass.tally.kept.refused.add(clerkId)
  pass.tally.rejected.set(clerkId, reasons[refusal.kind])
  // Deletions that take too long are bounded where they are made.
  if (refusal.kind !== 'timeout') countRefusal(pass, clerkId, refusal)
}

/** Rejects a user whose deletion was not even tried, since those before it took too long. */
export function rejectUntried(pass: Pass, clerkId: string): void {
  pass.tally.kept.refused.add(clerkId)
  pass.tally.rejected.set(clerkId, 'deletion left for the next run: those before it took too long')
}

function countRefusal(pass: Pass, clerkId: string, refusal: PostgresRefusal): void {
  switch (refusal.kind) {
    case 'row':
      if (usersRefusedBy(pass, clerkId, refusal.constraint) > refusalsPerConstraint)
        throw tooMany(pass, refusal)
      return
    case 'privilege':
      if (usersRefusedBy(pass, clerkId, privilege) > refusalsPerConstraint) throw lacksPrivilege(refusal)
      return
    case 'timeout':
      if (usersRefusedBy(pass, clerkId, 'a timeout') > timeoutRefusals) throw tooSlow(refusal)
      return
    default:
      if (usersRefusedBy(pass, clerkId, 'a lock') > lockRefusals) throw tableHeld(refusal)
  }
}

/** How many users have been refused for this reason, this one included. */
function usersRefusedBy(pass: Pass, clerkId: string, reason: string): number {
  const users = pass.tally.refusals.get(reason) ?? new Set()
  pass.tally.refusals.set(reason, users.add(clerkId))
  return users.size
}

const tooMany = (pass: Pass, refusal: PostgresRefusal) =>
  new SyncError('constraint', `${refusal.constraint} refuses more than ${refusalsPerConstraint} users`, {
    hint: hintFor(pass, refusal),
    facts: { code: refusal.code, constraint: refusal.constraint },
  })

function hintFor(pass: Pass, refusal: PostgresRefusal): string {
  const { withheld } = pass.tally.counts
  if (isUnique(refusal) && withheld > 0 && deletesRows(pass.options.policy)) {
    return `Rows that are to be deleted may have what these users need. If the ${withheld} withheld deletions are right: ${approvalCommand(withheld, [...pass.tally.kept.withheld])}`
  }
  return isUnique(refusal)
    ? 'Other rows have the values that these users need. Remove those rows, or relax the constraint.'
    : 'A constraint or column of the app does not fit the users that Clerk has. Relax it, or give it a default.'
}

const lacksPrivilege = (refusal: PostgresRefusal) =>
  new SyncError('configuration', 'the database role lacks a privilege', {
    hint: 'Grant what docs/configuration.md lists to the role in DATABASE_URL.',
    facts: { code: refusal.code },
  })

const tooSlow = (refusal: PostgresRefusal) =>
  new SyncError('constraint', 'writes to the users table are cut off because they take too long', {
    hint: 'Has the role a statement_timeout, or the table a slow trigger?',
    facts: { code: refusal.code },
  })

const tableHeld = (refusal: PostgresRefusal) =>
  new SyncError('transient', 'other transactions hold too many rows of the users table', {
    hint: 'A long transaction of the app or a lock on the table is in the way. Try again when it has ended.',
    facts: { code: refusal.code },
  })
