// What must hold whatever happens: checked after every commit against the truth about Clerk, and at the end of every run
// against what was seen to happen in the table. The rules are the README's promises, told a second time without the code.
import type { RunOutcome } from '../../src/sync/reconcile.ts'
import type { Event, Heard, SimulatedClerk } from './clerk.ts'
import type { SimulationOptions } from './options.ts'
import type { Row, Snapshot } from './postgres.ts'

/** Something that must never happen has happened. */
export class Violation extends Error {
  override readonly name = 'Violation'
}

/** One run or delivery, as the simulation saw it. */
export interface Witness {
  readonly name: string
  readonly kind: 'full' | 'incremental' | 'user' | 'webhook'
  readonly dryRun: boolean
  readonly approveDeletes: number | undefined
  readonly event: Event | undefined
  /** Clerk's clock. */
  readonly startedAt: number
  readonly heard: Heard[]
  readonly counts: { created: number; updated: number; refreshed: number; deleted: number }
  runId: number | undefined
  /** Whether its run was the lease when its transaction began. */
  hadLease: boolean
  /** True once Postgres failed it, so that what is true of a run at peace need not hold. */
  wasFailed: boolean
  /** True if a commit succeeded whose answer never came. */
  wasCommitLost: boolean
}

/** A witness of something that begins now, on Clerk's clock. */
export function witnessOf(
  name: string,
  kind: Witness['kind'],
  startedAt: number,
  facts: { event?: Event; dryRun?: boolean; approveDeletes?: number },
): Witness {
  return {
    name,
    kind,
    dryRun: facts.dryRun ?? false,
    approveDeletes: facts.approveDeletes,
    event: facts.event,
    startedAt,
    heard: [],
    counts: { created: 0, updated: 0, refreshed: 0, deleted: 0 },
    runId: undefined,
    hadLease: false,
    wasFailed: false,
    wasCommitLost: false,
  }
}

/** Answers that hide or invent users or counts, so that no reader can know better. */
const lies = new Set(['missing-users', 'cut-short', 'empty-array', 'count-high', 'count-low', 404])
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
    if (hasWritten && witness.kind !== 'webhook' && witness.kind !== 'user' && !witness.hadLease) {
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
    if (witness.kind === 'user') return
    if (witness.approveDeletes !== undefined) {
      if (witness.counts.deleted > witness.approveDeletes) {
        throw new Violation(`${witness.name} deleted more than was approved`)
      }
      return
    }
    const recent = this.deletions.filter(
      (each) =>
        each.at > now - hourMs &&
        each.witness.kind !== 'user' &&
        each.witness.approveDeletes === undefined &&
        !this.toldByWebhook.has(each.id),
    )
    const most = this.options.maxDeletes ?? deletionsPerHour
    if (recent.length > most) throw new Violation(`${recent.length} deletions in an hour, ${most} allowed`)
  }

  /** Judges the end of a run: what it reports against what was seen. */
  end(witness: Witness, outcome: RunOutcome, after: Snapshot): void {
    const { report } = outcome
    const say = (what: string) => new Violation(`${witness.name} (${report.status}) ${what}`)
    for (const key of ['created', 'updated', 'refreshed', 'deleted'] as const) {
      const isTrue = report.counts[key] === witness.counts[key]
      if (
        !witness.dryRun &&
        !isTrue &&
        !(witness.wasCommitLost && report.counts[key] < witness.counts[key])
      ) {
        throw say(`reports ${report.counts[key]} ${key}, in truth ${witness.counts[key]}`)
      }
    }
    const isNothing = Object.values(witness.counts).every((count) => count === 0)
    if (report.status === 'withheld' && witness.counts.deleted > 0) throw say('has deleted')
    if (report.status === 'skipped' && !isNothing) throw say('has written')
    if (!outcome.complete && witness.counts.deleted > 0) throw say('was incomplete and has deleted')
    if (this.sawUnreadable(witness) && witness.counts.deleted > 0) {
      throw say('met a user without a readable id and has deleted')
    }
    const isOver = ['succeeded', 'partial', 'withheld'].includes(report.status)
    if (!isOver && report.error === null) throw say('has no error')
    if (report.runId !== null && !witness.wasFailed) {
      const ledger = after.runs.get(report.runId)
      if (ledger !== report.status && ledger !== 'abandoned') throw say(`stands in the ledger as ${ledger}`)
    }
    if (report.status === 'succeeded' || report.status === 'withheld') this.success(witness, outcome, after)
  }

  /** Who was there before the run began, and all the time, must have a row that is not older than that. */
  private success(witness: Witness, { report }: RunOutcome, after: Snapshot): void {
    if (witness.dryRun || report.pass === 'user') return
    if (witness.heard.some(({ fault }) => fault !== undefined && lies.has(fault.kind))) return
    if (report.pass === 'incremental' && (this.options.hasFaults || this.options.countLagMs > 0)) return
    const open: string[] = []
    for (const [id, versions] of this.clerk.history) {
      if (this.edited.has(id)) continue
      const place = this.clerk.placeAt(id, witness.startedAt - this.options.listingLagMs)
      const since = place < 0 ? [] : versions.slice(place)
      const [first] = since
      if (first === undefined) continue
      if (since.some((each) => each.wanted === undefined || each.createdAt !== first.createdAt)) continue
      const row = after.rows.get(id)
      if (row === undefined) open.push(`${id} has no row`)
      else if (Math.max(...this.placesOf(row)) < place) open.push(`the row of ${id} is old`)
    }
    // A row that somebody else wrote between plan and apply is left to the next pass, and counted.
    if (open.length > report.counts.pending)
      throw new Violation(`${witness.name} succeeded, and ${open.join(', ')}`)
  }

  private sawUnreadable(witness: Witness): boolean {
    return witness.heard.some(({ request, fault, value }) => {
      const isWalk = request.query.get('order_by') === '+created_at' && request.status === 200
      if (!isWalk || fault?.kind !== 'malformed-user' || !Array.isArray(value)) return false
      return value.some((user) => typeof user?.id !== 'string' || !user.id.startsWith('user_'))
    })
  }

  /** The places in its history at which the user had these values. */
  private placesOf(row: Row): number[] {
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
