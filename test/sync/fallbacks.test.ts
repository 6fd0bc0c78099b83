import { expect, test } from 'vitest'
import type { DeletedCursor, FaultKind, RecordedRequest, Sandbox } from '../../src/dev/sandbox/sandbox.ts'
import { exitCodeOf } from '../../src/sync/report.ts'
import { createSettledWorld, idsInOrder, idsWithoutRow, timesWithTie } from '../support/settled.ts'
import type { World } from '../support/world.ts'

const byTime = 'fallback: continued by creation time, without the cursor'
const furtherBack = 'fallback: continued from one user further back'
const pageSize = 5

const hasCursor = (request: RecordedRequest) => request.query.has('starting_after')

/** Runs `use` with a settled world in which Clerk has just lost two users, one of them in the middle of a tie. */
async function withTwoGone(use: (world: World, gone: string[]) => Promise<void>): Promise<void> {
  const world = await createSettledWorld(timesWithTie)
  try {
    const ids = idsInOrder(world)
    const gone = [ids[7] ?? '', ids[17] ?? '']
    for (const id of gone) world.sandbox.users.delete(id)
    await use(world, gone)
  } finally {
    await world.close()
  }
}

/** A whole pass: the table equals Clerk, the two rows are gone, and the report names the fallback. */
async function expectWholePass(world: World, notes: readonly string[]): Promise<void> {
  const { report } = await world.sync({ pageSize })
  expect(report).toMatchObject({ status: 'succeeded', error: null })
  expect(report.counts).toMatchObject({ seen: world.sandbox.users.size, deleted: 2, pending: 0, withheld: 0 })
  expect(report.notes).toEqual(notes)
  expect(await world.rows()).toEqual(world.wanted())
}

const failures: readonly FaultKind[] = [422, 400, 404, 'empty-array']

test.each(failures)('a cursor answered with %s for one page is stepped over', (kind) =>
  withTwoGone(async (world) => {
    world.sandbox.faults.add({ endpoint: 'list', kind, when: hasCursor })
    await expectWholePass(world, [furtherBack])
  }),
)

test.each(failures)('a cursor answered with %s for good is done without', (kind) =>
  withTwoGone(async (world) => {
    world.sandbox.faults.add({ endpoint: 'list', kind, when: hasCursor, times: Infinity })
    await expectWholePass(world, [byTime])
  }),
)

test.each([false, true])(
  'a cursor that is ignored, so that the first page comes again, is done without (after means from: %s)',
  (inclusive) =>
    withTwoGone(async (world) => {
      world.sandbox.cursorMode = 'ignored'
      world.sandbox.inclusive = inclusive
      await expectWholePass(world, [byTime])
    }),
)

test('a cursor that is ignored for one page is stepped over', () =>
  withTwoGone(async (world) => {
    let cursors = 0
    world.sandbox.onRequest = (request) => {
      world.sandbox.cursorMode = hasCursor(request) && ++cursors === 3 ? 'ignored' : 'normal'
    }
    await expectWholePass(world, [furtherBack])
  }))

test('a cursor that continues by time alone skips nobody of a tie longer than a page', () =>
  withTwoGone(async (world) => {
    world.sandbox.cursorMode = 'time-only'
    await expectWholePass(world, [byTime])
  }))

/** Deletes the cursor's user as the page after it is asked for, so many times. */
function deleteCursors(sandbox: Sandbox, times: number): Set<string> {
  const deleted = new Set<string>()
  const asked = new Set<string>()
  sandbox.onRequest = ({ query }) => {
    const cursor = query.get('starting_after')
    // Of those that are asked for a second time, one user further back, none.
    if (cursor === null || asked.has(cursor) || deleted.size >= times) return
    const place = idsOf(sandbox).indexOf(cursor)
    asked.add(cursor).add(idsOf(sandbox)[place - 1] ?? '')
    sandbox.users.delete(cursor)
    deleted.add(cursor)
  }
  return deleted
}

const idsOf = (sandbox: Sandbox) => idsInOrder({ sandbox })

const deletedCursors: readonly DeletedCursor[] = ['remember', 'refuse', 'ignore', 'empty']

test.each(deletedCursors)('a cursor whose user goes just then costs no other row (%s)', (deletedCursor) =>
  withTwoGone(async (world, gone) => {
    world.sandbox.deletedCursor = deletedCursor
    const deleted = deleteCursors(world.sandbox, 1)
    const { report } = await world.sync({ pageSize })
    expect(deleted.size).toBe(1)
    expect(report).toMatchObject({ status: 'succeeded', error: null })
    expect(report.counts).toMatchObject({ deleted: 2, pending: 0, withheld: 0 })
    expect(report.notes).toEqual(deletedCursor === 'remember' ? [] : [furtherBack])
    expect(await idsWithoutRow(world, [...gone, ...idsOf(world.sandbox)])).toEqual(gone)
    await expectNextPassEqual(world, deleted.size)
  }),
)

test.each(deletedCursors)('cursors whose users go at every page cost no other row (%s)', (deletedCursor) =>
  withTwoGone(async (world) => {
    world.sandbox.deletedCursor = deletedCursor
    const deleted = deleteCursors(world.sandbox, Number.POSITIVE_INFINITY)
    const { report } = await world.sync({ pageSize, maxDeletes: 100 })
    expect(deleted.size).toBeGreaterThan(3)
    expect(report).toMatchObject({ status: 'succeeded', error: null })
    expect(await idsWithoutRow(world, idsOf(world.sandbox))).toEqual([])
    await expectNextPassEqual(world, deleted.size)
  }),
)

async function expectNextPassEqual(world: World, deleted: number): Promise<void> {
  world.sandbox.onRequest = undefined
  const { report } = await world.sync({ pageSize, maxDeletes: 100 })
  expect(report).toMatchObject({ status: 'succeeded', error: null })
  expect(report.counts.deleted).toBe(deleted)
  expect(await world.rows()).toEqual(world.wanted())
}

test('where neither cursor nor time leads on, the run is partial and nothing is deleted', () =>
  withTwoGone(async (world, gone) => {
    world.sandbox.paramsIgnored = new Set(['starting_after', 'created_at_after'])
    const before = await world.rows()
    const [changed = '', absent = ''] = idsOf(world.sandbox)
    // On no page, though the walk went past its place.
    world.sandbox.users.delete(absent)
    world.sandbox.users.update(changed, { first_name: 'Read', last_name: 'Anyway' })
    const outcome = await world.sync({ pageSize })
    expect(outcome).toMatchObject({ complete: false, report: { status: 'partial', error: null } })
    expect(exitCodeOf(outcome, { detailedExitcode: false, skipIfRunning: false })).toBe(4)
    expect(outcome.report.counts).toMatchObject({ deleted: 0, updated: 1, withheld: 0 })
    expect(outcome.report.notes).toContainEqual(expect.stringContaining('no longer overlap'))
    const rows = await world.rows()
    expect([...rows.keys()].sort()).toEqual([...before.keys()].sort())
    expect(gone.every((id) => rows.has(id))).toBe(true)
    expect(rows.get(changed)).toEqual(world.wanted().get(changed))
    world.sandbox.paramsIgnored = new Set()
    await expectNextPassEqual(world, 3)
  }))
