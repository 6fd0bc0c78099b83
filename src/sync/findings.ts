// What a run has found and done so far. Everything that reads, writes or deletes returns its findings part by part, each as
// soon as it is committed, and `add` folds them: nothing else writes here, and the counts are sizes of what was added. So
// the report is true wherever the run ends.
import type { DesiredUser } from '../db/schema.ts'
import { approvalCommand } from './approval-command.ts'
import { keptText, withheldText } from './deletion-policy.ts'
import type { Counts, Findable, Finding, Rejection } from './finding.ts'

/** For how many users that are to be tried again the values are kept in memory; for the others, only the ids. */
const retryValuesMax = 1000
/** What hangs on more rows than this is not counted. */
const lostRowsMax = 20_000
/** One reason for which more users than this are refused is about the table: their names are not kept. */
export const failuresPerConstraintMax = 100

const summed = ['created', 'updated', 'refreshed', 'unchanged', 'deleted'] as const

const emptyState = () => ({
  sums: { seen: 0, created: 0, updated: 0, refreshed: 0, unchanged: 0, deleted: 0 },
  rejected: new Map<string, string>(),
  altered: new Map<string, string>(),
  unreadable: 0,
  isComplete: true,
  isUnproven: false,
  awaitsClock: false,
  shortfall: 0,
  unexplained: 0,
  pendingUsers: new Set<string>(),
  pendingRows: new Set<string>(),
  withheld: new Set<string>(),
  undeletable: new Set<string>(),
  before: { withheld: new Set<string>(), withheldRows: 0, pendingRows: 0 },
  settlesInMs: 0,
  withheldNote: undefined as string | undefined,
  holdToCome: undefined as string | undefined,
  foreseen: new Map<string, number>(),
  lostRows: [] as string[],
  notes: new Set<string>(),
  retry: new Map<string, DesiredUser | undefined>(),
})

export class Findings {
  private kind: 'full' | 'incremental' | 'user'
  private state = emptyState()

  constructor(pass: Findings['pass']) {
    this.kind = pass
  }

  /** What is being done, also after a step up. */
  get pass() {
    return this.kind
  }

  /** Adds findings as they come. Throws what yields them. */
  async collect(findings: Findable): Promise<void> {
    for await (const finding of findings) this.add(finding)
  }

  add(finding: Finding): void {
    const { state } = this
    state.sums.seen += finding.seen ?? 0
    for (const name of summed) state.sums[name] += finding[name]?.length ?? 0
    state.unreadable += finding.unreadable ?? 0
    for (const id of finding.planned ?? []) state.rejected.delete(id)
    for (const { clerkId, reason } of finding.rejected ?? []) state.rejected.set(clerkId, reason)
    for (const [clerkId, fingerprint] of finding.altered ?? []) state.altered.set(clerkId, fingerprint)
    for (const user of finding.retry ?? []) {
      state.retry.set(user.clerkId, state.retry.size < retryValuesMax ? user : undefined)
    }
    this.addOpenRows(finding)
    if (finding.isIncomplete) state.isComplete = false
    if (finding.isUnproven) state.isUnproven = true
    if (finding.clockDoubt !== undefined) state.awaitsClock = true
    state.shortfall = finding.shortfall ?? state.shortfall
    state.unexplained = finding.unexplained ?? state.unexplained
    state.settlesInMs = Math.max(state.settlesInMs, finding.settlesInMs ?? 0)
    this.addForeseen(finding)
    for (const note of [...(finding.notes ?? []), finding.clockDoubt]) {
      if (note !== undefined) state.notes.add(note)
    }
  }

  private addOpenRows({ pendingUsers, pendingRows, undeletable, before, kept, withheld }: Finding): void {
    const { state } = this
    for (const { clerkId } of pendingUsers ?? []) state.pendingUsers.add(clerkId)
    for (const { clerkId } of pendingRows ?? []) state.pendingRows.add(clerkId)
    for (const { settlesInMs } of [...(pendingUsers ?? []), ...(pendingRows ?? [])]) {
      state.settlesInMs = Math.max(state.settlesInMs, settlesInMs)
    }
    for (const { clerkId, reason } of undeletable ?? []) {
      state.undeletable.add(clerkId)
      state.rejected.set(clerkId, reason)
    }
    for (const id of before?.withheld ?? []) state.before.withheld.add(id)
    state.before.withheldRows += before?.withheldRows ?? 0
    state.before.pendingRows += before?.pendingRows ?? 0
    for (const id of [...(kept ?? []), ...(withheld?.ids ?? [])]) state.withheld.add(id)
    if (kept !== undefined && kept.length > 0) state.notes.add(keptText(kept.length))
    if (withheld === undefined || withheld.ids.length === 0) return
    // One note, whose number covers all of them: an approval of fewer would delete none.
    if (state.withheldNote !== undefined) state.notes.delete(state.withheldNote)
    const all = [...state.withheld]
    const command = approvalCommand(all.length, withheld.namesList ? all : undefined)
    state.withheldNote = withheldText(all.length, withheld.because, command)
    state.notes.add(state.withheldNote)
  }

  private addForeseen({ foreseen, lostRows, holdToCome }: Finding): void {
    const { state } = this
    for (const { clerkId, reason } of foreseen ?? []) {
      const count = (state.foreseen.get(reason) ?? 0) + 1
      state.foreseen.set(reason, count)
      if (count <= failuresPerConstraintMax) state.rejected.set(clerkId, reason)
    }
    const room = Math.max(0, lostRowsMax - state.lostRows.length)
    state.lostRows.push(...(lostRows ?? []).slice(0, room))
    state.holdToCome = holdToCome ?? state.holdToCome
  }

  /** A full pass follows: it finds everything anew, but for what has been written, and what the database made of it. */
  stepUp(reason: string, isDryRun: boolean): void {
    const { altered, sums } = this.state
    const { created, updated, refreshed } = sums
    this.kind = 'full'
    this.state = { ...emptyState(), altered }
    if (!isDryRun) Object.assign(this.state.sums, { created, updated, refreshed })
    this.state.notes.add(`an incremental pass was asked for and a full pass was made: ${reason}`)
  }

  counts(): Counts {
    const { sums, pendingUsers, pendingRows, withheld, before, rejected, unreadable } = this.state
    return {
      ...sums,
      pending: pendingUsers.size + pendingRows.size + before.pendingRows,
      withheld: withheld.size + before.withheldRows,
      rejected: rejected.size + unreadable,
    }
  }

  /** The rejected by name, the unreadable last. */
  rejections(): Rejection[] {
    const { rejected, unreadable } = this.state
    const named = [...rejected].map(([clerkId, reason]) => ({ clerkId, reason }))
    if (unreadable === 0) return named
    return [...named, { clerkId: '(unreadable)', reason: `${unreadable} users without a readable id` }]
  }

  /** Notes, with how many users were on no page and what stays unexplained. */
  notes(): string[] {
    const notes = [...this.state.notes]
    const { unexplained } = this.state
    if (this.missing() > 0) notes.push(`${this.missing()} users that Clerk counts were on no page`)
    if (unexplained > 0) notes.push(`${unexplained} users that Clerk counts are not in the table`)
    return notes
  }

  /** False once Clerk was not read to the end, or a page had a user without a readable id. */
  isComplete(): boolean {
    return this.state.isComplete
  }

  /** Users that Clerk counts, no page showed, and no row left for the grace can stand for. */
  missing(): number {
    return Math.max(0, this.state.shortfall - this.state.pendingRows.size)
  }

  /** True if the table may differ from Clerk by more than what is pending or withheld. */
  isPartial(): boolean {
    const { isComplete, isUnproven, awaitsClock, unexplained } = this.state
    const { rejected } = this.counts()
    return !isComplete || isUnproven || awaitsClock || this.missing() > 0 || unexplained > 0 || rejected > 0
  }

  /** What stays open, by name. */
  openItems() {
    const { pendingUsers, pendingRows, withheld, before, undeletable, altered } = this.state
    return {
      rejected: this.rejections(),
      pendingUsers: [...pendingUsers],
      pendingRows: [...pendingRows],
      withheld: [...before.withheld, ...withheld],
      undeletable: [...undeletable],
      altered: [...altered],
    }
  }

  /** Users to be tried once more; without their values where they are very many. */
  retries(): (readonly [clerkId: string, user: DesiredUser | undefined])[] {
    return [...this.state.retry]
  }

  /** Rows whose deletion is withheld: how many of them are there, and their names. */
  withheld(): { count: number; ids: string[] } {
    return { count: this.counts().withheld, ids: this.openItems().withheld }
  }

  isUnproven(): boolean {
    return this.state.isUnproven
  }

  shortfall(): number {
    return this.state.shortfall
  }

  /** When the youngest of what is pending will have settled, ms from when it was seen; 0 if nothing is. */
  settlesInMs(): number {
    return this.state.settlesInMs
  }

  /** Of a dry run: how many users Postgres would refuse, by the reason. */
  foreseen(): ReadonlyMap<string, number> {
    return this.state.foreseen
  }

  /** Of a dry run: the first 20,000 rows that are deleted or withheld. */
  lostRows(): readonly string[] {
    return this.state.lostRows
  }

  /** Of a dry run: the hold on deletions that its creates would bring, undefined if none. */
  holdToCome(): string | undefined {
    return this.state.holdToCome
  }
}
