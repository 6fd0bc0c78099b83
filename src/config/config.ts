// The configuration: read once, checked whole, then only passed on. This is the one file that reads `process.env`.
// All problems are told together, each as `NAME: what is wrong. What to do.`, and never with a value.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { z } from 'zod'
import { SyncError } from '../errors.ts'
import { checks, isLoopback, pasteError, proxyUrl, wrongProxy } from './checks.ts'
import { type DriverOptions, readDatabaseUrl } from './database-url.ts'
import { readEnvFile } from './env-file.ts'
import { unknownVariableHints, unusedVariableHints } from './hints.ts'
import { variables } from './variables.ts'

export { variables } from './variables.ts'

export interface Config {
  clerk: {
    secretKey: string
    /** An origin: no trailing slash, no `/v1`. */
    apiUrl: string
    /** Undefined: half of the instance's limit. */
    requestsPer10s: number | undefined
    lanes: number
    /** Undefined: Clerk is reached directly. */
    proxy: { url: string; noProxy: string } | undefined
    /** All that are valid; empty where none is set. */
    webhookSecrets: readonly string[]
  }
  /** `options` are the driver's, for what a URL cannot say to it. */
  database: { url: string; options?: DriverOptions } | { embedded: true }
  graceMs: number
  /** How long a batch of deletions may take. */
  deleteMsMax: number
  /** Undefined: the guard's own formula. */
  maxDeletes: number | undefined
  policy: 'sync' | 'upsert-only'
  /** Cron expressions; undefined where the schedule is off. */
  schedule: { incremental: string | undefined; full: string | undefined; timezone: string }
  http: { host: string; port: number; adminToken: string | undefined }
  logLevel: string
  /** To be said once at start. Names, no values. */
  warnings: string[]
}

/**
 * The configuration from the environment and the files in `directory`. Throws `SyncError('configuration')` that names
 * every problem at once.
 */
export function loadConfig(env: NodeJS.ProcessEnv = process.env, directory: string = process.cwd()): Config {
  const { values, problems, hints } = readFiles(directory, env)
  const given = givenOf(values)
  const checked = checks.safeParse(given)
  problems.push(...problemsOf(checked).map(withSandbox), ...proxyProblems(values))
  hints.push(...unknownVariableHints(values))
  const warnings = [...hints, ...unusedVariableHints(given)]

  const { CLERK_WEBHOOK_SIGNING_SECRET: secret, CLERK_SIGNING_SECRET: alias } = given
  if (secret !== undefined && alias !== undefined && secret !== alias) {
    problems.push('CLERK_SIGNING_SECRET: differs from CLERK_WEBHOOK_SIGNING_SECRET. Remove one of the two.')
  }

  const production = given.NODE_ENV === 'production'
  if (!production && /^prod/i.test(given.NODE_ENV ?? '')) {
    warnings.push('NODE_ENV: only the exact word production counts as production.')
  }
  const database = databaseOf(given, directory, problems, warnings)

  if (!checked.success || problems.length > 0) throw configurationError(problems, hints)
  const read = checked.data
  const incremental = scheduleOf(read.INCREMENTAL_SCHEDULE)
  const full = scheduleOf(read.FULL_SCHEDULE)
  if (incremental === undefined && full === undefined) {
    warnings.push('INCREMENTAL_SCHEDULE, FULL_SCHEDULE: both are off; nothing finds what webhooks miss.')
  }
  return {
    clerk: {
      secretKey: read.CLERK_SECRET_KEY,
      apiUrl: read.CLERK_API_URL,
      requestsPer10s: read.CLERK_REQUESTS_PER_10S,
      lanes: read.CLERK_LANES,
      proxy: proxyOf(values, read.CLERK_API_URL),
      webhookSecrets: read.CLERK_WEBHOOK_SIGNING_SECRET ?? read.CLERK_SIGNING_SECRET ?? [],
    },
    database,
    graceMs: read.GRACE_SECONDS * 1000,
    deleteMsMax: read.DELETE_TIMEOUT_SECONDS * 1000,
    maxDeletes: read.MAX_DELETES,
    policy: read.SYNC_POLICY,
    schedule: { incremental, full, timezone: read.SCHEDULE_TIMEZONE },
    http: { host: read.HOST, port: read.PORT, adminToken: read.ADMIN_TOKEN },
    logLevel: read.LOG_LEVEL,
    warnings,
  }
}

/** What is set under either way of writing the name; in lower case it wins, as it does for curl. */
const eitherCase = (values: Record<string, string>, name: string) =>
  (values[name.toLowerCase()] || values[name] || '').trim()

function proxyProblems(values: Record<string, string>): string[] {
  const wrong = wrongProxy(eitherCase(values, 'HTTPS_PROXY'))
  return wrong === undefined ? [] : [`HTTPS_PROXY: ${wrong}`]
}

/** The proxy that leads to Clerk. This machine is never reached through one. */
function proxyOf(values: Record<string, string>, apiUrl: string): Config['clerk']['proxy'] {
  const given = eitherCase(values, 'HTTPS_PROXY')
  if (given === '' || isLoopback(new URL(apiUrl).hostname)) return undefined
  return { url: proxyUrl(given), noProxy: eitherCase(values, 'NO_PROXY') }
}

/** The database that is meant. What is wrong with it goes to `problems`. */
function databaseOf(
  given: Record<string, string | undefined>,
  directory: string,
  problems: string[],
  warnings: string[],
): Config['database'] {
  if (given.DATABASE_URL !== undefined) {
    const wrong = pasteError(given.DATABASE_URL)
    const read = wrong === undefined ? readDatabaseUrl(given.DATABASE_URL, directory) : { problem: wrong }
    if ('address' in read) {
      warnings.push(...read.address.warnings)
      return { url: read.address.url, options: read.address.options }
    }
    problems.push(`DATABASE_URL: ${read.problem}`)
    return { embedded: true }
  }
  const production = given.NODE_ENV === 'production'
  if (production || given.CLERK_SECRET_KEY?.startsWith('sk_live_')) {
    const why = production ? 'NODE_ENV is production' : 'the Clerk key is a live one'
    problems.push(
      `DATABASE_URL: is not set, and ${why}. Set it to your Postgres, postgres://user:password@host:5432/database.`,
    )
  } else if (!isSourceCheckout()) {
    problems.push(
      'DATABASE_URL: is not set. Set it to your Postgres, postgres://user:password@host:5432/database; only a source checkout has one of its own.',
    )
  }
  return { embedded: true }
}

/**
 * What a command needs that never asks Clerk (`status`, `migrate`): the database alone, without a key. Throws
 * `SyncError('configuration')`.
 */
export function loadDatabase(
  env: NodeJS.ProcessEnv = process.env,
  directory: string = process.cwd(),
): Pick<Config, 'database' | 'logLevel' | 'warnings'> {
  const { values, problems, hints } = readFiles(directory, env)
  const given = givenOf(values)
  const checked = checks.pick({ LOG_LEVEL: true }).safeParse(given)
  problems.push(...problemsOf(checked))
  const warnings = [...hints]
  const database = databaseOf(given, directory, problems, warnings)
  if (!checked.success || problems.length > 0) throw configurationError(problems, hints)
  return { database, logLevel: checked.data.LOG_LEVEL, warnings }
}

/**
 * What the tunnel to this machine needs, and nothing else: it runs without a key of Clerk's. Throws
 * `SyncError('configuration')`.
 */
export function loadTunnel(
  env: NodeJS.ProcessEnv = process.env,
  directory: string = process.cwd(),
): { authtoken: string; domain: string; port: number; warnings: string[] } {
  const { values, problems, hints } = readFiles(directory, env)
  const checked = checks
    .pick({ PORT: true, NGROK_AUTHTOKEN: true, NGROK_DOMAIN: true })
    .safeParse(givenOf(values))
  problems.push(...problemsOf(checked))
  const { NGROK_AUTHTOKEN: authtoken, NGROK_DOMAIN: domain, PORT: port } = checked.data ?? {}
  if (checked.success && authtoken === undefined) {
    problems.push(
      'NGROK_AUTHTOKEN: is not set. Copy the token from https://dashboard.ngrok.com/get-started/your-authtoken.',
    )
  }
  if (checked.success && domain === undefined) {
    problems.push(
      'NGROK_DOMAIN: is not set. Copy your static domain from https://dashboard.ngrok.com/domains.',
    )
  }
  if (authtoken === undefined || domain === undefined || port === undefined || problems.length > 0) {
    throw configurationError(problems, hints)
  }
  return { authtoken, domain, port, warnings: hints }
}

/**
 * The environment laid over `.env.local`, laid over `.env`. What is set to nothing hides what lies beneath, so that
 * `DATABASE_URL= npm run sync` never reaches the database of the file. Throws `SyncError('configuration')` for a file
 * that is there and cannot be read.
 */
export function readEnvironment(directory: string, env: NodeJS.ProcessEnv): Record<string, string> {
  const { values, problems, hints } = readFiles(directory, env)
  if (problems.length > 0) throw configurationError(problems, hints)
  return values
}

/** The environment itself, for what npm left in it. Settings are read by `loadConfig` and its kin. */
export function environment(): NodeJS.ProcessEnv {
  return process.env
}

/** A newcomer may have no account at Clerk's yet. */
function withSandbox(problem: string): string {
  if (!problem.startsWith('CLERK_SECRET_KEY: is not set') || !isSourceCheckout()) return problem
  return `${problem} Or try it without an account: \`npm run sandbox\` prints the lines for .env.`
}

/** The compiled build leaves `dev/` out, and with it the sandbox and the embedded Postgres. */
function isSourceCheckout(): boolean {
  return existsSync(new URL('../dev/cli.ts', import.meta.url))
}

/** What is set among the variables we know. */
function givenOf(values: Record<string, string>): Record<string, string | undefined> {
  const given: Record<string, string | undefined> = {}
  for (const { name, secret } of variables) {
    const value = values[name]
    if (value === undefined || value.trim() === '') continue
    given[name] = secret ? value : value.trim()
  }
  return given
}

const names: ReadonlySet<string> = new Set(variables.map(({ name }) => name))

function readFiles(directory: string, env: NodeJS.ProcessEnv) {
  const problems: string[] = []
  const hints: string[] = []
  const values: Record<string, string> = {}
  for (const file of ['.env', '.env.local']) {
    try {
      const text = readFileSync(join(directory, file), 'utf8')
      // What PowerShell's `>` writes. It would parse as no variables at all.
      if (text.includes('\0') || text.includes('\ufffd')) {
        problems.push(`${file}: is not UTF-8 text. Save it again in that encoding.`)
        continue
      }
      const read = readEnvFile(file, text, names)
      Object.assign(values, read.values)
      problems.push(...read.problems)
      hints.push(...read.warnings)
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code
      if (code === 'ENOENT' || code === 'ENOTDIR') continue
      problems.push(
        code === 'EISDIR'
          ? `${file}: is a directory. Remove it and put a file there (a container makes one of a missing mount).`
          : `${file}: cannot be read. Give this user the right to read it, or remove it.`,
      )
    }
  }
  for (const [name, value] of Object.entries(env)) if (value !== undefined) values[name] = value
  return { values, problems, hints }
}

function problemsOf(checked: z.ZodSafeParseResult<unknown>): string[] {
  return (checked.error?.issues ?? []).map((issue) => `${issue.path.join('.')}: ${issue.message}`)
}

function configurationError(problems: string[], hints: string[] = []): SyncError {
  const count = problems.length === 1 ? 'a problem' : `${problems.length} problems`
  return new SyncError(
    'configuration',
    `The configuration has ${count}.\n${[...problems, ...hints].join('\n')}`,
    {
      hint: 'Set the variables in .env.local or in the environment; .env.example lists them all.',
      facts: { problems: problems.length },
    },
  )
}

function scheduleOf(value: string): string | undefined {
  return value.toLowerCase() === 'off' ? undefined : value
}
