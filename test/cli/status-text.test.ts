// The status as a person reads it, without a database.
import { expect, test } from 'vitest'
import { type Status, statusLines } from '../../src/cli/status-text.ts'
import type { PastRun } from '../../src/db/runs.ts'

const at = (minute: number) => new Date(Date.UTC(2026, 0, 5, 12, minute)).toISOString()
const run = (runId: number, parts: Partial<PastRun> = {}): PastRun => ({
  runId,
  pass: 'incremental',
  trigger: 'schedule',
  status: 'succeeded',
  instanceId: 'ins_1',
  host: 'one:1',
  startedAt: at(runId),
  finishedAt: new Date(Date.parse(at(runId)) + 1500).toISOString(),
  heartbeatAt: at(runId),
  counts: {
    seen: 5,
    created: 0,
    updated: 0,
    refreshed: 5,
    unchanged: 0,
    deleted: 0,
    pending: 0,
    withheld: 0,
    rejected: 0,
  },
  requests: null,
  notes: [],
  rejected: null,
  withheld: null,
  error: null,
  ...parts,
})
const status: Status = {
  instanceId: 'ins_1',
  rows: 3217,
  lastSuccess: null,
  open: [],
  deletionHold: null,
  withheld: null,
  runs: [],
}
const linesOf = (parts: Partial<Status>) => statusLines({ ...status, ...parts }, new Date(at(59)))

test('begins with the last success and its age', () => {
  const lastSuccess = { runId: 12, pass: 'full', startedAt: at(0), finishedAt: at(1), ageSeconds: 185 }
  expect(linesOf({ lastSuccess })[0]).toBe('last success: 3 min ago, the full pass #12')
  const [old] = linesOf({ lastSuccess: { ...lastSuccess, ageSeconds: 3 * 86_400 + 7200 } })
  expect(old).toBe('last success: 3 d ago, the full pass #12')
  expect(linesOf({})[0]).toBe('no run has succeeded yet: npm run sync')
})

test('says what is open and since when, before any run', () => {
  const open = [
    { what: 'failing', count: 2, since: at(3), ageSeconds: 120 },
    { what: 'withheld', count: 3214, since: at(1), ageSeconds: 7200 },
  ] as const
  const lines = linesOf({ open, runs: [run(1)] })
  expect(lines[1]).toMatch(/^open: the last 2 runs failed, since 05 Jan \d\d:\d\d \(2 min ago\)$/)
  expect(lines[2]).toMatch(/^open: 3,214 deletions withheld .*, since .* \(2 h ago\)$/)
  expect(lines[3]).toBe('3,217 rows, Clerk instance ins_1')
})

test('folds incremental passes that found nothing, and none that found or left something', () => {
  const counts = {
    seen: 1,
    created: 0,
    updated: 1,
    refreshed: 0,
    unchanged: 0,
    deleted: 0,
    pending: 0,
    withheld: 0,
    rejected: 0,
  }
  const runs = [
    run(9),
    run(8),
    run(7),
    run(6, { counts }),
    run(5, { pass: 'full' }),
    run(4),
    run(3, { notes: ['odd'] }),
  ]
  const lines = linesOf({ runs }).filter((line) => line.startsWith('  #'))
  expect(lines.map((line) => /#\d+(?: to #\d+)?/.exec(line)?.[0])).toEqual([
    '#7 to #9',
    '#6',
    '#5',
    '#4',
    '#3',
  ])
  expect(lines[0]).toContain('3 incremental passes: nothing had changed')
})

test('names counts in the order of a run’s summary, with separators, and how long it took', () => {
  const counts = { deleted: 2, created: 3217, seen: 3217, rejected: 1 }
  const rejected = Array.from({ length: 7 }, (_, index) => ({ clerkId: `user_${index}`, reason: 'no id' }))
  const error = { kind: 'transient', message: 'Clerk cannot be reached' }
  const lines = linesOf({ runs: [run(1, { pass: 'full', status: 'failed', counts, rejected, error })] })
  expect(lines.slice(-9)).toEqual([
    expect.stringMatching(/^ {2}#1 {2}05 Jan \d\d:01 {2}full pass by schedule: failed in 1\.5 s$/),
    '      3,217 seen, 3,217 created, 2 deleted, 1 rejected',
    '      Clerk cannot be reached',
    ...[0, 1, 2, 3, 4].map((index) => `      rejected user_${index}: no id`),
    '      … and 2 more (--json shows up to 100)',
  ])
})
