// The report of a run, from what has been settled of it.
import { describeError, type Report, statusOf } from './report.ts'
import type { RunDeps, RunRequest } from './run-request.ts'
import { hasWritten, type Run } from './run-state.ts'

/** Returns the report of a run that ends now, with that error if it is not undefined. */
export function buildReport(
  request: RunRequest,
  { clerk }: Pick<RunDeps, 'clerk'>,
  run: Run,
  error: unknown,
): Report {
  const finishedAt = new Date()
  return {
    runId: run.lease?.runId ?? null,
    pass: run.findings.pass,
    trigger: request.trigger,
    status: statusOf(run.findings, request.options.policy, error, hasWritten(run, request.dryRun)),
    dryRun: request.dryRun,
    instanceId: run.instanceId,
    counts: run.findings.counts(),
    requests: { ...clerk.requests },
    notes: [...run.findings.notes(), ...clerk.notes()],
    startedAt: run.startedAt.toISOString(),
    finishedAt: finishedAt.toISOString(),
    durationMs: finishedAt.getTime() - run.startedAt.getTime(),
    error: describeError(error),
  }
}
