// The second try, after the deletions: users that were refused with their page are planned and written once more, since an
// old row may have had what a new one needs. Those that a unique constraint still refuses are settled together. Only what
// stands after that is rejected, and counts.

import { type AlteredRow, readAltered } from '../db/altered.ts'
import type { DesiredUser } from '../db/schema.ts'
import { readUniqueColumns } from '../db/unique.ts'
import { rejectAltered } from './altered.ts'
import { applyUsers } from './apply.ts'
import { writeFenced } from './fenced.ts'
import type { Pass } from './pass.ts'
import { refusalsPerConstraint, refuseForGood, rejectWrite, type Standing } from './refusals.ts'
import { settleTogether } from './together.ts'
import { noteUnwritten } from './writer.ts'

/** Clerk takes up to 100 ids in one request. */
const idsPerRequest = 100

/** Tries all users once more that were refused. Throws `constraint` where one constraint still refuses very many. */
export async function settleRefused(pass: Pass): Promise<void> {
  const waiting = [...pass.tally.waiting]
  pass.tally.waiting.clear()
  const standing = new Map<string, Standing>()
  for (let start = 0; start < waiting.length; start += idsPerRequest) {
    pass.signal.throwIfAborted()
    const users = await recall(pass, waiting.slice(start, start + idsPerRequest))
    await applyUsers(pass, users, refuseForGood(pass, standing))
  }
  await settleStanding(pass, standing)
  for (const [id, { refusal }] of standing) rejectWrite(pass, id, refusal)
}

/** The users with their values. Of those that were too many to keep, Clerk is asked for the values. */
async function recall(
  pass: Pass,
  waiting: readonly (readonly [string, DesiredUser | undefined])[],
): Promise<DesiredUser[]> {
  const users = waiting.flatMap(([, user]) => user ?? [])
  const userIds = waiting.flatMap(([id, user]) => (user === undefined ? [id] : []))
  if (userIds.length === 0) return users
  const answer = await pass.clerk.listUsers({ limit: idsPerRequest, userIds })
  const missing = new Set(userIds)
  for (const user of answer.users) {
    if (user.kind === 'unreadable' || !missing.delete(user.clerkId)) continue
    if (user.kind === 'user') users.push(user.desired)
    else pass.tally.rejected.set(user.clerkId, user.reason)
  }
  for (const id of missing) {
    pass.tally.rejected.set(id, 'refused by a unique constraint, and Clerk did not return the user again')
  }
  return users
}

/** Settles those together that hold each other's values. They leave `standing`. */
async function settleStanding(pass: Pass, standing: Map<string, Standing>): Promise<void> {
  // One alone has just been refused.
  if (standing.size < 2) return
  pass.signal.throwIfAborted()
  // In the order of their ids, as all our writes: else two writers could wait for each other.
  const ordered = [...standing.values()].sort((a, b) =>
    a.change.write.clerkId < b.change.write.clerkId ? -1 : 1,
  )
  const members = ordered.map(({ change, refusal }) => ({
    write: change.write,
    hasRow: change.row !== undefined,
    refusal,
  }))
  const constraints = [...new Set(members.map((member) => member.refusal.constraint))]
  const columns = await readUniqueColumns(pass.database.db, constraints)
  const writes = members.map(({ write }) => write)
  let altered: AlteredRow[] = []
  const { updated, created, stuck } = await settleTogether(
    members,
    { columns, by: 'pass', youngSince: pass.youngSince },
    // Each round finds at least one who is stuck.
    { membersMin: 2, stuckMax: refusalsPerConstraint, roundsMax: refusalsPerConstraint + 1 },
    (fence, write) =>
      writeFenced(pass, fence, async (tx) => {
        const written = await write(tx)
        altered = await readAltered(tx, writes)
        return written
      }),
  )
  for (const [id, refusal] of stuck) {
    const change = standing.get(id)?.change
    if (change === undefined) continue
    if (refusal !== null) standing.set(id, { change, refusal })
    else {
      standing.delete(id)
      pass.tally.rejected.set(id, 'the database does not take the write')
    }
  }
  if (updated.length + created.length === 0) return
  pass.tally.counts.updated += updated.length
  pass.tally.counts.created += created.length
  const written = new Set([...updated, ...created])
  rejectAltered(
    pass,
    altered.filter((row) => written.has(row.clerkId)),
    writes,
  )
  for (const id of written) standing.delete(id)
  // Another writer was faster with these.
  const others = [...standing].filter(([id]) => !stuck.has(id))
  for (const [id] of others) standing.delete(id)
  await noteUnwritten(
    pass,
    others.map(([, { change }]) => change),
  )
}
