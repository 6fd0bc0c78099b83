// The plan as a table that is executed row by row, and its laws over random tables.
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { CurrentRow, DesiredUser, SyncedValues } from '../../src/db/schema.ts'
import type { Write } from '../../src/db/users.ts'
import {
  changedKeys,
  isSettled,
  type PassClock,
  type Plan,
  planPage,
  planVerified,
} from '../../src/sync/plan.ts'

const grace = 600_000
const now = 1_000_000_000
const clock: PassClock = { startedAt: now, latest: now + 5000, graceMs: grace }
/** The oldest version that is not within the grace any more. */
const settledAt = now - grace
const same: SyncedValues = { name: 'Ada', email: 'ada@example.com', imageUrl: '' }
const other: SyncedValues = { ...same, name: 'Ada Lovelace' }
const createdAt = 1000

const desired = (version: number, values = same, clerkId = 'user_a'): DesiredUser => ({
  clerkId,
  values,
  clerkCreatedAt: createdAt,
  clerkUpdatedAt: version,
})
const row = (version: number | null, values: CurrentRow['values'] = same): CurrentRow => ({
  clerkId: 'user_a',
  values,
  clerkCreatedAt: createdAt,
  clerkUpdatedAt: version,
  isDayOld: false,
})

const classes = ['creates', 'updates', 'refreshes', 'unchanged', 'pending', 'unverified'] as const
type Class = (typeof classes)[number]

const idOf = (entry: Plan[Class][number]): string =>
  typeof entry === 'string' ? entry : 'write' in entry ? entry.write.clerkId : entry.clerkId
const idsOf = (plan: Plan, kind: Class) => plan[kind].map(idOf)
/** The classes that the plan puts the user into. */
const classesOf = (plan: Plan, clerkId: string) =>
  classes.flatMap((kind) => idsOf(plan, kind).flatMap((id) => (id === clerkId ? [kind] : [])))

describe('the table at the head of plan.ts', () => {
  const source = readFileSync(new URL('../../src/sync/plan.ts', import.meta.url), 'utf8')
  /** Clerk's side, the table's side and the plan of each row. */
  const drawn = [...source.matchAll(/^\/\/ {3}(the user|no user) +\| (.+?) +\| (.+)$/gm)].map(
    ([, clerk = '', table = '', plan = '']) => ({ clerk, table, plan }),
  )
  const version = now - 2 * grace
  const examples: Record<string, { row?: CurrentRow; stone?: 'blocking' | 'expired' }[]> = {
    'no row and no tombstone': [{}],
    'no row, a tombstone within the grace': [{ stone: 'blocking' }],
    'no row, an older tombstone': [{ stone: 'expired' }],
    'a row that is not newer, other values': [
      { row: row(version, other) },
      { row: row(version - 1, other) },
      { row: row(null, other) },
    ],
    'a row that is not newer, other times': [
      { row: row(version - 1) },
      { row: row(null) },
      { row: { ...row(version), clerkCreatedAt: createdAt + 1 } },
    ],
    'a row that is not newer, equal': [{ row: row(version) }],
    'a newer row, within the grace': [{ row: row(settledAt + 1) }, { row: row(now, other) }],
    'a newer row, settled': [{ row: row(settledAt) }, { row: row(version + 1, other) }],
  }
  const classOf: Record<string, Class> = {
    create: 'creates',
    update: 'updates',
    refresh: 'refreshes',
    unchanged: 'unchanged',
    pending: 'pending',
    verify: 'unverified',
  }

  test('has these rows', () => {
    expect(drawn.map(({ clerk, table }) => `${clerk}: ${table}`)).toEqual([
      ...Object.keys(examples).map((table) => `the user: ${table}`),
      'no user: a row',
    ])
  })

  test.each(drawn.filter(({ clerk }) => clerk === 'the user'))('$table → $plan', ({ table, plan }) => {
    const [word = ''] = plan.split(':')
    const cases = examples[table] ?? []
    expect(cases.length).toBeGreaterThan(0)
    for (const { row: current, stone } of cases) {
      const tombstones = new Map(stone === undefined ? [] : [['user_a', stone] as const])
      const made = planPage([desired(version)], current === undefined ? [] : [current], tombstones, clock)
      expect(classesOf(made, 'user_a')).toEqual([classOf[word]])
    }
  })

  test('plans nothing for a row without a user', () => {
    const nothing = { creates: [], updates: [], refreshes: [], unchanged: [], pending: [], unverified: [] }
    expect(planPage([], [row(version)], new Map(), clock)).toEqual(nothing)
  })
})

describe('a user on a page', () => {
  const version = now - 2 * grace
  const table: [
    says: string,
    user: DesiredUser,
    row: CurrentRow | undefined,
    stone: 'blocking' | 'expired' | undefined,
    as: Class,
  ][] = [
    ['without row or tombstone is created', desired(version), undefined, undefined, 'creates'],
    [
      'with a young tombstone waits: the page is older news',
      desired(version),
      undefined,
      'blocking',
      'pending',
    ],
    ['with an old tombstone is created', desired(version), undefined, 'expired', 'creates'],
    ['with the same values and version is unchanged', desired(version), row(version), undefined, 'unchanged'],
    ['with the same values, a newer version', desired(version), row(version - 1), undefined, 'refreshes'],
    ['with other values, the same version', desired(version), row(version, other), undefined, 'updates'],
    ['with other values, a newer version', desired(version), row(version - 1, other), undefined, 'updates'],
    [
      'one ms behind a row older than the grace',
      desired(version),
      row(version + 1, other),
      undefined,
      'unverified',
    ],
    ['the same, whatever the values', desired(version), row(version + 1), undefined, 'unverified'],
    ['behind a row that has just settled', desired(version), row(settledAt, other), undefined, 'unverified'],
    [
      'behind a row still within the grace',
      desired(version),
      row(settledAt + 1, other),
      undefined,
      'pending',
    ],
    ['behind a row of this moment', desired(version), row(now, other), undefined, 'pending'],
    [
      'behind a row of the near future',
      desired(version),
      row(now + 5000 + grace, other),
      undefined,
      'pending',
    ],
    ['behind a row of the future', desired(version), row(now + 5001 + grace, other), undefined, 'unverified'],
    [
      'behind a row of infinity',
      desired(version),
      row(Number.POSITIVE_INFINITY, other),
      undefined,
      'unverified',
    ],
    ['with a row of -infinity', desired(version), row(Number.NEGATIVE_INFINITY), undefined, 'refreshes'],
    ['with an adopted row, the same values', desired(version), row(null), undefined, 'refreshes'],
    ['with an adopted row, other values', desired(version), row(null, other), undefined, 'updates'],
    ['of before 1970 with an adopted row', desired(-1), row(null), undefined, 'refreshes'],
    // A row that is there again outweighs the memory of its deletion.
    ['with a row and a tombstone', desired(version), row(version), 'blocking', 'unchanged'],
  ]
  test.each(table)('%s', (_says, user, current, stone, expected) => {
    const tombstones = new Map(stone === undefined ? [] : [['user_a', stone] as const])
    const plan = planPage([user], current === undefined ? [] : [current], tombstones, clock)
    expect(classesOf(plan, 'user_a')).toEqual([expected])
  })

  test('whose row has another creation time is refreshed, at an equal version too', () => {
    const moved = { ...row(version), clerkCreatedAt: createdAt + 1 }
    expect(idsOf(planPage([desired(version)], [moved], new Map(), clock), 'refreshes')).toEqual(['user_a'])
    const undated = { ...row(version), clerkCreatedAt: null }
    expect(idsOf(planPage([desired(version)], [undated], new Map(), clock), 'refreshes')).toEqual(['user_a'])
  })

  test('behind a newer row waits where no answer told the time', () => {
    const silent: PassClock = { startedAt: undefined, latest: undefined, graceMs: grace }
    const plan = planPage([desired(1)], [row(2, other)], new Map(), silent)
    expect(classesOf(plan, 'user_a')).toEqual(['pending'])
  })

  test('carries its row and its values into the change, and replaces no newer version', () => {
    const current = row(version - 1, other)
    const plan = planPage([desired(version)], [current], new Map(), clock)
    expect(plan.updates).toEqual([{ write: desired(version), row: current }])
    expect(changedKeys(desired(version), current)).toEqual(['name'])
    expect(changedKeys(desired(version), undefined)).toEqual(['name', 'email', 'imageUrl'])
  })
})

describe('a row that a listing does not explain', () => {
  const unverified = row(now - 2 * grace, other)

  test('is written as Clerk answers by id, over the very version it was judged by', () => {
    const older = desired(now - 3 * grace)
    const plan = planVerified([older], [unverified])
    expect(plan.updates).toEqual([{ write: { ...older, replaces: now - 2 * grace }, row: unverified }])
  })

  test('gets Clerk’s times where only they differ, and is unchanged where nothing does', () => {
    const older = desired(now - 3 * grace, other)
    expect(planVerified([older], [unverified]).refreshes).toEqual([
      { write: { ...older, replaces: now - 2 * grace }, row: unverified },
    ])
    expect(planVerified([desired(now - 2 * grace, other)], [unverified]).unchanged).toEqual(['user_a'])
  })

  test('waits if Clerk does not answer for that user, and nobody else’s answer is taken', () => {
    const plan = planVerified([desired(1, same, 'user_stranger')], [unverified])
    expect(plan).toEqual({
      creates: [],
      updates: [],
      refreshes: [],
      unchanged: [],
      pending: ['user_a'],
      unverified: [],
    })
  })

  test('without a version waits: there is none that the answer could replace', () => {
    expect(classesOf(planVerified([desired(1)], [row(null, other)]), 'user_a')).toEqual(['pending'])
  })
})

describe('a row settles', () => {
  const table: [says: string, row: CurrentRow, clock: PassClock, settled: boolean][] = [
    ['at the grace exactly', row(settledAt), clock, true],
    ['not a millisecond sooner', row(settledAt + 1), clock, false],
    ['against the first answer, not the latest', row(settledAt + 4000), clock, false],
    ['not while it may be the near future', row(now + 5000 + grace), clock, false],
    ['beyond that', row(now + 5000 + grace + 1), clock, true],
    ['at infinity', row(Number.POSITIVE_INFINITY), clock, true],
    ['without a version, once it is a day old', { ...row(null), isDayOld: true }, clock, true],
    ['without a version, not before', row(null), clock, false],
    [
      'never by its age while it has a version within the grace',
      { ...row(now), isDayOld: true },
      clock,
      false,
    ],
    [
      'never where no answer told the time',
      row(0),
      { ...clock, startedAt: undefined, latest: undefined },
      false,
    ],
    [
      'never where no answer told the time, a day old or not',
      { ...row(null), isDayOld: true },
      { ...clock, startedAt: undefined, latest: undefined },
      false,
    ],
    [
      'never without the first answer’s time',
      row(Number.POSITIVE_INFINITY),
      { ...clock, startedAt: undefined },
      false,
    ],
    ['never without the latest answer’s time', row(0), { ...clock, latest: undefined }, false],
    ['at once with no grace', row(now), { ...clock, graceMs: 0 }, true],
  ]
  test.each(table)('%s', (_says, current, at, expected) => {
    expect(isSettled(current, at)).toBe(expected)
  })
})

// Few ids, few values, and versions close to the edges: so that collisions are the rule.
const ids = ['user_a', 'user_b', 'user_c', 'user_D', 'user_1', 'user_10']
const edges = [
  0,
  settledAt - 1,
  settledAt,
  settledAt + 1,
  now,
  now + 1,
  now + 5000 + grace,
  now + 5001 + grace,
]
const values = fc.record({
  name: fc.constantFrom('Ada', 'Bo'),
  email: fc.constantFrom(null, '', 'a@example.com'),
  imageUrl: fc.constantFrom('', 'x'),
})
const anyDesired = fc.uniqueArray(
  fc.record({
    clerkId: fc.constantFrom(...ids),
    values,
    clerkCreatedAt: fc.constantFrom(1, 2),
    clerkUpdatedAt: fc.constantFrom(...edges),
  }),
  { selector: (user) => user.clerkId },
)
const anyRows = fc.uniqueArray(
  fc.record({
    clerkId: fc.constantFrom(...ids),
    values,
    clerkCreatedAt: fc.constantFrom(null, 1, 2, Number.POSITIVE_INFINITY),
    clerkUpdatedAt: fc.constantFrom(null, ...edges, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY),
    isDayOld: fc.boolean(),
  }),
  { selector: (current) => current.clerkId },
)
const anyTombstones = fc
  .dictionary(fc.constantFrom(...ids), fc.constantFrom('blocking' as const, 'expired' as const))
  .map((stones) => new Map(Object.entries(stones)))
const anyClock = fc.constantFrom<PassClock>(
  clock,
  { startedAt: undefined, latest: undefined, graceMs: grace },
  { startedAt: now, latest: now, graceMs: 0 },
)
const anyPlan = fc.record({ users: anyDesired, rows: anyRows, tombstones: anyTombstones, clock: anyClock })

const written = (rows: readonly CurrentRow[], plan: Plan): CurrentRow[] => {
  const table = new Map(rows.map((current) => [current.clerkId, current]))
  for (const { write } of [...plan.creates, ...plan.updates, ...plan.refreshes]) {
    const { clerkId, values, clerkCreatedAt, clerkUpdatedAt } = write
    const isDayOld = table.get(clerkId)?.isDayOld ?? false
    table.set(clerkId, { clerkId, values, clerkCreatedAt, clerkUpdatedAt, isDayOld })
  }
  return [...table.values()]
}

describe('any plan', () => {
  test('puts every desired user into exactly one class, and nobody else', () => {
    fc.assert(
      fc.property(anyPlan, ({ users, rows, tombstones, clock }) => {
        const plan = planPage(users, rows, tombstones, clock)
        const all = classes.flatMap((kind) => idsOf(plan, kind))
        expect(all.sort()).toEqual(users.map((user) => user.clerkId).sort())
      }),
    )
  })

  test('is sorted, whatever the order of what it was given', () => {
    fc.assert(
      fc.property(anyPlan, ({ users, rows, tombstones, clock }) => {
        const plan = planPage(users, rows, tombstones, clock)
        for (const kind of classes) expect(idsOf(plan, kind)).toEqual(idsOf(plan, kind).sort())
        expect(planPage(users.toReversed(), rows.toReversed(), tombstones, clock)).toEqual(plan)
      }),
    )
  })

  test('creates nobody who has a row or a young tombstone', () => {
    fc.assert(
      fc.property(anyPlan, ({ users, rows, tombstones, clock }) => {
        for (const id of idsOf(planPage(users, rows, tombstones, clock), 'creates')) {
          expect(rows.some((current) => current.clerkId === id)).toBe(false)
          expect(tombstones.get(id)).not.toBe('blocking')
        }
      }),
    )
  })

  test('writes no version over a newer one', () => {
    fc.assert(
      fc.property(anyPlan, ({ users, rows, tombstones, clock }) => {
        const plan = planPage(users, rows, tombstones, clock)
        for (const { write, row } of [...plan.updates, ...plan.refreshes]) {
          expect(row?.clerkUpdatedAt ?? Number.NEGATIVE_INFINITY).toBeLessThanOrEqual(write.clerkUpdatedAt)
          expect(write.replaces).toBeUndefined()
        }
      }),
    )
  })

  test('updates only what differs in a value, refreshes only what differs in its times alone', () => {
    fc.assert(
      fc.property(anyPlan, ({ users, rows, tombstones, clock }) => {
        const plan = planPage(users, rows, tombstones, clock)
        const times = (each: CurrentRow | Write) => [each.clerkCreatedAt, each.clerkUpdatedAt]
        for (const { write, row } of plan.updates) expect(row?.values).not.toEqual(write.values)
        for (const { write, row } of plan.refreshes) {
          expect(row?.values).toEqual(write.values)
          expect(row && times(row)).not.toEqual(times(write))
        }
      }),
    )
  })

  test('once applied leaves nothing to write', () => {
    fc.assert(
      fc.property(anyPlan, ({ users, rows, tombstones, clock }) => {
        const first = planPage(users, rows, tombstones, clock)
        const again = planPage(users, written(rows, first), tombstones, clock)
        expect([again.creates, again.updates, again.refreshes]).toEqual([[], [], []])
        expect(again.pending).toEqual(first.pending)
        expect(again.unverified).toEqual(first.unverified)
      }),
    )
  })

  test('settles every doubt that Clerk answers: applied, the same page finds nothing to write or ask', () => {
    fc.assert(
      fc.property(anyPlan, ({ users, rows, tombstones, clock }) => {
        const first = planPage(users, rows, tombstones, clock)
        const settled = planVerified(users, first.unverified)
        const again = planPage(users, written(written(rows, first), settled), tombstones, clock)
        expect(settled.pending).toEqual([])
        expect([again.creates, again.updates, again.refreshes, again.unverified]).toEqual([[], [], [], []])
      }),
    )
  })
})
