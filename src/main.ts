#!/usr/bin/env node
// The command line: which commands and flags there are, and which exit code each failure gets.
import { InvalidArgumentError, Option } from 'commander'
import { isClerkUserId } from './clerk/user.ts'
import { createProgram, refuseSwallowedFlags } from './cli/command-line.ts'
import { createOutput, type Format, sayEmbedded } from './cli/output.ts'
import { reportStartupError } from './cli/startup-error.ts'
import { type StatusFlags, statusCommand } from './cli/status.ts'
import { type SyncFlags, syncCommand } from './cli/sync.ts'
import { openTarget } from './cli/target.ts'
import { version } from './cli/version.ts'
import { workerCommand } from './cli/worker.ts'
import { createWorkerText } from './cli/worker-text.ts'
import { loadConfig, loadDatabase } from './config/config.ts'
import { migrate } from './db/migrate.ts'
import { SyncError } from './errors.ts'

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

const program = createProgram('clerk-sync')
  .description('Keeps a Postgres users table equal to a Clerk instance.')
  .version(version, '--version', 'print the version')

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
  .action((typed: Omit<SyncFlags, keyof Approval> & { approveDeletes?: Approval }) => {
    const flags: SyncFlags = { ...typed, approveDeletes: undefined, ...typed.approveDeletes }
    if (flags.showValues && !flags.dryRun) throw wrongUsage('--show-values goes with --dry-run')
    if (flags.all && !flags.dryRun) throw wrongUsage('--all goes with --dry-run')
    if (flags.detailedExitcode && !flags.dryRun) throw wrongUsage('--detailed-exitcode goes with --dry-run')
    if (flags.user !== undefined && (flags.incremental || flags.approveDeletes !== undefined)) {
      throw wrongUsage('--user goes neither with --incremental nor with --approve-deletes')
    }
    if (flags.user !== undefined && flags.acceptInstance !== undefined) {
      throw wrongUsage('--user does not go with --accept-instance: the whole table moves, or none of it')
    }
    return runSync(flags)
  })

program
  .command('worker')
  .description('The service: scheduled passes, the webhook endpoint, health. Ends with 0 after a signal.')
  .addOption(formatOption())
  .action(async ({ format }: { format: Format | undefined }) => {
    const config = loadConfig()
    const serviceText = createWorkerText(config.schedule)
    const output = createOutput({ json: false, format, logLevel: config.logLevel, serviceText })
    await workerCommand(config, output)
    // A connection that is still being made would hold the process until it times out.
    process.exit(0)
  })

program
  .command('status')
  .description('The last runs and what they found.')
  .option('--json', 'print one JSON object', false)
  .addOption(formatOption())
  .addOption(new Option('--limit <n>', 'how many runs').default(10).argParser(wholeNumber))
  .option('--all', 'name every withheld deletion, not only the first 10', false)
  .option('--show-values', 'with the names in the rows whose deletion is withheld', false)
  .action(async (flags: { json: boolean; format: Format | undefined } & StatusFlags) => {
    await withTarget(flags, (target, output) => statusCommand(target, output, flags))
  })

program
  .command('migrate')
  .description('Bring the database to the newest schema. `sync` does it too, if its role may.')
  .action(async () => {
    await withTarget({ json: false, format: undefined }, async (target, output) => {
      const { applied } = await migrate(target.open({ connections: 1 }))
      output.say(applied === 0 ? 'the schema is up to date' : `${applied} migrations applied`)
      output.log.info({ applied }, 'migrated')
    })
  })

async function runSync(flags: SyncFlags): Promise<void> {
  const config = loadConfig()
  const output = createOutput({ json: flags.json, format: flags.format, logLevel: config.logLevel })
  process.exitCode = await syncCommand(config, flags, output)
}

async function withTarget(
  flags: { json: boolean; format: Format | undefined },
  run: (
    target: Awaited<ReturnType<typeof openTarget>>,
    output: ReturnType<typeof createOutput>,
  ) => Promise<void>,
): Promise<void> {
  const config = loadDatabase()
  const output = createOutput({ ...flags, logLevel: config.logLevel })
  for (const warning of config.warnings) output.log.warn(warning)
  const target = await openTarget(config.database, (message) => output.log.info(message))
  try {
    if (target.embeddedUrl !== undefined) sayEmbedded(target.embeddedUrl, output)
    await run(target, output)
  } finally {
    await target.close()
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

try {
  refuseSwallowedFlags(program, process.argv.slice(3))
  await program.parseAsync()
} catch (error) {
  process.exitCode = reportStartupError(error, process.argv.slice(2))
}
