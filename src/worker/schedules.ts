// The two schedules and the turns they take. A full pass that is due always gets its turn: it waits for the lease, and
// no incremental pass of this worker starts meanwhile. A tick that another worker has run is not run again.
import { setTimeout as delay } from 'node:timers/promises'
import { createTask, type ScheduledTask, type TaskContext } from 'node-cron'
import type { Log } from '../log.ts'
import type { RunOutcome } from '../sync/reconcile.ts'

type Kind = 'full' | 'incremental'

export interface ScheduleParts {
  readonly schedule: {
    readonly full: string | undefined
    readonly incremental: string | undefined
    readonly timezone: string
  }
  /** One run; never rejects for what an operator can meet. */
  readonly run: (pass: Kind, trigger: 'schedule' | 'start') => Promise<RunOutcome>
  /** Whether any worker began such a pass in the last so many seconds, on Postgres's clock. */
  readonly hasRunWithin: (passes: readonly Kind[], seconds: number) => Promise<boolean>
  /** Seconds since the last full pass that came to an end; undefined if there was none. */
  readonly lastFullPassAge: () => Promise<number | undefined>
  readonly log: Log
  readonly signal: AbortSignal
}

/** So long a full pass waits for the lease before it leaves its turn to the next tick. */
const leaseWaitMs = 5 * 60_000
/** How often it asks for the lease meanwhile. */
const leasePollMs = 2000

/** Starts both schedules, and a first full pass if the last one is older than its schedule. */
export function startSchedules(parts: ScheduleParts): { stop(): Promise<void> } {
  const { log, signal } = parts
  /** The run of this worker that is under way. */
  let current: Promise<unknown> = Promise.resolve()
  let isRunning = false
  let isFullDue = false
  const pending = new Set<Promise<void>>()

  const runNow = async (pass: Kind, trigger: 'schedule' | 'start'): Promise<RunOutcome> => {
    isRunning = true
    const run = parts.run(pass, trigger)
    current = run.catch(() => undefined)
    try {
      return await run
    } finally {
      isRunning = false
    }
  }

  /** Waits for its turn, as long as it is still due. */
  const runFull = async (trigger: 'schedule' | 'start', isStillDue: () => Promise<boolean>) => {
    if (isFullDue) return
    isFullDue = true
    try {
      const deadline = performance.now() + leaseWaitMs
      for (;;) {
        await current
        if (signal.aborted || !(await isStillDue())) return
        const { report } = await runNow('full', trigger)
        if (report.status !== 'skipped') return
        if (performance.now() > deadline) {
          log.warn({ pass: 'full' }, 'another run held the lease for too long; the next tick tries again')
          return
        }
        await delay(leasePollMs, undefined, { signal }).catch(() => undefined)
      }
    } finally {
      isFullDue = false
    }
  }

  const runIncremental = async (isStillDue: () => Promise<boolean>) => {
    if (isRunning || isFullDue || signal.aborted) return
    if (await isStillDue()) await runNow('incremental', 'schedule')
  }

  /** An error here is a bug or a database that is away: it is logged, and the next tick comes. */
  const track = (work: Promise<void>): Promise<void> => {
    const tracked = work
      .catch((error) => log.error({ err: error }, 'a tick failed'))
      .finally(() => pending.delete(tracked))
    pending.add(tracked)
    return tracked
  }

  const notRunWithin = async (passes: readonly Kind[], seconds: number): Promise<boolean> => {
    const hasRun = await parts.hasRunWithin(passes, seconds)
    if (hasRun) log.debug({ passes }, 'another worker has run this tick')
    return !hasRun
  }

  const { full, incremental, timezone } = parts.schedule
  const options = { timezone, noOverlap: true, suppressMissedWarning: true }
  const fullTask =
    full === undefined
      ? undefined
      : createTask(
          full,
          () => track(runFull('schedule', () => notRunWithin(['full'], sameTickSeconds(fullTask)))),
          { ...options, name: 'full pass' },
        )
  const incrementalTask =
    incremental === undefined
      ? undefined
      : createTask(
          incremental,
          (context: TaskContext) => {
            // Where both fall due together, the full pass does what this one would.
            if (fullTask?.match(context.date) === true) return
            const isDue = () => notRunWithin(['full', 'incremental'], sameTickSeconds(incrementalTask))
            return track(runIncremental(isDue))
          },
          { ...options, name: 'incremental pass' },
        )
  track(
    runFull('start', async () => {
      const age = await parts.lastFullPassAge()
      return age === undefined || (fullTask !== undefined && age > 2 * sameTickSeconds(fullTask))
    }),
  )
  fullTask?.start()
  incrementalTask?.start()

  return {
    async stop() {
      await fullTask?.destroy()
      await incrementalTask?.destroy()
      await Promise.all(pending)
    },
  }
}

/**
 * How far back a run counts as this very tick's: half the time between two ticks, so that neither a clock some seconds
 * off nor the tick before is taken for it.
 */
function sameTickSeconds(task: ScheduledTask | undefined): number {
  const [first, second] = task?.getNextRuns(2) ?? []
  return first === undefined || second === undefined ? 0 : (second.getTime() - first.getTime()) / 2000
}
