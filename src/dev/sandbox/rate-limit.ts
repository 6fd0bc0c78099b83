// The request window of one secret key: so many requests per 10 seconds, and 429 for the rest of them.

/** The window that Clerk documents. */
const windowMs = 10_000

/** Requests per 10 s that Clerk documents for each kind of instance. */
export const rateLimits = { development: 100, production: 1000 } as const

/** Counts a request at `now`; gives the seconds until the next window where it was one too many, else undefined. */
export type RateWindow = (now: number, limit: number | null) => number | undefined

/** A window that opens with the first request after the last one closed. */
export function createRateWindow(): RateWindow {
  let openedAt = Number.NEGATIVE_INFINITY
  let requests = 0
  return (now, limit) => {
    // A clock that was turned back opens a new window too, or it would stay shut until that time comes again.
    if (now >= openedAt + windowMs || now < openedAt) {
      openedAt = now
      requests = 0
    }
    requests += 1
    if (limit === null || requests <= limit) return undefined
    return Math.max(1, Math.ceil((openedAt + windowMs - now) / 1000))
  }
}
