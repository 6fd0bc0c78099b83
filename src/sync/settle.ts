// The second try, after the deletions: users that were refused with their page are planned and written once more, since an
// old row may have had what a new one needs. Those that a unique constraint still refuses are settled together. Only what
// stands after that is rejected, and counts.
import { type AlteredRow, readAltered } from '../db/altered.ts'
import type { WriteError } from '../db/database.ts'
import type { DesiredUser } from '../db/schema.ts'
import { readUniqueColumns } from '../db/unique.ts'
import { rejectAlteredRows } from './altered.ts'
import { applyUsers } from './apply.ts'
import type { FailedWrites } from './failed-write.ts'
import { isUnique, rejectWrite, tooMany, type Withheld } from './failed-writes.ts'
import type { Finding, Rejection } from './finding.ts'
import { type Findings, failuresPerConstraintMax } from './findings.ts'
import type { PassContext } from './pass.ts'
import { passTransaction } from './pass-transaction.ts'
import type { Change } from './plan.ts'
import { settleTogether } from './together.ts'
import { explainUnwritten, swallowedText } from './writer.ts'

/** Clerk takes up to 100 ids in one request. */
const idsPerRequest = 100
/** Users that still are refused and may have to be settled together: beyond that the run ends. */
const standingMax = 2000

/** A user that a unique constraint still refuses after the deletions. */
interface Standing {
  readonly change: Change
  readonly failure: WriteError
}

type Retry = ReturnType<Findings['retries']>[number]

/**
 * Tries users once more that were refused. `withheld` are rows that may have what they need. Throws `constraint` where
 * one constraint still refuses very many.
 */
export async function* settleRefused(
  pass: PassContext,
  retries: readonly Retry[],
  withheld: Withheld,
): AsyncGenerator<Finding, void> {
  const standing = new Map<string, Standing>()
  /** What a unique constraint refuses stands; all else is rejected. */
  const onFailure = (changes: readonly Change[], failure: WriteError): FailedWrites | undefined => {
    const [change] = changes
    if (change === undefined || changes.length > 1) return undefined
    const { clerkId } = change.write
    const rejected = isUnique(failure) ? undefined : rejectWrite(pass, clerkId, failure, withheld)
    if (rejected === undefined) standing.set(clerkId, { change, failure })
    const isTooMany = standing.size > standingMax
    const error = isTooMany ? tooMany(failure, pass.options.policy, withheld) : undefined
    return { finding: rejected?.finding ?? {}, error: rejected?.error ?? error }
  }
  for (let start = 0; start < retries.length; start += idsPerRequest) {
    pass.signal.throwIfAborted()
    const { users, rejected } = await recall(pass, retries.slice(start, start + idsPerRequest))
    yield { rejected }
    yield* applyUsers(pass, users, onFailure)
  }
  const left = await settleStanding(pass, standing)
  for (const finding of left.findings) yield finding
  yield await explainUnwritten(pass, left.overtaken)
  for (const [clerkId, failure] of left.refused) {
    const { finding, error } = rejectWrite(pass, clerkId, failure, withheld)
    yield finding
    if (error !== undefined) throw error
  }
}

/** The users with their values. Of those that were too many to keep, Clerk is asked for the values. */
async function recall(
  pass: PassContext,
  retries: readonly Retry[],
): Promise<{ users: DesiredUser[]; rejected: Rejection[] }> {
  const users = retries.flatMap(([, user]) => user ?? [])
  const userIds = retries.flatMap(([id, user]) => (user === undefined ? [id] : []))
  if (userIds.length === 0) return { users, rejected: [] }
  const answer = await pass.clerk.listUsers({ limit: idsPerRequest, userIds })
  const missing = new Set(userIds)
  const rejected: Rejection[] = []
  for (const user of answer.users) {
    if (user.kind === 'unreadable' || !missing.delete(user.clerkId)) continue
    if (user.kind === 'user') users.push(user.desired)
    else rejected.push({ clerkId: user.clerkId, reason: user.reason })
  }
  for (const clerkId of missing) {
    const reason = 'refused by a unique constraint, and Clerk did not return the user again'
    rejected.push({ clerkId, reason })
  }
  return { users, rejected }
}

/** What settling users together has left. */
interface Settled {
  readonly findings: readonly Finding[]
  /** Users that are still refused. */
  readonly refused: ReadonlyMap<string, WriteError>
  /** Changes that were neither refused nor written: another writer was faster with these. */
  readonly overtaken: readonly Change[]
}

/** Settles those together that hold each other's values. */
async function settleStanding(pass: PassContext, standing: ReadonlyMap<string, Standing>): Promise<Settled> {
  const failures = new Map([...standing].map(([id, { failure }]) => [id, failure]))
  // One alone has just been refused.
  if (standing.size < 2) return { findings: [], refused: failures, overtaken: [] }
  pass.signal.throwIfAborted()
  // In the order of their ids, as all our writes: else two writers could wait for each other.
  const ordered = [...standing.values()].sort((a, b) =>
    a.change.write.clerkId < b.change.write.clerkId ? -1 : 1,
  )
  const members = ordered.map(({ change, failure }) => ({
    write: change.write,
    hasRow: change.row !== undefined,
    failure,
  }))
  const constraints = [...new Set(members.map((member) => member.failure.constraint))]
  const columns = await readUniqueColumns(pass.database.db, constraints)
  const writes = members.map(({ write }) => write)
  let altered: AlteredRow[] = []
  const { updated, created, stuck } = await settleTogether(
    members,
    { columns, by: 'pass', tombstonesBlockSince: pass.tombstonesBlockSince },
    // Each round finds at least one who is stuck.
    { membersMin: 2, stuckMax: failuresPerConstraintMax, roundsMax: failuresPerConstraintMax + 1 },
    (deletionLock, write) =>
      passTransaction(pass, deletionLock, async (tx) => {
        const written = await write(tx)
        altered = await readAltered(tx, writes)
        return written
      }),
  )
  const written = new Set([...updated, ...created])
  const alteredNow = altered.filter((row) => written.has(row.clerkId))
  const swallowed = [...stuck].flatMap(([clerkId, failure]) =>
    failure === null ? [{ clerkId, reason: swallowedText }] : [],
  )
  const findings = [{ rejected: swallowed }, { updated, created }, rejectAlteredRows(alteredNow, writes)]
  const refused = new Map(
    [...failures].flatMap(([id, failure]) => {
      const now = stuck.get(id)
      return now === null ? [] : [[id, now ?? failure] as const]
    }),
  )
  if (written.size === 0) return { findings, refused, overtaken: [] }
  // Another writer was faster with those that were neither stuck nor written.
  const others = [...standing].filter(([id]) => !stuck.has(id))
  const overtaken = others.filter(([id]) => !written.has(id)).map(([, { change }]) => change)
  for (const [id] of others) refused.delete(id)
  return { findings, refused, overtaken }
}
