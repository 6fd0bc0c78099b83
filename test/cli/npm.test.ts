// The commands through npm: flags that it keeps, what its own files say, and what it prints.
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openShop, reportOf, type Shop } from './command.ts'

let shop: Shop
let home: string

beforeAll(async () => {
  shop = await openShop({ count: 12 })
  home = join(shop.project.directory, 'home')
  await mkdir(home)
})
afterAll(async () => {
  await shop.close()
  expect(shop.leaks()).toEqual([])
})

const npm = (...args: string[]) => shop.project.start(['npm', ...args], { ...shop.env, HOME: home }).ended

describe('a flag without -- before it', () => {
  test.each([
    [['run', 'sync', '--dry-run', '--json'], 'npm run sync -- --dry-run --json'],
    [['run', 'status', '--json'], 'npm run status -- --json'],
    [['start', '--dry-run'], 'npm run start -- --dry-run'],
    [['run', 'db:migrate', '--dry-run'], 'npm run db:migrate -- --dry-run'],
  ])('npm %j does nothing, exits with 64 and shows the command', async (args, meant) => {
    const ended = await npm(...args)
    expect(ended.code).toBe(64)
    expect(ended.stderr).toContain(`Put -- before the flags: ${meant}\n`)
    expect(shop.sandbox.requests).toEqual([])
  })

  test.each([
    [['status', '--limit=1'], 'npm run status -- --limit=1'],
    [['status', '--limit', '1'], 'npm run status -- --limit 1'],
    [['sandbox', '--users=50', '--port=4020'], 'npm run sandbox -- --port=4020 --users=50'],
    [['db:studio', '--port=4983'], 'npm run db:studio -- --port=4983'],
    [['simulate', '--seeds=5'], 'npm run simulate -- --seeds=5'],
    [['crash', '--kills=5'], 'npm run crash -- --kills=5'],
  ])(
    'npm run %j exits with 64 too, whether npm keeps the flag or knows it not',
    async ([script = '', ...flags], meant) => {
      const ended = await npm('run', script, ...flags)
      // npm 12 refuses what it does not know by itself.
      const isNpm12 = ended.stderr.includes('EUNKNOWNCONFIG')
      expect(ended.code).toBe(isNpm12 ? 1 : 64)
      if (!isNpm12) expect(ended.stderr).toContain(meant)
    },
  )
})

describe('what ~/.npmrc says', () => {
  test('is not taken for flags, and a flag that is typed without -- is still found', async () => {
    await writeFile(join(home, '.npmrc'), 'json=true\ndry-run=true\nuser=nobody\nlimit=3\n')
    const ended = await npm('run', '--silent', 'sync', '--', '--json')
    expect(ended.code).toBe(0)
    expect(reportOf(ended)).toMatchObject({ dryRun: false, counts: { created: 12 } })
    expect((await npm('run', 'sync', '--dry-run')).code).toBe(64)
    expect((await npm('run', 'status')).code).toBe(0)
  })
})

test('--version prints the version alone', async () => {
  const { version } = (await import('../../package.json', { with: { type: 'json' } })).default
  const typed = [npm('run', '--silent', 'sync', '--', '--version'), shop.run(['--version'])]
  const [afterCommand, alone] = await Promise.all(typed)
  expect(alone).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' })
  expect(afterCommand).toEqual(alone)
})

test('no help speaks of the default of a switch', async () => {
  const helps = [['--help'], ['sync', '--help'], ['status', '--help']].map((args) => shop.run(args))
  const sandbox = shop.project.start(['npm', 'run', '--silent', 'sandbox', '--', '--help'], {}).ended
  for (const { code, stdout } of await Promise.all([...helps, sandbox])) {
    expect(code).toBe(0)
    expect(stdout).not.toContain('default: false')
  }
  expect((await shop.run(['status', '--help'])).stdout).toContain('(default: 10)')
})
