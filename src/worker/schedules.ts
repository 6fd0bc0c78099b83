// The two schedules, kept: calls what next-run.ts decides. A full pass that is due always gets its turn: it waits for the
// lease, and no incremental pass of this worker starts meanwhile. A tick that another worker has run is not run again.
import { setTimeout as delay } from 'node:timers/promises'
import type { Tick } from '../db/lease.ts'
import { SyncError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { RunOutcome } from '../sync/run-request.ts'
import { type Cron, createCron } from './cron.ts'
import { nextRun, nextTurn, type Pass } from './next-run.ts'
import { type Clocks, startTicking } from './ticking.ts'

export interface Schedule {
  /** Cron expressions; undefined where a schedule is off. */
  readonly full: string | undefined
  readonly incremental: string | undefined
  readonly timezone: string
}

/** One run that a schedule or the start asks for. */
export interface ScheduledRun {
  readonly pass: Pass
  readonly trigger: 'schedule' | 'start'
  readonly tick: Tick
}

export interface ScheduleDeps {
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
  /** After this long the pass is left to the next tick. */
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

/** The passes of this worker, one at a time. */
function createRunner(deps: ScheduleDeps) {
  const { log, signal, waits = defaultWaits } = deps
  const state = { isRunning: false, isFullDue: false, isIncrementalDue: false }
  let current: Promise<unknown> = Promise.resolve()

  const runNow = async (asked: ScheduledRun): Promise<RunOutcome> => {
    state.isRunning = true
    const run = deps.run(asked)
    current = run.catch(() => undefined)
    try {
      return await run
    } finally {
      state.isRunning = false
    }
  }

  const isDue = async (tick: Tick): Promise<boolean> => {
    const hasRun = await deps.hasRun(tick)
    if (hasRun) log.debug({ passes: tick.passes }, 'another worker has run this tick')
    return !hasRun
  }

  /** Waits for its turn, as long as it is still due. */
  const takeTurn = async (asked: ScheduledRun, isStillDue: () => Promise<boolean>): Promise<void> => {
    const startedMs = performance.now()
    for (;;) {
      await current
      const stillDue = !signal.aborted && (await isStillDue())
      const turn = {
        isStillDue: stillDue,
        // A look costs less than a run that finds the lease taken: that one asks Clerk first.
        isLeaseHeld: stillDue && (await deps.isLeaseHeld()),
        waitedMs: performance.now() - startedMs,
      }
      let next = nextTurn(turn, waits.leaseWaitMs)
      if (next === 'run') {
        const { report } = await runNow(asked)
        if (report.status !== 'skipped') return
        next = nextTurn({ ...turn, isLeaseHeld: true }, waits.leaseWaitMs)
      }
      if (next === 'give up') {
        log.warn({ pass: 'full' }, 'another run held the lease for too long; the next tick tries again')
      }
      if (next !== 'wait') return
      await delay(waits.leasePollMs, undefined, { signal }).catch(() => undefined)
    }
  }

  return {
    state: state as Readonly<typeof state>,
    async runFull(asked: ScheduledRun, isStillDue = () => isDue(asked.tick)): Promise<void> {
      if (state.isFullDue) return
      state.isFullDue = true
      await takeTurn(asked, isStillDue).finally(() => {
        state.isFullDue = false
      })
    },
    async runIncremental(tick: Tick): Promise<void> {
      state.isIncrementalDue = true
      try {
        if (signal.aborted || !(await isDue(tick))) return
        // A full pass may have come due while the database answered.
        if (state.isRunning || state.isFullDue || signal.aborted) return
        await runNow({ pass: 'incremental', trigger: 'schedule', tick })
      } finally {
        state.isIncrementalDue = false
      }
    },
  }
}

/** Starts both schedules, and a first full pass if the last one is older than its schedule. */
export function startSchedules(deps: ScheduleDeps): { stop(): Promise<void> } {
  const { log } = deps
  const { full, incremental, timezone } = deps.schedule
  const runner = createRunner(deps)
  const inFlight = new Set<Promise<void>>()
  /** An error here is a bug or a database that is away: it is logged, and the next tick comes. */
  const track = (work: Promise<void>) => {
    const tracked = work
      .catch((error) => log.error({ err: error }, 'a tick failed'))
      .finally(() => inFlight.delete(tracked))
    inFlight.add(tracked)
  }

  const crons = new Map<Pass, Cron>()
  if (full !== undefined) crons.set('full', createCron(full, timezone))
  if (incremental !== undefined) crons.set('incremental', createCron(incremental, timezone))
  // A run that began within half of the shortest interval before a tick counts as the tick's run. So clocks may differ by
  // seconds, and the previous tick's run is not mistaken for this one, however uneven the schedule.
  const tickOf = (pass: Pass, passes: Pass[]): Tick => ({
    passes,
    seconds: (crons.get(pass)?.shortestIntervalSeconds ?? 0) / 2,
  })
  const stopTicking = startTicking(crons, {
    timezone,
    log,
    clocks: deps.clocks,
    onDue(due) {
      const pass = nextRun(runner.state, due)
      if (pass === 'full') {
        track(runner.runFull({ pass, trigger: 'schedule', tick: tickOf('full', ['full']) }))
      } else if (pass === 'incremental') {
        track(runner.runIncremental(tickOf('incremental', ['full', 'incremental'])))
      } else log.debug({ due: [...due] }, 'a tick passed while the pass before it was still under way')
    },
  })

  const nextOf = (pass: Pass) => crons.get(pass)?.next().toISOString() ?? null
  log.info({ incremental: nextOf('incremental'), full: nextOf('full') }, 'schedules started')

  const seconds = crons.get('full')?.shortestIntervalSeconds
  if (seconds !== undefined) {
    const start = { pass: 'full', trigger: 'start', tick: { passes: ['full'], seconds } } as const
    track(
      runner.runFull(start, async () => {
        const age = await deps.lastFullPassAge()
        return age === undefined || age > seconds
      }),
    )
  }

  return {
    async stop() {
      stopTicking()
      await Promise.all(inFlight)
    },
  }
}
