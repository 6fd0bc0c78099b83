import { describe, expect, test } from 'vitest'
import { type ErrorKind, SyncError } from '../../src/errors.ts'
import type { Counts } from '../../src/sync/finding.ts'
import { Findings } from '../../src/sync/findings.ts'
import {
  describeError,
  exitCodeOf,
  exitCodeOfError,
  type Report,
  rejectionLines,
  type Status,
  statusOf,
  summaryOf,
} from '../../src/sync/report.ts'

const noFlags = { detailedExitcode: false, skipIfRunning: false }
const detailed = { ...noFlags, detailedExitcode: true }

interface Facts {
  complete?: boolean
  unproven?: boolean
  shortfall?: number
  unexplained?: number
  unreadable?: number
  counts?: Partial<Counts>
  rejected?: string[]
}

const idsOf = (count = 0) => Array.from({ length: count }, (_, index) => `user_${index}`)

function findingsOf({ counts = {}, rejected = [], complete, unproven, ...facts }: Facts): Findings {
  const findings = new Findings('full')
  findings.add({
    ...facts,
    seen: counts.seen ?? 0,
    created: idsOf(counts.created),
    updated: idsOf(counts.updated),
    refreshed: idsOf(counts.refreshed),
    unchanged: idsOf(counts.unchanged),
    deleted: idsOf(counts.deleted),
    pendingUsers: idsOf(counts.pending).map((clerkId) => ({ clerkId, settlesInMs: 1 })),
    kept: idsOf(counts.withheld),
    rejected: rejected.map((clerkId) => ({ clerkId, reason: 'refused by a_check (23514)' })),
    ...(complete === false ? { isIncomplete: true } : {}),
    ...(unproven === true ? { isUnproven: true } : {}),
  })
  return findings
}

function outcomeOf(
  facts: Facts,
  options: { dryRun?: boolean; policy?: 'sync' | 'upsert-only'; error?: unknown; hasWritten?: boolean } = {},
) {
  const { dryRun = false, policy = 'sync', error, hasWritten = false } = options
  const findings = findingsOf(facts)
  const report: Report = {
    runId: dryRun ? null : 1,
    pass: 'full',
    trigger: 'cli',
    status: statusOf(findings, policy, error, hasWritten),
    dryRun,
    instanceId: 'ins_1',
    counts: findings.counts(),
    requests: { total: 5, throttled: 0 },
    notes: [],
    startedAt: '2026-01-01T00:00:00.000Z',
    finishedAt: '2026-01-01T00:00:01.500Z',
    durationMs: 1500,
    error: describeError(error),
  }
  return { report, error, complete: findings.isComplete() }
}

const codeOf = (facts: Facts, options: Parameters<typeof outcomeOf>[1] = {}, flags = noFlags) =>
  exitCodeOf(outcomeOf(facts, options), flags)

describe('a run that met its end', () => {
  const changes = { created: 3, updated: 2, refreshed: 1, deleted: 4, pending: 5 }
  test.each<[says: string, facts: Facts, status: Status, code: number]>([
    ['without a change succeeded', {}, 'succeeded', 0],
    ['with changes and pending users succeeded', { counts: changes }, 'succeeded', 0],
    ['with a rejected user is partial', { rejected: ['user_a'] }, 'partial', 4],
    ['with a user without a readable id is partial', { unreadable: 1 }, 'partial', 4],
    ['that was incomplete is partial', { complete: false }, 'partial', 4],
    ['with an answer that proved nothing is partial', { unproven: true }, 'partial', 4],
    ['one user short of Clerk’s count is partial', { shortfall: 1 }, 'partial', 4],
    ['with one user that no row explains is partial', { unexplained: 1 }, 'partial', 4],
    ['with a withheld deletion is withheld', { counts: { ...changes, withheld: 1 } }, 'withheld', 3],
    [
      'with withheld deletions and a rejected user is partial',
      { counts: { withheld: 9 }, rejected: ['user_a'] },
      'partial',
      4,
    ],
  ])('%s', (_says, facts, status, code) => {
    const outcome = outcomeOf(facts)
    expect(outcome.report.status).toBe(status)
    expect(exitCodeOf(outcome, noFlags)).toBe(code)
    // The flags are about dry runs and about another run.
    expect(exitCodeOf(outcome, { detailedExitcode: true, skipIfRunning: true })).toBe(code)
  })

  test('under upsert-only succeeded, whatever the policy held back', () => {
    const outcome = outcomeOf({ counts: { withheld: 400 } }, { policy: 'upsert-only' })
    expect(outcome.report.status).toBe('succeeded')
    expect(exitCodeOf(outcome, noFlags)).toBe(0)
    expect(
      outcomeOf({ counts: { withheld: 1 }, shortfall: 1 }, { policy: 'upsert-only' }).report.status,
    ).toBe('partial')
  })

  test('counts unreadable users among the rejected, and names them last', () => {
    const findings = findingsOf({ rejected: ['user_a'], unreadable: 2 })
    expect(findings.counts().rejected).toBe(3)
    expect(findings.rejections()).toEqual([
      { clerkId: 'user_a', reason: 'refused by a_check (23514)' },
      { clerkId: '(unreadable)', reason: '2 users without a readable id' },
    ])
  })
})

describe('a dry run', () => {
  const dryRun = { dryRun: true }
  test('that read everything exits with 0, whatever it found', () => {
    expect(codeOf({ counts: { created: 1, withheld: 9 }, rejected: ['user_a'] }, dryRun)).toBe(0)
    expect(codeOf({ counts: { deleted: 1 } }, dryRun)).toBe(0)
  })

  test('that did not exits with 4', () => {
    expect(codeOf({ complete: false }, dryRun)).toBe(4)
    expect(codeOf({ complete: false }, dryRun, detailed)).toBe(4)
  })

  test.each(['created', 'updated', 'refreshed', 'deleted'] as const)(
    'asked for details exits with 2 for a row %s',
    (key) => {
      expect(codeOf({ counts: { [key]: 1 } }, dryRun, detailed)).toBe(2)
    },
  )

  test('asked for details exits with 0 without a change, 3 before 2, and 4 before 3', () => {
    expect(codeOf({ counts: { unchanged: 9, pending: 3 } }, dryRun, detailed)).toBe(0)
    expect(codeOf({ counts: { withheld: 1, created: 1 } }, dryRun, detailed)).toBe(3)
    expect(codeOf({ counts: { withheld: 1, created: 1 }, rejected: ['user_a'] }, dryRun, detailed)).toBe(4)
  })

  test('that failed exits like any run that failed', () => {
    expect(codeOf({}, { ...dryRun, error: new SyncError('refused', 'no') }, detailed)).toBe(78)
  })
})

describe('a run that ended with an error', () => {
  const busy = new SyncError('busy', 'another run holds the lease')
  const lost = new SyncError('busy', 'lost its lease', { facts: { lost: 'lease' } })
  test.each<[error: unknown, status: Status, code: number]>([
    [new SyncError('usage', 'x'), 'failed', 64],
    [new SyncError('configuration', 'x'), 'refused', 78],
    [new SyncError('refused', 'x'), 'refused', 78],
    [new SyncError('aborted', 'x', { facts: { signal: 'SIGINT' } }), 'aborted', 130],
    [new SyncError('aborted', 'x', { facts: { signal: 'SIGTERM' } }), 'aborted', 143],
    [new SyncError('transient', 'x'), 'failed', 75],
    [busy, 'skipped', 75],
    [lost, 'failed', 75],
    [new SyncError('contract', 'x'), 'failed', 1],
    [new SyncError('constraint', 'x'), 'failed', 1],
    [new TypeError('x'), 'failed', 1],
    ['a string', 'failed', 1],
    [null, 'failed', 1],
  ])('%o', (error, status, code) => {
    // Whatever else it found is less urgent: 4, 3 and 2 come behind every error.
    for (const facts of [
      {},
      { rejected: ['user_a'], complete: false },
      { counts: { withheld: 1, created: 1 } },
    ]) {
      for (const dryRun of [false, true]) {
        const outcome = outcomeOf(facts, { error, dryRun })
        expect(outcome.report.status).toBe(status)
        expect(exitCodeOf(outcome, detailed)).toBe(code)
        expect(exitCodeOf(outcome, noFlags)).toBe(code)
      }
    }
    expect(exitCodeOfError(error)).toBe(code)
  })

  test.each(['configuration', 'refused'] as const)(
    'of the kind %s that came after a write has failed, since 78 says that nothing was written',
    (kind) => {
      const outcome = outcomeOf({}, { error: new SyncError(kind, 'x'), hasWritten: true })
      expect(outcome.report.status).toBe('failed')
      expect(exitCodeOf(outcome, noFlags)).toBe(1)
    },
  )

  test('that waiting can mend says so also after a write', () => {
    const outcome = outcomeOf({}, { error: new SyncError('transient', 'x'), hasWritten: true })
    expect(outcome.report.status).toBe('failed')
    expect(exitCodeOf(outcome, noFlags)).toBe(75)
  })

  test('exits with 0 under --skip-if-running only where another run holds the lease', () => {
    const skipping = { ...noFlags, skipIfRunning: true }
    expect(codeOf({}, { error: busy }, skipping)).toBe(0)
    expect(codeOf({}, { error: lost }, skipping)).toBe(75)
    expect(codeOf({}, { error: new SyncError('transient', 'x') }, skipping)).toBe(75)
  })

  test('has an exit code for every kind of error', () => {
    const codes: Record<ErrorKind, number> = {
      usage: 64,
      configuration: 78,
      refused: 78,
      busy: 75,
      transient: 75,
      contract: 1,
      constraint: 1,
      aborted: 143,
    }
    for (const [kind, code] of Object.entries(codes)) {
      expect(exitCodeOfError(new SyncError(kind as ErrorKind, 'x'))).toBe(code)
    }
  })

  test('shows an operating error’s message and hint, and of a failure of our own neither', () => {
    expect(describeError(undefined)).toBeNull()
    expect(describeError(new SyncError('busy', 'held', { hint: 'wait' }))).toEqual({
      kind: 'busy',
      message: 'held',
      hint: 'wait',
    })
    // Strictly: a hint that is undefined would be one that JSON leaves out and the type forbids.
    expect(describeError(new SyncError('busy', 'held'))).toStrictEqual({ kind: 'busy', message: 'held' })
    expect(describeError(new Error('ada@example.com'))).toEqual({
      kind: 'bug',
      message: 'the run failed for a reason this tool does not know',
      hint: 'The log has where it happened. Please report it.',
    })
  })
})

describe('the summary', () => {
  test('is one line of what was found, without what was not', () => {
    const { report } = outcomeOf({ counts: { seen: 1234, created: 1, unchanged: 1233 } })
    expect(summaryOf(report)).toBe(
      'full pass succeeded: 1,234 seen, 1 created, 1,233 unchanged; 5 requests in 1.5 s',
    )
  })

  test('says that a dry run was one, and that nobody was seen', () => {
    expect(summaryOf(outcomeOf({}, { dryRun: true }).report)).toBe(
      'full pass, dry run succeeded: 0 seen; 5 requests in 1.5 s',
    )
  })

  test('names the rejected up to a limit and says how many more there are', () => {
    const rejections = ['user_a', 'user_b', 'user_c'].map((clerkId) => ({ clerkId, reason: 'why' }))
    expect(rejectionLines(rejections, 3)).toEqual([
      'rejected user_a: why',
      'rejected user_b: why',
      'rejected user_c: why',
    ])
    expect(rejectionLines(rejections, 2)).toEqual([
      'rejected user_a: why',
      'rejected user_b: why',
      '… and 1 more',
    ])
    expect(rejectionLines([], 2)).toEqual([])
  })
})
