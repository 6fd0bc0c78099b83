// The walk through all of Clerk's users by creation time, page by page: yields each user once, and the span of creation
// times that the pages so far have closed. The one rule: a page that does not repeat a user of the one before proves
// nothing, so no bad answer can read as the end, and no user can fall between two pages.
//
//   page 1   a b c d e         cursor d: the last user strictly older than the last
//   page 2           e f g h   repeats e, or the thread is lost
//   page 3                 h   brings nobody new: the end
import type { ClerkClient, ListAnswer, ListQuery } from '../clerk/api.ts'
import type { ReadableUser } from '../clerk/user.ts'
import { isSyncError, SyncError } from '../errors.ts'

export interface WalkPage {
  /** Users that no page before had, in order. */
  readonly users: readonly ReadableUser[]
  /** The creation times, `after` < t ≤ `upTo`, of which every user has now been seen; undefined is without bound. */
  readonly span: { readonly after: number | undefined; readonly upTo: number | undefined }
  /** False while a tie longer than a page goes on: then the span is empty. */
  readonly closesSpan: boolean
  /** Every user seen whose creation time lies in the span (or later). */
  readonly seen: readonly string[]
  /** Users on the page whose id cannot be read. */
  readonly unreadable: number
  readonly date: number | undefined
}

export interface WalkEnd {
  /** True if the walk met its end with the thread in hand. */
  readonly complete: boolean
}

type Known = { readonly clerkId: string; readonly time: number }
type Page = {
  known: Known[]
  readable: Map<string, ReadableUser>
  unreadable: number
  date: number | undefined
}
/** How the next page is asked for, and what shows that the answer continues from there. */
type Ask = {
  readonly query: Omit<ListQuery, 'limit' | 'orderBy'>
  readonly byTime: boolean
  /** Users that the page may repeat; it must repeat one. */
  readonly repeats: ReadonlySet<string>
  /** No user of the page may be this one or older than this. */
  readonly excluded: string | undefined
  readonly notBefore: number
  readonly fallback: string | undefined
}

/** Walks to the end. `note` is told each kind of fallback that was needed. Throws what the client throws. */
export async function* walkUsers(
  clerk: Pick<ClerkClient, 'listUsers'>,
  options: { pageSize: number; note: (text: string) => void },
): AsyncGenerator<WalkPage, WalkEnd> {
  /** Users seen since the cursor's time, in order, and the one before the cursor, to be able to step back. */
  let trail: Known[] = []
  let cursor = -1
  let closedUpTo: number | undefined
  /** Once only times have led on, they are asked for first: three requests a page would be ungentle. */
  let byTime = false
  /** The last page brought nobody new, but not the last user known either: then nothing may be left to come. */
  let closing = false

  for (let pageNumber = 1; ; pageNumber++) {
    const asks = pageNumber === 1 ? [fromTheStart(trail)] : asksFor(trail, cursor, byTime)
    const found = await askUntilThreadHolds(clerk, asks, options.pageSize, pageNumber === 1 || closing)
    if (found === undefined) {
      options.note('the listing lost its thread: no way of asking continued where the page before ended')
      return { complete: false }
    }
    const { page, ask } = found
    if (ask.fallback !== undefined) options.note(`fallback: ${ask.fallback}`)
    byTime ||= ask.byTime

    const known = new Set(trail.map((user) => user.clerkId))
    const isBehind = (user: Known) => ask.byTime && closedUpTo !== undefined && user.time <= closedUpTo
    const fresh = page.known.filter((user) => !known.has(user.clerkId) && !isBehind(user))
    const users = fresh.flatMap((user) => page.readable.get(user.clerkId) ?? [])
    trail = [...trail, ...fresh].sort((a, b) => a.time - b.time)
    const facts = {
      users,
      seen: trail.map((user) => user.clerkId),
      unreadable: page.unreadable,
      date: page.date,
    }
    const holdsLast = trail.length === 0 || page.known.some((user) => user.clerkId === trail.at(-1)?.clerkId)
    if (fresh.length === 0 && (holdsLast || page.known.length === 0)) {
      yield { ...facts, span: { after: closedUpTo, upTo: undefined }, closesSpan: true }
      return { complete: true }
    }
    closing = fresh.length === 0
    const next = closing ? lastOf(page, trail) : nextCursor(page, trail, cursor)
    if (closing && next.index <= cursor) {
      options.note('the listing lost its thread: a page only repeated what was known')
      return { complete: false }
    }
    const closesSpan = next.closedUpTo !== undefined && next.closedUpTo !== closedUpTo
    yield { ...facts, span: { after: closedUpTo, upTo: next.closedUpTo ?? closedUpTo }, closesSpan }
    if (closesSpan) closedUpTo = next.closedUpTo
    // What lies before the user before the cursor is behind the span.
    const from = closesSpan ? Math.max(0, next.index - 1) : 0
    trail = trail.slice(from)
    cursor = next.index - from
  }
}

/**
 * The last user strictly older than the page's last time, whose time closes the span; inside a tie longer than a page,
 * the last user but one, which closes nothing.
 */
function nextCursor(page: Page, trail: readonly Known[], cursor: number) {
  const lastTime = page.known.at(-1)?.time ?? Number.NEGATIVE_INFINITY
  const older = page.known.findLast((user) => user.time < lastTime)
  if (older !== undefined) return { index: indexOf(trail, older), closedUpTo: older.time }
  const lastButOne = page.known.at(-2)
  return { index: lastButOne === undefined ? cursor : indexOf(trail, lastButOne), closedUpTo: undefined }
}

function lastOf(page: Page, trail: readonly Known[]) {
  const last = page.known.at(-1)
  return { index: last === undefined ? -1 : indexOf(trail, last), closedUpTo: undefined }
}

function indexOf(trail: readonly Known[], user: Known): number {
  return trail.findIndex((each) => each.clerkId === user.clerkId)
}

/** A page that the cursor leads to; the ways to ask again should it have lost the thread. */
function asksFor(trail: readonly Known[], cursor: number, byTime: boolean): Ask[] {
  const times = asksByTime(trail, cursor)
  if (byTime) return times
  return [
    afterUser(trail, cursor, undefined),
    afterUser(trail, cursor - 1, 'continued from one user further back'),
    ...times,
  ]
}

function fromTheStart(trail: readonly Known[], fallback?: string): Ask {
  return {
    query: {},
    byTime: false,
    repeats: new Set(trail.map((user) => user.clerkId)),
    excluded: undefined,
    notBefore: Number.NEGATIVE_INFINITY,
    fallback,
  }
}

function afterUser(trail: readonly Known[], index: number, fallback: string | undefined): Ask {
  const user = trail[index]
  if (user === undefined) return fromTheStart(trail, fallback)
  return {
    query: { startingAfter: user.clerkId },
    byTime: false,
    repeats: new Set(trail.slice(index + 1).map((each) => each.clerkId)),
    excluded: user.clerkId,
    notBefore: user.time,
    fallback,
  }
}

/**
 * By creation time, from the cursor's own time on, so that either reading of "after" repeats the cursor's user. Inside
 * a tie an offset skips what is known of it, less this user; should deletions have shifted it, half a page less.
 */
function asksByTime(trail: readonly Known[], cursor: number): Ask[] {
  const user = trail[Math.max(0, cursor)]
  if (user === undefined) return []
  const since = trail.filter((each) => each.time >= user.time)
  const offset = Math.max(
    0,
    since.findIndex((each) => each.clerkId === user.clerkId),
  )
  const ask = (skip: number): Ask => ({
    query: { createdAtAfter: user.time - 1, ...(skip > 0 ? { offset: skip } : {}) },
    byTime: true,
    repeats: new Set(since.map((each) => each.clerkId)),
    excluded: undefined,
    notBefore: user.time - 1,
    fallback: 'continued by creation time, without the cursor',
  })
  return offset === 0 ? [ask(0)] : [ask(offset), ask(Math.max(0, offset - 250))]
}

async function askUntilThreadHolds(
  clerk: Pick<ClerkClient, 'listUsers'>,
  asks: readonly Ask[],
  pageSize: number,
  mayBeEmpty: boolean,
): Promise<{ page: Page; ask: Ask } | undefined> {
  for (const ask of asks) {
    try {
      const answer = await clerk.listUsers({ limit: pageSize, orderBy: '+created_at', ...ask.query })
      const page = readPage(answer, ask.notBefore)
      if (holdsThread(page, ask) || (mayBeEmpty && page.known.length === 0)) return { page, ask }
    } catch (error) {
      if (!isRefusedCursor(error, ask)) throw error
    }
  }
  return undefined
}

/** True if the page goes on where the one before ended: it repeats a user of that one, and shows none behind it. */
function holdsThread(page: Page, ask: Ask): boolean {
  if (page.known.some((user) => user.clerkId === ask.excluded || user.time < ask.notBefore)) return false
  return ask.repeats.size === 0 || page.known.some((user) => ask.repeats.has(user.clerkId))
}

/** A 4xx for a cursor is about the cursor: not supported, or its user is gone. */
function isRefusedCursor(error: unknown, ask: Ask): boolean {
  return ask.query.startingAfter !== undefined && isSyncError(error, 'contract') && 'status' in error.facts
}

/** The page's users in order, each once; a user without a readable time stands where the one before it stands. */
function readPage(answer: ListAnswer, startTime: number): Page {
  const readable = new Map<string, ReadableUser>()
  const known: Known[] = []
  let unreadable = 0
  let time = startTime
  let lastReadTime = Number.NEGATIVE_INFINITY
  for (const user of answer.users) {
    if (user.kind === 'unreadable') {
      unreadable++
      continue
    }
    if (user.createdAt !== undefined) {
      if (user.createdAt < lastReadTime) {
        throw new SyncError('contract', 'the list of users is not in the order that was asked for', {
          hint: 'Does CLERK_API_URL lead to Clerk, without a proxy that answers in its place?',
        })
      }
      time = lastReadTime = user.createdAt
    }
    if (!readable.has(user.clerkId)) known.push({ clerkId: user.clerkId, time })
    readable.set(user.clerkId, user)
  }
  return { known, readable, unreadable, date: answer.date }
}
