// The line that a run leaves in the table of runs, and with it, in one transaction, where its pass leaves things.
import { rememberAltered } from '../db/altered.ts'
import { type Database, transaction } from '../db/database.ts'
import { forgetFirstSeen } from '../db/first-seen.ts'
import { endHold } from '../db/hold.ts'
import { type Lease, leaseLost } from '../db/lease.ts'
import { finishRun, forgetOldRuns } from '../db/runs.ts'
import { saveCheckpoint } from '../db/state.ts'
import { forgetOldTombstones } from '../db/tombstones.ts'
import { recordOf } from './early-end.ts'
import { namesMax } from './known-difference.ts'
import { asOperatingError } from './operating-error.ts'
import type { Report } from './report.ts'
import type { Run } from './run-state.ts'

/** How long the record may take, ms. Without it the lease is free 30 s later. */
const recordMsMax = { usual: 10_000, stopped: 3000 }

/** Writes the end of a run with that lease. Returns the failure if that was not possible. */
export async function recordRun(
  database: Database,
  run: Run,
  lease: Lease,
  report: Report,
  isStopped: boolean,
): Promise<unknown> {
  const entry = recordOf(report, run.findings, run.start?.known)
  const { instanceId, end: { checkpoint, endedHold } = {} } = run
  try {
    const wasOurs = await transaction(
      database,
      async (tx) => {
        if (!(await finishRun(tx, lease.runId, entry))) return false
        if (checkpoint !== undefined && instanceId !== null) {
          await saveCheckpoint(tx, instanceId, checkpoint, run.start?.state?.tableIdentity ?? null)
          if (endedHold !== undefined) await endHold(tx, endedHold)
          await forgetOldRuns(tx)
          await forgetOldTombstones(tx)
          await forgetFirstSeen(tx)
        } else {
          // Else a pass that is never complete would write these rows in each run.
          const { altered } = run.findings.openItems()
          if (altered.length > 0) await rememberAltered(tx, altered.slice(0, namesMax))
        }
        return true
      },
      isStopped ? recordMsMax.stopped : recordMsMax.usual,
    )
    return wasOurs ? undefined : leaseLost(lease.runId)
  } catch (failure) {
    return asOperatingError(failure)
  }
}
