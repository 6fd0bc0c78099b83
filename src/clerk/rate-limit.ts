// The budget of requests, which the live app shares with us, and the one place that waits before a request. All lanes
// go through one gate: a 429 pauses every one of them, since Clerk blocks the key and not the caller.
import { setTimeout as delay } from 'node:timers/promises'
import pThrottle from 'p-throttle'
import { SyncError } from '../errors.ts'

/** Lets requests through at the budget's pace, and none while Clerk has asked to wait. */
export interface Gate {
  /** Waits for a turn. Throws `transient` if Clerk's pause lasts beyond `deadline` (on `performance.now`'s clock). */
  enter(deadline: number): Promise<void>
  /** Nobody passes for so long. A shorter pause does not end a longer one. */
  pause(milliseconds: number): void
}

/**
 * The documented limits are 1,000 requests in 10 s for a production instance and 100 for a development one
 * (clerk.com/docs, "System limits"). Half of it is left to the app.
 */
export function defaultRequestsPer10s(secretKey: string): number {
  return secretKey.startsWith('sk_live_') ? 500 : 50
}

/**
 * A gate for so many requests in 10 seconds, handed out as a tenth of it per second: a window of 10 s would fire its
 * whole share at once.
 */
export function createGate(requestsPer10s: number, signal: AbortSignal): Gate {
  const perSecond = requestsPer10s / 10
  const takeTurn = pThrottle({
    limit: Math.max(1, Math.floor(perSecond)),
    interval: perSecond >= 1 ? (1000 * Math.floor(perSecond)) / perSecond : 1000 / perSecond,
    strict: true,
    signal,
  })(() => {})
  let pausedUntil = 0
  const waitForPause = async (deadline: number) => {
    for (let rest = pausedUntil - performance.now(); rest > 0; rest = pausedUntil - performance.now()) {
      if (pausedUntil > deadline) {
        throw new SyncError('transient', 'Clerk asks to wait longer than a request may take', {
          hint: 'The instance is over its request limit. Run the command again later, or lower CLERK_REQUESTS_PER_10S.',
          facts: { waitSeconds: Math.ceil(rest / 1000) },
        })
      }
      await delay(rest, undefined, { signal }).catch(() => signal.throwIfAborted())
    }
  }
  return {
    async enter(deadline) {
      signal.throwIfAborted()
      await waitForPause(deadline)
      await takeTurn()
      // Another lane may have met a 429 while this one queued.
      await waitForPause(deadline)
    },
    pause(milliseconds) {
      pausedUntil = Math.max(pausedUntil, performance.now() + milliseconds)
    },
  }
}
