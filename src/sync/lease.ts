// Holding the lease while a run goes on: taken before the first write, kept by heartbeats, and lost for good when this
// process slept for too long. db/lease.ts has the SQL.
import { hostname } from 'node:os'
import type { Database } from '../db/database.ts'
import { acquireLease, heartbeat, type Lease, leaseLost, type Tick } from '../db/lease.ts'
import type { NewRun } from '../db/runs.ts'
import { SyncError } from '../errors.ts'
import type { Log } from '../log.ts'

/** Six heartbeats fit into the silence after which a holder counts as gone. */
const heartbeatIntervalMs = 5000

/** Who runs, as the ledger names it. */
export const thisProcess = `${hostname()}:${process.pid}`

/** Takes the lease. Throws `busy` with who holds it, or if another worker has taken care of the tick. */
export async function takeLease(
  database: Database,
  run: Omit<NewRun, 'host'>,
  log: Log,
  tick?: Tick,
): Promise<Lease> {
  const taken = await acquireLease(database, { ...run, host: thisProcess }, tick)
  if ('holder' in taken) {
    if (taken.holder === undefined) {
      throw new SyncError('busy', 'another run has just ended', { hint: 'Try again now.' })
    }
    const { runId, host, runningForSeconds } = taken.holder
    const since = runningForSeconds === null ? 'is under way' : `has been at it for ${runningForSeconds} s`
    throw new SyncError('busy', 'another run holds the lease', {
      hint: `Run ${runId} on ${host} ${since}. Try again when it has ended.`,
      facts: { runId, host, ...(runningForSeconds === null ? {} : { runningForSeconds }) },
    })
  }
  for (const runId of taken.abandoned) log.warn({ runId }, 'a run that fell silent was marked abandoned')
  return taken
}

/**
 * Heartbeats until released. A lost lease aborts the run; a beat that does not get through does not, since the next one
 * may, and every write looks at the lease anyway. Each beat goes on its own: one that is never answered holds up neither
 * the next one nor the end of the run.
 */
export function keepLease(
  database: Database,
  runId: number,
  stop: AbortController,
  log: Log,
): { release(): void } {
  let isReleased = false
  const beat = async () => {
    try {
      const isOurs = await heartbeat(database.db, runId)
      if (!isOurs && !isReleased) stop.abort(leaseLost(runId))
    } catch (error) {
      if (!isReleased) log.warn({ runId, err: error }, 'a heartbeat did not get through')
    }
  }
  const timer = setInterval(beat, heartbeatIntervalMs)
  return {
    release() {
      isReleased = true
      clearInterval(timer)
    },
  }
}
