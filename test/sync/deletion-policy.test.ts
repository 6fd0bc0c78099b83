// What becomes of rows without a user: the table at the head of deletion-policy.ts, row by row.
import { describe, expect, test } from 'vitest'
import {
  type ApprovedRows,
  becauseOf,
  type DeletionDecision,
  type DeletionFacts,
  decideDeletions,
  deletesRows,
  isApproved,
  keptText,
  reasonOf,
  stillWithheldText,
  withheldText,
} from '../../src/sync/deletion-policy.ts'

const hold = 'returned 2026-01-01T00:00:00.000000Z'
const [a, b, c] = ['user_a', 'user_b', 'user_c'] as const
const facts: DeletionFacts = {
  policy: 'sync',
  absent: [a, b],
  unasked: [],
  allowance: { allowed: 2, hold: undefined },
  approved: 'all',
  reading: { shortfall: 0, seen: 1000, count: 1000 },
}
const none: DeletionDecision = { allowed: [], withheld: [], because: undefined, kept: [], distrusted: [] }
const guard = (allowed: number) => ({ kind: 'guard', allowed }) as const
const held = { allowed: 0, hold }
const isGrave = { shortfall: 6, seen: 994, count: 1000 }
const anotherList = { kind: 'another list' } as const
const notOnTheList = { kind: 'not on the list' } as const

describe('the decision about rows without a user', () => {
  test.each<[says: string, over: Partial<DeletionFacts>, decision: Partial<DeletionDecision>]>([
    ['is empty where there are none', { absent: [], reading: isGrave }, {}],
    ['is empty where there are none, whatever is approved', { absent: [], approved: 'unknown' }, {}],
    ['lets as many go as the run may delete', {}, { allowed: [a, b] }],
    [
      'withholds all of one too many',
      { allowance: { allowed: 1, hold: undefined } },
      { withheld: [a, b], because: guard(1) },
    ],
    [
      'withholds all under a hold',
      { allowance: held },
      { withheld: [a, b], because: { kind: 'hold', hold } },
    ],
    [
      'withholds all where Clerk was not asked about one',
      { absent: [a], unasked: [b] },
      { withheld: [a, b], because: guard(2) },
    ],
    [
      'withholds those that Clerk was not asked about',
      { absent: [], unasked: [c] },
      { withheld: [c], because: guard(2) },
    ],
    ['keeps all under upsert-only', { policy: 'upsert-only' }, { kept: [a, b] }],
    [
      'keeps those that Clerk was not asked about under upsert-only',
      { policy: 'upsert-only', unasked: [c] },
      { kept: [a, b, c] },
    ],
    [
      'keeps them under upsert-only whatever was approved, and under a hold',
      { policy: 'upsert-only', approved: 'unknown', allowance: held },
      { kept: [a, b] },
    ],
    ['lets the listed rows go', { approved: new Set([a, b, c]) }, { allowed: [a, b] }],
    [
      'withholds the rows that are not on the list, and lets the others go',
      { approved: new Set([b]) },
      { allowed: [b], withheld: [a], because: notOnTheList },
    ],
    [
      'withholds all where none is on the list',
      { approved: new Set([c]) },
      { withheld: [a, b], because: notOnTheList },
    ],
    [
      'counts only listed rows against the approval',
      { approved: new Set([b]), allowance: { allowed: 1, hold: undefined } },
      { allowed: [b], withheld: [a], because: notOnTheList },
    ],
    [
      'withholds all where more are listed than approved',
      { approved: new Set([a, b]), allowance: { allowed: 1, hold: undefined } },
      { withheld: [a, b], because: guard(1) },
    ],
    [
      'withholds all where the list is another one',
      { approved: 'unknown', unasked: [c] },
      { withheld: [a, b, c], because: anotherList },
    ],
    [
      'says that the list is another one before it speaks of the guard',
      { approved: 'unknown', allowance: held },
      { withheld: [a, b], because: anotherList },
    ],
    ['distrusts a pass that missed too many users', { reading: isGrave }, { distrusted: [a, b] }],
    [
      'distrusts it before all else',
      { reading: isGrave, policy: 'upsert-only', unasked: [c], approved: 'unknown', allowance: held },
      { distrusted: [a, b, c] },
    ],
    ['bears a small shortfall', { reading: { shortfall: 5, seen: 995, count: 1000 } }, { allowed: [a, b] }],
  ])('%s', (_says, over, decision) => {
    expect(decideDeletions({ ...facts, ...over })).toEqual({ ...none, ...decision })
  })

  test('follows from the facts alone: each row has exactly one fate', () => {
    const approvals: ApprovedRows[] = ['all', 'unknown', new Set([a]), new Set([a, b, c])]
    for (const policy of ['sync', 'upsert-only'] as const)
      for (const approved of approvals)
        for (const allowed of [0, 1, 2, 3])
          for (const unasked of [[], [c]])
            for (const reading of [facts.reading, isGrave]) {
              const given = {
                ...facts,
                policy,
                approved,
                allowance: { allowed, hold: undefined },
                unasked,
                reading,
              }
              const decision = decideDeletions(given)
              const fates = [decision.allowed, decision.withheld, decision.kept, decision.distrusted].flat()
              expect(fates.sort()).toEqual([a, b, ...unasked])
              expect(decision.because === undefined).toBe(decision.withheld.length === 0)
              expect(decision.allowed.length).toBeLessThanOrEqual(allowed)
              for (const id of decision.allowed) expect(isApproved(approved, id)).toBe(true)
            }
  })
})

test('only the policy sync deletes', () => {
  expect([deletesRows('sync'), deletesRows('upsert-only')]).toEqual([true, false])
})

test('an approval is about all rows, those of a list, or none', () => {
  expect([isApproved('all', a), isApproved('unknown', a)]).toEqual([true, false])
  expect([isApproved(new Set([a]), a), isApproved(new Set([a]), b)]).toEqual([true, false])
})

test('a hold is the reason before the number is', () => {
  expect(becauseOf({ allowed: 3, hold: undefined })).toEqual(guard(3))
  expect(becauseOf(held)).toEqual({ kind: 'hold', hold })
})

describe('the notes', () => {
  const back = 'a user came back whose row a run had deleted'
  test.each([
    [guard(7), ', 7 allowed now'],
    [{ kind: 'hold', hold } as const, `: ${back}`],
    [anotherList, ': the list that was approved is not the list of these rows'],
    [notOnTheList, ': they are not on the list that was approved'],
  ])('say why rows are withheld, and the command that approves: %o', (because, why) => {
    expect(withheldText(9, because, 'command')).toBe(`9 deletions withheld${why}. If they are right: command`)
  })

  test('say what stays withheld, with the hold if there is one', () => {
    expect(stillWithheldText(9, undefined, 'command')).toBe(
      '9 deletions stay withheld. If they are right: command',
    )
    expect(stillWithheldText(9, hold, 'command')).toBe(
      `9 deletions stay withheld: ${back}. If they are right: command`,
    )
  })

  test('say what the policy keeps', () => {
    expect(keptText(9)).toBe('9 rows without a user stay: SYNC_POLICY is upsert-only')
  })

  test('have words for each hold, and show one that this version does not know as it is', () => {
    expect(reasonOf('returned')).toBe(back)
    expect(reasonOf('first-look 2026')).toBe('this is the first look at a table that already had rows')
    expect(reasonOf('later 2026')).toBe('later 2026')
  })
})
