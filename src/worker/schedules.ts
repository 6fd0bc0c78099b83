// The two schedules and the turns they take. A full pass that is due always gets its turn: it waits for the lease, and
// no incremental pass of this worker starts meanwhile. A tick that another worker has run is not run again.
import { setTimeout as delay } from 'node:timers/promises'
import type { Tick } from '../db/lease.ts'
import { SyncError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { RunOutcome } from '../sync/run-request.ts'
import { type Cron, createCron } from './cron.ts'
import { type Clocks, startTicking } from './ticking.ts'

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
  /** This machine's clocks if absent. */
  readonly clocks?: Clocks | undefined
}

/** How long a full pass that is due waits for the lease, and how often it looks. */
export interface Waits {
  /** After so long it leaves its turn to the next tick. */
  readonly leaseWaitMs: number
  readonly leasePollMs: number
}

const defaultWaits: Waits = { leaseWaitMs: 5 * 60_000, leasePollMs: 2000 }

/** Throws `configuration` with the name of the schedule that node-cron cannot keep. */
export function checkSchedule(schedule: Schedule): void {
  for (const [variable, expression] of [
    ['FULL_SCHEDULE', schedule.full],
    ['INCREMENTAL_SCHEDULE', schedule.incremental],
  ] as const) {
    if (expression === undefined) continue
    try {
      createCron(expression, schedule.timezone)
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

  /** Runs a tick, unless the one before is still under way: what fell due meanwhile is not made up for. */
  const underWay = new Set<Kind>()
  const take = (pass: Kind, run: () => Promise<void>) => {
    if (underWay.has(pass)) {
      log.debug({ pass }, 'a tick passed while the pass before it was still under way')
      return
    }
    underWay.add(pass)
    void track(run()).finally(() => underWay.delete(pass))
  }

  const { full, incremental, timezone } = parts.schedule
  const crons = new Map<Kind, Cron>()
  if (full !== undefined) crons.set('full', createCron(full, timezone))
  if (incremental !== undefined) crons.set('incremental', createCron(incremental, timezone))
  // Half of the shortest interval is how far back a run counts as this very tick's, so that neither a clock some seconds
  // off nor the tick before is taken for it, however uneven the schedule.
  const tickOf = (pass: Kind, passes: Kind[]): Tick => ({
    passes,
    seconds: (crons.get(pass)?.shortestIntervalSeconds ?? 0) / 2,
  })
  const stopTicking = startTicking(crons, {
    timezone,
    log,
    clocks: parts.clocks,
    onDue(due) {
      if (due.has('full')) {
        const tick = tickOf('full', ['full'])
        take('full', () => runFull({ pass: 'full', trigger: 'schedule', tick }, () => isDue(tick)))
        // Where both fall due together, the full pass does what the other one would.
      } else take('incremental', () => runIncremental(tickOf('incremental', ['full', 'incremental'])))
    },
  })

  const nextOf = (pass: Kind) => crons.get(pass)?.next().toISOString() ?? null
  log.info({ incremental: nextOf('incremental'), full: nextOf('full') }, 'schedules started')

  const fullCron = crons.get('full')
  if (fullCron !== undefined) {
    const seconds = fullCron.shortestIntervalSeconds
    const start = { pass: 'full', trigger: 'start', tick: { passes: ['full'], seconds } } as const
    track(
      runFull(start, async () => {
        const age = await parts.lastFullPassAge()
        return age === undefined || age > seconds
      }),
    )
  }

  return {
    async stop() {
      stopTicking()
      await Promise.all(pending)
    },
  }
}
