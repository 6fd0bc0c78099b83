// What a run says in the log: one line when it starts and one when it ends, and one for each rejected user.
import type { Log } from '../log.ts'
import { thisProcess } from './lease.ts'
import type { RunDeps, RunOutcome, RunRequest } from './run-request.ts'
import type { Run } from './run-state.ts'

/** Logs which program starts a run, where, and the number under which the history has it. */
export function logStart({ trigger, dryRun }: RunRequest, { log, version }: RunDeps, run: Run): void {
  const facts = {
    runId: run.lease?.runId ?? null,
    pass: run.findings.pass,
    trigger,
    dryRun,
    host: thisProcess,
  }
  log.info({ version, ...facts }, 'run started')
}

/**
 * One line for each rejected user and one for the run, a warning where something is left to do; the error with its
 * causes, which the report leaves out.
 */
export function logOutcome(log: Log, { report, rejections, error }: RunOutcome): void {
  for (const { clerkId, reason } of rejections) log.warn({ clerkId, reason }, 'user rejected')
  const isOpen = report.status === 'partial' || report.status === 'withheld'
  if (error === undefined) log[isOpen ? 'warn' : 'info']({ report }, 'run finished')
  else if (report.status === 'skipped') log.info({ report }, 'run skipped')
  else log.error({ report, err: error }, 'run failed')
}
