// All of Clerk's users by creation time, page by page: yields each user once, and the span of creation times that the pages
// so far have closed. The one rule: a page that does not repeat a user of the one before proves nothing, so no bad answer
// can read as the end, and no user can fall between two pages.
//
//   page 1   a b c d e         cursor d: the last user strictly older than the last
//   page 2           e f g h   repeats e, or the pages no longer overlap
//   page 3                 h   has no new user: the end
import type { ClerkClient, ListAnswer } from '../../clerk/api.ts'
import type { ReadableUser } from '../../clerk/user.ts'
import { isSyncError, SyncError } from '../../errors.ts'
import { nextPageQueries, type PagePosition, type PageQuery, type SeenUser } from './continuation.ts'

export interface UserPage {
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
}

export interface PaginationEnd {
  /** True if each page overlapped the one before and the last brought no new user. */
  readonly complete: boolean
}

type Page = {
  known: SeenUser[]
  readable: Map<string, ReadableUser>
  unreadable: number
  /** How many elements it had, readable or not. */
  length: number
  /** How many were asked for. */
  limit: number
}
/** What a page means: new users, the end, or, where it only repeats, from where to continue. */
type PageOutcome =
  | { readonly kind: 'new-users'; readonly fresh: readonly SeenUser[] }
  | { readonly kind: 'end' }
  | { readonly kind: 'continue'; readonly cursor: number; readonly mayBeEmpty: boolean }

/** Pages of one user cannot overlap. */
const shortestPage = 2

/** Reads to the end. `note` receives each kind of fallback that was needed. Throws what the client throws. */
export async function* paginateUsers(
  clerk: Pick<ClerkClient, 'listUsers'>,
  options: { pageSize: number; note: (text: string) => void },
): AsyncGenerator<UserPage, PaginationEnd> {
  let position: PagePosition = {
    seenSinceCursor: [],
    cursor: -1,
    closedUpTo: undefined,
    byTime: false,
    mayBeEmpty: true,
    hasSteppedBack: false,
    longest: shortestPage,
  }
  let { pageSize } = options
  for (;;) {
    const found = await fetchNextPage(clerk, position, pageSize)
    if (found === undefined) {
      options.note(
        'the pages of the listing no longer overlap: no query continued where the page before ended',
      )
      return { complete: false }
    }
    const { page, pageQuery, outcome } = found
    pageSize = page.limit
    if (pageQuery.fallback !== undefined) options.note(`fallback: ${pageQuery.fallback}`)
    const fresh = outcome.kind === 'new-users' ? outcome.fresh : []
    const seenSinceCursor = extend(position.seenSinceCursor, page, fresh)
    const { closedUpTo } = position
    const facts = {
      users: fresh.flatMap((user) => page.readable.get(user.clerkId) ?? []),
      seen: seenSinceCursor.map((user) => user.clerkId),
      unreadable: page.unreadable,
    }
    if (outcome.kind === 'end') {
      yield { ...facts, span: { after: closedUpTo, upTo: undefined }, closesSpan: true }
      return { complete: true }
    }
    position = {
      ...position,
      ...(outcome.kind === 'new-users'
        ? afterNewUsers(position, page, seenSinceCursor)
        : afterRepeats(position, outcome, seenSinceCursor)),
      byTime: position.byTime || pageQuery.byTime,
      longest: Math.max(position.longest, page.length),
    }
    const closesSpan = position.closedUpTo !== closedUpTo
    yield { ...facts, span: { after: closedUpTo, upTo: position.closedUpTo }, closesSpan }
  }
}

async function fetchNextPage(
  clerk: Pick<ClerkClient, 'listUsers'>,
  position: PagePosition,
  pageSize: number,
): Promise<{ page: Page; pageQuery: PageQuery; outcome: PageOutcome } | undefined> {
  for (const pageQuery of nextPageQueries(position, pageSize)) {
    try {
      const answer = await clerk.listUsers({ limit: pageSize, orderBy: '+created_at', ...pageQuery.query })
      const page = readPage(answer, pageQuery.notBefore)
      const outcome = outcomeOf(page, pageQuery, position)
      if (outcome !== undefined) return { page, pageQuery, outcome }
    } catch (error) {
      if (!isRefusedCursor(error, pageQuery)) throw error
    }
  }
  return undefined
}

/** A 4xx for a cursor is about the cursor: not supported, or its user is gone. */
function isRefusedCursor(error: unknown, pageQuery: PageQuery): boolean {
  return (
    pageQuery.query.startingAfter !== undefined && isSyncError(error, 'contract') && 'status' in error.facts
  )
}

/** What the page means, or undefined if it does not lead on. */
function outcomeOf(page: Page, pageQuery: PageQuery, position: PagePosition): PageOutcome | undefined {
  const { seenSinceCursor, cursor, closedUpTo } = position
  if (page.known.length === 0) return position.mayBeEmpty ? { kind: 'end' } : undefined
  if (!overlaps(page, pageQuery)) return undefined
  const places = new Map(seenSinceCursor.map((user, place) => [user.clerkId, place]))
  // Users since that time are all in `seenSinceCursor`. An older one was seen, or has come since and is the next pass's.
  const isBehind = (user: SeenUser) => closedUpTo !== undefined && user.time < closedUpTo
  const fresh = page.known.filter((user) => !places.has(user.clerkId) && !isBehind(user))
  if (fresh.length > 0) return { kind: 'new-users', fresh }

  const last = Math.max(...page.known.map((user) => places.get(user.clerkId) ?? -1))
  // A page as long as others, or as long as was asked for, may have been cut behind its last user.
  const isShort = page.length < Math.min(position.longest, Math.max(page.limit, shortestPage))
  const holdsLast = last === seenSinceCursor.length - 1
  if (holdsLast && isShort) return { kind: 'end' }
  const next = holdsLast ? last - 1 : last
  if (next > cursor) return { kind: 'continue', cursor: next, mayBeEmpty: isShort }
  // The users behind it are gone, or the page was cut: if nothing follows it once more, it was the end.
  return isShort && !position.hasSteppedBack
    ? { kind: 'continue', cursor: next, mayBeEmpty: true }
    : undefined
}

/** True if the page continues where the one before ended: it repeats a user of that one, and shows none behind it. */
function overlaps(page: Page, pageQuery: PageQuery): boolean {
  if (page.known.some((user) => user.time < pageQuery.notBefore)) return false
  return (
    pageQuery.expectedOverlap.size === 0 ||
    page.known.some((user) => pageQuery.expectedOverlap.get(user.clerkId) === user.time)
  )
}

/** The users seen with the page's users in it, at the times that the page gives. */
function extend(seenSinceCursor: readonly SeenUser[], page: Page, fresh: readonly SeenUser[]): SeenUser[] {
  const now = new Map(page.known.map((user) => [user.clerkId, user]))
  return [...seenSinceCursor.map((user) => now.get(user.clerkId) ?? user), ...fresh].sort(
    (a, b) => a.time - b.time,
  )
}

/**
 * The next cursor is the last user strictly older than the page's last time, whose time closes the span; inside a tie
 * longer than a page, the last user but one, which closes nothing.
 */
function afterNewUsers(position: PagePosition, page: Page, seenSinceCursor: readonly SeenUser[]) {
  const places = new Map(seenSinceCursor.map((user, place) => [user.clerkId, place]))
  const users = page.known.filter((user) => places.has(user.clerkId))
  const lastTime = users.at(-1)?.time ?? Number.NEGATIVE_INFINITY
  const older = users.findLast((user) => user.time < lastTime)
  const cursor = places.get((older ?? users.at(-2))?.clerkId ?? '') ?? position.cursor
  const fresh = { mayBeEmpty: false, hasSteppedBack: false }
  if (older === undefined || older.time <= (position.closedUpTo ?? Number.NEGATIVE_INFINITY)) {
    return { ...fresh, seenSinceCursor, cursor }
  }
  // What lies before the cursor's time is behind the span; its whole tie stays, since an offset counts it.
  const from = Math.max(
    0,
    Math.min(
      cursor - 1,
      seenSinceCursor.findIndex((user) => user.time >= older.time),
    ),
  )
  return {
    ...fresh,
    seenSinceCursor: seenSinceCursor.slice(from),
    cursor: cursor - from,
    closedUpTo: older.time,
  }
}

function afterRepeats(
  position: PagePosition,
  outcome: PageOutcome & { kind: 'continue' },
  seenSinceCursor: readonly SeenUser[],
) {
  const { cursor, mayBeEmpty } = outcome
  return {
    seenSinceCursor,
    cursor,
    mayBeEmpty,
    hasSteppedBack: position.hasSteppedBack || cursor <= position.cursor,
  }
}

/** The page's users in order, each once; a user without a readable time stands where the one before it stands. */
function readPage(answer: ListAnswer, startTime: number): Page {
  const readable = new Map<string, ReadableUser>()
  const known: SeenUser[] = []
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
  return { known, readable, unreadable, length: answer.users.length, limit: answer.limit }
}
