// When schedules are due while clocks are set and summer time begins and ends, and the loop that reads the clocks, on
// clocks that the test moves.
import { describe, expect, test } from 'vitest'
import { logTo } from '../../src/log.ts'
import { createCron, createWall } from '../../src/worker/cron.ts'
import { type Clocks, startTicking } from '../../src/worker/ticking.ts'

const secondMs = 1000
const minuteMs = 60_000
const hourMs = 60 * minuteMs

/** The times, as `HH:MM` in UTC, at which a schedule was found due by a look each minute. */
function ticksOf(expression: string, timezone: string, from: string, to: string): string[] {
  const cron = createCron(expression, timezone)
  const wall = createWall(timezone)
  const readingAt = (time: number) => ({ wallMs: wall(time), monotonicMs: time })
  const found: string[] = []
  for (let time = Date.parse(from) + minuteMs; time <= Date.parse(to); time += minuteMs) {
    if (cron.isDue(readingAt(time - minuteMs), readingAt(time))) {
      found.push(new Date(time).toISOString().slice(11, 16))
    }
  }
  return found
}

describe('where summer time begins and ends', () => {
  test('a schedule of every few minutes rests in no hour', () => {
    const autumn = ticksOf('*/20 * * * *', 'Europe/Berlin', '2026-10-24T23:30:00Z', '2026-10-25T02:00:00Z')
    expect(autumn.join(' ')).toBe('23:40 00:00 00:20 00:40 01:00 01:20 01:40 02:00')
    const spring = ticksOf('*/20 * * * *', 'Europe/Berlin', '2026-03-29T00:30:00Z', '2026-03-29T02:00:00Z')
    expect(spring.join(' ')).toBe('00:40 01:00 01:20 01:40 02:00')
  })

  test('a time in the hour that spring leaves out is due when that hour is over', () => {
    // Three o'clock in summer is one o'clock in UTC.
    const days = ticksOf('30 2 * * *', 'Europe/Berlin', '2026-03-28T00:00:00Z', '2026-03-30T23:00:00Z')
    expect(days).toEqual(['01:30', '01:00', '00:30'])
  })

  test('several times in that hour are due once', () => {
    expect(
      ticksOf('10,20,30 2 * * *', 'Europe/Berlin', '2026-03-29T00:00:00Z', '2026-03-29T06:00:00Z'),
    ).toEqual(['01:00'])
  })

  test('half an hour is left out and comes twice on Lord Howe Island', () => {
    const zone = 'Australia/Lord_Howe'
    expect(ticksOf('15 2 * * *', zone, '2026-10-03T12:00:00Z', '2026-10-03T20:00:00Z')).toEqual(['15:30'])
    expect(ticksOf('*/15 1 * * *', zone, '2026-04-04T14:00:00Z', '2026-04-04T16:00:00Z').join(' ')).toBe(
      '14:15 14:30 14:45 15:00 15:15',
    )
  })

  test('a schedule in UTC knows of none of it', () => {
    expect(ticksOf('30 2 * * *', 'UTC', '2026-03-29T00:00:00Z', '2026-03-29T06:00:00Z')).toEqual(['02:30'])
  })
})

describe('a time is met', () => {
  const utc = createWall('UTC')
  const at = (time: string, monotonicMs: number) => ({ wallMs: utc(Date.parse(time)), monotonicMs })
  const isDue = (expression: string, last: string, now: string, elapsedMs: number) =>
    createCron(expression, 'UTC').isDue(at(last, 0), at(now, elapsedMs))

  test.each<[string, string, string, string, number, boolean]>([
    ['at its beginning', '0 * * * *', '2026-05-01T09:59:59.999Z', '2026-05-01T10:00:00.000Z', 1, true],
    ['not before', '0 * * * *', '2026-05-01T09:59:58.500Z', '2026-05-01T09:59:59.999Z', 1500, false],
    ['not a second time', '0 * * * *', '2026-05-01T10:00:00.000Z', '2026-05-01T10:00:01.000Z', 1000, false],
    ['late, by a busy machine', '0 * * * *', '2026-05-01T09:59:59Z', '2026-05-01T10:07:00Z', 421_000, true],
    [
      'after a sleep that no clock of ours counted',
      '0 9 * * 1',
      '2026-05-01T09:30:00Z',
      '2026-05-04T20:00:00Z',
      5,
      true,
    ],
    [
      'not by a sleep between two of its times',
      '0 9 * * 1',
      '2026-05-01T09:30:00Z',
      '2026-05-04T08:00:00Z',
      5,
      false,
    ],
    ['after a sleep of months', '0 9 1 1 *', '2026-05-01T09:30:00Z', '2026-08-01T09:30:00Z', 5, true],
    ['by its seconds', '15 * * * * *', '2026-05-01T09:30:14Z', '2026-05-01T09:30:15Z', 1000, true],
    ['by its seconds alone', '15 * * * * *', '2026-05-01T09:30:15Z', '2026-05-01T09:31:14Z', 59_000, false],
    [
      'by its seconds, hours late',
      '15 0 12 * * *',
      '2026-05-01T09:30:15Z',
      '2026-05-01T12:31:14Z',
      1000,
      true,
    ],
    [
      'not at a set back that ends before it',
      '0 * * * *',
      '2026-05-01T10:10:00Z',
      '2026-05-01T09:10:00Z',
      1000,
      false,
    ],
    ['again after a set back', '0 * * * *', '2026-05-01T09:59:59Z', '2026-05-01T10:00:00Z', 1000, true],
    [
      'in the time that went by before a set back',
      '*/5 * * * *',
      '2026-05-01T10:10:00Z',
      '2026-05-01T09:12:00Z',
      150_000,
      true,
    ],
  ])('%s', (_what, expression, last, now, elapsedMs, wanted) => {
    expect(isDue(expression, last, now, elapsedMs)).toBe(wanted)
  })
})

/** Clocks that stand until the test moves them. */
function createClocks(time: string) {
  let now = Date.parse(time)
  let monotonic = 0
  let waiting: { at: number; call: () => void } | undefined
  const clocks: Clocks = {
    now: () => now,
    monotonic: () => monotonic,
    after(milliseconds, call) {
      const added = { at: monotonic + milliseconds, call }
      waiting = added
      return () => {
        if (waiting === added) waiting = undefined
      }
    },
  }
  return {
    clocks,
    isWaiting: () => waiting !== undefined,
    /** Somebody sets the clock: no time goes by. */
    set(milliseconds: number) {
      now += milliseconds
    },
    /** Time goes by. */
    pass(milliseconds: number) {
      const end = monotonic + milliseconds
      while (waiting !== undefined && waiting.at <= end) {
        const { at, call } = waiting
        waiting = undefined
        now += at - monotonic
        monotonic = at
        call()
      }
      now += end - monotonic
      monotonic = end
    },
  }
}

describe('the loop', () => {
  function start(expressions: Record<string, string>, time: string, timezone = 'UTC') {
    const clock = createClocks(time)
    const ticks: string[] = []
    const said: string[] = []
    const stop = startTicking(
      new Map(Object.entries(expressions).map(([name, each]) => [name, createCron(each, timezone)])),
      {
        timezone,
        log: logTo({ write: (line: string) => void said.push(JSON.parse(line).msg) }, 'trace'),
        clocks: clock.clocks,
        onDue: (names) =>
          ticks.push(`${new Date(clock.clocks.now()).toISOString().slice(11, 19)} ${[...names].join('+')}`),
      },
    )
    return { clock, ticks, said, stop }
  }

  test('meets each time in the second in which it begins, those of several schedules together', () => {
    const { clock, ticks, said, stop } = start(
      { a: '*/5 * * * *', b: '0 * * * *' },
      '2026-05-01T09:50:00.300Z',
    )
    clock.pass(16 * minuteMs)
    expect(ticks).toEqual(['09:55:00 a', '10:00:00 a+b', '10:05:00 a'])
    expect(said).toEqual([])
    stop()
    expect(clock.isWaiting()).toBe(false)
  })

  test('goes on at once when the clock was set back by an hour, and says so once', () => {
    const { clock, ticks, said } = start({ a: '*/5 * * * *' }, '2026-05-01T09:50:00Z')
    clock.pass(11 * minuteMs)
    clock.set(-hourMs)
    clock.pass(11 * minuteMs)
    expect(ticks.map((tick) => tick.slice(0, 5))).toEqual(['09:55', '10:00', '09:05', '09:10'])
    expect(said).toEqual(['the clock of this machine was set back; the schedules follow the new time'])
  })

  test('meets a time that the clock was set past, and is silent about small corrections', () => {
    const { clock, ticks, said } = start({ a: '0 * * * *' }, '2026-05-01T09:50:00Z')
    clock.set(20 * minuteMs)
    clock.pass(2 * secondMs)
    clock.set(-2 * secondMs)
    clock.pass(2 * secondMs)
    expect(ticks.length).toBe(1)
    expect(said).toEqual([])
  })
})
