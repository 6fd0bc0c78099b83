// The line that a run leaves in the ledger: also one that ended before it got any, by a wrong key or a Clerk that is away,
// so that the history does not end in the last success.
import type { Database } from '../db/database.ts'
import { noteEndedRun, type RunRecord } from '../db/runs.ts'
import type { Log } from '../log.ts'
import { missedSince } from './approval.ts'
import type { Findings } from './findings.ts'
import { thisProcess } from './lease.ts'
import type { LeftOpen } from './pass.ts'
import type { Report } from './report.ts'

/** How long it may take: the run has failed, and its caller waits. */
const noteMsMax = 3000

/** What the ledger keeps of a report. */
export function recordOf(report: Report, findings: Findings, known?: LeftOpen): RunRecord {
  const { pass, status, counts, requests, notes, error } = report
  return {
    pass,
    status,
    counts,
    requests,
    notes,
    error,
    rejected: findings.rejections(),
    withheld: withheldOf(findings, known),
  }
}

/** The rows whose deletion was withheld, by name, with the moment since which passes have missed their users. */
function withheldOf(findings: Findings, known: LeftOpen | undefined): RunRecord['withheld'] {
  const since = missedSince(known)
  return findings
    .openItems()
    .withheld.sort()
    .map((clerkId) => {
      const at = since.get(clerkId)
      return { clerkId, missedSince: at === undefined ? null : new Date(at).toISOString() }
    })
}

/**
 * Writes the line of a run that got none. Returns its number, null if it could not be written, which changes nothing
 * about how the run ended.
 */
export async function noteEarlyEnd(
  report: Report,
  findings: Findings,
  { database, log }: { database: Database; log: Log },
  options: { approveDeletes: number | undefined },
): Promise<number | null> {
  const { pass, trigger, instanceId, durationMs } = report
  const approveDeletes = options.approveDeletes ?? null
  const line = { pass, trigger, instanceId, approveDeletes, host: thisProcess }
  try {
    return (await noteEndedRun(database, line, recordOf(report, findings), durationMs, noteMsMax)) ?? null
  } catch (error) {
    log.debug({ err: error }, 'the end of the run could not be noted in the ledger')
    return null
  }
}
