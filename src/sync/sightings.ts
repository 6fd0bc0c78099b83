// What a full pass remembers between its pages: who was seen, and the rows of ours that no page has returned so far, which
// are the candidates for deletion. Every user seen, on whatever page, strikes its row off.
import type { ReadableUser } from '../clerk/user.ts'
import type { CurrentRow } from '../db/schema.ts'
import { readAbsentIds } from '../db/users.ts'
import { applyUsers } from './apply.ts'
import type { Pass } from './pass.ts'
import type { WalkPage } from './walk.ts'

/** One is asked along; the others in case it has been deleted since. */
const canariesKept = 3

/** Everything a pass has to remember between its pages. Flat: ids only of what is in doubt. */
export interface Sightings {
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

/** Counts and writes the users of a page, and adds the rows of its span that it does not explain to the candidates. */
export async function takePage(pass: Pass, sightings: Sightings, page: WalkPage): Promise<void> {
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
export async function takeUsers(
  pass: Pass,
  sightings: Sightings,
  users: readonly ReadableUser[],
): Promise<void> {
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
