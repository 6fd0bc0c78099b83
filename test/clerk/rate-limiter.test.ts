// The limiter on a clock of its own: how many pass in any second and any ten, and whom a pause of Clerk's holds up. The
// clock is told by the test, so nothing here depends on how fast the machine is.
import { setImmediate as settle } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { createRateLimiter, defaultRequestsPer10s, type RateLimiter } from '../../src/clerk/rate-limiter.ts'
import { isSyncError } from '../../src/errors.ts'

// The limiter waits out a pause with Node's promised timers, which the fake clock leaves alone: these follow it.
vi.mock('node:timers/promises', async (importOriginal) => ({
  ...(await importOriginal<typeof import('node:timers/promises')>()),
  setTimeout: (milliseconds: number, value: unknown, { signal }: { signal: AbortSignal }) =>
    new Promise((resolve, reject) => {
      signal.throwIfAborted()
      const onAbort = () => {
        clearTimeout(timer)
        reject(new DOMException('aborted', 'AbortError'))
      }
      const timer = setTimeout(() => {
        signal.removeEventListener('abort', onAbort)
        resolve(value)
      }, milliseconds)
      signal.addEventListener('abort', onAbort, { once: true })
    }),
}))

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date', 'performance'] })
})
afterEach(() => {
  vi.useRealTimers()
})

const never = new AbortController().signal
const later = Number.POSITIVE_INFINITY

/** Moves the clock in small steps, so that whoever waits for it goes on in between. */
async function advance(milliseconds: number): Promise<void> {
  for (let passed = 0; passed < milliseconds; passed += 10) {
    await vi.advanceTimersByTimeAsync(10)
    await settle()
  }
}

/** Lanes that each ask again as soon as they have passed. Gives the times at which anybody passed. */
function startLanes(limiter: RateLimiter, lanes: number): number[] {
  const passedAt: number[] = []
  for (let lane = 0; lane < lanes; lane++) {
    void (async () => {
      for (;;) {
        await limiter.enter(later)
        passedAt.push(performance.now())
      }
    })()
  }
  return passedAt
}

/** The most that passed within any such window. */
function mostWithin(passedAt: readonly number[], windowMs: number): number {
  return Math.max(
    ...passedAt.map((from) => passedAt.filter((at) => at >= from && at < from + windowMs).length),
  )
}

test('the default leaves half of the documented limit to the app', () => {
  expect(defaultRequestsPer10s('sk_live_abc')).toBe(500)
  expect(defaultRequestsPer10s('sk_test_abc')).toBe(50)
})

describe('the share of 10 seconds is handed out by the second', () => {
  test.each([
    [1, 1],
    [5, 1],
    [10, 1],
    [15, 2],
    [19, 2],
    [25, 2],
    [50, 5],
    [75, 7],
    [99, 9],
    [500, 50],
  ])(
    '%i in 10 s are never more than that, nor more than %i in a second',
    async (requestsPer10s, perSecond) => {
      const passedAt = startLanes(createRateLimiter(requestsPer10s, never), 8)
      await advance(25_000)
      expect(mostWithin(passedAt, 10_000)).toBeLessThanOrEqual(requestsPer10s)
      expect(mostWithin(passedAt, 1000)).toBeLessThanOrEqual(perSecond)
      // And it is used: at most the fraction of a request per second is given away.
      expect(passedAt.length).toBeGreaterThanOrEqual(2 * Math.min(requestsPer10s, 10 * perSecond) - 1)
    },
  )

  test('a second that was nearly idle is not made up for at its end', async () => {
    const limiter = createRateLimiter(50, never)
    const first = performance.now()
    await limiter.enter(later)
    await advance(980)
    const passedAt = startLanes(limiter, 8)
    await advance(3000)
    expect(mostWithin([first, ...passedAt], 1000)).toBe(5)
  })

  test('an idle limiter saves nothing up', async () => {
    const limiter = createRateLimiter(50, never)
    await advance(60_000)
    const passedAt = startLanes(limiter, 100)
    await advance(5000)
    expect(mostWithin(passedAt, 1000)).toBe(5)
  })
})

describe('a pause', () => {
  test('holds up everyone, also those who queue already, and nobody is early', async () => {
    const limiter = createRateLimiter(50, never)
    const passedAt = startLanes(limiter, 8)
    await advance(1500)
    const before = passedAt.length
    const end = performance.now() + 7000
    limiter.pause(7000)
    await advance(6990)
    expect(passedAt.length).toBe(before)
    await advance(5000)
    expect(passedAt[before]).toBeGreaterThanOrEqual(end)
    expect(passedAt.length).toBeGreaterThan(before)
  })

  test('does not let those who queued go all at once when it ends', async () => {
    const limiter = createRateLimiter(50, never)
    // All stand in the queue when the pause begins; their turns come while it lasts.
    const passedAt = startLanes(limiter, 9)
    await advance(100)
    const end = performance.now() + 20_000
    limiter.pause(20_000)
    await advance(30_000)
    expect(passedAt.filter((at) => at >= end).length).toBeGreaterThan(30)
    expect(mostWithin(passedAt, 1000)).toBe(5)
  })

  test('is not ended by a shorter one', async () => {
    const limiter = createRateLimiter(50, never)
    limiter.pause(5000)
    limiter.pause(1000)
    limiter.pause(0)
    const passedAt = startLanes(limiter, 1)
    await advance(4900)
    expect(passedAt).toEqual([])
    await advance(200)
    expect(passedAt.length).toBeGreaterThan(0)
  })

  test('beyond the deadline is not waited for: it fails at once and names the wait', async () => {
    const limiter = createRateLimiter(50, never)
    limiter.pause(90_000)
    const error: unknown = await limiter.enter(performance.now() + 60_000).catch((thrown: unknown) => thrown)
    expect(isSyncError(error, 'transient') && error.facts.waitSeconds).toBe(90)
    expect(isSyncError(error) && error.hint).toContain('again in 90 s')
  })

  test('that grows beyond the deadline while somebody waits fails them when the first one ends', async () => {
    const limiter = createRateLimiter(50, never)
    limiter.pause(1000)
    const waiting = limiter.enter(performance.now() + 2000).catch((thrown: unknown) => thrown)
    await advance(500)
    limiter.pause(10_000)
    await advance(600)
    expect(await waiting).toMatchObject({ kind: 'transient', facts: { waitSeconds: 10 } })
  })

  test('ends for everyone at an abort, with its reason', async () => {
    const stop = new AbortController()
    const limiter = createRateLimiter(10, stop.signal)
    await limiter.enter(later)
    const enter = () => limiter.enter(later).catch((thrown: unknown) => thrown)
    const queued = [enter(), enter()]
    await settle()
    limiter.pause(3_600_000)
    const paused = enter()
    await settle()
    const onItsWay = enter()
    const reason = new Error('stop')
    stop.abort(reason)
    expect(await Promise.all([...queued, paused, onItsWay, enter()])).toEqual(Array(5).fill(reason))
    expect(vi.getTimerCount()).toBe(0)
  })

  test('or none: an abort between the pause and the queue is heard as well', async () => {
    const stop = new AbortController()
    const limiter = createRateLimiter(1, stop.signal)
    await limiter.enter(later)
    const onItsWay = limiter.enter(later).catch((thrown: unknown) => thrown)
    const reason = new Error('stop')
    stop.abort(reason)
    expect(await onItsWay).toBe(reason)
  })
})

test('a wall clock that is set back slows the limiter down and does not close it', async () => {
  const passedAt = startLanes(createRateLimiter(100, never), 8)
  await advance(3000)
  vi.setSystemTime(Date.now() - 3600_000)
  const before = passedAt.length
  await advance(20_000)
  const rate = (passedAt.length - before) / 20
  expect(rate).toBeGreaterThan(1)
  expect(rate).toBeLessThanOrEqual(10)
})
