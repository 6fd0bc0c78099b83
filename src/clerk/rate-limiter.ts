// The budget of requests, which the live app shares with us, and the one place that waits before a request. All lanes
// go through one limiter: a 429 pauses every one of them, since Clerk blocks the key and not the caller.
import { setTimeout as delay } from 'node:timers/promises'
import pThrottle from 'p-throttle'
import { withDeadline } from '../deadline.ts'
import { SyncError } from '../errors.ts'

/** Lets requests through at the budget's pace, and none while Clerk has asked to wait. */
export interface RateLimiter {
  /** Waits for a turn. Throws as `requireEndOfPause` does. */
  enter(deadline: number): Promise<void>
  /** True while Clerk has asked to wait. */
  isPaused(): boolean
  /** Holds back all requests for `milliseconds`. A shorter pause does not end a longer one. */
  pause(milliseconds: number): void
  /**
   * Throws `transient`, with `facts.waitSeconds`, if Clerk's pause lasts beyond `deadline` (on `performance.now`'s
   * clock): then another try before it is no use.
   */
  requireEndOfPause(deadline: number): void
}

/**
 * The documented limits are 1,000 requests in 10 s for a production instance and 100 for a development one
 * (clerk.com/docs, "System limits"). Half of it is left to the app.
 */
export function defaultRequestsPer10s(secretKey: string): number {
  return secretKey.startsWith('sk_live_') ? 500 : 50
}

/**
 * A limiter for that many requests in 10 seconds, handed out as a tenth of it per second: a window of 10 s would fire its
 * whole share at once. A fraction of a request per second is left unused, or the windows of a second would add up to
 * more than the share; below 2 per second the requests are spaced out instead.
 */
export function createRateLimiter(requestsPer10s: number, signal: AbortSignal): RateLimiter {
  const perSecond = requestsPer10s / 10
  const limit = Math.max(1, Math.floor(perSecond))
  const intervalMs = perSecond < 2 ? Math.ceil(1000 / perSecond) : 1000
  const throttled = pThrottle({ limit, interval: intervalMs, strict: true, signal })(() => {})
  let queued = 0
  // The throttle reads the wall clock: were that set back, no turn would come before it has caught up.
  const takeTurn = async () => {
    queued++
    const longestMs = intervalMs * (Math.ceil(queued / limit) + 1)
    await withDeadline(throttled(), longestMs, () => {}).finally(() => {
      queued--
    })
  }
  let pausedUntil = 0
  const pauseLeftMs = () => pausedUntil - performance.now()
  const requireEndOfPause = (deadline: number) => {
    if (pausedUntil <= deadline) return
    const waitSeconds = Math.ceil(pauseLeftMs() / 1000)
    throw new SyncError('transient', 'Clerk asks to wait longer than a request may take', {
      hint: `The instance is over its request limit. Run the command again in ${waitSeconds} s, or lower CLERK_REQUESTS_PER_10S.`,
      facts: { waitSeconds },
    })
  }
  const waitForPause = async (deadline: number) => {
    for (let rest = pauseLeftMs(); rest > 0; rest = pauseLeftMs()) {
      requireEndOfPause(deadline)
      await delay(rest, undefined, { signal }).catch(() => signal.throwIfAborted())
    }
  }
  return {
    async enter(deadline) {
      // Another lane may meet a 429 while this one queues. Then its turn is void: all who queued would go at once.
      do {
        await waitForPause(deadline)
        // The queue knows of no abort before its time.
        signal.throwIfAborted()
        await takeTurn()
      } while (pauseLeftMs() > 0)
    },
    isPaused: () => pauseLeftMs() > 0,
    pause(milliseconds) {
      pausedUntil = Math.max(pausedUntil, performance.now() + milliseconds)
    },
    requireEndOfPause,
  }
}
