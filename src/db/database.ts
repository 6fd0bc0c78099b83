// The way to Postgres: one small pool, its transactions, and the one place that classifies what Postgres refuses.
// Works through a pooler in transaction mode: no session state, no named prepared statements.
import { DrizzleQueryError, type SQL, sql } from 'drizzle-orm'
import { drizzle, type PostgresJsDatabase } from 'drizzle-orm/postgres-js'
import postgres from 'postgres'
import { SyncError } from '../errors.ts'
import { inTime, statementMsMax, transactionMsMax } from './patience.ts'

/** A pool of connections. Whoever opens it closes it. */
export interface Database {
  readonly db: PostgresJsDatabase
  /** Ends all connections, waiting at most `timeoutSeconds` for statements under way. */
  close(timeoutSeconds?: number): Promise<void>
}

/** Anything that runs a statement: the pool or a transaction. */
export type Executor = Pick<PostgresJsDatabase, 'execute' | 'select' | 'insert' | 'update' | 'delete'>

/**
 * Opens a pool lazily: nothing connects before the first statement.
 * `connections` is 4 by default: a pass uses one at a time, status and webhooks the others. `driver` holds what a URL
 * cannot say to the driver: certificates, sockets.
 */
export function openDatabase(
  url: string,
  options: { connections?: number; applicationName?: string; driver?: object } = {},
): Database {
  let hasLostConnection = false
  const client = postgres(url, {
    ...options.driver,
    max: options.connections ?? 4,
    // A pooler in transaction mode hands every transaction another server connection.
    prepare: false,
    ...(new URL(url).searchParams.has('connect_timeout') ? {} : { connect_timeout: 10 }),
    onnotice: () => {},
    // The driver's own grows to 20 s, and all that waits for a connection then fails one by one, so far apart.
    backoff: (retries) => Math.min(0.25, 3 ** retries / 100),
    connection: { application_name: options.applicationName ?? 'clerk-sync' },
    onclose() {
      hasLostConnection = true
    },
  })
  return {
    db: drizzle(client),
    close: (timeoutSeconds = 5) =>
      client.end({
        timeout: Math.min(timeoutSeconds, hasLostConnection ? lostCloseSeconds : timeoutSeconds),
      }),
  }
}

/**
 * The driver goes on waiting for a statement whose connection broke: each run that Postgres failed would end, and say so,
 * five seconds late. For statements that really are under way on another connection this still is long.
 */
const lostCloseSeconds = 0.5

/** The rows a statement returned. Throws `SyncError`, never a driver's error, since those carry parameters. */
export async function query<Row>(executor: Executor, statement: SQL): Promise<Row[]> {
  try {
    return (await inTime(executor.execute(statement), statementMsMax)) as unknown as Row[]
  } catch (error) {
    throw databaseError(error)
  }
}

/**
 * Runs a transaction that is explicitly `read committed`: each statement sees what is committed when it begins. Throws
 * `transient` if it takes longer than `milliseconds`.
 */
export async function transaction<T>(
  database: Database,
  run: (tx: Executor) => Promise<T>,
  milliseconds: number = transactionMsMax,
): Promise<T> {
  const work = database.db.transaction((tx) =>
    untilConnectionLost(async () => {
      await tx.execute(begin)
      return run(tx)
    }),
  )
  try {
    return await inTime(work, milliseconds)
  } catch (error) {
    throw databaseError(error)
  }
}

/**
 * In one round trip. A process that falls asleep within its transaction would keep its locks, the fence among them,
 * until it wakes: the lease passes on after 30 s, and by then they must be free.
 */
const begin = sql`set transaction isolation level read committed;
  set local idle_in_transaction_session_timeout = '20s'`

/**
 * When its connection breaks, the driver fails the transaction by itself. If the work in it failed as well, the driver
 * would write `rollback` to the socket that is gone, outside of any promise: that ends the process, or leaves the
 * connection unusable for minutes (porsager/postgres#1208). So such work just does not end.
 */
async function untilConnectionLost<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    const code = error instanceof SyncError ? error.facts.code : codeOf(error)
    if (lostCodes.test(String(code))) return new Promise<never>(() => {})
    throw error
  }
}

/** Codes of driver and system after which the connection always closes. */
const lostCodes =
  /^(CONNECTION_CLOSED|ECONNRESET|ECONNABORTED|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ENETDOWN|ENETRESET|ERR_SSL_.*)$/

/** What Postgres said, without the values it said it about. */
export class PostgresRefusal extends Error {
  override readonly name = 'PostgresRefusal'
  /**
   * `row`: this row cannot be written. `lock`: another transaction was in the way of a row. `fence`: the fence itself
   * was not to be had, which says nothing about any row.
   */
  readonly kind: 'row' | 'lock' | 'fence'
  /** The SQLSTATE. */
  readonly code: string
  /** The constraint, else the column, else the SQLSTATE: what the refusals are counted by. */
  readonly constraint: string

  constructor(kind: 'row' | 'lock' | 'fence', code: string, constraint: string) {
    super(kind === 'row' ? 'Postgres refused a row' : 'another transaction was in the way')
    this.kind = kind
    this.code = code
    this.constraint = constraint
  }
}

/** SQLSTATEs of another transaction in the way: lock timeout, deadlock, serialization, statement timeout. */
const lockCodes = new Set(['55P03', '40P01', '40001', '57014'])
/** Errors of the way to Postgres, by the driver's or the system's code. 25006 is a standby, as after a failover. */
const unreachableCodes =
  /^(08|57P0[1-5]|53|58|25P03|25006|CONNECT|CONNECTION_|ECONN|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|ETIMEDOUT|EPIPE|XX000)/
/**
 * Rows that the app's schema does not take: integrity, data, a view's check option, and whatever a trigger raises: the
 * classes from I to W, Y and Z are left to applications, but for PL/pgSQL's P0. 54000 is a value too long for an index.
 */
const rowCodes = /^((09|22|23|27|44)...|54000|[I-WYZ]....)$/

/**
 * Classifies a failure of driver, drizzle or Postgres. A driver's error carries the row's values (emails, names) in its
 * message, detail and parameters, so only codes and the names of constraint, table and column are kept.
 */
function databaseError(error: unknown): unknown {
  const cause = error instanceof DrizzleQueryError ? error.cause : error
  if (cause instanceof SyncError || cause instanceof PostgresRefusal) return cause
  const code = codeOf(cause)
  if (code === undefined) return error instanceof DrizzleQueryError ? new Error('a query failed') : error
  const facts: Record<string, string> = { code }
  for (const key of ['constraint_name', 'table_name', 'column_name', 'routine'] as const) {
    const value = (cause as Record<string, unknown>)[key]
    if (typeof value === 'string') facts[key] = value
  }
  if (lockCodes.has(code)) return new PostgresRefusal('lock', code, code)
  if (rowCodes.test(code)) {
    return new PostgresRefusal('row', code, facts.constraint_name ?? facts.column_name ?? code)
  }
  const parameter = parameterRefusedBy(cause)
  if (parameter !== undefined) {
    return new SyncError('configuration', 'the pooler does not take a parameter of DATABASE_URL', {
      hint: `Leave ${parameter} out of it, and set it for the role instead: \`alter role … set …\`.`,
      facts,
    })
  }
  if (unreachableCodes.test(code)) {
    return new SyncError('transient', 'Postgres cannot be reached', {
      hint: 'Check DATABASE_URL and that the database is up, then run the command again.',
      facts,
    })
  }
  if (/^28|^3D000/.test(code)) {
    return new SyncError('configuration', 'Postgres refused the login or does not know the database', {
      hint: 'Check user, password and database name in DATABASE_URL.',
      facts,
    })
  }
  if (code === '42501') {
    return new SyncError('configuration', 'the database role lacks a privilege', {
      hint: 'Grant what the README lists to the role in DATABASE_URL.',
      facts,
    })
  }
  return new SyncError('contract', 'Postgres refused a statement', {
    hint: 'Does the users table still have the columns that the migrations made? Run `npm run db:migrate`.',
    facts,
  })
}

/** PgBouncer has one code for this and for all that passes by itself, so the words must tell. */
function parameterRefusedBy(cause: unknown): string | undefined {
  const [, name] = /^unsupported startup parameter: (\w+)$/.exec((cause as Error).message) ?? []
  return name === 'search_path' ? 'schema (search_path)' : name
}

function codeOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null) return undefined
  const code = (error as { code?: unknown }).code
  if (typeof code === 'string') return code
  const cause = (error as { cause?: unknown }).cause
  return cause === undefined ? undefined : codeOf(cause)
}

/** A whole array as one parameter: drizzle would spread it over as many parameters as it has elements. */
export function arrayParameter(values: readonly unknown[], elementType: string): SQL {
  return sql`${sql.param(values)}::${sql.raw(elementType)}[]`
}
