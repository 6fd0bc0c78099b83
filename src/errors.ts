// Every failure that an operator can meet, classified once where it is first seen. Afterwards code switches on the
// kind and never on message text. Messages are constant and carry no email, name or secret: facts go into `facts`.

/**
 * What went wrong, as far as the caller has to tell apart:
 * - `usage`: the command line is wrong (exit 64)
 * - `configuration`: the environment, the key or the database's rights are wrong (exit 78)
 * - `refused`: another Clerk instance than the one this table belongs to (exit 78)
 * - `busy`: another run holds the lease (exit 75)
 * - `transient`: Clerk or Postgres stayed unreachable; trying later can help (exit 75)
 * - `contract`: Clerk or the table answered something this tool does not understand (exit 1)
 * - `constraint`: the app's own constraints refuse too many users (exit 1)
 * - `aborted`: stopped by a signal (exit 130 or 143)
 */
export type ErrorKind =
  | 'usage'
  | 'configuration'
  | 'refused'
  | 'busy'
  | 'transient'
  | 'contract'
  | 'constraint'
  | 'aborted'

/** An operating error: it has a kind, and where there is a way out, a hint that names the command or variable. */
export class SyncError extends Error {
  override readonly name = 'SyncError'
  readonly kind: ErrorKind
  readonly hint: string | undefined
  /** Numbers and ids for the log. Never emails, names or secrets. */
  readonly facts: Readonly<Record<string, string | number>>

  constructor(
    kind: ErrorKind,
    message: string,
    options: { hint?: string; cause?: unknown; facts?: Record<string, string | number> } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.kind = kind
    this.hint = options.hint
    this.facts = options.facts ?? {}
  }
}

/** True for an operating error, of that kind if one is given. */
export function isSyncError(error: unknown, kind?: ErrorKind): error is SyncError {
  return error instanceof SyncError && (kind === undefined || error.kind === kind)
}

/**
 * The value if it can be the name of a column, a constraint or the like, or a code. A sentence or an address is not one:
 * a trigger may raise an error with anything in these fields.
 */
export function asIdentifier(value: unknown): string | undefined {
  return typeof value === 'string' && /^[\w.$-]{1,128}$/.test(value) ? value : undefined
}
