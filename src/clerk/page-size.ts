// How many users one request asks for. Where Clerk is too slow for a page, or a page is too large, every later one is
// smaller, until the client's end: a line that is slow now will be slow for the next page too.

export interface PageSize {
  /** How many to ask for where `wanted` would be asked for. */
  of(wanted: number): number
  /** Makes pages half as large as the one that failed. Returns false if none smaller is worth a try. */
  halve(failed: number): boolean
  /** The most that a request may ask for, or undefined as long as nothing has failed. */
  readonly lowered: number | undefined
}

/** A smaller page would hardly arrive sooner: what takes the time is then not its length. */
const smallestPage = 10

/** `smallest` is 10 if absent. */
export function createPageSize(smallest: number = smallestPage): PageSize {
  let max = Number.POSITIVE_INFINITY
  return {
    of: (wanted) => Math.min(wanted, max),
    halve(failed) {
      if (failed <= smallest) return false
      // Another request may have lowered it meanwhile.
      max = Math.min(max, Math.max(smallest, Math.floor(failed / 2)))
      return true
    },
    get lowered() {
      return Number.isFinite(max) ? max : undefined
    },
  }
}
