// The walk through all of Clerk's users by creation time, page by page: yields each user once, and the span of creation
// times that the pages so far have closed. The one rule: a page that does not repeat a user of the one before proves
// nothing, so no bad answer can read as the end, and no user can fall between two pages.
//
//   page 1   a b c d e         cursor d: the last user strictly older than the last
//   page 2           e f g h   repeats e, or the thread is lost
//   page 3                 h   brings nobody new: the end
import type { ClerkClient, ListAnswer } from '../clerk/api.ts'
import type { ReadableUser } from '../clerk/user.ts'
import { isSyncError, SyncError } from '../errors.ts'
import { type Ask, asksFor, type Known, type Thread } from './thread.ts'

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
}

export interface WalkEnd {
  /** True if the walk met its end with the thread in hand. */
  readonly complete: boolean
}

type Page = {
  known: Known[]
  readable: Map<string, ReadableUser>
  unreadable: number
  /** How many elements it had, readable or not. */
  length: number
  /** How many were asked for. */
  limit: number
}
/** What a page means: new users, the end, or, where it only repeats, from where to go on. */
type Step =
  | { readonly kind: 'news'; readonly fresh: readonly Known[] }
  | { readonly kind: 'end' }
  | { readonly kind: 'onward'; readonly cursor: number; readonly mayBeEmpty: boolean }

/** Of pages of one user no walk can be made. */
const shortestPage = 2

/** Walks to the end. `note` is told each kind of fallback that was needed. Throws what the client throws. */
export async function* walkUsers(
  clerk: Pick<ClerkClient, 'listUsers'>,
  options: { pageSize: number; note: (text: string) => void },
): AsyncGenerator<WalkPage, WalkEnd> {
  let thread: Thread = {
    trail: [],
    cursor: -1,
    closedUpTo: undefined,
    byTime: false,
    mayBeEmpty: true,
    wentBack: false,
    longest: shortestPage,
  }
  let { pageSize } = options
  for (;;) {
    const found = await askUntilOneHelps(clerk, thread, pageSize)
    if (found === undefined) {
      options.note('the listing lost its thread: no way of asking continued where the page before ended')
      return { complete: false }
    }
    const { page, ask, step } = found
    pageSize = page.limit
    if (ask.fallback !== undefined) options.note(`fallback: ${ask.fallback}`)
    const fresh = step.kind === 'news' ? step.fresh : []
    const trail = extend(thread.trail, page, fresh)
    const { closedUpTo } = thread
    const facts = {
      users: fresh.flatMap((user) => page.readable.get(user.clerkId) ?? []),
      seen: trail.map((user) => user.clerkId),
      unreadable: page.unreadable,
    }
    if (step.kind === 'end') {
      yield { ...facts, span: { after: closedUpTo, upTo: undefined }, closesSpan: true }
      return { complete: true }
    }
    thread = {
      ...thread,
      ...(step.kind === 'news' ? afterNews(thread, page, trail) : afterRepeats(thread, step, trail)),
      byTime: thread.byTime || ask.byTime,
      longest: Math.max(thread.longest, page.length),
    }
    const closesSpan = thread.closedUpTo !== closedUpTo
    yield { ...facts, span: { after: closedUpTo, upTo: thread.closedUpTo }, closesSpan }
  }
}

async function askUntilOneHelps(
  clerk: Pick<ClerkClient, 'listUsers'>,
  thread: Thread,
  pageSize: number,
): Promise<{ page: Page; ask: Ask; step: Step } | undefined> {
  for (const ask of asksFor(thread, pageSize)) {
    try {
      const answer = await clerk.listUsers({ limit: pageSize, orderBy: '+created_at', ...ask.query })
      const page = readPage(answer, ask.notBefore)
      const step = stepOf(page, ask, thread)
      if (step !== undefined) return { page, ask, step }
    } catch (error) {
      if (!isRefusedCursor(error, ask)) throw error
    }
  }
  return undefined
}

/** A 4xx for a cursor is about the cursor: not supported, or its user is gone. */
function isRefusedCursor(error: unknown, ask: Ask): boolean {
  return ask.query.startingAfter !== undefined && isSyncError(error, 'contract') && 'status' in error.facts
}

/** What the page means, or undefined if it does not lead on. */
function stepOf(page: Page, ask: Ask, thread: Thread): Step | undefined {
  const { trail, cursor, closedUpTo } = thread
  if (page.known.length === 0) return thread.mayBeEmpty ? { kind: 'end' } : undefined
  if (!holdsThread(page, ask)) return undefined
  const places = new Map(trail.map((user, place) => [user.clerkId, place]))
  // The trail has everybody since that time; who is older was seen, or has come since and is the next pass's.
  const isBehind = (user: Known) => closedUpTo !== undefined && user.time < closedUpTo
  const fresh = page.known.filter((user) => !places.has(user.clerkId) && !isBehind(user))
  if (fresh.length > 0) return { kind: 'news', fresh }

  const last = Math.max(...page.known.map((user) => places.get(user.clerkId) ?? -1))
  // A page as long as others, or as long as was asked for, may have been cut behind its last user.
  const isShort = page.length < Math.min(thread.longest, Math.max(page.limit, shortestPage))
  const holdsLast = last === trail.length - 1
  if (holdsLast && isShort) return { kind: 'end' }
  const next = holdsLast ? last - 1 : last
  if (next > cursor) return { kind: 'onward', cursor: next, mayBeEmpty: isShort }
  // The users behind it are gone, or the page was cut: if nothing follows it once more, it was the end.
  return isShort && !thread.wentBack ? { kind: 'onward', cursor: next, mayBeEmpty: true } : undefined
}

/** True if the page goes on where the one before ended: it repeats a user of that one, and shows none behind it. */
function holdsThread(page: Page, ask: Ask): boolean {
  if (page.known.some((user) => user.time < ask.notBefore)) return false
  return ask.repeats.size === 0 || page.known.some((user) => ask.repeats.get(user.clerkId) === user.time)
}

/** The trail with the page's users in it, at the times that the page gives. */
function extend(trail: readonly Known[], page: Page, fresh: readonly Known[]): Known[] {
  const now = new Map(page.known.map((user) => [user.clerkId, user]))
  return [...trail.map((user) => now.get(user.clerkId) ?? user), ...fresh].sort((a, b) => a.time - b.time)
}

/**
 * The next cursor is the last user strictly older than the page's last time, whose time closes the span; inside a tie
 * longer than a page, the last user but one, which closes nothing.
 */
function afterNews(thread: Thread, page: Page, trail: readonly Known[]) {
  const places = new Map(trail.map((user, place) => [user.clerkId, place]))
  const users = page.known.filter((user) => places.has(user.clerkId))
  const lastTime = users.at(-1)?.time ?? Number.NEGATIVE_INFINITY
  const older = users.findLast((user) => user.time < lastTime)
  const cursor = places.get((older ?? users.at(-2))?.clerkId ?? '') ?? thread.cursor
  const fresh = { mayBeEmpty: false, wentBack: false }
  if (older === undefined || older.time <= (thread.closedUpTo ?? Number.NEGATIVE_INFINITY)) {
    return { ...fresh, trail, cursor }
  }
  // What lies before the cursor's time is behind the span; its whole tie stays, since an offset counts it.
  const from = Math.max(
    0,
    Math.min(
      cursor - 1,
      trail.findIndex((user) => user.time >= older.time),
    ),
  )
  return { ...fresh, trail: trail.slice(from), cursor: cursor - from, closedUpTo: older.time }
}

function afterRepeats(thread: Thread, step: Step & { kind: 'onward' }, trail: readonly Known[]) {
  const { cursor, mayBeEmpty } = step
  return { trail, cursor, mayBeEmpty, wentBack: thread.wentBack || cursor <= thread.cursor }
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
  return { known, readable, unreadable, length: answer.users.length, limit: answer.limit }
}
