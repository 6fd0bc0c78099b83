// What becomes of a user whose write or deletion Postgres refuses: it is rejected by name, in words that say what to
// look for. The rule: what is refused for one user ends no run; what is refused for very many is about the table, and
// does. But for a unique constraint: there the failure is about another row, which a later page or a deletion may mend, so
// that only what stands at the end counts.

import type { TableCatalog } from '../db/catalog.ts'
import type { WriteError } from '../db/database.ts'
import { SyncError } from '../errors.ts'
import { approvalCommand } from './approval-command.ts'
import { deletesRows, type Policy } from './deletion-policy.ts'
import type { FailedWrites, FailureHandler } from './failed-write.ts'
import { failuresPerConstraintMax } from './findings.ts'
import type { PassContext } from './pass.ts'
import { deletionErrorText, writeErrorText } from './write-error-text.ts'

/**
 * For this many users that a unique constraint refuses, the batch is split to find them. After that a refused batch waits as
 * a whole for the second try, or a pass over very many of them would write one by one for hours.
 */
const failuresSplitMax = 100
/** More users than this behind locks mean that a transaction holds the table; each further one would wait 2 s. */
const lockFailuresMax = 20
/** The most users whose write may be cut off by a time limit before the run ends. */
const timeoutFailuresMax = 20

/** Rows whose deletion is withheld: how many of them are there, and their names. */
export interface Withheld {
  readonly count: number
  readonly ids: readonly string[]
}

const noneWithheld: Withheld = { count: 0, ids: [] }

/** With its page: all that is refused is tried once more, and what no second try can mend counts at once. */
export function retryLater(pass: PassContext): FailureHandler {
  return (changes, failure) => {
    const retry = changes.map(({ write }) => write)
    if (isUnique(failure)) {
      const before = pass.failures.uniqueUsers(failure.constraint)
      if (changes.length > 1 && before < failuresSplitMax) return undefined
      pass.failures.addUnique(failure.constraint, changes.length)
      return { finding: { retry } }
    }
    const [first] = retry
    if (first === undefined || retry.length > 1) return undefined
    const { finding, error } = rejectWrite(pass, first.clerkId, failure)
    return { finding: { ...finding, retry }, error }
  }
}

/** A unique or an exclusion constraint: the failure is about another row that has the value. */
export function isUnique(failure: WriteError): boolean {
  return failure.code === '23505' || failure.code === '23P01'
}

/** A user whose row Postgres does not write is rejected. `withheld` are rows that may have what the user needs. */
export function rejectWrite(
  pass: PassContext,
  clerkId: string,
  failure: WriteError,
  withheld: Withheld = noneWithheld,
): FailedWrites {
  const reasons: Record<WriteError['kind'], string> = {
    row: writeErrorText(withColumn(failure, pass.catalog)),
    privilege: `the database role lacks a privilege to write it (${failure.code})`,
    lock: `another transaction holds the row (${failure.code})`,
    'deletion-lock': `another transaction holds the row (${failure.code})`,
    timeout: `the write was cut off because it took too long (${failure.code})`,
  }
  return {
    finding: { rejected: [{ clerkId, reason: reasons[failure.kind] }] },
    error: errorOfMany(pass, clerkId, failure, withheld),
  }
}

/** Of a value that is too long Postgres names no column: it is known if only one is of that length. */
function withColumn(
  failure: WriteError,
  catalog: TableCatalog,
): Pick<WriteError, 'code' | 'constraint' | 'named'> {
  const { code, constraint, named } = failure
  if (named.lengthMax === undefined) return failure
  const columns = [...catalog.syncedColumns].filter(([, { lengthMax }]) => lengthMax === named.lengthMax)
  const [[name] = []] = columns
  return name === undefined || columns.length > 1
    ? failure
    : { code, constraint, named: { ...named, columns: name } }
}

/** A row that Postgres does not delete stays, and is rejected by its user's name. */
export function rejectDeletion(pass: PassContext, clerkId: string, failure: WriteError): FailedWrites {
  const seconds = pass.database.deleteMsMax / 1000
  const reasons: Record<WriteError['kind'], string> = {
    row: deletionErrorText(failure),
    privilege: `the database role lacks a privilege to delete it (${failure.code})`,
    lock: `another transaction holds the row (${failure.code})`,
    'deletion-lock': `another transaction holds the row (${failure.code})`,
    timeout: `the deletion took longer than ${seconds} s (${failure.code}): is an index missing on a table that refers to users?`,
  }
  return {
    finding: { undeletable: [{ clerkId, reason: reasons[failure.kind] }] },
    // Deletions that take too long are bounded where they are made.
    error: failure.kind === 'timeout' ? undefined : errorOfMany(pass, clerkId, failure, noneWithheld),
  }
}

/** Counts the failure. Returns the error that ends the run once too many users fail for one reason. */
function errorOfMany(
  { failures, options }: PassContext,
  clerkId: string,
  failure: WriteError,
  withheld: Withheld,
): SyncError | undefined {
  switch (failure.kind) {
    case 'row':
      return failures.add(clerkId, failure.constraint) > failuresPerConstraintMax
        ? tooMany(failure, options.policy, withheld)
        : undefined
    case 'privilege':
      return failures.add(clerkId, 'a missing privilege') > failuresPerConstraintMax
        ? lacksPrivilege(failure)
        : undefined
    case 'timeout':
      return failures.add(clerkId, 'a timeout') > timeoutFailuresMax ? tooSlow(failure) : undefined
    default:
      return failures.add(clerkId, 'a lock') > lockFailuresMax ? tableHeld(failure) : undefined
  }
}

/** The error of a constraint that refuses too many users. */
export const tooMany = (failure: WriteError, policy: Policy, withheld: Withheld) =>
  new SyncError('constraint', `${failure.constraint} refuses more than ${failuresPerConstraintMax} users`, {
    hint: hintFor(failure, policy, withheld),
    facts: { code: failure.code, constraint: failure.constraint },
  })

function hintFor(failure: WriteError, policy: Policy, withheld: Withheld): string {
  const { count, ids } = withheld
  if (isUnique(failure) && count > 0 && deletesRows(policy)) {
    return `Rows that are to be deleted may have what these users need. If the ${count} withheld deletions are right: ${approvalCommand(count, ids)}`
  }
  return isUnique(failure)
    ? 'Other rows have the values that these users need. Remove those rows, or relax the constraint.'
    : 'A constraint or column of the app does not fit the users that Clerk has. Relax it, or give it a default.'
}

const lacksPrivilege = (failure: WriteError) =>
  new SyncError('configuration', 'the database role lacks a privilege', {
    hint: 'Grant what docs/configuration.md lists to the role in DATABASE_URL.',
    facts: { code: failure.code },
  })

const tooSlow = (failure: WriteError) =>
  new SyncError('constraint', 'writes to the users table are cut off because they take too long', {
    hint: 'Has the role a statement_timeout, or the table a slow trigger?',
    facts: { code: failure.code },
  })

const tableHeld = (failure: WriteError) =>
  new SyncError('transient', 'other transactions hold too many rows of the users table', {
    hint: 'A long transaction of the app or a lock on the table is in the way. Try again when it has ended.',
    facts: { code: failure.code },
  })
