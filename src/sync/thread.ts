// Where a walk stands, and the ways to ask for what follows. The rule: every way asks for a page that repeats somebody,
// so that its answer shows whether it goes on where the page before ended. Pure.
import type { ListQuery } from '../clerk/answers.ts'

/** A user seen, and the creation time at which it stood. */
export type Known = { readonly clerkId: string; readonly time: number }

/** Where the walk stands. */
export type Thread = {
  /** Users seen since the cursor's time, in order, and the one before the cursor, to be able to step back. */
  readonly trail: readonly Known[]
  /** The cursor's place in the trail. */
  readonly cursor: number
  /** The creation time up to which everybody has been seen. */
  readonly closedUpTo: number | undefined
  /** Once only times have led on, they are asked for first: three requests a page would be ungentle. */
  readonly byTime: boolean
  /** An empty page is the end: at the start, and where the users after the cursor were seen and then were not. */
  readonly mayBeEmpty: boolean
  /** True if since the last new user the walk went back: it does so once, or it might go round in circles. */
  readonly wentBack: boolean
  /** The most that a page has held: one as long may go on behind its last user. */
  readonly longest: number
}

/** How the next page is asked for, and what shows that the answer continues from there. */
export type Ask = {
  readonly query: Omit<ListQuery, 'limit' | 'orderBy'>
  readonly byTime: boolean
  /** Users that the page may repeat, with their times; it must repeat one, unmoved. */
  readonly repeats: ReadonlyMap<string, number>
  /** No user of the page may be older than this. */
  readonly notBefore: number
  readonly fallback: string | undefined
}

/** The ways to ask for the page that the cursor leads to: the later ones should the earlier have lost the thread. */
export function asksFor(thread: Thread, pageSize: number): Ask[] {
  const { trail, cursor } = thread
  if (trail.length === 0) return [afterUser(trail, -1, undefined)]
  const asks = [
    afterUser(trail, cursor, undefined),
    afterUser(trail, cursor - 1, 'continued from one user further back'),
  ]
  const times = asksByTime(trail, cursor, pageSize)
  return thread.byTime ? [...times, ...asks] : [...asks, ...times]
}

const timesOf = (users: readonly Known[]) => new Map(users.map((user) => [user.clerkId, user.time]))

/** After the user at that place; before the first place, from the start. */
function afterUser(trail: readonly Known[], place: number, fallback: string | undefined): Ask {
  const user = trail[place]
  return {
    query: user === undefined ? {} : { startingAfter: user.clerkId },
    byTime: false,
    repeats: timesOf(trail.slice(Math.max(0, place + 1))),
    notBefore: user?.time ?? Number.NEGATIVE_INFINITY,
    fallback,
  }
}

/**
 * By creation time: from the last user on, or should that be gone, from the cursor's. The time is one less, so that
 * either reading of "after" repeats the user; an offset skips what is known of its tie, and where deletions have
 * shifted that, half a page less. Last, the time itself, should "after" mean "from" and the millisecond before be full.
 */
function asksByTime(trail: readonly Known[], cursor: number, pageSize: number): Ask[] {
  const last = trail.length - 1
  const ask = (place: number, options: { less?: number; after?: number }): Ask[] => {
    const user = trail[Math.max(0, place)]
    if (user === undefined) return []
    const since = trail.filter((each) => each.time >= user.time)
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
        repeats: timesOf(since),
        notBefore: user.time - 1,
        fallback: 'continued by creation time, without the cursor',
      },
    ]
  }
  return [
    ...ask(last, {}),
    ...ask(cursor, {}),
    ...ask(cursor, { less: Math.ceil(pageSize / 2) }),
    ...ask(last, { after: 0 }),
  ]
}
