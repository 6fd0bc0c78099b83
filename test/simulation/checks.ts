// What must hold whatever happens: checked after every commit against the truth about Clerk. The rules are the README's
// promises, told a second time without the code. What a deletion takes is in deletions.ts; what a run says of itself in the
// end is held against the truth in endings.ts.
import type { SimulatedClerk } from './clerk.ts'
import { Deletions, type DeletionsModel } from './deletions.ts'
import type { SimulationOptions } from './options.ts'
import type { Row, Snapshot } from './postgres.ts'
import { Violation, type Witness } from './witness.ts'

/** What is known about the past, as far as our own bookkeeping has it too. */
export interface Model {
  readonly buried: ReadonlySet<string>
  readonly deletions: DeletionsModel
}

export class Checks {
  /** Users whose deletion the table has heard of. */
  buried = new Set<string>()
  /** Rows that a hand has written: what was there before says nothing. */
  readonly edited = new Set<string>()
  /** Clerk's clock when a hand last wrote. */
  lastEdit = Number.NEGATIVE_INFINITY
  /** Since the last full pass that met its end: rows came back as they were, or the table is another one. */
  restored: 'no' | 'same table' | 'anew' = 'no'
  private readonly clerk: SimulatedClerk
  private readonly options: SimulationOptions
  private readonly deletions: Deletions
  /** Who wrote each row last. */
  private readonly writers = new Map<string, Witness>()
  /** Rows that were written without a change of values since their last change. */
  private readonly repeated = new Set<string>()

  constructor(clerk: SimulatedClerk, options: SimulationOptions) {
    this.clerk = clerk
    this.options = options
    this.deletions = new Deletions(clerk, options)
  }

  /** What a backup of our bookkeeping remembers. */
  save(): Model {
    return { buried: new Set(this.buried), deletions: this.deletions.save() }
  }

  /** Our bookkeeping is as it was: what has happened since is nowhere written. */
  recall(model: Model): void {
    this.buried = new Set(model.buried)
    this.deletions.recall(model.deletions)
    if (this.restored === 'no') this.restored = 'same table'
  }

  noteRestored(isAnew: boolean): void {
    this.lastEdit = this.clerk.now()
    if (this.restored !== 'anew') this.restored = isAnew ? 'anew' : 'same table'
  }

  /** A full pass has met its end: the table is known again. */
  noteFullPass(): void {
    this.restored = 'no'
  }

  /** An operator has approved deletions: that settles whether those before were wrong. */
  operatorSpeaks(): void {
    this.deletions.hold = undefined
  }

  /** Which rows there are from now on. `now` is Postgres's time. */
  noteRows(snapshot: Snapshot, now: number): void {
    this.deletions.noteRows(snapshot, now)
  }

  /** Judges one commit. `now` is Postgres's time. */
  commit(witness: Witness, before: Snapshot, after: Snapshot, now: number): void {
    if (witness.dryRun) throw new Violation(`${witness.name} is a dry run and has committed something`)
    if (after.boundTo !== before.boundTo) this.bound(witness, before, after)
    const { buried } = this
    let hasWritten = false
    for (const [id, row] of after.rows) {
      const old = before.rows.get(id)
      if (old === undefined) this.created(witness, row, now)
      else if (old.writtenBy !== row.writtenBy) this.changed(witness, old, row, now)
      else continue
      this.writers.set(id, witness)
      hasWritten = true
    }
    for (const [id, row] of before.rows) {
      if (after.rows.has(id)) continue
      hasWritten = true
      this.deletions.judge(witness, row, after, now)
    }
    if (hasWritten && witness.isOtherKey) throw new Violation(`${witness.name} wrote with another key`)
    if (hasWritten && witness.kind !== 'webhook' && !witness.hadLease) {
      throw new Violation(`${witness.name} wrote after it had lost its lease`)
    }
    for (const [id, tombstone] of after.tombstones) {
      const old = before.tombstones.get(id)
      if (old?.deletedAt === tombstone.deletedAt && old.runId === tombstone.runId) continue
      // Who lives was denied, and may be back.
      if (!this.isLive(id)) buried.add(id)
      if (after.rows.has(id)) throw new Violation(`${witness.name} deleted ${id}, and its row is there`)
    }
    for (const [runId, status] of after.runs) {
      if (!before.runs.has(runId) && status === 'running') witness.runId = runId
    }
  }

  /** A table that has rows belongs to an instance only if that knows half of them, or the operator says so. */
  private bound(witness: Witness, before: Snapshot, after: Snapshot): void {
    if (witness.isOtherKey) throw new Violation(`${witness.name} bound the table to ${after.boundTo}`)
    if (before.boundTo !== null || before.rows.size === 0) return
    witness.isFirstLook = true
    // A row that comes meanwhile may be seen or not: deletions are on hold all the same.
    const rows = [...before.rows.keys()].filter((id) => witness.before.rows.has(id))
    const knownOf = (ids: readonly string[]) => ids.filter((id) => this.clerk.history.has(id)).length
    const known = knownOf(rows)
    const isHalf = known >= rows.length / 2 || knownOf([...before.rows.keys()]) >= before.rows.size / 2
    if (!isHalf && !witness.acceptInstance) {
      throw new Violation(`${witness.name} bound a table of which it knows ${known} of ${rows.length}`)
    }
  }

  private isLive(clerkId: string): boolean {
    return this.clerk.history.get(clerkId)?.at(-1)?.isDeleted === false
  }

  private created(witness: Witness, row: Row, now: number): void {
    witness.counts.created++
    if (this.buried.has(row.clerkId)) throw new Violation(`${witness.name} put deleted ${row.clerkId} back`)
    if (this.storedPlacesOf(row).length === 0)
      throw new Violation(`${row.clerkId} was created with values of nobody`)
    this.edited.delete(row.clerkId)
    this.deletions.noteReturn(row.clerkId, now)
  }

  private changed(witness: Witness, old: Row, row: Row, now: number): void {
    const { clerkId } = row
    const hasNewValues = old.name !== row.name || old.email !== row.email || old.imageUrl !== row.imageUrl
    const hasNewTimes = old.createdAt !== row.createdAt || old.updatedAt !== row.updatedAt
    const hasMoved = old.rowUpdatedAt !== row.rowUpdatedAt
    // What a trigger changes back is written for nothing.
    const isRepeat = !hasNewValues && (hasMoved || !hasNewTimes) && this.mayRepeat(clerkId)
    if (!hasNewValues && !hasNewTimes && !isRepeat)
      throw new Violation(`${clerkId} was rewritten without a change`)
    if (!hasNewValues && hasMoved && !isRepeat) {
      throw new Violation(`updated_at of ${clerkId} moved without a change of values`)
    }
    if (isRepeat) this.repeated.add(clerkId)
    else if (hasNewValues) this.repeated.delete(clerkId)
    if (hasNewValues || isRepeat) witness.counts.updated++
    else witness.counts.refreshed++
    // Where no time has passed, `updated_at` does not tell which of the two it was.
    if (!isRepeat && !hasNewValues && old.rowUpdatedAt === now && this.mayRepeat(clerkId)) witness.either++
    const places = this.storedPlacesOf(row)
    if (places.length === 0) throw new Violation(`${clerkId} was given values that it never had`)
    if (witness.kind === 'webhook' && old.updatedAt === row.updatedAt) {
      throw new Violation(`${witness.name} wrote ${clerkId} at an equal version`)
    }
    const wasEdited = this.edited.delete(clerkId)
    const oldPlaces = this.storedPlacesOf(old)
    const isOlder = Math.max(...places) < Math.min(...oldPlaces)
    if (!wasEdited && oldPlaces.length > 0 && isOlder && old.updatedAt !== row.updatedAt) {
      throw new Violation(`${witness.name} let a newer value of ${clerkId} give way to an older one`)
    }
  }

  /**
   * True if a trigger changes what is written, and nobody could remember that it did: the row was written by a webhook, beside
   * the lease, or by a run that has not recorded its end; or the memory was restored. Once it may have been forgotten for
   * another reason, as where a page was older than the row; what is forgotten in each run is a defect.
   */
  private mayRepeat(clerkId: string): boolean {
    if (!this.options.lowersAddresses) return false
    const writer = this.writers.get(clerkId)
    const isRemembered = writer?.hasRecorded === true && writer.kind !== 'user'
    return !isRemembered || this.restored !== 'no' || !this.repeated.has(clerkId)
  }

  /** The places in its history at which the user had these values. */
  placesOf(row: Row): number[] {
    return this.placesWhere(row, (email) => email === row.email)
  }

  /** The same, of a row that a trigger of the app may have changed. */
  private storedPlacesOf(row: Row): number[] {
    if (!this.options.lowersAddresses) return this.placesOf(row)
    return this.placesWhere(row, (email) => email?.toLowerCase() === row.email?.toLowerCase())
  }

  private placesWhere(row: Row, isItsAddress: (email: string | null) => boolean): number[] {
    return (this.clerk.history.get(row.clerkId) ?? []).flatMap(({ wanted }, place) =>
      wanted !== undefined &&
      wanted.name === row.name &&
      isItsAddress(wanted.email) &&
      wanted.imageUrl === row.imageUrl &&
      wanted.createdAt === row.createdAt &&
      wanted.updatedAt === row.updatedAt
        ? [place]
        : [],
    )
  }
}
