// Deliveries that a unique constraint refused a moment ago, since another user's row still held the value. The delivery of
// that other user is on its way: once it comes, both are written together. Only a memory of this process, and a small one:
// what is lost with it, the next pass settles. No row is blanked to make room for a delivery: that row's user may have the
// value by right, where a constraint is stricter than Clerk, and no other value could be written there.
import type { WriteError } from '../db/database.ts'
import type { DesiredUser } from '../db/schema.ts'

/** Two users who swap are two, a circle is a few. */
const usersMax = 20
/** By then an incremental pass has settled it. */
const waitMsMax = 10 * 60_000

interface Waiting {
  readonly user: DesiredUser
  readonly failure: WriteError
  readonly since: number
}

export class WaitingDeliveries {
  private readonly entries = new Map<string, Waiting>()
  private instanceId: string | undefined

  /** Forgets everybody of another Clerk instance. */
  keepOnly(instanceId: string): this {
    if (this.instanceId !== instanceId) this.entries.clear()
    this.instanceId = instanceId
    return this
  }

  /** Remembers the newest that was heard of a user. */
  add(user: DesiredUser, failure: WriteError): void {
    const known = this.entries.get(user.clerkId)
    if (known !== undefined && known.user.clerkUpdatedAt > user.clerkUpdatedAt) return
    this.entries.delete(user.clerkId)
    this.entries.set(user.clerkId, { user, failure, since: performance.now() })
    const [oldest] = this.entries.keys()
    if (this.entries.size > usersMax && oldest !== undefined) this.entries.delete(oldest)
  }

  delete(clerkId: string): void {
    this.entries.delete(clerkId)
  }

  /** Those who have not waited for too long, in the order of their ids. */
  all(): Waiting[] {
    const since = performance.now() - waitMsMax
    for (const [id, entry] of this.entries) if (entry.since < since) this.entries.delete(id)
    return [...this.entries.values()].sort((a, b) => (a.user.clerkId < b.user.clerkId ? -1 : 1))
  }
}
