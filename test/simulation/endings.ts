// What a run says in the end, held against what was seen: its counts against the table, its status against what Clerk
// answered, its success against the truth. A report that is wrong is a violation like a row that is.

import type { FaultKind } from '../../src/dev/sandbox/faults.ts'
import type { Report } from '../../src/sync/report.ts'
import type { RunOutcome } from '../../src/sync/run-request.ts'
import type { Checks } from './checks.ts'
import type { Heard, SimulatedClerk } from './clerk.ts'
import { recountDelayMs, type SimulationOptions } from './options.ts'
import type { Snapshot } from './postgres.ts'
import { Violation, type Witness } from './witness.ts'

/** The world at the end of a run. */
interface Scene {
  readonly clerk: SimulatedClerk
  readonly options: SimulationOptions
  readonly checks: Checks
  readonly after: Snapshot
}

/** Answers that hide or invent users or counts, so that no reader can know better. */
const lies = new Set<FaultKind>(['missing-users', 'cut-short', 'empty-array', 'count-high', 'count-low', 404])
/** Answers that do not arrive, or not whole. */
const lost = new Set<FaultKind>(['reset', 'hang', 'truncated', 'slow-body'])

/** Judges the end of a run. Throws `Violation`. */
export function judgeEnd(scene: Scene, witness: Witness, outcome: RunOutcome): void {
  const { report } = outcome
  const say = (what: string) => new Violation(`${witness.name} (${report.status}) ${what}`)
  for (const key of ['created', 'updated', 'refreshed', 'deleted'] as const) {
    const isEither = key === 'updated' || key === 'refreshed'
    const off = Math.abs(report.counts[key] - witness.counts[key])
    const isTrue = off <= (isEither ? witness.either : 0)
    if (!witness.dryRun && !isTrue && !(witness.wasCommitLost && report.counts[key] < witness.counts[key])) {
      throw say(`reports ${report.counts[key]} ${key}, in truth ${witness.counts[key]}`)
    }
  }
  const isNothing = Object.values(witness.counts).every((count) => count === 0)
  if (report.status === 'withheld' && witness.counts.deleted > 0) throw say('has deleted')
  if (report.status === 'skipped' && !isNothing) throw say('has written')
  if (report.status === 'skipped' && !hadRival(scene, witness))
    throw say('found the lease taken, and no run had it')
  if (!outcome.complete && witness.counts.deleted > 0) throw say('was incomplete and has deleted')
  const isOver = ['succeeded', 'partial', 'withheld'].includes(report.status)
  if (!isOver && report.error === null) throw say('has no error')
  if (report.error === null && tookNothingForAnswer(witness)) throw say('took for an answer what was none')
  if (report.error === null && outcome.complete && report.pass === 'full' && hasUnread(scene, witness)) {
    throw say('counts as complete, and a user of a page was never read')
  }
  if (outcome.complete && isBlamedOnPages(report) && countMustAgree(scene, witness)) {
    throw say('has taken a count that lagged for users on no page')
  }
  const ledger = report.runId === null ? undefined : scene.after.runs.get(report.runId)
  witness.hasRecorded = ledger === report.status
  if (report.runId !== null && !witness.wasFailed) {
    if (ledger !== report.status && ledger !== 'abandoned') throw say(`stands in the ledger as ${ledger}`)
  }
  if (witness.isOtherKey && isOver) throw say('has taken another key for the right one')
  if (report.status === 'succeeded' || report.status === 'withheld') judgeSuccess(scene, witness, report)
  if (report.pass === 'full' && isOver && outcome.complete && !witness.dryRun) {
    scene.checks.noteFullPass()
  }
}

/** True if another run had the lease when this one began, or has had it since. */
function hadRival({ after }: Scene, { before }: Witness): boolean {
  const wasThere = [...before.runs.values()].includes('running')
  return wasThere || [...after.runs.keys()].some((id) => !before.runs.has(id))
}

/**
 * A full pass that succeeds leaves no difference but what is pending, and pending is only what is younger than the grace.
 * Judged are users and rows of whom nothing has changed since before it began.
 */
function judgeSuccess(scene: Scene, witness: Witness, report: Report): void {
  const { options, checks } = scene
  if (witness.dryRun || report.pass === 'user') return
  if (witness.heard.some(({ fault }) => fault !== undefined && lies.has(fault.kind))) return
  if (report.pass === 'incremental') {
    if (checks.restored === 'anew') {
      throw new Violation(`${witness.name} took a table that was made anew for the one it knew`)
    }
    // It vouches for what Clerk has changed, not for what a hand has.
    if (options.hasFaults || options.countLagMs > 0 || checks.restored !== 'no' || checks.lastEdit > 0) return
  }
  const open = openUsers(scene, witness)
  // A row that somebody else wrote between plan and apply is left to the next pass, and counted.
  if (open.length > report.counts.pending)
    throw new Violation(`${witness.name} succeeded, and ${open.join(', ')}`)
  const [stale] = report.pass === 'full' && options.policy === 'sync' ? staleRows(scene, witness) : []
  if (stale !== undefined && report.status === 'succeeded') {
    throw new Violation(`${witness.name} succeeded, and gone ${stale} has kept its row`)
  }
}

/** Who was there before the run began, and all the time, and has no row or one that is older than that. */
function openUsers({ clerk, options, checks, after }: Scene, witness: Witness): string[] {
  const open: string[] = []
  const since = witness.startedAt - options.listingLagMs
  if (checks.lastEdit >= witness.startedAt) return open
  for (const [id, versions] of clerk.history) {
    const place = clerk.placeAt(id, since)
    const later = place < 0 ? [] : versions.slice(place)
    const [first] = later
    if (first === undefined || clerk.wasHidden(id, since)) continue
    if (later.some((each) => each.isDeleted || each.createdAt !== first.createdAt)) continue
    const row = after.rows.get(id)
    if (row === undefined) open.push(`${id} has no row`)
    else if (Math.max(...checks.placesOf(row)) < place) open.push(`the row of ${id} is old`)
  }
  return open
}

/** Rows that were there when the run began, settled, of users that Clerk had not had for longer than a listing lags. */
function staleRows({ clerk, options, after }: Scene, witness: Witness): string[] {
  const { startedAt, before } = witness
  const since = startedAt - options.listingLagMs
  // The earliest of the clocks counts.
  const behindMs = Math.max(0, -options.skewMs, -options.processSkewMs)
  return [...before.rows.values()].flatMap((row) => {
    const { clerkId, updatedAt, writtenBy } = row
    const place = clerk.placeAt(clerkId, since)
    const wasGone = place < 0 ? !clerk.history.has(clerkId) : clerk.history.get(clerkId)?.[place]?.isDeleted
    const isSettled = updatedAt !== null && updatedAt <= startedAt - behindMs - options.graceMs - 1000
    const isSame = after.rows.get(clerkId)?.writtenBy === writtenBy
    return wasGone && isSettled && isSame ? [clerkId] : []
  })
}

/** True if an answer that says nothing was not asked for again: it must have been read as "no users" or the like. */
function tookNothingForAnswer({ heard }: Witness): boolean {
  const address = ({ request }: Heard) => `${request.path}?${request.query}`
  return heard.some(
    (each, place) =>
      isNoAnswer(each) && !heard.slice(place + 1).some((later) => address(later) === address(each)),
  )
}

function isNoAnswer({ request, fault, value }: Heard): boolean {
  const { endpoint, status, path } = request
  if (fault !== undefined && lost.has(fault.kind)) return true
  if (status === 429 || status >= 500) return true
  if (status !== 200) return false
  const fields = (value ?? {}) as { total_count?: unknown; id?: unknown }
  if (endpoint === 'list') return !Array.isArray(value)
  if (endpoint === 'count') return typeof fields.total_count !== 'number'
  return endpoint === 'user' ? path !== `/users/${fields.id}` : typeof fields.id !== 'string'
}

/** True if somebody who lives was on a page of the walk with an id that cannot be read, and on no other answer. */
function hasUnread({ clerk }: Scene, { heard }: Witness): boolean {
  const live = new Set(clerk.liveIds())
  const lists = heard.filter(({ value }) => Array.isArray(value))
  const read = new Set(lists.flatMap(({ value }) => idsOf(value)))
  return lists.some(
    ({ request, right, fault }) =>
      fault?.kind === 'malformed-user' &&
      request.query.get('order_by') === '+created_at' &&
      idsOf(right).some((id) => live.has(id) && !read.has(id)),
  )
}

const idsOf = (list: unknown): string[] =>
  (list as ({ id?: unknown } | null)[]).flatMap((user) =>
    typeof user?.id === 'string' && user.id.startsWith('user_') ? [user.id] : [],
  )

const isBlamedOnPages = (report: Report) =>
  report.pass === 'full' && report.notes.some((note) => note.endsWith('were on no page'))

/** True if nothing but a lag of the count, shorter than the wait before it is asked again, can make it differ. */
function countMustAgree({ clerk, options }: Scene, { heard, startedAt }: Witness): boolean {
  if (options.countLagMs >= recountDelayMs || heard.some(({ fault }) => fault !== undefined)) return false
  const since = startedAt - options.listingLagMs
  if (clerk.liveIds().some((id) => clerk.wasHidden(id, since))) return false
  return [...clerk.history.values()].every((versions) =>
    versions.every((version, place) => {
      const isNews = version.createdAt !== versions[place - 1]?.createdAt
      return version.at < since || (!isNews && (!version.isDeleted || version.at < startedAt))
    }),
  )
}
