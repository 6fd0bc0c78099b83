// What a full pass does with a page: it plans and writes its users, and finds the rows of its span that it does not explain.
import type { ReadableUser } from '../clerk/user.ts'
import type { CurrentRow } from '../db/schema.ts'
import { readAbsentIds } from '../db/users.ts'
import type { AbsenceTracker } from './absence-tracker.ts'
import { applyUsers } from './apply.ts'
import type { Findings } from './findings.ts'
import type { UserPage } from './pagination/cursor-pages.ts'
import type { PassContext } from './pass.ts'

/** Syncs the users of a page; the rows of its span that it does not explain become candidates. */
export async function syncPage(
  pass: PassContext,
  findings: Findings,
  tracker: AbsenceTracker,
  page: UserPage,
): Promise<void> {
  if (page.unreadable > 0) {
    findings.add({ unreadable: page.unreadable, isIncomplete: true })
    pass.log.warn({ users: page.unreadable }, 'users without a readable id')
  }
  await syncUsers(pass, findings, tracker, page.users)
  if (!page.closesSpan) return
  tracker.addAbsent(await readAbsentIds(pass.database.db, page.span, page.seen, pass.catalog))
}

/** Counts the users, strikes them off, and writes them. */
export async function syncUsers(
  pass: PassContext,
  findings: Findings,
  tracker: AbsenceTracker,
  users: readonly ReadableUser[],
): Promise<void> {
  tracker.see(users)
  findings.add(seenUsers(users))
  const rows: CurrentRow[] = []
  for await (const finding of applyUsers(pass, desiredOf(users))) {
    findings.add(finding)
    rows.push(...(finding.rows ?? []))
  }
  tracker.noteWritten(users, rows)
}

/** The users are counted, and those that cannot be mapped are rejected. */
export function seenUsers(users: readonly ReadableUser[]) {
  return {
    seen: users.length,
    rejected: users.flatMap((user) =>
      user.kind === 'rejected' ? [{ clerkId: user.clerkId, reason: user.reason }] : [],
    ),
  }
}

/** The users that can be mapped. */
export function desiredOf(users: readonly ReadableUser[]) {
  return users.flatMap((user) => (user.kind === 'user' ? [user.desired] : []))
}
