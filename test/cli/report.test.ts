// What `sync` prints: one JSON object for programs, one JSON line per event for logs, a few words for a person.
import { spawnSync } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { compiledClerkSync, type Ended, linesOf, openShop, reportOf, type Shop } from './command.ts'

const users = 40
let shop: Shop

beforeAll(async () => {
  shop = await openShop({ count: users })
})
afterAll(() => shop.close())

const counts = {
  seen: 0,
  created: 0,
  updated: 0,
  refreshed: 0,
  unchanged: 0,
  deleted: 0,
  pending: 0,
  withheld: 0,
  rejected: 0,
}
const isoTime = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
const nothingBegun = {
  runId: null,
  pass: 'full',
  trigger: 'cli',
  status: 'refused',
  dryRun: false,
  instanceId: null,
  counts,
  requests: { total: 0, throttled: 0 },
  notes: [],
  startedAt: isoTime,
  finishedAt: isoTime,
  durationMs: expect.any(Number),
}

describe('with --json stdout carries exactly one object', () => {
  test('a run is reported with all keys, and everything else goes to stderr as JSON lines', async () => {
    const ended = await shop.run(['sync', '--json'])
    expect(ended.code).toBe(0)
    expect(reportOf(ended)).toEqual({
      runId: 1,
      pass: 'full',
      trigger: 'cli',
      status: 'succeeded',
      dryRun: false,
      instanceId: shop.sandbox.instanceId,
      counts: { ...counts, seen: users, created: users },
      requests: { total: shop.sandbox.requests.length, throttled: 0 },
      notes: [],
      startedAt: isoTime,
      finishedAt: isoTime,
      durationMs: expect.any(Number),
      error: null,
    })
    expect(linesOf(ended.stderr)).toContainEqual(expect.objectContaining({ msg: 'run finished' }))
    expect(await shop.rows()).toEqual(shop.wanted())
  })

  test('a wrong configuration is a refused report without a run', async () => {
    const ended = await shop.run(['sync', '--json'], { CLERK_SECRET_KEY: 'pk_test_Wm4yZb8KqRs3', PORT: 'x' })
    expect(ended.code).toBe(78)
    expect(reportOf(ended)).toEqual({
      ...nothingBegun,
      error: {
        kind: 'configuration',
        message: expect.stringMatching(/CLERK_SECRET_KEY: .*\nPORT: /),
        hint: expect.stringContaining('.env.local'),
      },
    })
    expect(linesOf(ended.stderr)).toHaveLength(1)
    expect(ended.stdout + ended.stderr).not.toContain('Wm4yZb8KqRs3')
  })

  test('a key that Clerk refuses is a refused report, and leaves its line in the history', async () => {
    const ended = await shop.run(['sync', '--json'], { CLERK_SECRET_KEY: 'sk_test_Wm4yZb8KqRs3' })
    expect(ended.code).toBe(78)
    expect(reportOf(ended)).toEqual({
      ...nothingBegun,
      runId: expect.any(Number),
      requests: { total: 1, throttled: 0 },
      error: {
        kind: 'configuration',
        message: 'Clerk refuses the secret key',
        hint: expect.stringContaining('CLERK_SECRET_KEY'),
      },
    })
    expect(ended.stdout + ended.stderr).not.toContain('Wm4yZb8KqRs3')
  })

  test('a lease that another run holds is a skipped report', async () => {
    await shop.database.sql`insert into clerk_sync.runs (pass, trigger, status, instance_id, host)
      values ('full', 'cli', 'running', 'ins_other', 'elsewhere')`
    const ended = await shop.run(['sync', '--json'])
    const skipped = await shop.run(['sync', '--json', '--skip-if-running'])
    await shop.database.sql`delete from clerk_sync.runs where host = 'elsewhere'`
    expect([ended.code, skipped.code]).toEqual([75, 0])
    for (const each of [ended, skipped]) {
      expect(reportOf(each)).toMatchObject({
        runId: null,
        status: 'skipped',
        counts,
        error: { kind: 'busy' },
      })
      expect(reportOf(each).error?.hint).toContain('elsewhere')
    }
  })

  test('wrong usage is a refused report with exit 64', async () => {
    const wrong = {
      '--bogus': ['--bogus'],
      '--dry-run': ['--show-values'],
      '--approve-deletes': ['--approve-deletes', 'all'],
      arguments: ['everything'],
    }
    const runs = Object.entries(wrong).map(async ([named, args]) => {
      const ended = await shop.run(['sync', '--json', ...args])
      expect(ended.code).toBe(64)
      expect(reportOf(ended)).toEqual({
        ...nothingBegun,
        error: { kind: 'usage', message: expect.stringContaining(named), hint: expect.any(String) },
      })
      expect(ended.stderr).toContain(named)
    })
    await Promise.all(runs)
    expect(runs).toHaveLength(4)
  })
})

test('with --format text a pipe gets what a terminal gets, without colours', async () => {
  const ended = await shop.run(['sync', '--dry-run', '--format', 'text'])
  expect(ended.code).toBe(0)
  expect(ended.stdout).toMatch(/^Plan: nothing to change; 40 of 40 users unchanged\.$/m)
  expect(ended.stdout).not.toMatch(/[{}]/)
  expect(ended.stdout).not.toContain('\x1b')
  const gone = shop.sandbox.users.create({ first_name: 'Ada' }).id
  const { stdout } = await shop.run(['sync', '--dry-run', '--format', 'text'])
  expect(stdout.split('\n').filter((line) => line.startsWith('+ '))).toEqual([`+ ${gone}`])
  shop.sandbox.users.delete(gone)
})

test("a run's first line in the log has the version, its number and the host", async () => {
  for (const flags of [[], ['--dry-run']]) {
    const lines = linesOf((await shop.run(['sync', ...flags])).stdout)
    const { version } = JSON.parse(await readFile('package.json', 'utf8'))
    const { runId } = (lines.at(-1)?.report ?? {}) as { runId?: number | null }
    expect(lines[0]).toMatchObject({ msg: 'run started', level: 'info', version, runId, pass: 'full' })
    expect(lines[0]?.host).toMatch(new RegExp(`^${hostname()}:\\d+$`))
  }
})

test('without a terminal stdout carries JSON lines only, the report in one of them', async () => {
  const ended = await shop.run(['sync'])
  expect(ended).toMatchObject({ code: 0, stderr: '' })
  const report = expect.objectContaining({
    status: 'succeeded',
    counts: { ...counts, seen: users, unchanged: users },
  })
  expect(linesOf(ended.stdout)).toContainEqual(expect.objectContaining({ msg: 'run finished', report }))

  const refused = await shop.run(['sync'], { CLERK_SECRET_KEY: '' })
  expect(refused).toMatchObject({ code: 78, stdout: '' })
  expect(linesOf(refused.stderr)).toMatchObject([{ level: 'error', err: { kind: 'configuration' } }])
})

test('a reader who has gone does not change how a run ends', async () => {
  const program = await compiledClerkSync()
  for (const flags of ['', '--json', '--dry-run']) {
    const line = `${program.join(' ')} sync ${flags} | true; echo "exit \${PIPESTATUS[0]}" >&2`
    const { stderr } = await shop.project.start(['bash', '-c', line], shop.env).ended
    expect({ flags, stderr }).toEqual({ flags, stderr: expect.stringMatching(/^(\{.*\}\n)*exit 0\n$/) })
  }
})

const hasScript = spawnSync('script', ['--version'], { encoding: 'utf8' }).stdout?.includes('util-linux')

describe.skipIf(!hasScript)('on a terminal (needs `script` of util-linux)', () => {
  /** Runs on a pseudo-terminal, which mixes stdout and stderr as a screen does. */
  const runOnTerminal = async (args: readonly string[], env: Record<string, string> = {}): Promise<Ended> =>
    shop.project.start(['script', '-qec', [...(await compiledClerkSync()), ...args].join(' '), '/dev/null'], {
      ...shop.env,
      COLUMNS: '100',
      TERM: 'xterm',
      ...env,
    }).ended

  test('a person gets a progress bar and a short summary, and no JSON', async () => {
    const { code, stdout } = await runOnTerminal(['sync'])
    expect(code).toBe(0)
    expect(stdout).toContain('█')
    expect(stdout).toMatch(/full pass succeeded: 40 seen, 40 unchanged; \d+ requests in [\d.]+ s/)
    expect(stdout).not.toMatch(/[{}]/)
  })

  test('the error of a run is the last thing, once, and a rejected user is named once', async () => {
    const odd = shop.sandbox.users.all()[3]?.id ?? ''
    shop.sandbox.users.update(odd, { username: { not: 'a name' } as unknown as string })
    const rejecting = await runOnTerminal(['sync'])
    expect(rejecting.code).toBe(4)
    expect(rejecting.stdout.split(odd)).toHaveLength(2)
    shop.sandbox.users.update(odd, { username: null })
    const fault = shop.sandbox.faults.add({ endpoint: 'list', kind: 404, times: Number.POSITIVE_INFINITY })
    const failed = await runOnTerminal(['sync'])
    shop.sandbox.faults.clear()
    expect(fault.used).toBeGreaterThan(0)
    expect(failed.code).toBe(1)
    expect(failed.stdout).not.toMatch(/[{}]/)
    expect(failed.stdout.split('Clerk refuses the request')).toHaveLength(2)
    expect(failed.stdout.trimEnd().split('\r\n').slice(-3).join(' ')).toContain(
      'error: Clerk refuses the request',
    )
  })

  test('an error is text with the way out', async () => {
    const { code, stdout } = await runOnTerminal(['sync'], { CLERK_SECRET_KEY: '' })
    expect(code).toBe(78)
    expect(stdout).toContain('CLERK_SECRET_KEY: is not set.')
    expect(stdout).toContain('.env.local')
    expect(stdout).not.toMatch(/[{}]/)
  })

  test('status tells of the last runs in a few lines', async () => {
    const { code, stdout } = await runOnTerminal(['status'])
    expect(code).toBe(0)
    expect(stdout).toMatch(/^last success: \d+ s ago, the full pass #\d+\r$/m)
    expect(stdout).toContain(`40 rows, Clerk instance ${shop.sandbox.instanceId}`)
    expect(stdout).toMatch(/full pass by cli: succeeded in [\d.]+ s\r\n {6}40 seen, 40 created/)
    expect(stdout).not.toMatch(/[{}]/)
  })
})

test('none of it names a secret or a person', () => {
  expect(shop.project.output.join('').length).toBeGreaterThan(1000)
  expect(shop.leaks()).toEqual([])
})
