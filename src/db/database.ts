// The way to Postgres: one small pool and its transactions. What goes wrong leaves here classified (failures.ts). Works
// through a pooler in transaction mode: no session state, no named prepared statements.
import { type SQL, sql } from 'drizzle-orm'
import { drizzle, type PostgresJsDatabase } from 'drizzle-orm/postgres-js'
import postgres from 'postgres'
import { SyncError } from '../errors.ts'
import { codeOf, databaseError, lostCodes } from './postgres-errors.ts'
import { lookAgain, type Server } from './second-look.ts'
import { deleteMsDefault, statementMsMax, transactionMsMax, withPostgresTimeout } from './timeouts.ts'

export { WriteError } from './write-error.ts'

/** A pool of connections. The code that opens it closes it. */
export interface Database {
  readonly db: PostgresJsDatabase
  /** How long a batch of deletions may take, ms. */
  readonly deleteMsMax: number
  /** Ends all connections, waiting at most `timeoutSeconds` for statements under way. */
  close(timeoutSeconds?: number): Promise<void>
}

/** Anything that runs a statement: the pool or a transaction. */
export type Executor = Pick<
  PostgresJsDatabase,
  'execute' | 'select' | 'insert' | 'update' | 'delete' | 'transaction'
>

/**
 * Opens a pool lazily: nothing connects before the first statement.
 * `connections` is 4 by default: a pass uses one at a time, status and webhooks the others. `driver` holds what a URL
 * cannot say to the driver: certificates, sockets.
 */
export function openDatabase(
  url: string,
  options: { connections?: number; applicationName?: string; driver?: object; deleteMsMax?: number } = {},
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
  const db = drizzle(client)
  pools.set(db, { db, hosts: client.options.host, ports: client.options.port })
  return {
    db,
    deleteMsMax: options.deleteMsMax ?? deleteMsDefault,
    close: (timeoutSeconds = 5) =>
      client.end({
        timeout: Math.min(timeoutSeconds, hasLostConnection ? lostCloseSeconds : timeoutSeconds),
      }),
  }
}

/**
 * postgres.js keeps waiting for statements on a broken connection, which would delay the end of a failed run by 5 s. Half a
 * second is ample for statements on healthy connections.
 */
const lostCloseSeconds = 0.5

/**
 * The rows a statement returned. Throws `SyncError`, never a driver's error, since those carry parameters; `transient`
 * if it takes longer than `milliseconds`.
 */
export async function query<Row>(
  executor: Executor,
  statement: SQL,
  milliseconds: number = statementMsMax,
): Promise<Row[]> {
  try {
    return (await withPostgresTimeout(executor.execute(statement), milliseconds)) as unknown as Row[]
  } catch (error) {
    throw await classified(error, executor)
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
  let begun: number | undefined
  const work = database.db.transaction((tx) =>
    untilConnectionLost(async () => {
      begun = performance.now()
      await tx.execute(begin)
      return run(tx)
    }),
  )
  try {
    return await withPostgresTimeout(work, milliseconds)
  } catch (error) {
    throw await classified(error, database.db, begun === undefined ? 0 : performance.now() - begun)
  }
}

/** Runs `work` within a transaction so that its failure undoes it alone. Throws as `query` does. */
export async function savepoint<T>(tx: Executor, work: (inner: Executor) => Promise<T>): Promise<T> {
  try {
    return await tx.transaction((inner) => untilConnectionLost(() => work(inner)))
  } catch (error) {
    throw await classified(error, tx)
  }
}

/**
 * Runs a part of a transaction that may fail without failing the whole. A `savepoint` in plain SQL would not do: the
 * driver ends a transaction with the first error of any of its statements, also one that was caught.
 */
export async function attempt<T>(tx: Executor, run: (tx: Executor) => Promise<T>): Promise<T> {
  try {
    return await (tx as PostgresJsDatabase).transaction(run)
  } catch (error) {
    throw databaseError(error)
  }
}

/** The pools by what runs statements on them; a transaction is none, and its failure passes here once more. */
const pools = new WeakMap<object, Server>()

async function classified(error: unknown, executor: Executor, openMs = 0): Promise<unknown> {
  const failure = databaseError(error)
  const server = pools.get(executor)
  return server === undefined ? failure : lookAgain(failure, error, server, openMs)
}

/**
 * In one round trip. A process that falls asleep within its transaction would keep its locks, the deletion lock among them,
 * until it wakes: the lease passes on after 30 s, and by then they must be free.
 */
const begin = sql`set transaction isolation level read committed;
  set local idle_in_transaction_session_timeout = '20s'`

/**
 * If the connection breaks, postgres.js rejects the transaction itself. If the callback rejected as well, it would send
 * `rollback` on the dead socket outside of any promise, which crashes the process or blocks the connection for minutes
 * (porsager/postgres#1208). So for these codes the callback never settles.
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

/** A whole array as one parameter: drizzle would spread it over as many parameters as it has elements. */
export function arrayParameter(values: readonly unknown[], elementType: string): SQL {
  return sql`${sql.param(values)}::${sql.raw(elementType)}[]`
}
