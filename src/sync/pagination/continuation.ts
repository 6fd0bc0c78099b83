// Where the pages stand, and the queries that may continue from there. The rule: every query asks for a page that repeats a
// user of the page before, so that the answer shows whether it continues where that one ended. Pure.
import type { ListQuery } from '../../clerk/answers.ts'

/** A user seen, and the creation time at which the page listed it. */
export type SeenUser = { readonly clerkId: string; readonly time: number }

/** Where the pages stand. */
export type PagePosition = {
  /** Users seen since the cursor's time, in order, and the one before the cursor, to be able to step back. */
  readonly seenSinceCursor: readonly SeenUser[]
  /** The cursor's index in `seenSinceCursor`. */
  readonly cursor: number
  /** The creation time up to which every user has been seen. */
  readonly closedUpTo: number | undefined
  /** True once the cursor has failed: later pages then try `created_at_after` first, which saves two requests a page. */
  readonly byTime: boolean
  /** An empty page is the end: at the start, and where the users after the cursor were seen and then were not. */
  readonly mayBeEmpty: boolean
  /** True if the pages have stepped back since the last new user. They do so once, or they might go round in circles. */
  readonly hasSteppedBack: boolean
  /** The most users that a page has held: one as long may continue behind its last user. */
  readonly longest: number
}

/** How the next page is asked for, and what shows that the answer continues from there. */
export type PageQuery = {
  readonly query: Omit<ListQuery, 'limit' | 'orderBy'>
  readonly byTime: boolean
  /** Users that the page may repeat, with their times; it must repeat one, unmoved. */
  readonly expectedOverlap: ReadonlyMap<string, number>
  /** No user of the page may be older than this. */
  readonly notBefore: number
  readonly fallback: string | undefined
}

/** The queries for the page that the cursor leads to, in the order in which they are tried. */
export function nextPageQueries(position: PagePosition, pageSize: number): PageQuery[] {
  const { seenSinceCursor, cursor } = position
  if (seenSinceCursor.length === 0) return [afterUser(seenSinceCursor, -1, undefined)]
  const byCursor = [
    afterUser(seenSinceCursor, cursor, undefined),
    afterUser(seenSinceCursor, cursor - 1, 'continued from one user further back'),
  ]
  const byTime = queriesByTime(seenSinceCursor, cursor, pageSize)
  return position.byTime ? [...byTime, ...byCursor] : [...byCursor, ...byTime]
}

const timesOf = (users: readonly SeenUser[]) => new Map(users.map((user) => [user.clerkId, user.time]))

/** After the user at that place; before the first place, from the start. */
function afterUser(
  seenSinceCursor: readonly SeenUser[],
  place: number,
  fallback: string | undefined,
): PageQuery {
  const user = seenSinceCursor[place]
  return {
    query: user === undefined ? {} : { startingAfter: user.clerkId },
    byTime: false,
    expectedOverlap: timesOf(seenSinceCursor.slice(Math.max(0, place + 1))),
    notBefore: user?.time ?? Number.NEGATIVE_INFINITY,
    fallback,
  }
}

/**
 * Four queries by `created_at_after`: from 1 ms before the last user, so that either reading of "after" repeats it, skipping
 * the known part of its tie by `offset`; the same from the cursor's user; the same with half a page less offset, where
 * deletions have shifted it; from the last user's own time, where "after" includes it and the millisecond before is full.
 */
function queriesByTime(seenSinceCursor: readonly SeenUser[], cursor: number, pageSize: number): PageQuery[] {
  const last = seenSinceCursor.length - 1
  const pageQuery = (place: number, options: { less?: number; after?: number }): PageQuery[] => {
    const user = seenSinceCursor[Math.max(0, place)]
    if (user === undefined) return []
    const since = seenSinceCursor.filter((each) => each.time >= user.time)
    const known = since.findIndex((each) => each.clerkId === user.clerkId)
    const offset = Math.max(0, known - (options.less ?? 0))
    return [
      {
        query: {
          // Infinite is the time of users at the front whose own cannot be read.
          ...(Number.isFinite(user.time) ? { createdAtAfter: user.time + (options.after ?? -1) } : {}),
          ...(offset > 0 ? { offset } : {}),
        },
        byTime: true,
        expectedOverlap: timesOf(since),
        notBefore: user.time - 1,
        fallback: 'continued by creation time, without the cursor',
      },
    ]
  }
  return [
    ...pageQuery(last, {}),
    ...pageQuery(cursor, {}),
    ...pageQuery(cursor, { less: Math.ceil(pageSize / 2) }),
    ...pageQuery(last, { after: 0 }),
  ]
}
