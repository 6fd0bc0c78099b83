// The loop that reads the clocks and calls what is due. It decides nothing: cron.ts does.
import type { Log } from '../log.ts'
import { type Cron, createWall, type Reading } from './cron.ts'

/** The clocks of this machine, and a way to be called later. Replaced in tests. */
export interface Clocks {
  /** ms since 1970. */
  now(): number
  /** A monotonic clock, ms. */
  monotonic(): number
  /** Calls back after `milliseconds`. Returns a function that cancels it. */
  after(milliseconds: number, call: () => void): () => void
}

const machine: Clocks = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(milliseconds, call) {
    const timer = setTimeout(call, milliseconds)
    return () => clearTimeout(timer)
  },
}

/** Clocks are corrected by less all the time. */
const setBackMsMin = 5000

/**
 * Reads the clocks every second and calls `onDue` with the schedules that are due, those that are due together in one
 * call. Returns how to stop it. Says once when the clock of this machine was set back.
 */
export function startTicking<Name extends string>(
  crons: ReadonlyMap<Name, Cron>,
  parts: {
    timezone: string
    log: Log
    clocks?: Clocks | undefined
    onDue: (names: ReadonlySet<Name>) => void
  },
): () => void {
  const { log, clocks = machine, onDue } = parts
  const wall = createWall(parts.timezone)
  const read = (): Reading & { time: number } => {
    const time = clocks.now()
    return { time, wallMs: wall(time), monotonicMs: clocks.monotonic() }
  }
  let last = read()
  const look = () => {
    const now = read()
    const setBackMs = now.monotonicMs - last.monotonicMs - (now.time - last.time)
    if (setBackMs > setBackMsMin) {
      log.warn(
        { seconds: Math.round(setBackMs / 1000) },
        'the clock of this machine was set back; the schedules follow the new time',
      )
    }
    const due = [...crons].filter(([, cron]) => cron.isDue(last, now)).map(([name]) => name)
    last = now
    // To the next full second of the clock, so that a tick is seen when it begins.
    cancel = clocks.after(1000 - (now.time % 1000), look)
    if (due.length > 0) onDue(new Set(due))
  }
  let cancel = clocks.after(1000 - (last.time % 1000), look)
  return () => cancel()
}
