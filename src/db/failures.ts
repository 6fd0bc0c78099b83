// What went wrong on the way to Postgres or in it, classified once. The rule: a driver's error carries a row's values
// (emails, names) in its message, detail and parameters, so codes and identifiers are kept and sentences are not; words
// are read only where one code stands for several causes.
import { DrizzleQueryError } from 'drizzle-orm'
import { asIdentifier, type ErrorKind, SyncError } from '../errors.ts'

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

/** SQLSTATEs of another transaction in the way: lock timeout, deadlock, serialization. */
const lockCodes = new Set(['55P03', '40P01', '40001'])
const insufficientPrivilege = '42501'
/** A statement timeout; also an administrator's `pg_cancel_backend`. */
const timeoutCode = '57014'
/**
 * Rows that the app's schema does not take: integrity, data, a view's check option, and whatever a trigger raises: the
 * classes from I to W, Y and Z are left to applications, but for PL/pgSQL's P0. 54000 is a value too long for an index.
 */
const rowCodes = /^((09|22|23|27|44)...|54000|[I-WYZ]....)$/

/** Codes of driver and system after which the connection always closes. */
export const lostCodes =
  /^(CONNECTION_CLOSED|ECONNRESET|ECONNABORTED|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ENETDOWN|ENETRESET|ERR_SSL_.*)$/

/** An error of driver or Postgres, as far as a class of failures is told by it. */
interface Said {
  readonly code: string
  readonly message: string
  /** It ended the connection; while one is being made, it is about the login and its parameters. */
  readonly isFatal: boolean
  /** Postgres names the routine that raised an error, a pooler does not. */
  readonly isPostgres: boolean
}

interface Failure {
  readonly when: (said: Said) => boolean
  readonly kind: ErrorKind
  readonly message: string
  readonly hint: string | ((said: Said) => string)
}

const code = (pattern: RegExp) => (said: Said) => pattern.test(said.code)
/** PgBouncer has one code for nearly everything, Supabase's and Neon's poolers have another. */
const pooler = (words: RegExp) => (said: Said) =>
  !said.isPostgres && /^(08P01|XX000)$/.test(said.code) && words.test(said.message)

const certificateWays: readonly (readonly [RegExp, string])[] = [
  [/EXPIRED|NOT_YET_VALID/, 'It is out of date, or the clock of this machine is wrong.'],
  [
    /ALTNAME/,
    'It is of another host name: use the name that it was made for, or sslmode=verify-ca with sslrootcert.',
  ],
  [
    /./,
    'Add &sslrootcert=/path/to/root.pem with the root certificate of your provider, or use sslmode=require, which encrypts without a check.',
  ],
]

/** In this order: the first that fits. */
const failures: readonly Failure[] = [
  {
    when: (said) => parameterIn(said.message) !== undefined && !said.isPostgres,
    kind: 'configuration',
    message: 'the pooler does not take a parameter of DATABASE_URL',
    hint: (said) =>
      `Leave ${parameterIn(said.message)} out of it, and set it for the role instead: \`alter role … set …\`.`,
  },
  {
    when: (said) => said.isFatal && said.isPostgres && /^(22|42704|42601|42602)/.test(said.code),
    kind: 'configuration',
    message: 'Postgres does not take a parameter of DATABASE_URL',
    hint: (said) =>
      `Correct or remove ${/parameter "([a-z_.]{1,60})"/i.exec(said.message)?.[1] ?? 'what Postgres does not know'} behind the ? of DATABASE_URL.`,
  },
  {
    when: code(
      /^ERR_SSL_(WRONG_VERSION|UNSUPPORTED|NO_|.*ALERT_(PROTOCOL|HANDSHAKE|UNKNOWN_CA|ACCESS|CERTIFICATE|BAD_CERT))|^ERR_OSSL|^EPROTO$/,
    ),
    kind: 'configuration',
    message: 'Postgres and this program agree on no encryption',
    hint: 'Does the server want a certificate of the client (sslcert, sslkey), or an old protocol? sslmode=disable in DATABASE_URL goes without encryption.',
  },
  {
    when: code(/CERT|SELF_SIGNED|^UNABLE_TO_|^ERR_TLS_CERT|^HOSTNAME_MISMATCH|^INVALID_(CA|PURPOSE)/),
    kind: 'configuration',
    message: 'the certificate of Postgres does not pass the check',
    hint: (said) => certificateWays.find(([pattern]) => pattern.test(said.code))?.[1] ?? '',
  },
  {
    when: (said) =>
      (said.code === '28000' && /pg_hba\.conf.*(no encryption|ssl off)/is.test(said.message)) ||
      (!said.isPostgres && /^(08P01|XX000|28)/.test(said.code) && insists.test(said.message)),
    kind: 'configuration',
    message: 'Postgres takes no connection without encryption here',
    hint: 'Set sslmode=require in DATABASE_URL (or verify-full with sslrootcert). If the server offers no encryption, its pg_hba.conf has to let this address in.',
  },
  {
    when: (said) => said.code === '28000' && /pg_hba\.conf/i.test(said.message),
    kind: 'configuration',
    message: 'Postgres lets nobody in from this address for this user and database',
    hint: 'Its pg_hba.conf, or the allow-list of your provider, needs an entry. If it allows only connections without encryption, set sslmode=disable in DATABASE_URL.',
  },
  {
    when: pooler(/tenant|endpoint id is not specified|project.*not found|endpoint.*not (be )?found/i),
    kind: 'configuration',
    message: 'the pooler does not know the project in DATABASE_URL',
    hint: 'Copy the address again from your provider: its host and the user (at Supabase `postgres.<project>`) name the project.',
  },
  {
    when: (said) =>
      /^(28|3D000)/.test(said.code) ||
      pooler(/no such (user|database)|does not exist|auth|password|login|not allowed/i)(said),
    kind: 'configuration',
    message: 'Postgres refused the login or does not know the database',
    hint: 'Check user, password and database name in DATABASE_URL.',
  },
  {
    when: code(/^SASL_|^AUTH_TYPE|^MESSAGE_NOT_SUPPORTED$/),
    kind: 'configuration',
    message: 'Postgres asks for a login that this program does not know',
    hint: 'Use a password with scram-sha-256, and check that DATABASE_URL leads to Postgres.',
  },
  {
    when: code(/^25006$/),
    kind: 'transient',
    message: 'Postgres is a standby, on which nothing can be written',
    hint: 'After a failover the address leads to the new primary again. If it stays so, point DATABASE_URL at the primary.',
  },
  {
    when: code(/^53300$/),
    kind: 'transient',
    message: 'Postgres has no connection left',
    hint: 'A run uses a handful. Close others, raise max_connections, or go through a pooler, then run the command again.',
  },
  {
    when: code(/^53/),
    kind: 'transient',
    message: 'Postgres has run out of disk, memory or another resource',
    hint: 'Give it more room, then run the command again.',
  },
  {
    when: (said) =>
      code(
        /^(08|57P0[1-5]|580|58030|25P03|CONNECT|ECONN|ENOTFOUND|EAI_AGAIN|EHOST|ENET|ETIMEDOUT|EPIPE|ERR_SSL)/,
      )(said) ||
      (said.code === 'XX000' && !said.isPostgres),
    kind: 'transient',
    message: 'Postgres cannot be reached',
    hint: 'Check DATABASE_URL and that the database is up, then run the command again.',
  },
  {
    when: code(/^42501$/),
    kind: 'configuration',
    message: 'the database role lacks a privilege',
    hint: 'Grant what docs/configuration.md lists to the role in DATABASE_URL.',
  },
  {
    when: code(/^3F000$/),
    kind: 'configuration',
    message: 'the search path names no schema that exists and that the role may use',
    hint: 'Correct ?schema= in DATABASE_URL, grant usage on the schema, or: alter role … set search_path = public.',
  },
]

const insists = /insecure|sslmode=require|(ssl|tls|encryption) (is )?required|requires? (ssl|tls|encryption)/i

/** A parameter that a pooler names; Neon's adds `in options` and a second sentence. */
function parameterIn(message: string): string | undefined {
  const [, name] =
    /unsupported startup parameter(?: in options)?: ([\w.-]{1,60}?)\.?(?:\s|$)/.exec(message) ?? []
  return name === 'search_path' ? 'schema (search_path)' : name
}

/**
 * Classifies a failure of driver, drizzle or Postgres: a `WriteError` where it is about a row, a `SyncError` for all
 * else that has a code. Without one it is returned as it is, less what drizzle says of the query.
 */
export function databaseError(error: unknown): unknown {
  const cause = error instanceof DrizzleQueryError ? error.cause : error
  if (cause instanceof SyncError || cause instanceof WriteError) return cause
  const code = codeOf(cause)
  if (code === undefined) return error instanceof DrizzleQueryError ? new Error('a query failed') : error
  const facts = factsOf(cause, code)
  const { message = '', severity, severity_local } = cause as Record<string, string | undefined>
  const isFatal = (severity ?? severity_local) === 'FATAL'
  if (!isFatal && lockCodes.has(code)) return new WriteError('lock', code, code)
  if (!isFatal && code === timeoutCode) return new WriteError('timeout', code, code)
  if (!isFatal && rowCodes.test(code)) {
    return new WriteError('row', code, facts.constraint_name ?? facts.column_name ?? code, namedIn(cause))
  }
  const said: Said = { code, message, isFatal, isPostgres: facts.routine !== undefined }
  if (code === '25P04') return overTime(facts)
  const failure = failures.find(({ when }) => when(said))
  if (failure === undefined) return unknownFailure(cause, facts)
  const hint = typeof failure.hint === 'string' ? failure.hint : failure.hint(said)
  return new SyncError(failure.kind, failure.message, { hint, facts })
}

/** The error of a transaction that the server's own limit has ended; waiting does not help. */
export function overTime(facts: Record<string, string | number>): SyncError {
  return new SyncError(
    'configuration',
    'the transaction_timeout of the role or the database ends our transactions',
    {
      hint: 'Raise it for the role in DATABASE_URL: alter role … set transaction_timeout = 0. Ours end by themselves.',
      facts,
    },
  )
}

/** Codes and identifiers. A trigger may put anything into these fields: a sentence or an address is not one. */
function factsOf(cause: unknown, code: string): Record<string, string> {
  const facts: Record<string, string> = { code }
  for (const key of ['constraint_name', 'table_name', 'column_name', 'routine'] as const) {
    const value = asIdentifier((cause as Record<string, unknown>)[key])
    if (value !== undefined) facts[key] = value
  }
  return facts
}

/**
 * The table and the columns that an error about a row names. For some errors only a sentence names them. It is read only
 * where Postgres itself wrote it, since a trigger may write anything there, and only up to the first value.
 */
function namedIn(cause: unknown): Named {
  const { table_name, column_name, routine, detail, message } = cause as Record<string, unknown>
  const table = asIdentifier(table_name)
  const isUnique = routine === '_bt_check_unique' || routine === 'check_exclusion_or_unique_constraint'
  const key = isUnique ? /\(([\w$ ,]{1,128})\)=\(/.exec(String(detail))?.[1] : undefined
  const columns = asIdentifier(column_name) ?? key
  const isLength = routine === 'varchar' || routine === 'bpchar'
  const length = isLength ? /\((\d{1,8})\)/.exec(String(message))?.[1] : undefined
  return {
    ...(table === undefined ? {} : { table }),
    ...(columns === undefined ? {} : { columns }),
    ...(length === undefined ? {} : { lengthMax: Number(length) }),
  }
}

/** What nobody has foreseen is told in Postgres's own words, as far as they can hold no value. */
function unknownFailure(cause: unknown, facts: Record<string, string>): SyncError {
  const words = wordsOf(cause)
  return new SyncError('contract', `Postgres refused a statement${words === undefined ? '' : `: ${words}`}`, {
    hint:
      words === undefined
        ? `A function or trigger of your schema raised it, with the code ${facts.code}; the log of Postgres has its words.`
        : `The code is ${facts.code}. Is a column or its type not what it was? \`npm run db:migrate\` makes again what is missing.`,
    facts,
  })
}

/**
 * The message of an error that Postgres itself raised about a statement of ours, in which quotation marks hold names of
 * columns and tables. Undefined if a function of the app was at work, since its words may hold anything.
 */
function wordsOf(cause: unknown): string | undefined {
  const { message, where, routine, file } = cause as Record<string, unknown>
  if (typeof message !== 'string' || where !== undefined || routine === 'exec_stmt_raise') return undefined
  // A message of the driver's or the system's names hosts and files.
  if (file === undefined && routine === undefined) return undefined
  return message
    .replace(/"([^"]*)"/g, (_quoted, name: string) =>
      asIdentifier(name) === undefined ? '"…"' : `"${name}"`,
    )
    .replace(/\S*@\S*/g, '…')
    .slice(0, 300)
}

/** The SQLSTATE, or the code of the driver or the system. */
export function codeOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null) return undefined
  const code = (error as { code?: unknown }).code
  if (typeof code === 'string') return code
  const cause = (error as { cause?: unknown }).cause
  return cause === undefined ? undefined : codeOf(cause)
}

/**
 * A missing right as a failure of the row at hand: the role's own right to write it, or that of a function which a
 * trigger calls. Any other error is returned as it is.
 */
export function asPrivilegeError(error: unknown): unknown {
  const code = error instanceof SyncError ? error.facts.code : undefined
  return code === insufficientPrivilege ? new WriteError('privilege', code, code) : error
}
