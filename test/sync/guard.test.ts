import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { allowedDeletions, isShortfallGrave, shortfallOf } from '../../src/sync/guard.ts'

const facts = { rows: 0, recent: 0, maxDeletes: undefined, approved: undefined }

describe('the guard', () => {
  test.each([
    [0, 10],
    [1, 10],
    [100, 10],
    [109, 10],
    [110, 11],
    [119, 11],
    [4990, 499],
    [4999, 499],
    [5000, 500],
    [5010, 500],
    [1_000_000, 500],
  ])('of %d rows lets %d go', (rows, allowed) => {
    expect(allowedDeletions({ ...facts, rows })).toBe(allowed)
  })

  test('lets a tenth go to the row, whatever floating point makes of it', () => {
    for (let allowed = 10; allowed <= 500; allowed++) {
      expect(allowedDeletions({ ...facts, rows: allowed * 10 })).toBe(allowed)
      expect(allowedDeletions({ ...facts, rows: allowed * 10 - 1 })).toBe(Math.max(10, allowed - 1))
    }
  })

  test('counts what the last hour has deleted, and never falls below nothing', () => {
    expect(allowedDeletions({ ...facts, rows: 200, recent: 19 })).toBe(1)
    expect(allowedDeletions({ ...facts, rows: 200, recent: 20 })).toBe(0)
    expect(allowedDeletions({ ...facts, rows: 200, recent: 500 })).toBe(0)
  })

  test('is replaced by MAX_DELETES, floor and ceiling included, but for the hour', () => {
    expect(allowedDeletions({ ...facts, rows: 5, maxDeletes: 0 })).toBe(0)
    expect(allowedDeletions({ ...facts, rows: 5, maxDeletes: 3 })).toBe(3)
    expect(allowedDeletions({ ...facts, rows: 5, maxDeletes: 9000 })).toBe(9000)
    expect(allowedDeletions({ ...facts, rows: 5, maxDeletes: 3, recent: 2 })).toBe(1)
  })

  test('is replaced by an approval, hour and MAX_DELETES included', () => {
    expect(allowedDeletions({ rows: 5, recent: 400, maxDeletes: 0, approved: 7 })).toBe(7)
    expect(allowedDeletions({ rows: 5000, recent: 0, maxDeletes: 90, approved: 0 })).toBe(0)
  })

  test('never lets more go within an hour than a tenth, between 10 and 500', () => {
    fc.assert(
      fc.property(fc.nat(100_000), fc.nat(2000), (rows, recent) => {
        const allowed = allowedDeletions({ ...facts, rows, recent })
        expect(Number.isInteger(allowed)).toBe(true)
        expect(allowed).toBeGreaterThanOrEqual(0)
        if (allowed > 0) {
          expect(allowed + recent).toBeLessThanOrEqual(500)
          expect(allowed + recent).toBeLessThanOrEqual(Math.max(10, rows / 10))
        }
      }),
    )
  })
})

describe('the shortfall', () => {
  test.each([
    ['nothing where all were seen', { countBefore: 10, countAfter: 10, seenOld: 10, seen: 10 }, 0],
    ['what both counts miss', { countBefore: 10, countAfter: 10, seenOld: 7, seen: 7 }, 3],
    ['nothing for users deleted meanwhile', { countBefore: 10, countAfter: 7, seenOld: 7, seen: 7 }, 0],
    ['nothing for users created meanwhile', { countBefore: 7, countAfter: 10, seenOld: 7, seen: 7 }, 0],
    ['nothing for users created and seen', { countBefore: 7, countAfter: 10, seenOld: 7, seen: 10 }, 0],
    [
      'never what a user seen but created meanwhile would hide',
      { countBefore: 10, countAfter: 13, seenOld: 8, seen: 11 },
      2,
    ],
    ['nothing below zero', { countBefore: 5, countAfter: 5, seenOld: 9, seen: 9 }, 0],
  ])('is %s', (_says, seen, shortfall) => {
    expect(shortfallOf(seen)).toBe(shortfall)
  })

  test.each([
    ['none', 0, 0, 0, false],
    ['none, though half of what was counted is gone', 0, 4, 10, false],
    ['5 of 10,000', 5, 9995, 10_000, false],
    ['5 of 12, the floor', 5, 7, 12, false],
    ['6 of 100', 6, 94, 100, true],
    ['10 of 10,000, exactly 0.1 %', 10, 9990, 10_000, false],
    ['11 of 10,000', 11, 9989, 10_000, true],
    ['5 of 10, exactly half', 5, 5, 10, false],
    ['5 of 9, fewer than half seen', 5, 4, 9, true],
    ['1 of 1, nobody seen', 1, 0, 1, true],
  ])('of %s forbids deletions: %#', (_says, shortfall, seen, count, grave) => {
    expect(isShortfallGrave(shortfall, seen, count)).toBe(grave)
  })
})
