// What a worker says to a person in front of it: where it listens, when the next passes are, one line for each pass.
import { expect, test } from 'vitest'
import { createWorkerText } from '../../src/cli/worker-text.ts'
import { freePort, until } from '../worker/workers.ts'
import { openShopForTest } from './command.ts'

const now = new Date(2026, 2, 1, 12, 34, 56)
const everyHour = { incremental: undefined, full: '0 * * * *', timezone: 'UTC' }
const textOf = (schedule = everyHour) => createWorkerText(schedule, () => now)
const say = (record: Record<string, unknown>, text = textOf()) => text({ level: 'info', ...record })

const reportOf = (facts: object = {}) => ({
  runId: 7,
  pass: 'incremental',
  status: 'succeeded',
  dryRun: false,
  counts: { seen: 3217, created: 1, updated: 0, refreshed: 0, unchanged: 3216, deleted: 0, pending: 0 },
  requests: { total: 9, throttled: 0 },
  notes: [],
  durationMs: 1234,
  error: null,
  ...facts,
})
const counts = { withheld: 0, rejected: 0, ...reportOf().counts }

test('it says where it listens, and the path that goes into the Clerk dashboard', () => {
  const record = { msg: 'listening', url: 'http://localhost:3000', paths: ['/api/users/webhook', '/other'] }
  expect(say(record)).toEqual([
    '12:34:56 listening on http://localhost:3000',
    '         webhook endpoint: POST http://localhost:3000/api/users/webhook',
  ])
})

test('it says when the next passes are, or that there are none', () => {
  const record = { msg: 'schedules started' }
  const text = createWorkerText({ incremental: '* * * * *', full: '0 0 1 1 *', timezone: 'UTC' })
  const [line = ''] = text({ level: 'info', ...record })
  expect(line).toMatch(
    /next passes: incremental at \d\d:\d\d \(in (1 min|less than a minute)\), full at \d\d:\d\d \(in \d+ (d|h)\)/,
  )
  expect(say(record, textOf({ incremental: undefined, full: undefined, timezone: 'UTC' } as never))).toEqual([
    '12:34:56 both schedules are off: no pass runs by itself',
  ])
})

test('one line for a pass, with its number and the time of the next', () => {
  const [line = '', ...others] = say({ msg: 'run finished', report: reportOf({ counts }) })
  expect(line).toMatch(
    /^12:34:56 incremental pass #7 succeeded: 3,217 seen, 1 created, 3,216 unchanged; 9 requests in 1\.2 s; next \d\d:\d\d$/,
  )
  expect(others).toEqual([])
  expect(say({ msg: 'run started', pass: 'incremental', runId: 7 })).toEqual([])
  expect(say({ msg: 'run started', pass: 'full', runId: 8 })).toEqual(['12:34:56 full pass #8 begins'])
})

test('rejected users are named before the line of their pass, twenty at most, and notes too', () => {
  const text = textOf()
  for (let user = 1; user <= 21; user++) {
    const record = { msg: 'user rejected', level: 'warn', clerkId: `user_${user}`, reason: 'a reason' }
    expect(text(record)).toEqual([])
  }
  const report = reportOf({ counts, notes: ['2 deletions withheld'], status: 'withheld' })
  const lines = text({ level: 'warn', msg: 'run finished', report })
  expect(lines).toHaveLength(23)
  expect(lines[0]).toBe('12:34:56 rejected user_1: a reason')
  expect(lines[20]).toBe('         … and 1 more')
  expect(lines[21]).toBe('         note: 2 deletions withheld')
  expect(text({ level: 'warn', msg: 'run finished', report })).toHaveLength(2)
})

test('an error is the last thing, with the way out', () => {
  const error = { kind: 'transient', message: 'Clerk cannot be reached', hint: 'Check the network.' }
  const record = {
    level: 'error',
    msg: 'run failed',
    err: { message: 'not this' },
    report: reportOf({ counts, error }),
  }
  const lines = say(record)
  expect(lines.slice(1)).toEqual(['         error: Clerk cannot be reached', '         Check the network.'])
  const skipped = { ...error, message: 'another run holds the lease' }
  expect(say({ msg: 'run skipped', report: reportOf({ error: skipped }) })).toEqual([
    '12:34:56 incremental pass skipped: another run holds the lease',
  ])
})

test.each([
  [{ status: 200, result: 'created', clerkId: 'user_1' }, 'webhook user_1 created'],
  [{ status: 200, result: 'ignored' }, 'webhook ignored'],
  [{ status: 200, result: 'rejected', clerkId: 'user_1', reason: 'why' }, 'webhook user_1 rejected: why'],
  [{ status: 503, result: 'failed', reason: 'why' }, 'warning: webhook answered with 503: why'],
])('a delivery is one line: %j', (facts, line) => {
  expect(say({ msg: 'webhook', svixId: 'msg_1', ...facts })).toEqual([`12:34:56 ${line}`])
})

test('whatever else the log says is said with its error, the way out and its facts', () => {
  const err = { type: 'SyncError', message: 'Clerk cannot be reached', hint: 'Check the network.' }
  expect(say({ level: 'warn', msg: 'not ready yet', err, time: '…', runId: 7, list: [1] })).toEqual([
    '12:34:56 warning: not ready yet: Clerk cannot be reached (runId 7)',
    '         Check the network.',
  ])
  expect(say({ level: 'warn', msg: 'odd', err: { code: '57P01' } })).toEqual(['12:34:56 warning: odd: 57P01'])
})

test('a worker says it on stdout as text, and nothing as JSON', async (context) => {
  const shop = await openShopForTest(context, { count: 30, empty: true })
  const worker = shop.start(['worker', '--format', 'text'], {
    PORT: `${await freePort()}`,
    FULL_SCHEDULE: '0 0 1 1 *',
    INCREMENTAL_SCHEDULE: 'off',
  })
  let output = ''
  worker.child.stdout?.on('data', (text: string) => {
    output += text
  })
  await until(
    () => output,
    (text) => text.includes('full pass #1 succeeded: 30 seen, 30 created'),
  )
  worker.child.kill('SIGTERM')
  const { code, stderr } = await worker.ended
  expect(code).toBe(0)
  expect(stderr).toBe('')
  expect(output).toMatch(/^\d\d:\d\d:\d\d listening on http:\/\/127\.0\.0\.1:\d+$/m)
  expect(output).toMatch(/^ {9}webhook endpoint: POST http:\/\/127\.0\.0\.1:\d+\/api\/users\/webhook$/m)
  expect(output).toMatch(/next passes: full at \d\d:\d\d/)
  expect(output).toMatch(/warning: CLERK_WEBHOOK_SIGNING_SECRET is not set/)
  expect(output).toMatch(/stopping, after SIGTERM/)
  expect(output).not.toContain('{')
})
