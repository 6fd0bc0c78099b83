// The full pass: reads all of Clerk's users, plans and applies each page, and keeps the rows that no page returned as
// candidates for deletion. Reads top to bottom; what becomes of the candidates is in absences.ts.
import { isStorableTime, type ReadUser } from '../clerk/user.ts'
import type { Checkpoint } from '../db/state.ts'
import { countRows, countRowsOf, readUndatedIds } from '../db/users.ts'
import { AbsenceTracker } from './absence-tracker.ts'
import { confirmAbsences, deleteAbsent } from './absences.ts'
import { approvalNotes, groupBySince } from './approval.ts'
import type { ClerkClock } from './clock.ts'
import { countAgain, countUsers } from './count.ts'
import type { Findings } from './findings.ts'
import { shortfallOf } from './guard.ts'
import {
  differenceOf,
  type KnownDifference,
  rowsWithoutUserOf,
  stillAltered,
  unexplainedDifference,
  usersWithoutRowOf,
} from './known-difference.ts'
import { newestKept, readNewest } from './newest.ts'
import { syncPage } from './page.ts'
import { paginateUsers, type UserPage } from './pagination/cursor-pages.ts'
import type { PassContext } from './pass.ts'
import { settleRefused } from './settle.ts'

/** How long a listing may lag behind writes, ms. The watermark stays as far behind. */
const watermarkLagMs = 10 * 60_000

/** After this many pages in a row of users who signed up meanwhile the pass ends: a busy instance has ever more. */
const newcomerPagesMax = 3

/**
 * One full pass. Returns where the next incremental pass may begin, undefined if this one was incomplete. Throws
 * `SyncError`; what was written by then stays.
 */
export async function runFullPass(pass: PassContext, findings: Findings): Promise<Checkpoint | undefined> {
  pass.onPhase('reading')
  const newest = await pass.clerk.listUsers({ limit: newestKept, orderBy: '-updated_at' })
  const before = await countUsers(pass)

  const undated = await readUndatedIds(pass.database.db, pass.catalog)
  const tracker = new AbsenceTracker(undated, (before.date ?? Number.POSITIVE_INFINITY) + 999)
  const pages = paginateUsers(pass.clerk, {
    pageSize: pass.options.pageSize,
    note: (text) => findings.add({ notes: [text] }),
  })
  // A future `created_at` does not make a newcomer. Until as many users as Clerk counted have been seen, such a user may be
  // one of them.
  const isEveryoneSeen = () => findings.counts().seen >= before.count
  for (let newcomers = 0; newcomers < newcomerPagesMax; ) {
    pass.signal.throwIfAborted()
    const next = await pages.next()
    if (next.done === true) {
      if (!next.value.complete) findings.add({ isIncomplete: true })
      break
    }
    const page = next.value
    newcomers = isEveryoneSeen() && isOfNewcomers(page, tracker.countedAt) ? newcomers + 1 : 0
    // Sign-ups can go on for ever. Who was there when the pass began has been seen; the span stays open for their rows.
    const isLast = newcomers === newcomerPagesMax
    await syncPage(
      pass,
      findings,
      tracker,
      isLast ? { ...page, span: { ...page.span, upTo: undefined }, closesSpan: true } : page,
    )
    pass.onProgress(findings.counts().seen, before.count)
  }

  pass.onPhase('counting')
  let { count: countAfter } = await countUsers(pass)
  const shortfall = () =>
    shortfallOf({
      countBefore: before.count,
      countAfter,
      seenOld: tracker.seenOld,
      seen: findings.counts().seen,
    })
  const absences = await confirmAbsences(pass, findings, tracker)
  if (shortfall() > 0) countAfter = await countAgain(pass)
  findings.add({ shortfall: shortfall() })
  await deleteAbsent(pass, findings, tracker, absences, Math.max(before.count, countAfter))
  pass.onPhase('settling')
  await findings.collect(settleRefused(pass, findings.retries(), findings.withheld()))
  findings.add({ notes: approvalNotes(pass.options.approveDeletes, findings) })
  if (!findings.isComplete()) return undefined
  return closeFullPass(pass, findings, newest.users, before.count, countAfter)
}

/** True for a page whose users have all come since the pass counted. */
function isOfNewcomers(page: UserPage, countedAt: number): boolean {
  return page.users.length > 0 && page.users.every((user) => (user.createdAt ?? 0) > countedAt)
}

/** Holds the table against Clerk's counts, and names what stands between them. */
async function closeFullPass(
  pass: PassContext,
  findings: Findings,
  newest: readonly ReadUser[],
  countBefore: number,
  countAfter: number,
): Promise<Checkpoint> {
  const { catalog } = pass
  const { db } = pass.database
  const named = differenceOf(findings)
  const rowless = usersWithoutRowOf(named)
  const unexplained = unexplainedDifference({
    rows: await countRows(db, catalog),
    usersWithoutRow: rowless.length - (await countRowsOf(db, rowless, catalog)),
    rowsWithoutUser: await countRowsOf(db, rowsWithoutUserOf(named), catalog),
    pendingRows: await countRowsOf(db, named.pendingRows, catalog),
    countBefore,
    countAfter,
  })
  if (pass.writer.changesTable) {
    findings.add({ unexplained: Math.max(0, unexplained - findings.missing()) })
  }
  // Fewer users than rows: the listing may lag behind deletions. After the grace it cannot; then the count is wrong.
  if (unexplained < 0 && unexplained !== pass.known?.unexplained) {
    findings.add({ settlesInMs: pass.options.graceMs })
  }
  const newestIds = newest.flatMap((user) => (user.kind === 'unreadable' ? [] : [user.clerkId]))
  return {
    watermark: watermarkOf(versionOf(newest), pass.clock),
    difference: {
      ...named,
      altered: [...(named.altered ?? []), ...stillAltered(pass.altered, named)],
      withheldSince: groupBySince(named.withheld, pass.known, pass.startedAt),
      unexplained,
      newest: await readNewest(pass, newestIds),
    } satisfies KnownDifference,
    fullPassDueInMs: findings.settlesInMs() > 0 ? findings.settlesInMs() : null,
  }
}

/** When the newest change was made, as far as the list says. */
function versionOf([user]: readonly ReadUser[]): number | undefined {
  return user === undefined || user.kind === 'unreadable' ? undefined : user.updatedAt
}

/**
 * Clerk's newest change, or the time where that cannot be read, less what a listing may lag. Never ahead of any clock:
 * one user dated far ahead would hide everybody else's changes. Null where the table could not hold it.
 */
export function watermarkOf(version: number | undefined, clock: ClerkClock): number | null {
  const watermark =
    Math.min(version ?? clock.earliest, clock.earliest) - Math.max(watermarkLagMs, clock.graceMs)
  return isStorableTime(watermark) ? watermark : null
}
