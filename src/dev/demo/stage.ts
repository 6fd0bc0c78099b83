// Where the demo plays: a sandbox Clerk, a Postgres in a temporary folder, and the production code between them, called as
// the command line calls it. The rule: what is claimed is checked first, and everything opened is closed.
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import createClient, { type Sql } from 'postgres'
import { changeLines } from '../../cli/changes.ts'
import { openCommandDatabase } from '../../cli/database.ts'
import { type RunFlags, runOnce } from '../../cli/run.ts'
import { loadConfig } from '../../config/config.ts'
import { openDatabase } from '../../db/database.ts'
import { createLog } from '../../log.ts'
import type { ShownChange } from '../../sync/pass.ts'
import { exitCodeOf, summaryOf } from '../../sync/report.ts'
import type { RunOutcome } from '../../sync/run-request.ts'
import { type EmbeddedPostgres, openEmbeddedPostgres } from '../embedded-postgres/embedded-postgres.ts'
import { createSandbox, type Delivery, type Sandbox, seedUsers } from '../sandbox/sandbox.ts'
import { readTableStatistics, type TableStatistics } from '../testkit/table-statistics.ts'
import { openWebhookServer } from '../testkit/webhook-server.ts'
import { compareTable } from './table.ts'

/** Half of what a production instance allows, the share that a live key gets by itself. A test key would get 50. */
const requestsPer10s = 500
const userCount = 3217
const textWidth = 88

/** The worker's webhook endpoint, and a Clerk that delivers to it. */
export interface Endpoint {
  /** Delivers as Clerk would. Returns the status and what the endpoint made of it, as `200 created`. */
  deliver(delivery: Delivery): Promise<string>
  close(): Promise<void>
}

/** A run as the demo looks at it. */
export interface Played extends RunOutcome {
  readonly exitCode: number
  /** What a dry run showed. */
  readonly changes: readonly ShownChange[]
}

export interface Stage {
  readonly clerk: Sandbox
  introduce(): void
  begin(title: string): void
  /** A paragraph, wrapped. */
  say(text: string): void
  /** A line as it is, indented, cut to the width. */
  show(line: string): void
  /** Says the claim, and whether it holds. One that does not makes the demo fail. */
  check(claim: string, holds: boolean): void
  /** Checks the whole table against Clerk, value by value. */
  checkTable(): Promise<void>
  /** `npm run sync` with these flags, against this sandbox or another one. */
  sync(flags?: Partial<RunFlags>, clerk?: Sandbox): Promise<Played>
  /** The worker's webhook endpoint; the step closes it. */
  endpoint(): Promise<Endpoint>
  /** What Postgres counted for `users` so far. */
  writes(): Promise<TableStatistics>
  /** The last words. Gives the exit code. */
  conclude(): number
  close(): Promise<void>
}

/** Starts Clerk and Postgres. Whatever goes wrong, nothing of it stays. */
export async function openStage(stop: AbortController): Promise<Stage> {
  const closers: (() => Promise<unknown>)[] = []
  const close = async () => {
    // The last opened goes first, and one that does not close keeps no other from it.
    for (const closer of closers.splice(0).reverse()) await closer().catch(() => {})
  }
  try {
    const folder = await mkdtemp(join(tmpdir(), 'clerk-sync-demo-'))
    closers.push(() => rm(folder, { recursive: true, force: true, maxRetries: 3 }))
    // Postgres runs as another user if this is root.
    await chmod(folder, 0o711)
    say(`Starting a Clerk with ${userCount.toLocaleString('en')} invented users and an empty Postgres …`)
    const clerk = await createSandbox({
      users: seedUsers({ count: userCount }),
      environmentType: 'production',
    })
    closers.push(() => clerk.close())
    const postgres = await openEmbeddedPostgres({
      directory: folder,
      database: 'clerk_sync_demo',
      settings: { fsync: 'off', full_page_writes: 'off' },
    })
    // Elsewhere if the folder was not good enough for Postgres.
    closers.push(() => rm(postgres.directory, { recursive: true, force: true, maxRetries: 3 }))
    closers.push(() => postgres.release())
    const look = createClient(postgres.url, { max: 1, onnotice: () => {} })
    closers.push(() => look.end({ timeout: 5 }))
    stop.signal.throwIfAborted()
    return stageOf({ stop, folder, clerk, postgres, look, close })
  } catch (error) {
    await close()
    throw error
  }
}

interface Parts {
  readonly stop: AbortController
  readonly folder: string
  readonly clerk: Sandbox
  readonly postgres: EmbeddedPostgres
  readonly look: Sql
  readonly close: () => Promise<void>
}

function stageOf({ stop, folder, clerk, postgres, look, close }: Parts): Stage {
  const startedAt = performance.now()
  const failed: string[] = []
  let checks = 0
  const check = (claim: string, holds: boolean) => {
    checks++
    if (!holds) failed.push(claim)
    write(`   ${holds ? '✓' : '✗ NOT TRUE:'} ${claim}`)
  }
  return {
    clerk,
    say,
    show,
    check,
    close,
    introduce() {
      const { host } = new URL(postgres.url)
      say(
        `Clerk listens on ${clerk.url}, Postgres on ${host} with its data in ${folder}. Both are gone when this ends. ` +
          'Nothing of yours is read or touched: no .env, no DATABASE_URL, no key.',
      )
      say(
        `This Clerk answers as a production instance, 1,000 requests in 10 s; the demo takes half of them ` +
          `(CLERK_REQUESTS_PER_10S=${requestsPer10s}), as a live key does by itself.`,
      )
    },
    begin: (title) => write(`\n${title}\n`),
    async checkTable() {
      const { rows, values, different } = await compareTable(look, clerk.users.all())
      const claim =
        `the table equals Clerk: ${rows.toLocaleString('en')} rows, ` +
        `${values.toLocaleString('en')} values compared one by one, ${different.length} differ`
      check(claim, different.length === 0 && rows === clerk.users.size)
    },
    sync: (flags = {}, other = clerk) =>
      play(stop, { incremental: false, user: undefined, dryRun: false, ...unset, ...flags }, () =>
        loadConfig(
          {
            CLERK_SECRET_KEY: other.secretKey,
            CLERK_API_URL: other.url,
            CLERK_REQUESTS_PER_10S: String(requestsPer10s),
            DATABASE_URL: postgres.url,
          },
          folder,
        ),
      ),
    endpoint: () => openEndpoint(postgres.url, clerk),
    writes: () => readTableStatistics(look),
    conclude() {
      const seconds = ((performance.now() - startedAt) / 1000).toFixed(0)
      if (failed.length > 0) {
        write(`\n${failed.length} of ${checks} claims did not hold:`)
        for (const claim of failed) write(`   ✗ ${claim}`)
        return 1
      }
      write(`\nAll ${checks} claims held, in ${seconds} s.\n`)
      say(
        'With your own Clerk: copy .env.example to .env.local, fill in CLERK_SECRET_KEY, and look first with ' +
          '`npm run sync -- --dry-run`.',
      )
      return 0
    },
  }
}

const unset = { approveDeletes: undefined, acceptInstance: undefined }

async function openEndpoint(databaseUrl: string, clerk: Sandbox): Promise<Endpoint> {
  const database = openDatabase(databaseUrl, { connections: 1, applicationName: 'clerk-sync demo' })
  const { port, close } = await openWebhookServer({
    database,
    signingSecrets: [clerk.webhookSecret],
    policy: 'sync',
    log: createLog({ level: 'silent', destination: 'stderr', pretty: false }),
  }).catch(async (error) => {
    await database.close()
    throw error
  })
  return {
    async deliver({ headers, body }) {
      const url = `http://127.0.0.1:${port}/api/users/webhook`
      const answer = await fetch(url, { method: 'POST', headers, body })
      const { result } = (await answer.json()) as { result: string }
      return `${answer.status} ${result}`
    },
    async close() {
      await close()
      await database.close()
    },
  }
}

async function play(
  stop: AbortController,
  flags: RunFlags,
  configure: () => ReturnType<typeof loadConfig>,
): Promise<Played> {
  const config = configure()
  const changes: ShownChange[] = []
  show(`$ ${commandOf(flags)}`)
  const database = await openCommandDatabase(config.database, undefined, () => {})
  try {
    const outcome = await runOnce(config, flags, {
      database,
      log: createLog({ level: 'silent', destination: 'stderr', pretty: false }),
      stop,
      onProgress() {},
      onChange: (change) => void changes.push(change),
    })
    stop.signal.throwIfAborted()
    const exitCode = exitCodeOf(outcome, { detailedExitcode: false, skipIfRunning: false })
    show(`${summaryOf(outcome.report)}; exit ${exitCode}`)
    return { ...outcome, exitCode, changes }
  } finally {
    await database.close()
  }
}

function commandOf({ incremental, dryRun, approveDeletes }: RunFlags): string {
  const flags = [
    ...(incremental ? ['--incremental'] : []),
    ...(dryRun ? ['--dry-run'] : []),
    ...(approveDeletes === undefined ? [] : [`--approve-deletes ${approveDeletes}`]),
  ]
  return ['npm run sync', ...(flags.length === 0 ? [] : ['--', ...flags])].join(' ')
}

/** A change as the command line would show it, with long values cut short. */
export function lineOf(change: ShownChange, showValues: boolean): string {
  return changeLines(change, showValues)
    .map((line) => line.trim())
    .join('  ')
    .replace(/"([^"]{24})[^"]{8,}"/g, '"$1…"')
}

function say(text: string): void {
  let line = '  '
  for (const word of text.split(' ')) {
    if (line.length + word.length + 1 > textWidth) {
      write(line)
      line = '  '
    }
    line += ` ${word}`
  }
  write(line)
}

function show(line: string): void {
  write(`     ${line}`)
}

function write(line: string): void {
  process.stdout.write(`${line}\n`)
}
