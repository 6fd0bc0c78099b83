// What becomes of a user whose write or deletion Postgres refuses: it is rejected by name, in words that say what to
// look for. The rule: what is refused for one user ends no run; what is refused for very many is about the table, and
// does. But for a unique constraint: there the refusal is about another row, which a later page or a deletion may mend, so
// that only what stands at the end counts.
import type { PostgresRefusal } from '../db/database.ts'
import type { Shape } from '../db/shape.ts'
import { SyncError } from '../errors.ts'
import { approvalCommand } from './approval-command.ts'
import { deletesRows, type Policy } from './deletion-policy.ts'
import { refusalsPerConstraint } from './findings.ts'
import type { PassContext } from './pass.ts'
import { deletionRefusalText, writeRefusalText } from './refusal-text.ts'
import type { Refuse, Refused } from './refuse.ts'

/**
 * So many users that a unique constraint refuses are told apart with their page. After that a refused batch waits as a
 * whole for the second try, or a pass over very many of them would write one by one for hours.
 */
const refusalsLookedInto = 100
/** So many users behind other transactions' locks: somebody holds the table, and each would wait 2 s. */
const lockRefusals = 20
/** So many users whose write was cut off: each had taken as long as Postgres lets a statement take. */
const timeoutRefusals = 20

/** Rows whose deletion is withheld: how many of them are there, and their names. */
export interface Withheld {
  readonly count: number
  readonly ids: readonly string[]
}

const noneWithheld: Withheld = { count: 0, ids: [] }

/** With its page: all that is refused is tried once more, and what no second try can mend counts at once. */
export function refuseForNow(pass: PassContext): Refuse {
  return (changes, refusal) => {
    const retry = changes.map(({ write }) => write)
    if (isUnique(refusal)) {
      const before = pass.refusals.uniqueUsers(refusal.constraint)
      if (changes.length > 1 && before < refusalsLookedInto) return undefined
      pass.refusals.addUnique(refusal.constraint, changes.length)
      return { finding: { retry } }
    }
    const [first] = retry
    if (first === undefined || retry.length > 1) return undefined
    const { finding, error } = rejectWrite(pass, first.clerkId, refusal)
    return { finding: { ...finding, retry }, error }
  }
}

/** A unique or an exclusion constraint: the refusal is about another row that has the value. */
export function isUnique(refusal: PostgresRefusal): boolean {
  return refusal.code === '23505' || refusal.code === '23P01'
}

/** A user whose row Postgres does not write is rejected. `withheld` are rows that may have what the user needs. */
export function rejectWrite(
  pass: PassContext,
  clerkId: string,
  refusal: PostgresRefusal,
  withheld: Withheld = noneWithheld,
): Refused {
  const reasons: Record<PostgresRefusal['kind'], string> = {
    row: writeRefusalText(withColumn(refusal, pass.shape)),
    privilege: `the database role lacks a privilege to write it (${refusal.code})`,
    lock: `another transaction holds the row (${refusal.code})`,
    fence: `another transaction holds the row (${refusal.code})`,
    timeout: `the write was cut off because it took too long (${refusal.code})`,
  }
  return {
    finding: { rejected: [{ clerkId, reason: reasons[refusal.kind] }] },
    error: errorOfMany(pass, clerkId, refusal, withheld),
  }
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

/** A row that Postgres does not delete stays, and is rejected by its user's name. */
export function rejectDeletion(pass: PassContext, clerkId: string, refusal: PostgresRefusal): Refused {
  const seconds = pass.database.deleteMsMax / 1000
  const reasons: Record<PostgresRefusal['kind'], string> = {
    row: deletionRefusalText(refusal),
    privilege: `the database role lacks a privilege to delete it (${refusal.code})`,
    lock: `another transaction holds the row (${refusal.code})`,
    fence: `another transaction holds the row (${refusal.code})`,
    timeout: `the deletion took longer than ${seconds} s (${refusal.code}): is an index missing on a table that refers to users?`,
  }
  return {
    finding: { undeletable: [{ clerkId, reason: reasons[refusal.kind] }] },
    // Deletions that take too long are bounded where they are made.
    error: refusal.kind === 'timeout' ? undefined : errorOfMany(pass, clerkId, refusal, noneWithheld),
  }
}

/** Counts the refusal. Returns the error that ends the run once so many are refused for one reason. */
function errorOfMany(
  { refusals, options }: PassContext,
  clerkId: string,
  refusal: PostgresRefusal,
  withheld: Withheld,
): SyncError | undefined {
  switch (refusal.kind) {
    case 'row':
      return refusals.add(clerkId, refusal.constraint) > refusalsPerConstraint
        ? tooMany(refusal, options.policy, withheld)
        : undefined
    case 'privilege':
      return refusals.add(clerkId, 'a missing privilege') > refusalsPerConstraint
        ? lacksPrivilege(refusal)
        : undefined
    case 'timeout':
      return refusals.add(clerkId, 'a timeout') > timeoutRefusals ? tooSlow(refusal) : undefined
    default:
      return refusals.add(clerkId, 'a lock') > lockRefusals ? tableHeld(refusal) : undefined
  }
}

/** The error of a constraint that refuses too many users. */
export const tooMany = (refusal: PostgresRefusal, policy: Policy, withheld: Withheld) =>
  new SyncError('constraint', `${refusal.constraint} refuses more than ${refusalsPerConstraint} users`, {
    hint: hintFor(refusal, policy, withheld),
    facts: { code: refusal.code, constraint: refusal.constraint },
  })

function hintFor(refusal: PostgresRefusal, policy: Policy, withheld: Withheld): string {
  const { count, ids } = withheld
  if (isUnique(refusal) && count > 0 && deletesRows(policy)) {
    return `Rows that are to be deleted may have what these users need. If the ${count} withheld deletions are right: ${approvalCommand(count, ids)}`
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
