// What must hold whatever happens: checked after every commit against the truth about Clerk. The rules are the README's
// promises, told a second time without the code; what a run says of itself in the end is held against it in endings.ts.
import type { SimulatedClerk } from './clerk.ts'
import type { SimulationOptions } from './options.ts'
import type { Row, Snapshot } from './postgres.ts'
import { Violation, type Witness } from './witness.ts'

const hourMs = 3600_000
const dayMs = 24 * hourMs
/** What the README promises for a small table. */
const deletionsPerHour = 10

export class Checks {
  /** Users whose deletion the table has heard of. */
  readonly buried = new Set<string>()
  /** Rows that a hand has written: what was there before says nothing. */
  readonly edited = new Set<string>()
  private readonly clerk: SimulatedClerk
  private readonly options: SimulationOptions
  private readonly deletions: { id: string; at: number; witness: Witness }[] = []
  private readonly toldByWebhook = new Set<string>()

  constructor(clerk: SimulatedClerk, options: SimulationOptions) {
    this.clerk = clerk
    this.options = options
  }

  /** Judges one commit. `now` is Postgres's time. */
  commit(witness: Witness, before: Snapshot, after: Snapshot, now: number): void {
    if (witness.dryRun) throw new Violation(`${witness.name} is a dry run and has committed something`)
    let hasWritten = false
    for (const [id, row] of after.rows) {
      const old = before.rows.get(id)
      if (old === undefined) this.created(witness, row)
      else if (old.writtenBy !== row.writtenBy) this.changed(witness, old, row)
      else continue
      hasWritten = true
    }
    for (const [id, row] of before.rows) {
      if (after.rows.has(id)) continue
      hasWritten = true
      this.deleted(witness, row, after, now)
    }
    if (hasWritten && witness.kind !== 'webhook' && !witness.hadLease) {
      throw new Violation(`${witness.name} wrote after it had lost its lease`)
    }
    for (const [id, tombstone] of after.tombstones) {
      const old = before.tombstones.get(id)
      if (old?.deletedAt === tombstone.deletedAt && old.runId === tombstone.runId) continue
      this.buried.add(id)
      // A signed deletion is its user's own, also where a run came first.
      if (witness.kind === 'webhook') this.toldByWebhook.add(id)
      if (after.rows.has(id)) throw new Violation(`${witness.name} deleted ${id}, and its row is there`)
    }
    for (const [runId, status] of after.runs) {
      if (!before.runs.has(runId) && status === 'running') witness.runId = runId
    }
  }

  private created(witness: Witness, row: Row): void {
    witness.counts.created++
    if (this.buried.has(row.clerkId)) throw new Violation(`${witness.name} put deleted ${row.clerkId} back`)
    if (this.placesOf(row).length === 0)
      throw new Violation(`${row.clerkId} was created with values of nobody`)
    this.edited.delete(row.clerkId)
  }

  private changed(witness: Witness, old: Row, row: Row): void {
    const { clerkId } = row
    const hasNewValues = old.name !== row.name || old.email !== row.email || old.imageUrl !== row.imageUrl
    const hasNewTimes = old.createdAt !== row.createdAt || old.updatedAt !== row.updatedAt
    if (!hasNewValues && !hasNewTimes) throw new Violation(`${clerkId} was rewritten without a change`)
    if (hasNewValues) witness.counts.updated++
    else witness.counts.refreshed++
    if (!hasNewValues && old.rowUpdatedAt !== row.rowUpdatedAt) {
      throw new Violation(`updated_at of ${clerkId} moved without a change of values`)
    }
    const places = this.placesOf(row)
    if (places.length === 0) throw new Violation(`${clerkId} was given values that it never had`)
    if (witness.kind === 'webhook' && old.updatedAt === row.updatedAt) {
      throw new Violation(`${witness.name} wrote ${clerkId} at an equal version`)
    }
    const wasEdited = this.edited.delete(clerkId)
    const oldPlaces = this.placesOf(old)
    const isOlder = Math.max(...places) < Math.min(...oldPlaces)
    if (!wasEdited && oldPlaces.length > 0 && isOlder && old.updatedAt !== row.updatedAt) {
      throw new Violation(`${witness.name} let a newer value of ${clerkId} give way to an older one`)
    }
  }

  private deleted(witness: Witness, row: Row, after: Snapshot, now: number): void {
    const { clerkId } = row
    witness.counts.deleted++
    const versions = this.clerk.history.get(clerkId)
    if (versions?.at(-1)?.isDeleted === false) throw new Violation(`${witness.name} deleted live ${clerkId}`)
    if (this.options.policy === 'upsert-only') throw new Violation(`${clerkId} was deleted under upsert-only`)
    if (!after.tombstones.has(clerkId)) throw new Violation(`the deletion of ${clerkId} left no tombstone`)
    if (witness.kind === 'webhook') {
      if (witness.event?.clerkId !== clerkId) throw new Violation('a webhook deleted the row of another user')
      return
    }
    this.requireSettled(witness, row, now)
    this.requireDenied(witness, clerkId)
    this.deletions.push({ id: clerkId, at: now, witness })
    this.requireGuard(witness, now)
  }

  private requireSettled(witness: Witness, row: Row, now: number): void {
    const { graceMs } = this.options
    if (row.updatedAt === null) {
      if (now - row.rowCreatedAt < dayMs) throw new Violation(`${row.clerkId} was deleted on its first day`)
      return
    }
    const first = witness.heard.find(
      ({ request, fault }) =>
        fault === undefined && request.status === 200 && request.endpoint !== 'instance',
    )
    if (!this.clerk.behaviour.dateHeader) throw new Violation('a row was deleted without the clock of Clerk')
    const at = first?.at ?? witness.startedAt
    // Clerk tells its time in whole seconds.
    const told = Math.floor(at / 1000) * 1000
    if (row.updatedAt > at - graceMs && row.updatedAt <= told + graceMs) {
      throw new Violation(`${witness.name} deleted ${row.clerkId}, which changed within the grace`)
    }
  }

  /** Clerk must have denied the user twice: in a list by id that proves itself by another user, and alone. */
  private requireDenied(witness: Witness, clerkId: string): void {
    const isEmpty = (witness.approveDeletes ?? 0) > 0 || witness.kind === 'user'
    const inList = witness.heard.some(({ request, value }) => {
      const isAsked = request.query.getAll('user_id').includes(clerkId) && Array.isArray(value)
      const ids = isAsked ? value.map((user: { id?: unknown } | null) => user?.id) : []
      return isAsked && !ids.includes(clerkId) && (ids.length > 0 || isEmpty)
    })
    if (!inList) throw new Violation(`${witness.name} deleted ${clerkId} without a list that denies it`)
    const alone = witness.heard.some(
      ({ request }) => request.path === `/users/${clerkId}` && request.status === 404,
    )
    if (!alone) throw new Violation(`${witness.name} deleted ${clerkId}, whom Clerk was not asked for alone`)
  }

  private requireGuard(witness: Witness, now: number): void {
    if (witness.approveDeletes !== undefined) {
      if (witness.counts.deleted > witness.approveDeletes) {
        throw new Violation(`${witness.name} deleted more than was approved`)
      }
      return
    }
    const recent = this.deletions.filter(
      (each) =>
        each.at > now - hourMs &&
        each.witness.approveDeletes === undefined &&
        !this.toldByWebhook.has(each.id),
    )
    const most = this.options.maxDeletes ?? deletionsPerHour
    if (recent.length > most) throw new Violation(`${recent.length} deletions in an hour, ${most} allowed`)
  }

  /** The places in its history at which the user had these values. */
  placesOf(row: Row): number[] {
    return (this.clerk.history.get(row.clerkId) ?? []).flatMap(({ wanted }, place) =>
      wanted !== undefined &&
      wanted.name === row.name &&
      wanted.email === row.email &&
      wanted.imageUrl === row.imageUrl &&
      wanted.createdAt === row.createdAt &&
      wanted.updatedAt === row.updatedAt
        ? [place]
        : [],
    )
  }
}
