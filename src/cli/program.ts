// The command line: which commands and flags there are, and which exit code each failure gets.
import { type Command, InvalidArgumentError, Option } from 'commander'
import { isClerkUserId } from '../clerk/user.ts'
import { loadConfig, loadDatabase } from '../config/config.ts'
import { migrate } from '../db/migrate.ts'
import { SyncError } from '../errors.ts'
import { createProgram, refuseSwallowedFlags } from './command-line.ts'
import { type CommandDatabase, type OpenEmbeddedPostgres, openCommandDatabase } from './database.ts'
import { createOutput, type Format, type Output, sayEmbedded } from './output.ts'
import { reportStartupError } from './startup-error.ts'
import { type StatusFlags, statusCommand } from './status.ts'
import { type SyncFlags, syncCommand } from './sync.ts'
import { version } from './version.ts'
import { workerCommand } from './worker.ts'
import { createWorkerText } from './worker-text.ts'

const exitCodesHelp = `
Exit codes:
  0    the table equals Clerk, but for what is pending (or a dry run finished); --incremental:
       all that Clerk changed since the last pass is in the table, and the counts agree
  1    failed
  2    --dry-run --detailed-exitcode found changes
  3    deletions withheld, everything else applied
  4    finished in part: users were rejected, Clerk could not be read to the end, or clocks disagree
  64   wrong usage           78   wrong configuration, key or instance: nothing was written
  75   try again later: another run holds the lease, or Clerk or Postgres stayed unreachable
  130  SIGINT                143  SIGTERM, after a clean stop`

const formatOption = () =>
  new Option(
    '--format <format>',
    'text for a person or one JSON line per event; default: text on a terminal',
  ).choices(['text', 'json'])

export interface CliOptions {
  /** What a command does where DATABASE_URL is not set; undefined where there is no embedded Postgres. */
  readonly openEmbeddedPostgres?: OpenEmbeddedPostgres
}

/** Runs the command that `argv`, as `process.argv`, asks for, and sets the exit code. Never throws. */
export async function runCli(argv: readonly string[], options: CliOptions = {}): Promise<void> {
  try {
    const program = createProgram('clerk-sync')
      .description('Keeps a Postgres users table equal to a Clerk instance.')
      .version(version, '--version', 'print the version')
    addSync(program, options)
    addWorker(program, options)
    addStatus(program, options)
    addMigrate(program, options)
    refuseSwallowedFlags(program, argv.slice(3))
    await program.parseAsync(argv)
  } catch (error) {
    process.exitCode = reportStartupError(error, argv.slice(2))
  }
}

function addSync(program: Command, options: CliOptions): void {
  program
    .command('sync')
    .description('One pass over all users, then exit.')
    .option(
      '--incremental',
      'read only what Clerk changed since the last pass; if counts or table disagree, a full pass',
      false,
    )
    .option('--user <id>', 'reconcile this one user', userId)
    .option('--dry-run', 'show what would change, column by column; write nothing', false)
    .option('--all', 'with --dry-run: show every change, not the first 20 of each kind')
    .option('--show-values', 'with --dry-run: show names and addresses, not only their length', false)
    .option('--detailed-exitcode', 'with --dry-run: exit 2 if there is something to change', false)
    .option('--json', 'print exactly one JSON object, the report, on stdout; the log goes to stderr', false)
    .addOption(formatOption())
    .option(
      '--approve-deletes <n>',
      'let this run delete up to n rows; n:list, as a run prints it: no row outside of that list',
      approval,
    )
    .option('--accept-instance <id>', "let the table follow the key's instance, named here", instanceId)
    .option('--skip-if-running', 'exit 0 instead of 75 if another run holds the lease', false)
    .addHelpText('after', exitCodesHelp)
    .action(async (typed: Omit<SyncFlags, keyof Approval> & { approveDeletes?: Approval }) => {
      const flags: SyncFlags = { ...typed, approveDeletes: undefined, ...typed.approveDeletes }
      checkSyncFlags(flags)
      const config = loadConfig()
      const output = createOutput({ json: flags.json, format: flags.format, logLevel: config.logLevel })
      process.exitCode = await syncCommand(config, flags, output, options.openEmbeddedPostgres)
    })
}

/** Throws `SyncError('usage')` for flags that do not go together. */
function checkSyncFlags(flags: SyncFlags): void {
  if (flags.showValues && !flags.dryRun) throw wrongUsage('--show-values goes with --dry-run')
  if (flags.all && !flags.dryRun) throw wrongUsage('--all goes with --dry-run')
  if (flags.detailedExitcode && !flags.dryRun) throw wrongUsage('--detailed-exitcode goes with --dry-run')
  if (flags.user !== undefined && (flags.incremental || flags.approveDeletes !== undefined)) {
    throw wrongUsage('--user goes neither with --incremental nor with --approve-deletes')
  }
  if (flags.user !== undefined && flags.acceptInstance !== undefined) {
    throw wrongUsage('--user does not go with --accept-instance: the whole table moves, or none of it')
  }
}

function addWorker(program: Command, options: CliOptions): void {
  program
    .command('worker')
    .description('The service: scheduled passes, the webhook endpoint, health. Ends with 0 after a signal.')
    .addOption(formatOption())
    .action(async ({ format }: { format: Format | undefined }) => {
      const config = loadConfig()
      const serviceText = createWorkerText(config.schedule)
      const output = createOutput({ json: false, format, logLevel: config.logLevel, serviceText })
      await workerCommand(config, output, options.openEmbeddedPostgres)
      // A connection that is still being made would hold the process until it times out.
      process.exit(0)
    })
}

function addStatus(program: Command, options: CliOptions): void {
  program
    .command('status')
    .description('The last runs and what they found.')
    .option('--json', 'print one JSON object', false)
    .addOption(formatOption())
    .addOption(new Option('--limit <n>', 'how many runs').default(10).argParser(wholeNumber))
    .option('--all', 'name every withheld deletion, not only the first 10', false)
    .option('--show-values', 'with the names in the rows whose deletion is withheld', false)
    .action(async (flags: OutputFlags & StatusFlags) => {
      await withDatabase(flags, options, (database, output) => statusCommand(database, output, flags))
    })
}

function addMigrate(program: Command, options: CliOptions): void {
  program
    .command('migrate')
    .description('Bring the database to the newest schema. `sync` does it too, if its role may.')
    .action(async () => {
      await withDatabase({ json: false, format: undefined }, options, async (database, output) => {
        const { applied } = await migrate(database.open({ connections: 1 }))
        output.say(applied === 0 ? 'the schema is up to date' : `${applied} migrations applied`)
        output.log.info({ applied }, 'migrated')
      })
    })
}

interface OutputFlags {
  readonly json: boolean
  readonly format: Format | undefined
}

/** For a command that never asks Clerk. Closes the database. */
async function withDatabase(
  flags: OutputFlags,
  { openEmbeddedPostgres }: CliOptions,
  run: (database: CommandDatabase, output: Output) => Promise<void>,
): Promise<void> {
  const config = loadDatabase()
  const output = createOutput({ ...flags, logLevel: config.logLevel })
  for (const warning of config.warnings) output.log.warn(warning)
  const database = await openCommandDatabase(config.database, openEmbeddedPostgres, (message) =>
    output.log.info(message),
  )
  try {
    if (database.embeddedUrl !== undefined) sayEmbedded(database.embeddedUrl, output)
    await run(database, output)
  } finally {
    await database.close()
  }
}

function wholeNumber(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('It takes a whole number.')
  return Number(text)
}

interface Approval {
  readonly approveDeletes: number
  readonly approvedList: string | undefined
}

function approval(text: string): Approval {
  const [, count, list] = /^(\d{1,9})(?::([0-9a-f]{8}))?$/.exec(text) ?? []
  if (count === undefined)
    throw new InvalidArgumentError('It takes a whole number, or 12:ab12cd34 as a run prints it.')
  return { approveDeletes: Number(count), approvedList: list }
}

function userId(text: string): string {
  if (!isClerkUserId(text)) throw new InvalidArgumentError('It takes an id like user_2abc.')
  return text
}

function instanceId(text: string): string {
  if (!/^ins_\w+$/.test(text)) throw new InvalidArgumentError('It takes an id like ins_2abc.')
  return text
}

function wrongUsage(message: string): SyncError {
  return new SyncError('usage', message, { hint: '`npm run sync -- --help` shows the flags.' })
}
