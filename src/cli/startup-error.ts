// A command that could not begin: the error for a reader, the report that `sync --json` prints in every case,
// and the exit code.
import { CommanderError } from 'commander'
import { isSyncError, SyncError } from '../errors.ts'
import { Findings } from '../sync/findings.ts'
import { describeError, exitCodeOfError, exitCodes, type Report } from '../sync/report.ts'
import { sayError } from './output.ts'

/** Prints why the command with these arguments did not begin. Returns its exit code. */
export function reportStartupError(thrown: unknown, args: readonly string[]): number {
  // The parser has had its say on stderr.
  if (!(thrown instanceof CommanderError)) sayError(thrown)
  else if (thrown.exitCode === exitCodes.succeeded) return exitCodes.succeeded
  const error = thrown instanceof CommanderError ? usageError(thrown) : thrown
  // Not for a `--json` that npm kept: with it npm prints an object of its own.
  if (args[0] === 'sync' && args.includes('--json'))
    process.stdout.write(`${JSON.stringify(reportOf(error, args))}\n`)
  return exitCodeOfError(error)
}

function usageError(error: CommanderError): SyncError {
  return new SyncError('usage', error.message.replace(/^error: /, ''), {
    hint: '`npm run sync -- --help` shows the flags.',
  })
}

/** The report of a run that never was. */
function reportOf(error: unknown, args: readonly string[]): Report {
  const startedAt = new Date(performance.timeOrigin)
  const finishedAt = new Date()
  return {
    runId: null,
    pass: passOf(args),
    trigger: 'cli',
    status: statusOf(error),
    dryRun: args.includes('--dry-run'),
    instanceId: null,
    counts: new Findings('full').counts(),
    requests: { total: 0, throttled: 0 },
    notes: [],
    startedAt: startedAt.toISOString(),
    finishedAt: finishedAt.toISOString(),
    durationMs: finishedAt.getTime() - startedAt.getTime(),
    error: describeError(error),
  }
}

function passOf(args: readonly string[]): Report['pass'] {
  if (args.some((arg) => /^--user(=|$)/.test(arg))) return 'user'
  return args.includes('--incremental') ? 'incremental' : 'full'
}

function statusOf(error: unknown): Report['status'] {
  if (!isSyncError(error)) return 'failed'
  if (error.kind === 'aborted') return 'aborted'
  return error.kind === 'usage' || error.kind === 'configuration' ? 'refused' : 'failed'
}
