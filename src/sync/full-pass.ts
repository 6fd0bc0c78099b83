// The full pass: walks all of Clerk's users, plans and applies each page, and keeps the rows that no page returned as
// candidates for deletion. Reads top to bottom; what proves an absence is in deletions.ts.
import { isStorableTime, type ReadableUser, type ReadUser } from '../clerk/user.ts'
import type { CurrentRow } from '../db/schema.ts'
import type { Progress } from '../db/state.ts'
import { countRows, countRowsOf, readAbsentIds, readUndatedIds } from '../db/users.ts'
import { applyUsers } from './apply.ts'
import { groupBySince, noteApproval } from './approval.ts'
import type { ClerkClock } from './clock.ts'
import { countAgain, countUsers } from './count.ts'
import { confirmCandidates, deleteDenied } from './deletions.ts'
import { beyond, type Difference, differenceOf, lackUser, mayLackRow } from './difference.ts'
import { shortfallOf } from './guard.ts'
import { newestKept, readNewest } from './newest.ts'
import { type Pass, settlesIn } from './pass.ts'
import { settleRefused } from './settle.ts'
import { type WalkPage, walkUsers } from './walk.ts'

/** A listing may lag so long behind the writes: the watermark stays as far behind. */
const watermarkLagMs = 10 * 60_000

/** One is asked along; the others in case it has been deleted since. */
const canariesKept = 3

/** After so many pages in a row of users who signed up meanwhile the pass ends: a busy instance brings ever more. */
const newcomerPagesMax = 3

/** Everything a pass has to remember between its pages. Flat: ids only of what is in doubt. */
interface Sightings {
  /** Rows of ours that no page has returned so far. */
  readonly candidates: Set<string>
  /** Users seen whose row stands at a later creation time, where it will look absent. */
  readonly moved: Set<string>
  /** The users seen last: proof, asked along with candidates, that an answer can be believed. */
  readonly canaries: string[]
  /** Users seen that were created before Clerk was counted first. */
  seenOld: number
  /** Clerk's clock at that count, ms: a `Date` is rounded down, so the end of its second. */
  readonly countedAt: number
}

/**
 * One full pass. Gives where the next incremental pass may begin, undefined if this one was incomplete. Throws
 * `SyncError`; what was written by then stays.
 */
export async function runFullPass(pass: Pass): Promise<Progress | undefined> {
  pass.onPhase('reading')
  const newest = await pass.clerk.listUsers({ limit: newestKept, orderBy: '-updated_at' })
  const before = await countUsers(pass)

  const sightings: Sightings = {
    candidates: new Set(await readUndatedIds(pass.database.db, pass.shape)),
    moved: new Set(),
    canaries: [],
    seenOld: 0,
    countedAt: (before.date ?? Number.POSITIVE_INFINITY) + 999,
  }
  const walk = walkUsers(pass.clerk, {
    pageSize: pass.options.pageSize,
    note: (text) => pass.tally.notes.add(text),
  })
  // Users with dates to come are not newcomers: until as many as Clerk counted have been seen, they may be some of those.
  const isEveryoneSeen = () => pass.tally.counts.seen >= before.count
  for (let newcomers = 0; newcomers < newcomerPagesMax; ) {
    pass.signal.throwIfAborted()
    const next = await walk.next()
    if (next.done === true) {
      if (!next.value.complete) pass.tally.complete = false
      break
    }
    const page = next.value
    newcomers = isEveryoneSeen() && isOfNewcomers(page, sightings.countedAt) ? newcomers + 1 : 0
    // Sign-ups can go on for ever. Who was there when the pass began has been seen; the span stays open for their rows.
    const isLast = newcomers === newcomerPagesMax
    await takePage(
      pass,
      sightings,
      isLast ? { ...page, span: { ...page.span, upTo: undefined }, closesSpan: true } : page,
    )
    pass.onProgress(pass.tally.counts.seen, before.count)
  }

  pass.onPhase('counting')
  let { count: countAfter } = await countUsers(pass)
  const shortfall = () =>
    shortfallOf({
      countBefore: before.count,
      countAfter,
      seenOld: sightings.seenOld,
      seen: pass.tally.counts.seen,
    })
  const take = (users: readonly ReadableUser[]) => takeUsers(pass, sightings, users)
  const proof = await confirmCandidates(pass, sightings.candidates, sightings.canaries, take)
  if (shortfall() > 0) countAfter = await countAgain(pass)
  pass.tally.shortfall = shortfall()
  await deleteDenied(pass, proof, Math.max(before.count, countAfter), take)
  pass.onPhase('settling')
  await settleRefused(pass)
  noteApproval(pass)
  if (!pass.tally.complete) return undefined
  return closeFullPass(pass, newest.users, before.count, countAfter)
}

/** True for a page whose users have all come since the pass counted. */
function isOfNewcomers(page: WalkPage, countedAt: number): boolean {
  return page.users.length > 0 && page.users.every((user) => (user.createdAt ?? 0) > countedAt)
}

/** Holds the table against Clerk's counts, and names what stands between them. */
async function closeFullPass(
  pass: Pass,
  newest: readonly ReadUser[],
  countBefore: number,
  countAfter: number,
): Promise<Progress> {
  const { tally, shape } = pass
  const { db } = pass.database
  const named = differenceOf(tally)
  const rowless = mayLackRow(named)
  const unexplained = beyond({
    rows: await countRows(db, shape),
    usersWithoutRow: rowless.length - (await countRowsOf(db, rowless, shape)),
    rowsWithoutUser: await countRowsOf(db, lackUser(named), shape),
    doubtfulRows: await countRowsOf(db, named.doubtful, shape),
    countBefore,
    countAfter,
  })
  if (!pass.dryRun) tally.unexplained = Math.max(0, unexplained - tally.missing())
  // Fewer users than rows: the listing may lag behind deletions. After the grace it cannot; then the count is wrong.
  if (unexplained < 0 && unexplained !== pass.known?.unexplained) settlesIn(pass, pass.options.graceMs)
  const newestIds = newest.flatMap((user) => (user.kind === 'unreadable' ? [] : [user.clerkId]))
  return {
    watermark: watermarkOf(versionOf(newest), pass.clock),
    difference: {
      ...named,
      withheldSince: groupBySince(named.withheld, pass.known, pass.startedAt),
      unexplained,
      newest: await readNewest(pass, newestIds),
    } satisfies Difference,
    fullPassDueInMs: tally.settlesInMs > 0 ? tally.settlesInMs : null,
  }
}

async function takePage(pass: Pass, sightings: Sightings, page: WalkPage): Promise<void> {
  if (page.unreadable > 0) {
    pass.tally.unreadable += page.unreadable
    pass.tally.complete = false
    pass.log.warn({ users: page.unreadable }, 'users without a readable id')
  }
  await takeUsers(pass, sightings, page.users)
  if (!page.closesSpan) return
  const absent = await readAbsentIds(pass.database.db, page.span, page.seen, pass.shape)
  for (const id of absent) if (!sightings.moved.has(id)) sightings.candidates.add(id)
}

/** Counts the users, strikes them off, and writes them. */
async function takeUsers(pass: Pass, sightings: Sightings, users: readonly ReadableUser[]): Promise<void> {
  for (const user of users) {
    sightings.candidates.delete(user.clerkId)
    pass.tally.counts.seen++
    if (user.createdAt === undefined || user.createdAt <= sightings.countedAt) sightings.seenOld++
    if (user.kind === 'rejected') {
      pass.tally.rejected.set(user.clerkId, user.reason)
      // Nobody looks where the row stands; wherever that is, its user lives.
      sightings.moved.add(user.clerkId)
    }
  }
  const rows = await applyUsers(
    pass,
    users.flatMap((user) => (user.kind === 'user' ? [user.desired] : [])),
  )
  rememberMoved(sightings, users, rows)
  const last = users.filter((user) => user.kind === 'user').slice(-canariesKept)
  sightings.canaries.unshift(...last.reverse().map((user) => user.clerkId))
  sightings.canaries.length = Math.min(sightings.canaries.length, canariesKept)
}

/** A row dated later than its user is met again as an absent one, unless the page's write has moved it. */
function rememberMoved(
  sightings: Sightings,
  users: readonly { clerkId: string; createdAt: number | undefined }[],
  rows: readonly CurrentRow[],
): void {
  const times = new Map(users.map((user) => [user.clerkId, user.createdAt]))
  for (const row of rows) {
    const time = times.get(row.clerkId)
    if (row.clerkCreatedAt !== null && time !== undefined && row.clerkCreatedAt > time) {
      sightings.moved.add(row.clerkId)
    }
  }
}

/** When the newest change was made, as far as the list says. */
function versionOf([user]: readonly ReadUser[]): number | undefined {
  return user === undefined || user.kind === 'unreadable' ? undefined : user.updatedAt
}

/**
 * Clerk's newest change, or the time where that cannot be read, less what a listing may lag. Never ahead of any clock:
 * one user dated far ahead would hide everybody else's changes. Null where the table could not hold it.
 */
export function watermarkOf(version: number | undefined, clock: ClerkClock): number | null {
  const watermark =
    Math.min(version ?? clock.earliest, clock.earliest) - Math.max(watermarkLagMs, clock.graceMs)
  return isStorableTime(watermark) ? watermark : null
}
