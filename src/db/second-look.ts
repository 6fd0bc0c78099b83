// Where one code stands for what waiting mends and for what it does not, the server is asked. Whatever fails here leaves
// the first judgement as it was: trying again later.
import { connect } from 'node:net'
import { sql } from 'drizzle-orm'
import type { PostgresJsDatabase } from 'drizzle-orm/postgres-js'
import { withDeadline } from '../deadline.ts'
import { isSyncError, SyncError } from '../errors.ts'
import { codeOf, overTime } from './postgres-errors.ts'

/** A pool's server, as the driver was configured. */
export interface Server {
  readonly db: PostgresJsDatabase
  readonly hosts: readonly string[]
  readonly ports: readonly number[]
}

/** How long the look may take; it is the second one, and a run waits for it. */
const lookMsMax = 5000
/** Postgres's clock of a transaction starts with its `begin`, ours with the answer. */
const roundTripMs = 500

/**
 * Returns the failure, or a better one. `error` is what the driver threw, `openMs` how long the transaction, if it was
 * one, had been open.
 */
export async function lookAgain(
  failure: unknown,
  error: unknown,
  server: Server,
  openMs: number,
): Promise<unknown> {
  if (!isSyncError(failure)) return failure
  if (failure.facts.code === '25006') return (await isPrimary(server)) ? readOnly(failure.facts) : failure
  if (wasHandshake(failure, error)) {
    return (await offersEncryption(server)) === false ? unencrypted(failure.facts) : failure
  }
  if (failure.facts.code === 'CONNECTION_CLOSED' && openMs > 0) {
    return (await isOverTime(server, openMs)) ? overTime({ ...failure.facts, code: '25P04' }) : failure
  }
  return failure
}

const readOnly = (facts: SyncError['facts']) =>
  new SyncError('configuration', 'the database takes no writes: default_transaction_read_only is on', {
    hint: 'Some providers set it while the disk is full. Else: alter role … (or alter database …) set default_transaction_read_only = off.',
    facts,
  })

const unencrypted = (facts: SyncError['facts']) =>
  new SyncError('configuration', 'DATABASE_URL asks for encryption, and the server offers none', {
    hint: 'Turn it on in the server (ssl = on), or, on a network that you trust, set sslmode=prefer or disable.',
    facts,
  })

/**
 * Postgres says why it closes the connection (25P04), but the driver passes on the closing alone, and the reason to the
 * next statement that gets the connection: maybe this one.
 */
async function isOverTime({ db }: Server, openMs: number): Promise<boolean> {
  try {
    // Before PostgreSQL 17 there is no such setting.
    const asked = db.execute<{ ms: number }>(
      sql`select setting::float8 as ms from pg_settings where name = 'transaction_timeout' and setting <> '0'`,
    )
    const rows = await withDeadline(asked, lookMsMax, () => undefined)
    return rows?.[0] !== undefined && openMs + roundTripMs >= rows[0].ms
  } catch (error) {
    return codeOf(error) === '25P04'
  }
}

/** A standby is read-only and mends itself by a failover; a primary that is read-only has been told to be. */
async function isPrimary({ db }: Server): Promise<boolean> {
  const asked = db.execute<{ standby: boolean }>(sql`select pg_is_in_recovery() as standby`)
  const rows = await withDeadline(asked, lookMsMax, () => undefined).catch(() => undefined)
  return rows?.[0]?.standby === false
}

/**
 * The driver begins the handshake also where the server has said no. Postgres then closes the connection, as a bad line
 * would; PgBouncer answers with an error, which is no handshake.
 */
function wasHandshake(failure: SyncError, error: unknown): boolean {
  if (failure.facts.code === 'ERR_SSL_WRONG_VERSION_NUMBER') return true
  const cause = (error as { cause?: unknown }).cause ?? error
  return failure.facts.code === 'ECONNRESET' && /before secure TLS/.test((cause as Error).message)
}

/** What the first server says to Postgres's own question for encryption. Undefined if it does not answer. */
async function offersEncryption({ hosts, ports }: Server): Promise<boolean | undefined> {
  const [host = ''] = hosts
  const socket = connect({ host, port: ports[0] ?? 5432 })
  try {
    // The length and the code of an SSLRequest.
    socket.write(Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]))
    const answer = new Promise<boolean | undefined>((resolve) => {
      socket.once('data', (data: Buffer) =>
        resolve(data[0] === 83 ? true : data[0] === 78 ? false : undefined),
      )
      socket.once('error', () => resolve(undefined))
      socket.once('close', () => resolve(undefined))
    })
    return await withDeadline(answer, lookMsMax, () => undefined)
  } finally {
    socket.destroy()
  }
}
