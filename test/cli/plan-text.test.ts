// A dry run as a person reads it, and what the masks give away.
import { expect, test } from 'vitest'
import { columnChanges } from '../../src/cli/changes.ts'
import { createPlanText } from '../../src/cli/plan-text.ts'
import type { SyncedValues } from '../../src/db/schema.ts'
import type { ShownChange } from '../../src/sync/pass.ts'
import type { Report } from '../../src/sync/report.ts'

const ada: SyncedValues = {
  name: 'Ada King',
  email: 'ada@example.com',
  imageUrl: 'https://img.example.com/abc1',
}
const desired = (clerkId: string, values: SyncedValues) => ({
  clerkId,
  values,
  clerkCreatedAt: 1,
  clerkUpdatedAt: 2,
})
const update = (from: SyncedValues, to: SyncedValues): ShownChange => ({
  kind: 'update',
  change: {
    write: desired('user_a', to),
    row: { clerkId: 'user_a', values: from, clerkCreatedAt: 1, clerkUpdatedAt: 1, isDayOld: true },
  },
})
const create = (clerkId: string): ShownChange => ({
  kind: 'create',
  change: { write: desired(clerkId, ada), row: undefined },
})
const lost = (clerkId: string) => ({
  clerkId,
  row: { clerkId, values: ada, clerkCreatedAt: 1, clerkUpdatedAt: Date.UTC(2026, 0, 5), isDayOld: true },
  missedSince: undefined,
})
const reportWith = (counts: Partial<Report['counts']>) =>
  ({
    counts: {
      seen: 0,
      created: 0,
      updated: 0,
      refreshed: 0,
      unchanged: 0,
      deleted: 0,
      pending: 0,
      withheld: 0,
      rejected: 0,
      ...counts,
    },
  }) as Report

function planOf(
  changes: readonly ShownChange[],
  options: { all?: boolean; counts?: Partial<Report['counts']> } = {},
) {
  const lines: string[] = []
  const plan = createPlanText({
    showValues: false,
    all: options.all ?? false,
    say: (line) => void lines.push(line),
  })
  for (const change of changes) plan.add(change)
  plan.end(reportWith(options.counts ?? {}))
  return lines
}

test('counts first, and shows deletions before anything else', () => {
  const changes = [create('user_a'), { kind: 'delete', ...lost('user_b') } as const]
  const lines = planOf(changes, { counts: { seen: 3017, created: 3017, updated: 198, deleted: 2 } })
  expect(lines[0]).toBe(
    'Plan: 3,017 to create, 198 to update, 2 to delete; 0 of 3,017 users unchanged. Nothing was written.',
  )
  expect(lines.findIndex((line) => line.startsWith('- user_b'))).toBeLessThan(
    lines.findIndex((line) => line.startsWith('+ user_a')),
  )
})

test('shows twenty changes of a kind and counts the others, or all of them', () => {
  const changes = Array.from({ length: 50 }, (_, index) => create(`user_${index}`))
  const lines = planOf(changes)
  expect(lines.filter((line) => line.startsWith('+ ')).length).toBe(20)
  expect(lines.join('\n')).toContain('… and 30 more; --all shows every one')
  expect(planOf(changes, { all: true }).filter((line) => line.startsWith('+ ')).length).toBe(50)
})

test('says so where there is nothing to change', () => {
  expect(planOf([], { counts: { seen: 5, unchanged: 5 } })[0]).toBe(
    'Plan: nothing to change; 5 of 5 users unchanged.',
  )
})

test.each([
  ['Ada King', 'Ada Kong', '(8 characters)', '(8 characters, differs from letter 6 on)'],
  ['Ada King', 'ADA KING', '(8 characters)', '(8 characters, other case)'],
  ['Ada King', 'Ada', '(8 characters)', '(3 characters, shorter)'],
  ['Ada', 'Ada King', '(3 characters)', '(8 characters, longer)'],
  ['Ada ', 'Ada', '(4 characters)', '(3 characters, other blanks at an end)'],
])('%j → %j is masked as %s → %s', (from, to, shownFrom, shownTo) => {
  expect(columnChanges(update({ ...ada, name: from }, { ...ada, name: to }), false)).toEqual([
    { column: 'name', from: shownFrom, to: shownTo },
  ])
})

test('of a URL host and last letters are shown, and where two of the same end differ', () => {
  const picture = (imageUrl: string) => columnChanges(update(ada, { ...ada, imageUrl }), false)[0]
  expect(picture('https://cdn.example.com/xyz9')).toEqual({
    column: 'image_url',
    from: 'https://img.example.com/…abc1',
    to: 'https://cdn.example.com/…xyz9',
  })
  expect(picture('https://img.example.com/xabc1')?.to).toBe(
    'https://img.example.com/…abc1, differs from letter 25 on',
  )
  expect(picture('')?.to).toBe('""')
})

test('equal columns and empty values of a new user are left out; null is told', () => {
  const phoneOnly = { ...ada, email: null, imageUrl: '' }
  const change: ShownChange = {
    kind: 'create',
    change: { write: desired('user_a', phoneOnly), row: undefined },
  }
  expect(columnChanges(change, false)).toEqual([{ column: 'name', from: '', to: '(8 characters)' }])
  expect(columnChanges(update(ada, { ...ada, email: null }), false)).toEqual([
    { column: 'email', from: '(15 characters)', to: 'null' },
  ])
})
