// What must hold whatever was killed: judged from what Postgres saw, Clerk's truth and the processes' own last words,
// never from the code under test.
import { isDeepStrictEqual } from 'node:util'
import { readRows, wantedRows } from '../support/world.ts'
import type { SeenStep, SeenWrite } from './recorder.ts'
import type { Ended, World } from './world.ts'

/** Statuses that a run gives itself; `abandoned` is given by the next one. */
const own = new Set(['succeeded', 'partial', 'withheld', 'refused', 'failed', 'aborted'])
/** How a run may have ended that never had the lease. */
const earlyEnds = new Set(['aborted', 'failed', 'refused'])
const counted = ['created', 'updated', 'refreshed', 'deleted'] as const

export class Checks {
  /** What must not have happened, and has. */
  readonly violations: string[] = []
  /** How many runs had their counts held against what they wrote. */
  countsCompared = 0
  private readonly world: World
  private seenUpTo = '0'
  private answeredBefore = 0
  private readonly written = new Set<string>()
  private readonly buried = new Set<string>()
  private readonly writes = new Map<number, Record<(typeof counted)[number], number>>()
  /** What the ledger is to say of a run in the end. */
  private readonly endings = new Map<number, string>()
  private running: number | undefined
  /** The process of each run. */
  private readonly owners = new Map<number, number | null>()

  constructor(world: World) {
    this.world = world
  }

  violated(what: string): void {
    if (!this.violations.includes(what)) this.violations.push(what)
  }

  /** What does not come to its end is a violation too. */
  async orBreakOff(work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      this.violated(`it broke off: ${error instanceof Error ? error.stack : String(error)}`)
    }
  }

  /** Looks at all that was written since the last look. */
  async look(): Promise<void> {
    const { recorder, changes } = this.world
    const told = changes.answered.slice(this.answeredBefore)
    this.answeredBefore += told.length
    const { steps, writes, next } = await recorder.seenFrom(this.seenUpTo)
    this.seenUpTo = next
    for (const step of steps) this.step(step)
    for (const write of writes) this.write(write)
    const rows = await readRows(recorder.sql)
    for (const id of this.written) {
      if (!rows.has(id) && changes.sandbox.users.get(id) !== undefined)
        this.violated(`the row of ${id}, who is in Clerk, is gone`)
    }
    for (const id of await recorder.unburied())
      this.violated(`the row of ${id} was deleted and left no tombstone`)
    for (const { type, user, result } of told) {
      const row = rows.get(user.id)
      const isDone =
        type === 'user.deleted'
          ? row === undefined
          : this.buried.has(user.id) ||
            changes.leftAt.has(user.id) ||
            (row?.updatedAt ?? 0) >= user.updated_at
      if (!isDone)
        this.violated(`${type} of ${user.id} was answered with 200 ${result}, and is not in the table`)
    }
  }

  private write({ at, kind, clerkId, process, isWebhook, runId }: SeenWrite): void {
    if (kind === 'put back')
      this.violated(`${clerkId} was put back after its deletion, by process ${process}`)
    if (kind === 'deleted') {
      const leftAt = this.world.changes.leftAt.get(clerkId)
      if (leftAt === undefined || leftAt > at)
        this.violated(`process ${process} deleted ${clerkId}, who was in Clerk`)
      this.written.delete(clerkId)
      this.buried.add(clerkId)
    } else this.written.add(clerkId)
    if (isWebhook) return
    const owner = runId === null ? undefined : this.owners.get(runId)
    if (runId === null || owner !== process) {
      this.violated(
        `process ${process} wrote ${clerkId} while ${runId === null ? 'nobody' : `process ${owner}`} held the lease`,
      )
      return
    }
    const sums = this.writes.get(runId) ?? { created: 0, updated: 0, refreshed: 0, deleted: 0 }
    sums[kind === 'put back' ? 'created' : kind] += 1
    this.writes.set(runId, sums)
  }

  /**
   * The only ways through the ledger: begun, then ended by its own process or abandoned by the run after it; or, of a run
   * that ended before it had the lease, written once with its end.
   */
  private step({ runId, before, after, process }: SeenStep): void {
    if (before === null && after === 'running') {
      if (this.running !== undefined)
        this.violated(`run ${runId} began while run ${this.running} was running`)
      this.running = runId
      this.owners.set(runId, process)
      return
    }
    if (before === null && earlyEnds.has(after ?? '')) {
      this.owners.set(runId, process)
      return
    }
    const isOwn = process === this.owners.get(runId)
    const isRight = before === 'running' && (after === 'abandoned' || (isOwn && own.has(after ?? '')))
    if (!isRight)
      this.violated(`run ${runId} went from ${before} to ${after} by the hand of process ${process}`)
    if (this.running === runId) this.running = undefined
  }

  /** A process is over: what the ledger says of its newest run must not change any more, unless it is abandoned. */
  async ended(process: number): Promise<string | undefined> {
    const run = await this.world.recorder.lastRunOf(process)
    if (run !== undefined) this.endings.set(run.id, run.status === 'running' ? 'abandoned' : run.status)
    return run?.status
  }

  /** After the last clean run: the table equals Clerk, nothing is left over, and the ledger told the truth. */
  async end(ended: Ended, exactCounts: boolean): Promise<void> {
    await this.look()
    const { sql } = this.world.recorder
    const report = ended.code === 0 ? JSON.parse(ended.stdout) : undefined
    if (report?.status !== 'succeeded' || report.counts.pending !== 0) {
      this.violated(`the clean run ended with ${ended.code}: ${ended.stdout}${ended.stderr}`)
    }
    const rows = await readRows(sql)
    const wanted = wantedRows(this.world.changes.sandbox)
    for (const id of new Set([...rows.keys(), ...wanted.keys()])) {
      if (!isDeepStrictEqual(rows.get(id), wanted.get(id)))
        this.violated(`after the clean run the row of ${id} differs from Clerk`)
    }
    const runs = await sql<
      { id: number; status: string; counts: Record<string, number> | null; over: boolean }[]
    >`
      select id::int, status, counts, finished_at is not null as over from clerk_sync.runs order by id`
    for (const { id, status, counts, over } of runs) {
      if (status === 'running' || !over) this.violated(`run ${id} is left over as ${status}`)
      const ending = this.endings.get(id)
      if (ending !== undefined && ending !== status)
        this.violated(`run ${id} should have ended as ${ending}, and is ${status}`)
      if (counts === null) continue
      if (!exactCounts && status === 'failed') continue
      this.countsCompared++
      const sums = this.writes.get(id)
      for (const kind of counted) {
        const seen = sums?.[kind] ?? 0
        if (seen !== counts[kind])
          this.violated(`run ${id} says it has ${kind} ${counts[kind]}, and it was ${seen}`)
      }
    }
  }
}
