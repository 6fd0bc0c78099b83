// What a full pass leaves open, and whether two counts agree with it.
import { describe, expect, test } from 'vitest'
import { Findings } from '../../src/sync/findings.ts'
import {
  differenceOf,
  rowsWithoutUserOf,
  stillAltered,
  unexplainedDifference,
  usersWithoutRowOf,
} from '../../src/sync/known-difference.ts'

describe('the known difference', () => {
  test('names who was rejected, who waits, and which rows stay and why', () => {
    const findings = new Findings('full')
    const waiting = (clerkId: string) => [{ clerkId, settlesInMs: 1 }]
    findings.add({
      rejected: [{ clerkId: 'user_rejected', reason: 'why' }],
      pendingUsers: waiting('user_pending'),
      kept: ['user_withheld'],
      undeletable: [{ clerkId: 'user_refused', reason: 'refused' }],
      pendingRows: waiting('user_doubtful'),
    })
    expect(differenceOf(findings)).toEqual({
      altered: [],
      rejected: [
        { clerkId: 'user_rejected', reason: 'why' },
        { clerkId: 'user_refused', reason: 'refused' },
      ],
      pendingUsers: ['user_pending'],
      withheld: ['user_withheld'],
      undeletable: ['user_refused'],
      pendingRows: ['user_doubtful'],
    })
  })

  test('holds at most 20,000 names of each kind, so that the state stays small', () => {
    const ids = Array.from({ length: 20_001 }, (_, index) => `user_${index}`)
    const rejected = ids.map((clerkId) => ({ clerkId, reason: 'why' }))
    const pending = ids.map((clerkId) => ({ clerkId, settlesInMs: 1 }))
    const findings = new Findings('full')
    findings.add({ rejected, undeletable: rejected, pendingUsers: pending, pendingRows: pending, kept: ids })
    findings.add({ altered: ids.map((id) => [id, 'x']) })
    const sizes = Object.values(differenceOf(findings)).map((names) => names.length)
    expect(sizes).toEqual([20_000, 20_000, 20_000, 20_000, 20_000, 20_000])
  })

  const difference = {
    rejected: [
      { clerkId: 'user_a', reason: 'why' },
      { clerkId: 'user_b', reason: 'why' },
    ],
    pendingUsers: ['user_b', 'user_c'],
    withheld: ['user_d', 'user_e'],
    undeletable: ['user_e', 'user_f'],
    pendingRows: ['user_g'],
  }

  test('counts a user that is rejected and pending once, as one that may lack a row', () => {
    expect(usersWithoutRowOf(difference)).toEqual(['user_a', 'user_b', 'user_c'])
  })

  test('counts a row that is withheld and refused once, as one that lacks a user; a doubtful one may have it', () => {
    expect(rowsWithoutUserOf(difference)).toEqual(['user_d', 'user_e', 'user_f'])
  })
})

test('what was met as altered is remembered of rows that stay as they are, and of no others', () => {
  const known = new Map([...'abcdefg'].map((letter) => [`user_${letter}`, 'before']))
  const difference = {
    rejected: [{ clerkId: 'user_f', reason: 'a lock' }],
    pendingUsers: ['user_e'],
    withheld: ['user_a'],
    undeletable: ['user_b'],
    pendingRows: ['user_c', 'user_d'],
    altered: [['user_d', 'now']] as const,
  }
  const ids = stillAltered(known, difference).map(([id]) => id)
  expect(ids).toEqual(['user_a', 'user_b', 'user_c', 'user_e', 'user_f'])
  const many = Array.from({ length: 19_999 }, (_, index) => [`user_${index}`, 'now'] as const)
  expect(stillAltered(known, { ...difference, altered: many })).toEqual([['user_a', 'before']])
  const { altered: _none, ...earlier } = difference
  expect(stillAltered(known, earlier)).toHaveLength(6)
  const withheld = Array.from({ length: 20_001 }, (_, index) => `user_${index}`)
  const all = new Map(withheld.map((id) => [id, 'before']))
  expect(stillAltered(all, { ...earlier, withheld })).toHaveLength(20_000)
})

describe('two counts', () => {
  const facts = { rows: 100, usersWithoutRow: 0, rowsWithoutUser: 0, pendingRows: 0 }
  test.each<[says: string, over: Partial<typeof facts>, before: number, after: number, gap: number]>([
    ['equal to the rows', {}, 100, 100, 0],
    ['around the rows: users came meanwhile', {}, 98, 103, 0],
    ['around the rows: users went meanwhile', {}, 103, 98, 0],
    ['with the rows at the lower end', {}, 100, 105, 0],
    ['with the rows at the upper end', {}, 95, 100, 0],
    ['both above the rows', {}, 103, 107, 3],
    ['both above the rows, falling', {}, 107, 103, 3],
    ['both below the rows', {}, 93, 97, -3],
    ['both below the rows, falling', {}, 97, 93, -3],
    ['with users that have no row', { usersWithoutRow: 3 }, 103, 103, 0],
    ['with rows that have no user', { rowsWithoutUser: 3 }, 97, 97, 0],
    ['with both', { usersWithoutRow: 3, rowsWithoutUser: 2 }, 101, 101, 0],
    ['with doubtful rows whose users live', { pendingRows: 2 }, 100, 100, 0],
    ['with doubtful rows whose users are gone', { pendingRows: 2 }, 98, 98, 0],
    ['above what doubtful rows explain', { pendingRows: 2 }, 101, 101, 1],
    ['below what doubtful rows explain', { pendingRows: 2 }, 97, 97, -1],
  ])('%s', (_says, over, countBefore, countAfter, gap) => {
    expect(unexplainedDifference({ ...facts, ...over, countBefore, countAfter })).toBe(gap)
  })
})
