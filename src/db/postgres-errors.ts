// What went wrong on the way to Postgres or in it, classified once. The rule: a driver's error carries a row's values
// (emails, names) in its message, detail and parameters, so codes and identifiers are kept and sentences are not; words
// are read only where one code stands for several causes.
import { DrizzleQueryError } from 'drizzle-orm'
import { asIdentifier, SyncError } from '../errors.ts'
import { connectionFailures, type Said } from './connection-failures.ts'
import { type Named, WriteError } from './write-error.ts'

/** SQLSTATEs of another transaction in the way: lock timeout, deadlock, serialization. */
const lockCodes = new Set(['55P03', '40P01', '40001'])

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
  const failure = connectionFailures.find(({ when }) => when(said))
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

/** An unforeseen error keeps Postgres's own words, as far as they cannot hold a value. */
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
