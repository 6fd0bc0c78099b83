// Whether Clerk still has the users of rows that no page returned. Asks Clerk and writes nothing. The rule: an answer by
// id counts only if it proves itself, by a canary (a user that Clerk is known to have) and by the absence of strangers.
//
//   candidate ─ settled? ─ no ─► pending
//       │
//   asked by id, along with a canary ─ returned ─► alive: planned like any other user
//       │ denied                     ─ no canary, or a stranger in the answer ─► proves nothing
//   absent
//       │
//   asked once more, alone ─ one is found ─► proves nothing, of none of them
//       │ 404
//   confirmed: what may be deleted is decided in deletion-policy.ts
import pLimit from 'p-limit'
import type { ReadableUser } from '../clerk/user.ts'
import type { CurrentRow } from '../db/schema.ts'
import { readRows } from '../db/users.ts'
import type { PassContext } from './pass.ts'
import { isSettled } from './plan.ts'

/** Clerk takes up to 100 ids in one request; one of them is the canary. */
export const candidatesPerRequest = 99
/** A hundred answers one after the other would take a hundred round trips. */
const questionsAtOnce = 8
/** After each round, the progress is shown, and a user found alive ends the questions. */
const questionsPerRound = 100

/** What asking about candidates has shown. */
export interface Confirmation {
  /** Rows whose users Clerk denies. */
  readonly absent: readonly CurrentRow[]
  /** Users that Clerk has after all. */
  readonly alive: readonly ReadableUser[]
  /** Rows that have not settled: a listing may lag behind their users. */
  readonly pending: readonly CurrentRow[]
  /** Settled rows that could not be asked about, since no canary could prove the answer. */
  readonly unasked: readonly string[]
  /** False if Clerk's answer proved nothing. Then both lists are empty. */
  readonly isProven: boolean
}

/** Asks Clerk by id for the users of up to `candidatesPerRequest` rows, without a canary only if `mayAskAnyway`. */
export async function confirmCandidates(
  pass: PassContext,
  ids: readonly string[],
  canaries: readonly string[],
  mayAskAnyway: boolean,
): Promise<Confirmation> {
  const rows = await readRows(pass.database.db, ids, pass.catalog)
  const settled = rows.filter((row) => isSettled(row, pass.clock))
  const pending = rows.filter((row) => !isSettled(row, pass.clock))
  const none = { absent: [], alive: [], pending, unasked: [], isProven: true }
  if (settled.length === 0) return none
  if (canaries.length === 0 && !mayAskAnyway) {
    return { ...none, unasked: settled.map((row) => row.clerkId) }
  }
  const alive = await askByIds(pass, settled, canaries)
  if (alive === undefined) return { ...none, isProven: false }
  const returned = new Set(alive.map((user) => user.clerkId))
  return { ...none, alive, absent: settled.filter((row) => !returned.has(row.clerkId)) }
}

/** Those of the rows' users that Clerk returns; undefined if no answer proves itself. */
export async function askByIds(
  pass: PassContext,
  rows: readonly CurrentRow[],
  canaries: readonly string[],
): Promise<ReadableUser[] | undefined> {
  const asked = new Set(rows.map((row) => row.clerkId))
  // A canary may itself have been deleted since: then the next one is asked.
  for (const canary of canaries.length > 0 ? canaries : [undefined]) {
    const userIds = [...new Set([...asked, ...(canary === undefined ? [] : [canary])])]
    const answer = await pass.clerk.listUsers({ limit: 100, userIds, canary })
    const users = answer.users.filter((user): user is ReadableUser => user.kind !== 'unreadable')
    const isStranger = users.some((user) => user.clerkId !== canary && !asked.has(user.clerkId))
    if (users.length < answer.users.length || isStranger) return undefined
    if (canary === undefined || users.some((user) => user.clerkId === canary)) {
      return users.filter((user) => asked.has(user.clerkId))
    }
  }
  return undefined
}

/** What asking for users one by one has shown. */
export interface LoneConfirmation {
  /** Rows that may go; none if Clerk has a user that it had denied. */
  readonly absent: readonly CurrentRow[]
  /** Users that Clerk has though it had denied them, as far as their answers could be read. */
  readonly alive: readonly ReadableUser[]
  /** The ids of all users that Clerk has though it had denied them. */
  readonly foundIds: readonly string[]
  /** The other rows, if there are such users: whether they have a user is not known. */
  readonly unproven: readonly CurrentRow[]
}

/**
 * Asks for each denied user alone, until one is found. A filter that leaves single users out looks like a denial, and
 * what it did to one user it may have done to any other: if Clerk has one of the users after all, none of the rows goes.
 * It is a request for each deletion, and no more than the deletion itself has cost at Clerk: a sample would miss the one
 * user among a thousand whom the lists have lost.
 */
export async function confirmAlone(
  pass: PassContext,
  rows: readonly CurrentRow[],
): Promise<LoneConfirmation> {
  const found = await findAlive(pass, rows)
  if (found.length === 0) return { absent: rows, alive: [], foundIds: [], unproven: [] }
  const foundIds = new Set(found.map(({ row }) => row.clerkId))
  return {
    absent: [],
    alive: found.flatMap(({ user }) => (user.kind === 'unreadable' ? [] : [user])),
    foundIds: [...foundIds],
    unproven: rows.filter((row) => !foundIds.has(row.clerkId)),
  }
}

/** The first of the rows' users that Clerk has, with their rows: those of one round of questions. */
async function findAlive(pass: PassContext, rows: readonly CurrentRow[]) {
  const ask = pLimit(questionsAtOnce)
  for (let start = 0; start < rows.length; start += questionsPerRound) {
    pass.onPhase('confirming', rows.length - start)
    const answers = await ask.map(rows.slice(start, start + questionsPerRound), async (row) => ({
      row,
      user: (await pass.clerk.fetchUser(row.clerkId)).user,
    }))
    const found = answers.flatMap(({ row, user }) => (user === 'denied' ? [] : [{ row, user }]))
    if (found.length > 0) return found
  }
  return []
}
