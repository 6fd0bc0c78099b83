// The incremental pass: reads what changed since the watermark, newest first, and lets two counts prove that nothing
// else did. A listing by change cannot show deletions, so when the counts disagree a full pass follows.
import { countRows, countRowsOf } from '../db/users.ts'
import { holdOf } from './allowance.ts'
import { applyUsers } from './apply.ts'
import { approvalCommand } from './approval-command.ts'
import { countAgain, countUsers } from './count.ts'
import { deletesRows, keptText, stillWithheldText } from './deletion-policy.ts'
import type { Finding } from './finding.ts'
import type { Findings } from './findings.ts'
import { watermarkOf } from './full-pass.ts'
import {
  differenceOf,
  type KnownDifference,
  rowsWithoutUserOf,
  stillAltered,
  unexplainedDifference,
  usersWithoutRowOf,
} from './known-difference.ts'
import { isTableOlder, newestKept, readNewest } from './newest.ts'
import { desiredOf, seenUsers } from './page.ts'
import { paginateByChange, type RecentChanges } from './pagination/offset-pages.ts'
import type { PassContext } from './pass.ts'
import { settleRefused } from './settle.ts'

/** Where the pass leaves things, or why a full pass has to follow. */
export type IncrementalResult =
  | { readonly watermark: number | null; readonly difference: KnownDifference }
  | { readonly stepUp: string }

/** One incremental pass from the watermark (ms, Clerk's clock) on. Throws `SyncError`. */
export async function runIncrementalPass(
  pass: PassContext,
  findings: Findings,
  since: { watermark: number; difference: KnownDifference },
): Promise<IncrementalResult> {
  if (await isTableOlder(pass, since.difference.newest ?? [])) {
    return { stepUp: 'rows of the users table are older than the last pass left them' }
  }
  findings.add(await recallOpen(pass, findings, since.difference))
  pass.onPhase('reading')
  const { count: countBefore } = await countUsers(pass)
  const read = await readRecent(pass, findings, since.watermark, countBefore)
  if ('stepUp' in read) return read
  if (!findings.isComplete()) return { stepUp: 'a user without a readable id was met' }
  // What one user gave up may have been another's a moment too early.
  await findings.collect(settleRefused(pass, findings.retries(), findings.withheld()))

  pass.onPhase('counting')
  let { count: countAfter } = await countUsers(pass)
  const named = differenceOf(findings)
  const alteredBefore = since.difference.altered ?? []
  const difference: KnownDifference = {
    ...named,
    withheld: since.difference.withheld,
    ...(since.difference.withheldSince === undefined
      ? {}
      : { withheldSince: since.difference.withheldSince }),
    undeletable: since.difference.undeletable,
    // Who is seen lives, and is in doubt no more.
    pendingRows: since.difference.pendingRows.filter((id) => !read.seen.has(id)),
    pendingUsers: [
      ...new Set([
        ...since.difference.pendingUsers.filter((id) => !read.seen.has(id)),
        ...findings.openItems().pendingUsers,
      ]),
    ],
    altered: [
      ...alteredBefore.filter(([id]) => !read.seen.has(id)),
      ...stillAltered(new Map(alteredBefore.filter(([id]) => read.seen.has(id))), named),
      ...(named.altered ?? []),
    ],
    unexplained: since.difference.unexplained,
    newest: await readNewest(pass, [...read.seen].slice(0, newestKept)),
  }
  // Rows without a user are what `upsert-only` is for.
  const isChased = (gap: number) => (deletesRows(pass.options.policy) ? gap !== 0 : gap > 0)
  let gap = await gapOf(pass, findings, difference, countBefore, countAfter)
  if (isChased(gap)) {
    const again = await countAgain(pass)
    gap = await gapOf(pass, findings, difference, countAfter, again)
    countAfter = again
  }
  if (isChased(gap)) return { stepUp: `Clerk counts ${countAfter} users, which the table does not explain` }
  findings.add(await recallPending(pass, difference))
  const watermark = read.newest === null ? null : watermarkOf(read.newest, pass.clock)
  return { watermark: watermark ?? since.watermark, difference }
}

/** What stood open keeps standing open until a pass has written it: the exit code must go on saying so. */
async function recallOpen(
  pass: PassContext,
  findings: Findings,
  difference: KnownDifference,
): Promise<Finding> {
  const { rejected, withheld: ids } = difference
  const withheldRows = await countRowsOf(pass.database.db, ids, pass.catalog)
  const note = async () => {
    if (!deletesRows(pass.options.policy)) return keptText(withheldRows)
    const hold = await holdOf(pass, pass.database.db, findings.holdToCome())
    return stillWithheldText(withheldRows, hold, approvalCommand(withheldRows, ids))
  }
  return {
    rejected,
    unexplained: Math.max(0, difference.unexplained),
    before: { withheld: ids, withheldRows },
    notes: withheldRows === 0 ? [] : [await note()],
  }
}

/** What a full pass left for the grace and what this pass has added stays pending until a pass settles it. */
async function recallPending(pass: PassContext, difference: KnownDifference): Promise<Finding> {
  const rows = await countRowsOf(pass.database.db, difference.pendingRows, pass.catalog)
  return {
    pendingUsers: difference.pendingUsers.map((clerkId) => ({ clerkId, settlesInMs: 0 })),
    before: { pendingRows: rows },
    clockDoubt: rows > 0 && deletesRows(pass.options.policy) ? pass.clock.doubt : undefined,
  }
}

/** How far Clerk's counts lie beyond the table and the known difference. */
async function gapOf(
  pass: PassContext,
  findings: Findings,
  difference: KnownDifference,
  countBefore: number,
  countAfter: number,
): Promise<number> {
  const { db } = pass.database
  const rowless = usersWithoutRowOf(difference)
  const created = pass.writer.changesTable ? 0 : findings.counts().created
  const gap = unexplainedDifference({
    rows: (await countRows(db, pass.catalog)) + created,
    usersWithoutRow: rowless.length - (await countRowsOf(db, rowless, pass.catalog)),
    rowsWithoutUser: await countRowsOf(db, rowsWithoutUserOf(difference), pass.catalog),
    pendingRows: await countRowsOf(db, difference.pendingRows, pass.catalog),
    countBefore: countBefore - difference.unexplained,
    countAfter: countAfter - difference.unexplained,
  })
  return gap
}

/** Reads and applies the pages of users that have changed since the watermark. */
async function readRecent(
  pass: PassContext,
  findings: Findings,
  watermark: number,
  total: number,
): Promise<RecentChanges> {
  const { pageSize } = pass.options
  const note = (text: string) => findings.add({ notes: [text] })
  const pages = paginateByChange(pass.clerk, { pageSize, watermark, note })
  for (;;) {
    pass.signal.throwIfAborted()
    const next = await pages.next()
    if (next.done === true) return next.value
    const { users, unreadable } = next.value
    findings.add({ seen: users.length, ...(unreadable > 0 ? { isIncomplete: true } : {}) })
    await findings.collect(applyUsers(pass, desiredOf(users)))
    findings.add({ rejected: seenUsers(users).rejected })
    pass.onProgress(findings.counts().seen, total)
  }
}
