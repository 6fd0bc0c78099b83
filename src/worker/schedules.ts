// The two schedules and the turns they take. A full pass that is due always gets its turn: it waits for the lease, and
// no incremental pass of this worker starts meanwhile. A tick that another worker has run is not run again.
import { setTimeout as delay } from 'node:timers/promises'
import { createTask, type ScheduledTask, type TaskContext } from 'node-cron'
import type { Tick } from '../db/ledger.ts'
import { SyncError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { RunOutcome } from '../sync/reconcile.ts'

type Kind = 'full' | 'incremental'

export interface Schedule {
  /** Cron expressions; undefined where a schedule is off. */
  readonly full: string | undefined
  readonly incremental: string | undefined
  readonly timezone: string
}

/** One run that a schedule or the start asks for. */
export interface ScheduledRun {
  readonly pass: Kind
  readonly trigger: 'schedule' | 'start'
  readonly tick: Tick
}

export interface ScheduleParts {
  readonly schedule: Schedule
  /** One run; never rejects for what an operator can meet. */
  readonly run: (run: ScheduledRun) => Promise<RunOutcome>
  /** Whether a worker is running this tick or has run it. */
  readonly hasRun: (tick: Tick) => Promise<boolean>
  /** Whether a run, of whatever process, is under way. */
  readonly isLeaseHeld: () => Promise<boolean>
  /** Seconds since the last full pass that came to an end; undefined if there was none. */
  readonly lastFullPassAge: () => Promise<number | undefined>
  readonly log: Log
  readonly signal: AbortSignal
  readonly waits?: Waits | undefined
}

/** How long a full pass that is due waits for the lease, and how often it looks. */
export interface Waits {
  /** After so long it leaves its turn to the next tick. */
  readonly leaseWaitMs: number
  readonly leasePollMs: number
}

const defaultWaits: Waits = { leaseWaitMs: 5 * 60_000, leasePollMs: 2000 }
/** So many ticks ahead show the shortest time between two: a working day of hours, a week of days. */
const ticksAhead = 12

/** Throws `configuration` with the name of the schedule that node-cron cannot keep. */
export function checkSchedule(schedule: Schedule): void {
  for (const [variable, expression] of [
    ['FULL_SCHEDULE', schedule.full],
    ['INCREMENTAL_SCHEDULE', schedule.incremental],
  ] as const) {
    if (expression === undefined) continue
    try {
      const task = createTask(expression, () => {}, { timezone: schedule.timezone })
      task.getNextRuns(1)
      task.destroy()
    } catch (error) {
      throw new SyncError('configuration', `${variable} is not a schedule that ever comes due`, {
        hint: 'Write five fields (`0 * * * *` is every full hour), or six with seconds first, or `off`.',
        cause: error,
      })
    }
  }
}

/** Starts both schedules, and a first full pass if the last one is older than its schedule. */
export function startSchedules(parts: ScheduleParts): { stop(): Promise<void> } {
  const { log, signal, waits = defaultWaits } = parts
  /** The run of this worker that is under way. */
  let current: Promise<unknown> = Promise.resolve()
  let isRunning = false
  let isFullDue = false
  const pending = new Set<Promise<void>>()

  const runNow = async (asked: ScheduledRun): Promise<RunOutcome> => {
    isRunning = true
    const run = parts.run(asked)
    current = run.catch(() => undefined)
    try {
      return await run
    } finally {
      isRunning = false
    }
  }

  /** Waits for its turn, as long as it is still due. */
  const runFull = async (asked: ScheduledRun, isStillDue: () => Promise<boolean>) => {
    if (isFullDue) return
    isFullDue = true
    try {
      const deadline = performance.now() + waits.leaseWaitMs
      for (;;) {
        await current
        if (signal.aborted || !(await isStillDue())) return
        // A look costs less than a run that finds the lease taken: that one asks Clerk first.
        if (!(await parts.isLeaseHeld())) {
          const { report } = await runNow(asked)
          if (report.status !== 'skipped') return
        }
        if (performance.now() > deadline) {
          log.warn({ pass: 'full' }, 'another run held the lease for too long; the next tick tries again')
          return
        }
        await delay(waits.leasePollMs, undefined, { signal }).catch(() => undefined)
      }
    } finally {
      isFullDue = false
    }
  }

  const runIncremental = async (tick: Tick) => {
    const hasTurn = () => !isRunning && !isFullDue && !signal.aborted
    if (!hasTurn() || !(await isDue(tick))) return
    // A full pass may have come due while the database answered.
    if (hasTurn()) await runNow({ pass: 'incremental', trigger: 'schedule', tick })
  }

  const isDue = async (tick: Tick): Promise<boolean> => {
    const hasRun = await parts.hasRun(tick)
    if (hasRun) log.debug({ passes: tick.passes }, 'another worker has run this tick')
    return !hasRun
  }

  /** An error here is a bug or a database that is away: it is logged, and the next tick comes. */
  const track = (work: Promise<void>): Promise<void> => {
    const tracked = work
      .catch((error) => log.error({ err: error }, 'a tick failed'))
      .finally(() => pending.delete(tracked))
    pending.add(tracked)
    return tracked
  }

  const { full, incremental, timezone } = parts.schedule
  const taskOf = (pass: Kind, expression: string, run: (context: TaskContext) => unknown): ScheduledTask =>
    createTask(expression, run, {
      name: `${pass} pass`,
      timezone,
      noOverlap: true,
      // A tick that a busy or sleeping machine meets late is still due, until the next one is.
      missedExecutionTolerance: Number.MAX_SAFE_INTEGER,
      suppressMissedWarning: true,
      logger: loggerOf(log, pass),
    })

  let fullTask: ScheduledTask | undefined
  let incrementalTask: ScheduledTask | undefined
  if (full !== undefined) {
    fullTask = taskOf('full', full, () => {
      const tick = { passes: ['full'], seconds: fullInterval / 2 }
      return track(runFull({ pass: 'full', trigger: 'schedule', tick }, () => isDue(tick)))
    })
    const fullInterval = shortestInterval(fullTask)
    const start = {
      pass: 'full',
      trigger: 'start',
      tick: { passes: ['full'], seconds: fullInterval },
    } as const
    track(
      runFull(start, async () => {
        const age = await parts.lastFullPassAge()
        return age === undefined || age > fullInterval
      }),
    )
  }
  if (incremental !== undefined) {
    incrementalTask = taskOf('incremental', incremental, (context) => {
      // Where both fall due together, the full pass does what this one would.
      if (fullTask?.match(context.date) === true) return
      return track(runIncremental({ passes: ['full', 'incremental'], seconds: incrementalInterval / 2 }))
    })
    const incrementalInterval = shortestInterval(incrementalTask)
  }
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
 * The shortest time between two of the next ticks, in seconds. Half of it is how far back a run counts as this very
 * tick's, so that neither a clock some seconds off nor the tick before is taken for it, however uneven the schedule.
 */
function shortestInterval(task: ScheduledTask): number {
  const ticks = task.getNextRuns(ticksAhead).map((date) => date.getTime())
  const gaps = ticks.slice(1).map((tick, index) => tick - (ticks[index] ?? tick))
  return Math.min(...gaps) / 1000
}

/** node-cron's own words, which else go to the console past the log. Its errors never come here: a tick catches all. */
function loggerOf(log: Log, pass: Kind) {
  const note = () => log.debug({ pass }, 'a tick passed while the pass before it was still under way')
  return { info: note, warn: note, debug: note, error: note }
}
