// What an operator can look at before deletions are approved, and that an approval reaches no further than that.
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { seedUsers } from '../../src/dev/sandbox/seed.ts'
import { createWorld, type World } from '../support/world.ts'

const users = 60
let world: World

beforeEach(async () => {
  world = await createWorld({ users: seedUsers({ count: users, seed: 8 }) })
  await world.sync()
})
afterEach(() => world.close())

/** Deletes that many users in Clerk, and returns their ids in order. */
const leave = (count: number) => {
  const gone = world.sandbox.users.all().slice(0, count)
  for (const { id } of gone) world.sandbox.users.delete(id)
  return gone.map(({ id }) => id).sort()
}
const approvalIn = (notes: readonly string[]) => {
  const [, count, approvedList] = /--approve-deletes (\d+):([0-9a-f]{8})/.exec(notes.join('\n')) ?? []
  return { approveDeletes: Number(count), approvedList }
}
const withheldOf = async (runId: number | null) => {
  const [run] = await world.database.sql`select withheld from clerk_sync.runs where id = ${runId}`
  return run?.withheld as { clerkId: string; missedSince: string | null }[] | null
}
const standing = async (ids: readonly string[]) => {
  const rows = await world.rows()
  return ids.filter((id) => rows.has(id))
}

describe('withheld deletions are named', () => {
  test('in the line of the run, from the second run on with the moment since when they are missed', async () => {
    const gone = leave(12)
    const first = await world.sync()
    expect(await withheldOf(first.report.runId)).toEqual(
      gone.map((clerkId) => ({ clerkId, missedSince: null })),
    )
    const [start] = await world.database
      .sql`select started_at from clerk_sync.runs where id = ${first.report.runId}`
    const later = leave(1)
    const second = await world.sync()
    const named = [...gone, ...later].sort().map((clerkId) => ({
      clerkId,
      missedSince: later.includes(clerkId) ? null : new Date(start?.started_at).toISOString(),
    }))
    expect(await withheldOf(second.report.runId)).toEqual(named)
    const incremental = await world.sync({ pass: 'incremental' })
    expect(incremental.report).toMatchObject({ pass: 'incremental', counts: { withheld: 13 } })
    expect((await withheldOf(incremental.report.runId))?.map(({ clerkId }) => clerkId)).toEqual(
      named.map(({ clerkId }) => clerkId),
    )
    expect(approvalIn(incremental.report.notes)).toEqual(approvalIn(second.report.notes))
  })

  test('by a dry run, each with its row, also far beyond what the guard lets through', async () => {
    const gone = leave(40)
    const { changes, report } = await world.sync({ dryRun: true })
    const shown = changes.flatMap((change) => (change.kind === 'withhold' ? [change] : []))
    expect(shown.map(({ clerkId }) => clerkId).sort()).toEqual(gone)
    expect(shown.every(({ row }) => row?.clerkUpdatedAt !== null)).toBe(true)
    expect(report.counts).toMatchObject({ deleted: 0, withheld: 40 })
  })

  test('under upsert-only too', async () => {
    const gone = leave(2)
    const { report } = await world.sync({ policy: 'upsert-only' })
    expect((await withheldOf(report.runId))?.map(({ clerkId }) => clerkId)).toEqual(gone)
  })
})

describe('an approval that names the list', () => {
  test('deletes the rows of that list, and none that went missing since', async () => {
    const gone = leave(12)
    const approval = approvalIn((await world.sync()).report.notes)
    const later = leave(2)
    const { report } = await world.sync(approval)
    expect(report).toMatchObject({ status: 'withheld', counts: { deleted: 12, withheld: 2 } })
    expect(report.notes.join()).toContain('they are not on the list that was approved')
    expect(await standing([...gone, ...later])).toEqual(later)
  })

  test('does not delete the row of a user who has come back since', async () => {
    const [back] = world.sandbox.users.all()
    leave(12)
    const approval = approvalIn((await world.sync()).report.notes)
    if (back !== undefined) world.sandbox.users.putRaw(back)
    const { report } = await world.sync(approval)
    expect(report).toMatchObject({ status: 'succeeded', counts: { deleted: 11, withheld: 0 } })
    expect(report.notes).toEqual([
      '12 deletions approved: 11 deleted; of 1 fewer than approved Clerk says that they are gone',
    ])
  })

  test('is held against what a dry run has shown, which keeps no list', async () => {
    const gone = leave(40)
    const approval = approvalIn((await world.sync({ dryRun: true })).report.notes)
    expect(approval.approveDeletes).toBe(40)
    const { report } = await world.sync(approval)
    expect(report).toMatchObject({ status: 'succeeded', counts: { deleted: 40 } })
    expect(await standing(gone)).toEqual([])
  })

  test('deletes nothing where another list stands there now, and names that one', async () => {
    const gone = leave(12)
    const approval = approvalIn((await world.sync({ dryRun: true })).report.notes)
    const later = leave(1)
    const { report } = await world.sync({ ...approval, approveDeletes: 20 })
    expect(report).toMatchObject({ status: 'withheld', counts: { deleted: 0, withheld: 13 } })
    expect(report.notes.join()).toContain('the list that was approved is not the list of these rows')
    expect(await standing([...gone, ...later])).toHaveLength(13)
    const next = await world.sync(approvalIn(report.notes))
    expect(next.report).toMatchObject({ status: 'succeeded', counts: { deleted: 13 } })
  })

  test('keeps its number as a ceiling', async () => {
    leave(12)
    const approval = approvalIn((await world.sync()).report.notes)
    const { report } = await world.sync({ ...approval, approveDeletes: 11 })
    expect(report.counts).toMatchObject({ deleted: 0, withheld: 12 })
  })
})

test('where fewer are deleted than were approved, a note says how many and why', async () => {
  leave(12)
  const approval = approvalIn((await world.sync()).report.notes)
  await world.database.sql`create table posts (author text references users (clerk_id))`
  const [first = ''] = await standing(
    (await world.sync({ dryRun: true })).changes.flatMap((change) =>
      change.kind === 'withhold' ? [change.clerkId] : [],
    ),
  )
  await world.database.sql`insert into posts values (${first})`
  const { report } = await world.sync(approval)
  expect(report).toMatchObject({ status: 'partial', counts: { deleted: 11, rejected: 1 } })
  expect(report.notes).toContain('12 deletions approved: 11 deleted, 1 refused by the database')
})
