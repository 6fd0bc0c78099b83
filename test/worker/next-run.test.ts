// Which run comes next in a worker: the tables at the head of src/worker/next-run.ts, row by row.
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { nextRun, nextTurn, type Pass, type Turn, type WorkerState } from '../../src/worker/next-run.ts'

const source = readFileSync(new URL('../../src/worker/next-run.ts', import.meta.url), 'utf8')
/** The rows of both drawn tables, their cells without white space at the ends. */
const drawn = [...source.matchAll(/^\/\/ {3}([^-\n][^\n]*\|[^\n]*)$/gm)]
  .map(([, row = '']) => row.split('|').map((cell) => cell.trim()))
  .filter(([first]) => first !== 'due' && first !== 'a full pass that waits')

const idle: WorkerState = { isRunning: false, isFullDue: false, isIncrementalDue: false }
const states: Record<string, WorkerState[]> = {
  'is idle': [idle],
  'is idle, or runs an incremental pass': [idle, { ...idle, isRunning: true, isIncrementalDue: true }],
  'runs a full pass, or waits for its turn': [
    { ...idle, isRunning: true, isFullDue: true },
    { ...idle, isFullDue: true },
    { isRunning: true, isFullDue: true, isIncrementalDue: true },
  ],
  'runs a pass': [
    { ...idle, isRunning: true },
    { ...idle, isRunning: true, isIncrementalDue: true },
    { ...idle, isRunning: true, isFullDue: true },
  ],
  'waits with a full pass for its turn': [{ ...idle, isFullDue: true }],
}

const turns: Record<string, Turn[]> = {
  'the worker stops, or another worker ran the tick': [
    { isStillDue: false, isLeaseHeld: false, waitedMs: 0 },
    { isStillDue: false, isLeaseHeld: true, waitedMs: 1001 },
  ],
  'no run holds the lease': [
    { isStillDue: true, isLeaseHeld: false, waitedMs: 0 },
    { isStillDue: true, isLeaseHeld: false, waitedMs: 1001 },
  ],
  'a run holds the lease, the wait is not over': [
    { isStillDue: true, isLeaseHeld: true, waitedMs: 0 },
    { isStillDue: true, isLeaseHeld: true, waitedMs: 1000 },
  ],
  'a run holds the lease, the wait is over': [{ isStillDue: true, isLeaseHeld: true, waitedMs: 1001 }],
}

describe('a tick', () => {
  const rows = drawn.filter((row) => row.length === 3)
  test('has a table of six rows', () => expect(rows).toHaveLength(6))

  test.each(rows)('%s is due, and this worker %s: %s', (due, worker, next) => {
    const passes = new Set((due ?? '').split(' and ') as Pass[])
    const expected = next === 'none' || next?.startsWith('none:') ? undefined : next?.split(':')[0]
    expect(states).toHaveProperty([worker ?? ''])
    for (const state of states[worker ?? ''] ?? []) expect(nextRun(state, passes)).toBe(expected)
  })

  test('of no schedule starts nothing', () => expect(nextRun(idle, new Set())).toBeUndefined())

  test('is left out while the tick before is still being looked into', () =>
    expect(nextRun({ ...idle, isIncrementalDue: true }, new Set(['incremental']))).toBeUndefined())
})

describe('a full pass that waits for its turn', () => {
  const rows = drawn.filter((row) => row.length === 2)
  test('has a table of four rows', () => expect(rows).toHaveLength(4))

  test.each(rows)('where %s: %s', (found, next) => {
    expect(turns).toHaveProperty([found ?? ''])
    for (const turn of turns[found ?? ''] ?? []) expect(nextTurn(turn, 1000)).toBe(next?.split(':')[0])
  })
})
