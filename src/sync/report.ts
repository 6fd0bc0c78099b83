// The report of a run, its status and its exit code. Pure: what other people's tools hold on to is decided here.
import { isSyncError, type SyncError } from '../errors.ts'
import { deletesRows, type Policy } from './deletion-policy.ts'
import type { Counts, Rejection } from './finding.ts'
import type { Findings } from './findings.ts'

export type Status = 'succeeded' | 'partial' | 'withheld' | 'refused' | 'skipped' | 'failed' | 'aborted'

export interface Report {
  /** Null where no run was recorded: a dry run, or a failure before it. A single user's run is recorded too. */
  readonly runId: number | null
  /** What was done, also after a step up. */
  readonly pass: 'full' | 'incremental' | 'user'
  readonly trigger: string
  readonly status: Status
  readonly dryRun: boolean
  readonly instanceId: string | null
  /** Rows that SQL returned, not rows planned. */
  readonly counts: Counts
  readonly requests: { readonly total: number; readonly throttled: number }
  /** Fallbacks used, and what is open. */
  readonly notes: readonly string[]
  readonly startedAt: string
  readonly finishedAt: string
  readonly durationMs: number
  readonly error: { readonly kind: string; readonly message: string; readonly hint?: string } | null
}

/** The status of a run, from its findings, its error, and whether it had written anything by then. */
export function statusOf(findings: Findings, policy: Policy, error: unknown, hasWritten: boolean): Status {
  if (error !== undefined) return statusOfError(error, hasWritten)
  if (findings.isPartial()) return 'partial'
  return findings.counts().withheld > 0 && deletesRows(policy) ? 'withheld' : 'succeeded'
}

function statusOfError(error: unknown, hasWritten: boolean): Status {
  if (!isSyncError(error)) return 'failed'
  if (error.kind === 'aborted') return 'aborted'
  if (error.kind === 'busy' && error.facts.lost === undefined) return 'skipped'
  // A failure says that nothing was written. A key that is revoked in the middle of a run comes too late for that.
  return isRefusal(error.kind) && !hasWritten ? 'refused' : 'failed'
}

const isRefusal = (kind: SyncError['kind']) => kind === 'refused' || kind === 'configuration'

/** The error as the report shows it. A failure of our own shows no message, which might carry anything. */
export function describeError(error: unknown): NonNullable<Report['error']> | null {
  if (error === undefined) return null
  if (!isSyncError(error)) {
    return {
      kind: 'bug',
      message: 'the run failed for a reason this tool does not know',
      hint: 'The log has where it happened. Please report it.',
    }
  }
  return {
    kind: error.kind,
    message: error.message,
    ...(error.hint === undefined ? {} : { hint: error.hint }),
  }
}

/** Exit codes by meaning, from sysexits.h where it has one. */
export const exitCodes = {
  succeeded: 0,
  failed: 1,
  changesFound: 2,
  withheld: 3,
  partial: 4,
  usage: 64,
  tryAgainLater: 75,
  configuration: 78,
} as const

/** The exit code of a failure. A signal's is 128 and its number. */
export function exitCodeOfError(error: unknown): number {
  if (!isSyncError(error)) return exitCodes.failed
  return exitCodeOfKind(error.kind, error)
}

function exitCodeOfKind(kind: SyncError['kind'], error: SyncError): number {
  switch (kind) {
    case 'usage':
      return exitCodes.usage
    case 'configuration':
    case 'refused':
      return exitCodes.configuration
    case 'aborted':
      return error.facts.signal === 'SIGINT' ? 130 : 143
    case 'busy':
    case 'transient':
      return exitCodes.tryAgainLater
    default:
      return exitCodes.failed
  }
}

/** The exit code of a run. Where several hold, the first of 64, 78, 130/143, 75, 1, 4, 3, 2, 0. */
export function exitCodeOf(
  outcome: { report: Report; error: unknown; complete: boolean },
  flags: { detailedExitcode: boolean; skipIfRunning: boolean },
): number {
  const { report, error } = outcome
  if (error !== undefined) {
    if (report.status === 'skipped' && flags.skipIfRunning) return exitCodes.succeeded
    const isLateRefusal = report.status === 'failed' && isSyncError(error) && isRefusal(error.kind)
    return isLateRefusal ? exitCodes.failed : exitCodeOfError(error)
  }
  // A dry run that read everything has done its job, whatever it found; a script that asks for details gets them.
  if (report.dryRun && !flags.detailedExitcode)
    return outcome.complete ? exitCodes.succeeded : exitCodes.partial
  if (report.status === 'partial') return exitCodes.partial
  if (report.status === 'withheld') return exitCodes.withheld
  const { created, updated, refreshed, deleted } = report.counts
  return report.dryRun && created + updated + refreshed + deleted > 0
    ? exitCodes.changesFound
    : exitCodes.succeeded
}

/** The counts in the order in which they are shown. */
export const countNames = [
  'seen',
  'created',
  'updated',
  'refreshed',
  'unchanged',
  'deleted',
  'pending',
  'withheld',
  'rejected',
] as const satisfies readonly (keyof Counts)[]

/** One line for a person, without ids, emails or names. */
export function summaryOf(report: Report): string {
  const named = countNames
    .filter((name) => name === 'seen' || report.counts[name] > 0)
    .map((name) => `${report.counts[name].toLocaleString('en')} ${name}`)
  const seconds = (report.durationMs / 1000).toFixed(1)
  const what = report.dryRun ? `${report.pass} pass, dry run` : `${report.pass} pass`
  return `${what} ${report.status}: ${named.join(', ')}; ${report.requests.total} requests in ${seconds} s`
}

/** The rejected as text, at most `limit` of them. */
export function rejectionLines(rejections: readonly Rejection[], limit: number): string[] {
  const lines = rejections.slice(0, limit).map((each) => `rejected ${each.clerkId}: ${each.reason}`)
  return rejections.length > limit ? [...lines, `… and ${rejections.length - limit} more`] : lines
}
