// A sandbox Clerk, a database and the reconciler between them, as one value: what most tests of a pass need. The rule:
// a test looks at rows and reports, never at calls.
import pino from 'pino'
import type postgres from 'postgres'
import { type ClerkClientOptions, createClerkClient } from '../../src/clerk/api.ts'
import { openDatabase } from '../../src/db/database.ts'
import type { SyncedValues } from '../../src/db/schema.ts'
import {
  createSandbox,
  type Sandbox,
  type SandboxOptions,
  type SandboxUser,
} from '../../src/dev/sandbox/sandbox.ts'
import type { Clocks } from '../../src/sync/clock.ts'
import type { PassOptions, ShownChange } from '../../src/sync/pass.ts'
import { reconcile } from '../../src/sync/reconcile.ts'
import { logOutcome } from '../../src/sync/run-log.ts'
import type { RunOutcome, RunRequest } from '../../src/sync/run-request.ts'
import { createTestDatabase, type TestDatabase } from './database.ts'

export interface World {
  readonly sandbox: Sandbox
  readonly database: TestDatabase
  /** One run in this process, with connections of its own that are closed when it ends. */
  sync(options?: SyncOptions): Promise<SyncOutcome>
  /** The synced columns of all rows, by Clerk id. */
  rows(): Promise<Map<string, RowValues>>
  /** What the rows should be, mapped from the sandbox's users independently of the code under test. */
  wanted(): Map<string, RowValues>
  close(): Promise<void>
}

export interface SyncOptions extends Partial<PassOptions> {
  pass?: RunRequest['pass']
  userId?: string
  dryRun?: boolean
  acceptInstance?: string
  secretKey?: string
  /** Another login than the database's owner. */
  databaseUrl?: string
  limits?: ClerkClientOptions['limits']
  /** How long a batch of deletions may take. */
  deleteMsMax?: number
  /** Aborting it ends the run. */
  stop?: AbortController
  /** `cli` unless given. */
  trigger?: RunRequest['trigger']
  tick?: RunRequest['tick']
  /** This machine's clock and Postgres's; as the sandbox's unless given, which moves by hand. */
  clocks?: Clocks | 'real'
}

export type SyncOutcome = RunOutcome & { changes: ShownChange[]; log: string }

export type RowValues = SyncedValues & { createdAt: number | null; updatedAt: number | null }

/** Starts a sandbox without a rate limit and copies a database. The caller closes the world. */
export async function createWorld(options: SandboxOptions & { empty?: boolean } = {}): Promise<World> {
  const { empty, ...sandboxOptions } = options
  const sandbox = await createSandbox({ rateLimit: null, ...sandboxOptions })
  const database = await createTestDatabase({ empty: empty ?? false })
  return {
    sandbox,
    database,
    sync: (each = {}) => syncOnce(sandbox, database.url, each),
    rows: () => readRows(database.sql),
    wanted: () => wantedRows(sandbox),
    async close() {
      await sandbox.close()
      await database.drop()
    },
  }
}

/** Tries quickly, so that a fault "for good" is given up within a second. */
export const impatient = { requestMs: 400, tries: 3, totalMs: 2000, firstRetryMs: 5 }

async function syncOnce(sandbox: Sandbox, url: string, options: SyncOptions): Promise<SyncOutcome> {
  const {
    pass: kind,
    userId,
    dryRun,
    acceptInstance,
    secretKey,
    databaseUrl = url,
    limits,
    deleteMsMax,
    stop = new AbortController(),
    trigger = 'cli',
    tick,
    clocks = { own: () => sandbox.clock.now(), postgres: async () => sandbox.clock.now() },
    ...pass
  } = options
  const lines: string[] = []
  const log = pino({ level: 'debug' }, { write: (line: string) => void lines.push(line) })
  const changes: ShownChange[] = []
  const database = openDatabase(databaseUrl, { ...(deleteMsMax === undefined ? {} : { deleteMsMax }) })
  const heartbeatDatabase = openDatabase(databaseUrl, { connections: 1 })
  try {
    const outcome = await reconcile(
      {
        pass: kind ?? 'full',
        userId,
        trigger,
        tick,
        dryRun: dryRun ?? false,
        acceptInstance,
        options: {
          policy: 'sync',
          graceMs: 600_000,
          maxDeletes: undefined,
          approveDeletes: undefined,
          pageSize: 500,
          recountDelayMs: 20,
          ...pass,
        },
      },
      {
        clerk: createClerkClient({
          secretKey: secretKey ?? sandbox.secretKey,
          apiUrl: sandbox.url,
          requestsPer10s: 100_000,
          signal: stop.signal,
          limits: limits ?? { ...impatient, requestMs: 5000, totalMs: 20_000 },
        }),
        database,
        heartbeatDatabase,
        ...(clocks === 'real' ? {} : { clocks }),
        log,
        stop,
        onProgress: () => {},
        onChange: (change) => void changes.push(change),
      },
    )
    logOutcome(log, outcome)
    return { ...outcome, changes, log: lines.join('') }
  } finally {
    await database.close()
    await heartbeatDatabase.close()
  }
}

/** The synced columns of all rows, by Clerk id. */
export async function readRows(sql: postgres.Sql): Promise<Map<string, RowValues>> {
  const rows = await sql<(RowValues & { clerkId: string })[]>`
    select clerk_id as "clerkId", name, email, image_url as "imageUrl",
      (extract(epoch from clerk_created_at) * 1000)::float8 as "createdAt",
      (extract(epoch from clerk_updated_at) * 1000)::float8 as "updatedAt"
    from users`
  return new Map(rows.map(({ clerkId, ...values }) => [clerkId, values]))
}

/** What the rows of these users should be, mapped independently of the code under test. */
export function wantedRows(sandbox: Sandbox): Map<string, RowValues> {
  return new Map(sandbox.users.all().map((user) => [user.id, valuesOf(user)]))
}

/** The mapping as docs/adopting-a-table.md states it, written a second time on purpose. */
function valuesOf(user: SandboxUser): RowValues {
  const clean = (text: string | null | undefined) =>
    Buffer.from((text ?? '').split('\u0000').join(''), 'utf16le')
      .toString('utf16le')
      .toWellFormed()
  const email = user.email_addresses.find((each) => each.id === user.primary_email_address_id)?.email_address
  const phone = user.phone_numbers.find((each) => each.id === user.primary_phone_number_id)?.phone_number
  const wallet = user.web3_wallets.find((each) => each.id === user.primary_web3_wallet_id)?.web3_wallet
  const names = [user.first_name, user.last_name].map((part) => clean(part).trim()).filter(Boolean)
  return {
    name: names.join(' ') || clean(user.username).trim() || email || phone || wallet || user.id,
    email: email === undefined ? null : clean(email),
    imageUrl: clean(user.image_url),
    createdAt: user.created_at,
    updatedAt: user.updated_at,
  }
}
