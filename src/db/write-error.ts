// A write that Postgres did not take, without the values that it is about.
import { SyncError } from '../errors.ts'

/**
 * - `row`: this row cannot be written.
 * - `lock`: another transaction was in the way of a row.
 * - `timeout`: Postgres cut the statement off because it took too long. No other transaction need be in the way.
 * - `privilege`: the role may not do it. Where it may write other rows, a trigger's function raised it.
 * - `deletion-lock`: the deletion lock itself was not to be had, which says nothing about any row.
 */
type WriteErrorKind = 'row' | 'lock' | 'timeout' | 'privilege' | 'deletion-lock'

const writeErrorMessages: Record<WriteErrorKind, string> = {
  row: 'Postgres refused a row',
  lock: 'another transaction was in the way',
  privilege: 'the database role lacks a privilege',
  timeout: 'Postgres cut a statement off because it took too long',
  'deletion-lock': 'another transaction was in the way',
}

/** What Postgres said, without the values it said it about. */
export class WriteError extends Error {
  override readonly name = 'WriteError'
  readonly kind: WriteErrorKind
  /** The SQLSTATE. */
  readonly code: string
  /** The constraint, else the column, else the SQLSTATE: what the failures are counted by. */
  readonly constraint: string
  /** What else Postgres named, for the sentence that a person reads. */
  readonly named: Named

  constructor(kind: WriteErrorKind, code: string, constraint: string, named: Named = {}) {
    super(writeErrorMessages[kind])
    this.kind = kind
    this.code = code
    this.constraint = constraint
    this.named = named
  }
}

/** Names of the schema in an error about a row; each absent where Postgres did not give it. */
export interface Named {
  readonly table?: string
  /** The column, or the columns of the key, as in `org, email`. */
  readonly columns?: string
  /** The most characters that the column takes. */
  readonly lengthMax?: number
}

const insufficientPrivilege = '42501'

/**
 * A missing right as a failure of the row at hand: the role's own right to write it, or that of a function which a
 * trigger calls. Any other error is returned as it is.
 */
export function asPrivilegeError(error: unknown): unknown {
  const code = error instanceof SyncError ? error.facts.code : undefined
  return code === insufficientPrivilege ? new WriteError('privilege', code, code) : error
}
