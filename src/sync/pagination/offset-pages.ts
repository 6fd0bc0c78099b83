// The users that changed last, newest first, page by page, back to the watermark. Clerk lists them by offset alone, which a
// deletion meanwhile shifts. The rule: each page repeats a user of the pages before, or the listing steps back.
import type { ClerkClient } from '../../clerk/api.ts'
import type { ReadableUser } from '../../clerk/user.ts'
import { SyncError } from '../../errors.ts'

/** The first page is small: in five minutes few users change. The others are as large as Clerk gives them. */
const firstPageSize = 100
/** Reading further back than this costs more than a full pass gains. */
const pagesMax = 20
/** By how many users pages overlap: a deletion between two pages shifts the second by one. */
const overlap = 25

export interface ChangedPage {
  /** Users that no page before had, in order. */
  readonly users: readonly ReadableUser[]
  /** Users without a readable id, on this page and on those that were skipped since the last one. */
  readonly unreadable: number
}

/** Clerk's newest change (ms; null without users) and the users seen, or why a full pass has to follow. */
export type RecentChanges =
  | { readonly newest: number | null; readonly seen: ReadonlySet<string> }
  | { readonly stepUp: string }

/**
 * Reads until a user is older than `watermark` (ms, Clerk's clock). `note` receives each kind of fallback that was needed.
 * Throws what the client throws, and `contract` for a page out of order.
 */
export async function* paginateByChange(
  clerk: Pick<ClerkClient, 'listUsers'>,
  options: { pageSize: number; watermark: number; note: (text: string) => void },
): AsyncGenerator<ChangedPage, RecentChanges> {
  const seen = new Set<string>()
  let newest: number | null = null
  let offset = 0
  let isFirst = true
  let unreadable = 0
  // Where Clerk is asked for smaller pages, it takes more of them to read as far.
  for (let pages = 0; pages < pagesMax; ) {
    const wanted = isFirst ? Math.min(firstPageSize, options.pageSize) : options.pageSize
    const answer = await clerk.listUsers({ limit: wanted, orderBy: '-updated_at', offset })
    const { limit } = answer
    pages += limit / wanted
    const users = answer.users.filter((user): user is ReadableUser => user.kind !== 'unreadable')
    unreadable += answer.users.length - users.length
    const oldest = oldestOf(users)
    newest ??= users.find((user) => user.updatedAt !== undefined)?.updatedAt ?? null
    const overlaps = isFirst || users.some((user) => seen.has(user.clerkId))
    isFirst = false
    if (!overlaps) {
      if (offset === 0) return { stepUp: 'the pages of the listing by change do not overlap' }
      options.note('fallback: stepped back in the listing by change')
      offset = Math.max(0, offset - Math.floor(limit / 2))
      continue
    }
    const fresh = users.filter((user) => !seen.has(user.clerkId))
    for (const user of fresh) seen.add(user.clerkId)
    yield { users: fresh, unreadable }
    unreadable = 0
    // Without a new user on a page that is not full, these are all the users there are. A full one may hold only users who
    // were read before and pushed back by others' changes.
    const isEnd = fresh.length === 0 && answer.users.length < limit
    if (isEnd || (oldest !== undefined && oldest < options.watermark)) return { newest, seen }
    offset = Math.max(offset + 1, offset + answer.users.length - Math.min(overlap, Math.floor(limit / 2)))
  }
  return { stepUp: `more than ${pagesMax} pages changed since the last pass` }
}

/** The last version on the page. Throws `contract` where the page is not in the order that was asked for. */
function oldestOf(users: readonly ReadableUser[]): number | undefined {
  let oldest: number | undefined
  for (const user of users) {
    if (user.updatedAt === undefined) continue
    if (oldest !== undefined && user.updatedAt > oldest) {
      throw new SyncError('contract', 'the list of users is not in the order that was asked for', {
        hint: 'Does CLERK_API_URL lead to Clerk, without a proxy that answers in its place?',
      })
    }
    oldest = user.updatedAt
  }
  return oldest
}
