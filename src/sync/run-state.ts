// What has been settled of a run so far, for a report that is true wherever it ends. Only reconcile.ts writes it.
import type { Lease } from '../db/lease.ts'
import { Findings } from './findings.ts'
import type { PassStart } from './pass-context.ts'
import type { PassEnd } from './run-pass.ts'
import type { RunRequest } from './run-request.ts'

export interface Run {
  readonly startedAt: Date
  instanceId: string | null
  /** True once Postgres has answered that it has a table of runs. */
  hasLedger: boolean
  /** True once it has bound the table to an instance. */
  hasBound: boolean
  /** Its line in the table of runs, which is the lease unless it is about a single user. */
  lease: Lease | undefined
  readonly findings: Findings
  /** Undefined until a pass begins. */
  start: PassStart | undefined
  /** Undefined until it ends. */
  end: PassEnd | undefined
}

export function newRun(request: RunRequest): Run {
  return {
    startedAt: new Date(),
    instanceId: null,
    hasLedger: false,
    hasBound: false,
    lease: undefined,
    findings: new Findings(request.userId === undefined ? (request.pass ?? 'full') : 'user'),
    start: undefined,
    end: undefined,
  }
}

/** True once the table was bound, or a row of `users` written or deleted. */
export function hasWritten(run: Run, dryRun: boolean): boolean {
  const { created, updated, refreshed, deleted } = run.findings.counts()
  return run.hasBound || (!dryRun && created + updated + refreshed + deleted > 0)
}
