// What it takes to delete a row, told once more: the user is gone, or Clerk denied it to every question; the row has
// settled; Clerk was asked twice; no more go within an hour than the guard lets through, and none after one came back.
import type { SimulatedClerk } from './clerk.ts'
import type { SimulationOptions } from './options.ts'
import type { Row, Snapshot } from './postgres.ts'
import { Violation, type Witness } from './witness.ts'

const minuteMs = 60_000
const hourMs = 60 * minuteMs
const dayMs = 24 * hourMs
/** What docs/architecture.md promises for a small table. */
const deletionsPerHour = 10

interface Deletion {
  readonly id: string
  /** Postgres's clock. */
  readonly at: number
  readonly witness: Witness
}

/** What our own bookkeeping remembers of deletions. */
export interface DeletionsModel {
  readonly past: readonly Deletion[]
  readonly hold: number | undefined
}

export class Deletions {
  /**
   * When somebody met a user again whom a run had deleted within the hour, Clerk's clock: until an operator speaks after
   * that, no deletion is right.
   */
  hold: number | undefined
  private past: Deletion[] = []
  /** When a row was there first, Postgres's clock: nobody can have met it earlier. */
  private readonly since = new Map<string, number>()
  private readonly clerk: SimulatedClerk
  private readonly options: SimulationOptions

  constructor(clerk: SimulatedClerk, options: SimulationOptions) {
    this.clerk = clerk
    this.options = options
  }

  save(): DeletionsModel {
    return { past: [...this.past], hold: this.hold }
  }

  recall(model: DeletionsModel): void {
    this.past = [...model.past]
    this.hold = model.hold
  }

  noteRows({ rows }: Snapshot, now: number): void {
    for (const id of rows.keys()) if (!this.since.has(id)) this.since.set(id, now)
    for (const id of this.since.keys()) if (!rows.has(id)) this.since.delete(id)
  }

  /** A user who has a row again within the hour was deleted wrongly. */
  noteReturn(clerkId: string, now: number): void {
    const isWrong = this.past.some(
      ({ id, at, witness: { approveDeletes } }) =>
        // Not to the minute: a transaction's time is that of its beginning.
        id === clerkId && at > now - 50 * minuteMs && approveDeletes === undefined,
    )
    if (isWrong) this.hold = this.clerk.now()
  }

  /** Judges that a commit has deleted the row. `now` is Postgres's time. */
  judge(witness: Witness, row: Row, after: Snapshot, now: number): void {
    const { clerkId } = row
    witness.counts.deleted++
    const isLive = this.clerk.history.get(clerkId)?.at(-1)?.isDeleted === false
    const since = witness.startedAt - this.options.listingLagMs
    if (isLive && !this.clerk.wasDenied(clerkId, since)) {
      throw new Violation(`${witness.name} deleted live ${clerkId}`)
    }
    if (this.options.policy === 'upsert-only') throw new Violation(`${clerkId} was deleted under upsert-only`)
    if (!after.tombstones.has(clerkId)) throw new Violation(`the deletion of ${clerkId} left no tombstone`)
    if (witness.kind === 'webhook') {
      if (witness.event?.clerkId !== clerkId) throw new Violation('a webhook deleted the row of another user')
      return
    }
    this.requireSettled(witness, row, now)
    this.requireDenied(witness, clerkId)
    this.past.push({ id: clerkId, at: now, witness })
    if (this.hold !== undefined && !this.isApproved(witness, this.hold)) {
      throw new Violation(`${witness.name} deleted though a deleted user had come back within the hour`)
    }
    if (witness.approveDeletes !== undefined) {
      if (witness.counts.deleted > witness.approveDeletes) {
        throw new Violation(`${witness.name} deleted more than was approved`)
      }
      return
    }
    this.requireGuard(now)
    if (witness.isFirstLook) throw new Violation(`${witness.name} deleted at its first look at the table`)
  }

  /** An approval covers what had come to light before the run asked Clerk for users. */
  private isApproved({ approveDeletes, heard }: Witness, hold: number): boolean {
    const first = heard.find(({ request }) => request.endpoint === 'user' || request.query.has('order_by'))
    return approveDeletes !== undefined && first !== undefined && hold <= first.at
  }

  private requireSettled(witness: Witness, row: Row, now: number): void {
    const { graceMs } = this.options
    if (row.updatedAt === null) {
      const born = row.rowCreatedAt ?? this.since.get(row.clerkId) ?? now
      if (now - born < dayMs) throw new Violation(`${row.clerkId} was deleted on its first day`)
      return
    }
    const first = witness.heard.find(
      ({ request, fault }) =>
        fault === undefined && request.status === 200 && request.endpoint !== 'instance',
    )
    const at = first?.at ?? witness.startedAt
    // Clerk tells its time in whole seconds.
    const told = Math.floor(at / 1000) * 1000
    if (row.updatedAt > at - graceMs && row.updatedAt <= told + graceMs) {
      throw new Violation(`${witness.name} deleted ${row.clerkId}, which changed within the grace`)
    }
    if (!witness.heard.some(({ hadDate }) => hadDate)) {
      throw new Violation('a row was deleted without the clock of Clerk')
    }
  }

  /** Clerk must have denied the user twice: in a list by id that proves itself by another user, and alone. */
  private requireDenied(witness: Witness, clerkId: string): void {
    const isEmpty = (witness.approveDeletes ?? 0) > 0
    const inList = witness.heard.some(({ request, value }) => {
      const isAsked = request.query.getAll('user_id').includes(clerkId) && Array.isArray(value)
      const ids = isAsked ? value.map((user: { id?: unknown } | null) => user?.id) : []
      return isAsked && !ids.includes(clerkId) && (ids.length > 0 || isEmpty)
    })
    if (!inList) throw new Violation(`${witness.name} deleted ${clerkId} without a list that denies it`)
    const alone = witness.heard.filter(({ request }) => request.endpoint === 'user')
    const denied = alone.filter(({ request }) => request.status === 404).map(({ request }) => request.path)
    if (!denied.includes(`/users/${clerkId}`)) {
      throw new Violation(`${witness.name} deleted ${clerkId}, whom Clerk was not asked for alone`)
    }
    if (alone.some(({ request, fault }) => request.status === 200 && fault === undefined)) {
      throw new Violation(`${witness.name} deleted ${clerkId} though Clerk had another whom its lists deny`)
    }
  }

  private requireGuard(now: number): void {
    const recent = this.past.filter(
      (each) => each.at > now - hourMs && each.witness.approveDeletes === undefined,
    )
    const most = this.options.maxDeletes ?? deletionsPerHour
    if (recent.length > most) throw new Violation(`${recent.length} deletions in an hour, ${most} allowed`)
  }
}
