// A run that waits says for what: on a terminal in place of the time left, in the log after ten seconds.
import { spawnSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { compiledClerkSync, linesOf, openShopForTest } from './command.ts'

const hasScript = spawnSync('script', ['--version'], { encoding: 'utf8' }).stdout?.includes('util-linux')

test.concurrent('a Clerk that hangs is named in the log, once a wait', async (context) => {
  const shop = await openShopForTest(context, { count: 12 })
  shop.sandbox.faults.add({ endpoint: 'count', kind: 'hang', times: 2 })
  const ended = await shop.run(['sync'])
  expect(ended.code).toBe(0)
  const waits = linesOf(ended.stdout).filter((line) => line.msg === 'waiting')
  expect(waits).toEqual([
    expect.objectContaining({ waitingFor: "Clerk's answer (/users/count)", seconds: expect.any(Number) }),
  ])
})

test.skipIf(!hasScript).concurrent('a Clerk that hangs is named on a terminal', async (context) => {
  const shop = await openShopForTest(context, { count: 12 })
  shop.sandbox.faults.add({ endpoint: 'instance', kind: 'hang', times: 1 })
  const line = [...(await compiledClerkSync()), 'sync'].join(' ')
  const { stdout } = await shop.project.start(['script', '-qec', line, '/dev/null'], {
    ...shop.env,
    COLUMNS: '100',
    TERM: 'xterm',
  }).ended
  expect(stdout).toMatch(/waiting for Clerk's answer \(\/instance\), [2-9] s/)
  expect(stdout).toContain('full pass succeeded: 12 seen, 12 created')
})

test.skipIf(!hasScript).concurrent('a rate limit is named as what it is', async (context) => {
  const shop = await openShopForTest(context, { count: 12 })
  shop.sandbox.faults.add({ endpoint: 'count', kind: 429, times: 1, retryAfter: 6 })
  const line = [...(await compiledClerkSync()), 'sync'].join(' ')
  const { stdout } = await shop.project.start(['script', '-qec', line, '/dev/null'], {
    ...shop.env,
    COLUMNS: '100',
    TERM: 'xterm',
  }).ended
  expect(stdout).toMatch(/waiting for the end of Clerk's rate limit, [2-6] s/)
})
