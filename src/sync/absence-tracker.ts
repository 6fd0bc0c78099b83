// What a full pass remembers between its pages: who was seen, and the rows of ours that no page has returned so far, which
// are the candidates for deletion. Every user seen, on whatever page, strikes its row off. Flat: ids only of what is in doubt.
import type { ReadableUser } from '../clerk/user.ts'
import type { CurrentRow } from '../db/schema.ts'

/** One is asked along; the others in case it has been deleted since. */
const canariesKept = 3

export class AbsenceTracker {
  /** Clerk's clock when it was counted first, ms: a `Date` is rounded down, so the end of its second. */
  readonly countedAt: number
  /** Users seen that were created before that count. */
  seenOld = 0
  private readonly candidates: Set<string>
  /** Users seen whose row stands at a later creation time, where it will look absent. */
  private readonly moved = new Set<string>()
  private lastSeen: readonly string[] = []

  /** `candidates` are rows that lie in no span. */
  constructor(candidates: readonly string[], countedAt: number) {
    this.candidates = new Set(candidates)
    this.countedAt = countedAt
  }

  /** The users live. */
  see(users: readonly ReadableUser[]): void {
    for (const { kind, clerkId, createdAt } of users) {
      this.candidates.delete(clerkId)
      if (createdAt === undefined || createdAt <= this.countedAt) this.seenOld++
      // The row of a rejected user is not read. Wherever it stands, its user lives.
      if (kind === 'rejected') this.moved.add(clerkId)
    }
  }

  /** The users were written; `rows` are their rows as they were before. */
  noteWritten(users: readonly ReadableUser[], rows: readonly CurrentRow[]): void {
    const times = new Map(users.map((user) => [user.clerkId, user.createdAt]))
    // A row dated later than its user will look absent in a later span, unless the page's write has moved it.
    for (const { clerkId, clerkCreatedAt } of rows) {
      const time = times.get(clerkId)
      if (clerkCreatedAt !== null && time !== undefined && clerkCreatedAt > time) this.moved.add(clerkId)
    }
    const last = users.filter((user) => user.kind === 'user').slice(-canariesKept)
    const ids = last.reverse().map((user) => user.clerkId)
    this.lastSeen = [...ids, ...this.lastSeen].slice(0, canariesKept)
  }

  /** No page returned the users of these rows. */
  addAbsent(ids: readonly string[]): void {
    for (const id of ids) if (!this.moved.has(id)) this.candidates.add(id)
  }

  /** Rows of ours that no page has returned so far, in the order of their ids. */
  absent(): string[] {
    return [...this.candidates].sort()
  }

  /** The users seen last: proof, asked along with candidates, that an answer can be believed. */
  canaries(): readonly string[] {
    return this.lastSeen
  }
}
