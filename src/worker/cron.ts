// When a cron expression is due. The rule: an expression is due when the clock on the wall shows a matching time, or has
// gone past one since it was last read. So nothing depends on a time that was computed ahead: after the clock was set
// back the schedule follows the new time at once, in autumn the hour that comes twice has its ticks twice, and what lies
// in the hour that spring leaves out is due when that hour is over.
import { createTask } from 'node-cron'

/** The clocks as they were read together. */
export interface Reading {
  /** The time on the wall of the schedule's time zone, ms, as if it were UTC. */
  readonly wallMs: number
  /** A monotonic clock, ms. */
  readonly monotonicMs: number
}

export interface Cron {
  /** Whether the expression came due after the first reading, up to and including the second. */
  isDue(last: Reading, now: Reading): boolean
  /** The shortest time between two ticks, in seconds. */
  readonly shortestIntervalSeconds: number
  /** When it is due next. */
  next(): Date
}

const secondMs = 1000
const minuteMs = 60 * secondMs
const hourMs = 60 * minuteMs
/** After a longer sleep every schedule counts as due. */
const scannedMsMax = 40 * 24 * hourMs
/** How many upcoming ticks are inspected to find the shortest interval. 12 covers `0 9-17 * * *` and daily schedules with a gap at the weekend. */
const ticksAhead = 12

/** Throws what node-cron throws for an expression that it does not know or that is never due. */
export function createCron(expression: string, timezone: string): Cron {
  const fields = expression.trim().split(/\s+/)
  const matches = matcherOf(expression)
  const hasSeconds = fields.length > 5
  // Seconds of a long time would be too many to look at.
  const matchesMinute = hasSeconds ? matcherOf(fields.slice(1).join(' ')) : matches
  const task = createTask(expression, () => {}, { timezone })
  const nextRuns = task.getNextRuns(ticksAhead).map((date) => date.getTime())
  const gaps = nextRuns.slice(1).map((tick, index) => tick - (nextRuns[index] ?? tick))
  return {
    isDue(last, now) {
      const span = spanOf(last, now)
      if (span.upTo - span.after > scannedMsMax) return true
      return hasSeconds && span.upTo - span.after <= hourMs
        ? someTime(span, secondMs, matches)
        : someTime(span, minuteMs, matchesMinute)
    },
    shortestIntervalSeconds: Math.min(...gaps) / 1000,
    next: () => task.getNextRuns(1)[0] ?? new Date(Number.NaN),
  }
}

/** Whether a time on the wall matches. */
function matcherOf(expression: string): (wallMs: number) => boolean {
  const task = createTask(expression, () => {}, { timezone: 'UTC' })
  return (wallMs) => task.match(new Date(wallMs))
}

/**
 * The wall-clock times since the last reading. If the clock moved forward, by itself or because it was set, those between
 * the two readings; if it was set back, those within the time that really elapsed.
 */
function spanOf(last: Reading, now: Reading): { after: number; upTo: number } {
  const elapsedMs = now.monotonicMs - last.monotonicMs
  return { after: now.wallMs >= last.wallMs ? last.wallMs : now.wallMs - elapsedMs, upTo: now.wallMs }
}

function someTime(
  { after, upTo }: { after: number; upTo: number },
  stepMs: number,
  matches: (wallMs: number) => boolean,
): boolean {
  for (let time = Math.floor(after / stepMs) * stepMs + stepMs; time <= upTo; time += stepMs) {
    if (matches(time)) return true
  }
  return false
}

/** Reads the time on the wall of a time zone, in ms, as if it were UTC. Throws `RangeError` for a zone that there is not. */
export function createWall(timezone: string): (time: number) => number {
  const format = new Intl.DateTimeFormat('en-US', {
    timeZone: timezone,
    calendar: 'gregory',
    hourCycle: 'h23',
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
    second: 'numeric',
  })
  return (time) => {
    const parts = new Map(format.formatToParts(time).map(({ type, value }) => [type, Number(value)]))
    const part = (name: Intl.DateTimeFormatPartTypes) => parts.get(name) ?? 0
    const seconds = Date.UTC(
      part('year'),
      part('month') - 1,
      part('day'),
      part('hour'),
      part('minute'),
      part('second'),
    )
    return seconds + (((time % secondMs) + secondMs) % secondMs)
  }
}
