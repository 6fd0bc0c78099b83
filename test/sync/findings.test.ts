// What findings come to once they are folded: counts are sizes, and one statement about a user or a row is enough.
import { describe, expect, test } from 'vitest'
import { Findings } from '../../src/sync/findings.ts'

const zero = {
  ...{ seen: 0, created: 0, updated: 0, refreshed: 0, unchanged: 0, deleted: 0 },
  ...{ pending: 0, withheld: 0, rejected: 0 },
}
const guard = { kind: 'guard', allowed: 1 } as const
const waiting = (clerkId: string, settlesInMs = 1000) => ({ clerkId, settlesInMs })

/** The findings of a full pass. */
function findingsOf(...parts: Parameters<Findings['add']>[0][]): Findings {
  const findings = new Findings('full')
  for (const part of parts) findings.add(part)
  return findings
}

describe('counts', () => {
  test('are zero at first, and nothing is open', () => {
    const findings = findingsOf()
    expect(findings.counts()).toEqual(zero)
    expect(findings.notes()).toEqual([])
    expect([findings.isComplete(), findings.isPartial(), findings.settlesInMs()]).toEqual([true, false, 0])
  })

  test('are sums of what was written, page by page', () => {
    const page = { seen: 3, created: ['user_a'], updated: ['user_b'], refreshed: ['user_c'] }
    const findings = findingsOf(page, { seen: 1, unchanged: ['user_d'] }, { deleted: ['user_e', 'user_f'] })
    const counts = { seen: 4, created: 1, updated: 1, refreshed: 1, unchanged: 1, deleted: 2 }
    expect(findings.counts()).toEqual({ ...zero, ...counts })
  })

  test('hold a user or a row that is pending, withheld or rejected once, however often it is said', () => {
    const part = {
      pendingUsers: [waiting('user_a')],
      pendingRows: [waiting('user_b')],
      withheld: { ids: ['user_c'], because: guard, namesList: true },
      undeletable: [{ clerkId: 'user_d', reason: 'why' }],
    }
    expect(findingsOf(part, part).counts()).toEqual({ ...zero, pending: 2, withheld: 1, rejected: 1 })
  })

  test('hold what an earlier pass left open', () => {
    const findings = findingsOf({
      before: { withheld: ['user_a', 'user_gone'], withheldRows: 1, pendingRows: 2 },
      pendingUsers: [waiting('user_b')],
    })
    expect(findings.counts()).toEqual({ ...zero, withheld: 1, pending: 3 })
    expect(findings.openItems().withheld).toEqual(['user_a', 'user_gone'])
    expect(findings.withheld()).toEqual({ count: 1, ids: ['user_a', 'user_gone'] })
  })
})

test('a user that is planned anew is no longer rejected', () => {
  const findings = findingsOf({ rejected: [{ clerkId: 'user_a', reason: 'why' }] }, { planned: ['user_a'] })
  expect(findings.rejections()).toEqual([])
})

test('the pass is due again once the youngest of what is pending has settled', () => {
  const findings = findingsOf(
    { pendingUsers: [waiting('user_a', 5)] },
    { pendingRows: [waiting('user_b', 9)] },
    { settlesInMs: 7 },
  )
  expect(findings.settlesInMs()).toBe(9)
})

describe('a table is said to be equal only', () => {
  test.each([
    ['where the pass was complete', { isIncomplete: true }],
    ['where the answers agree', { isUnproven: true }],
    ['where a clock could be trusted', { clockDoubt: 'clocks disagree' }],
    ['where all counted users were seen', { shortfall: 1 }],
    ['where the counts are explained', { unexplained: 1 }],
    ['where nobody is rejected', { rejected: [{ clerkId: 'user_a', reason: 'why' }] }],
    ['where each id could be read', { unreadable: 1 }],
  ] as const)('%s', (_says, part) => {
    expect(findingsOf(part).isPartial()).toBe(true)
  })

  test('not only where nothing is pending or withheld', () => {
    const part = { pendingRows: [waiting('user_a')], kept: ['user_b'], shortfall: 1 }
    expect(findingsOf(part).isPartial()).toBe(false)
  })
})

describe('notes', () => {
  test('are each there once, with the doubt about the clock and what is missing', () => {
    const part = { notes: ['a note'], clockDoubt: 'clocks disagree', shortfall: 3, unexplained: 2 }
    expect(findingsOf(part, part, { pendingRows: [waiting('user_a')] }).notes()).toEqual([
      'a note',
      'clocks disagree',
      '2 users that Clerk counts were on no page',
      '2 users that Clerk counts are not in the table',
    ])
  })

  test('say once how many deletions are withheld, since an approval of fewer would delete none', () => {
    const some = (ids: string[]) => ({ withheld: { ids, because: guard, namesList: false } })
    expect(findingsOf(some(['user_a']), { notes: ['between'] }, some(['user_b'])).notes()).toEqual([
      'between',
      '2 deletions withheld, 1 allowed now. If they are right: npm run sync -- --approve-deletes 2',
    ])
  })

  test('name the list that is to be approved where a pass keeps it', () => {
    const part = { withheld: { ids: ['user_a'], because: guard, namesList: true } }
    expect(findingsOf(part).notes().join()).toMatch(/--approve-deletes 1:[0-9a-f]{8}$/)
  })

  test('say what the policy keeps', () => {
    expect(findingsOf({ kept: ['user_a'] }).notes()).toEqual([
      '1 rows without a user stay: SYNC_POLICY is upsert-only',
    ])
  })
})

describe('a step up', () => {
  const found = {
    ...{ created: ['user_a'], updated: ['user_b'], refreshed: ['user_c'], seen: 3 },
    ...{ unchanged: ['user_d'], notes: ['a note'], isIncomplete: true as const },
    rejected: [{ clerkId: 'user_e', reason: 'why' }],
  }
  test.each([
    [false, { created: 1, updated: 1, refreshed: 1 }],
    [true, {}],
  ])('finds all anew, but for what has been written (dry run: %s)', (isDryRun, counts) => {
    const findings = new Findings('incremental')
    findings.add(found)
    findings.stepUp('it is due', isDryRun)
    expect(findings.pass).toBe('full')
    expect(findings.counts()).toEqual({ ...zero, ...counts })
    expect(findings.notes()).toEqual([
      'an incremental pass was asked for and a full pass was made: it is due',
    ])
    expect([findings.isComplete(), findings.rejections()]).toEqual([true, []])
  })
})

test('users to be tried again keep their values up to a thousand, later ones only their ids', () => {
  const user = (index: number) => ({
    clerkId: `user_${index}`,
    clerkCreatedAt: 1,
    clerkUpdatedAt: 1,
    values: { name: 'A', email: null, imageUrl: '' },
  })
  const findings = findingsOf({ retry: Array.from({ length: 1001 }, (_, index) => user(index)) })
  const retries = findings.retries()
  expect(retries).toHaveLength(1001)
  expect(retries[999]).toEqual(['user_999', user(999)])
  expect(retries[1000]).toEqual(['user_1000', undefined])
})

test('a dry run counts all that Postgres would refuse, and names a hundred for each reason', () => {
  const foreseen = Array.from({ length: 150 }, (_, index) => ({ clerkId: `user_${index}`, reason: 'long' }))
  const findings = findingsOf({ foreseen, lostRows: ['user_a'], holdToCome: 'returned' })
  expect(findings.foreseen()).toEqual(new Map([['long', 150]]))
  expect(findings.counts().rejected).toBe(100)
  expect([findings.lostRows(), findings.holdToCome()]).toEqual([['user_a'], 'returned'])
})

test('what was found before a failure stays found', async () => {
  const findings = new Findings('full')
  const failing = async function* () {
    yield { created: ['user_a'] }
    throw new Error('away')
  }
  await expect(findings.collect(failing())).rejects.toThrow('away')
  expect(findings.counts().created).toBe(1)
})
