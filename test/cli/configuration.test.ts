// Where the commands take their settings from, and what they say to settings and words that they do not understand.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { linesOf, openShop, openShopForTest, openTrap, reportOf, type Shop, snapshot } from './command.ts'

let shop: Shop

beforeAll(async () => {
  shop = await openShop({ count: 12 })
})
afterAll(async () => {
  await shop.close()
  expect(shop.leaks()).toEqual([])
})

describe('configuration', () => {
  test('all problems are told at once, by name and without a value, with exit 78 and nothing written', async () => {
    const before = await snapshot(shop.database.sql)
    const wrong = {
      CLERK_SECRET_KEY: 'sk_prod_Vt5nCx1wHj6d',
      CLERK_WEBHOOK_SIGNING_SECRET: 'whsec_Vt5nCx1wHj6d!',
      CLERK_API_URL: 'http://vt5ncx1whj6d.example.com',
      DATABASE_URL: 'mysql://root:Vt5nCx1wHj6d@localhost/app',
      MAX_DELETES: 'Vt5nCx1wHj6d',
      SYNC_POLICY: 'Vt5nCx1wHj6d',
      FULL_SCHEDULE: 'Vt5nCx1wHj6d',
    }
    const ended = await shop.run(['sync'], wrong)
    expect(ended.code).toBe(78)
    const [line] = linesOf(ended.stderr) as { err: { message: string; hint: string } }[]
    expect(line?.err.message).toMatch(/^The configuration has 7 problems\.\n/)
    for (const name of Object.keys(wrong)) expect(line?.err.message).toMatch(new RegExp(`^${name}: `, 'm'))
    expect(`${ended.stdout}${ended.stderr}`).not.toMatch(/vt5ncx1whj6d/i)
    expect(shop.sandbox.requests).toEqual([])
    expect(await snapshot(shop.database.sql)).toEqual(before)
  })

  test('the environment wins over .env.local, that over .env', async (context) => {
    const own = await openShopForTest(context, { count: 12 })
    const trap = await openTrap()
    context.onTestFinished(trap.close)
    await own.project.write(
      '.env',
      `CLERK_SECRET_KEY=sk_test_wrongOfDotEnv\nCLERK_API_URL=${trap.httpUrl}\nDATABASE_URL=${own.database.url}\n`,
    )
    await own.project.write(
      '.env.local',
      `CLERK_SECRET_KEY=${own.sandbox.secretKey}\nCLERK_API_URL=${trap.httpUrl}\n`,
    )
    const command = ['npm', 'run', '--silent', 'sync', '--', '--json']
    const ended = await own.project.start(command, { CLERK_API_URL: own.sandbox.url }).ended
    expect(ended.code).toBe(0)
    expect(await own.rows()).toEqual(own.wanted())
    expect(trap.connections()).toBe(0)
    // Without the environment's word the file's is followed: the trap is real.
    const trapped = own.project.start(command, {})
    await trap.sprung
    trapped.child.kill('SIGTERM')
    expect((await trapped.ended).code).toBe(143)
  })

  test('a variable set to nothing hides the one in the file', async (context) => {
    const own = await openShopForTest(context, { count: 12 })
    await own.project.write('.env', `DATABASE_URL=${own.database.url}\n`)
    const env = { DATABASE_URL: '', NODE_ENV: 'production' }
    for (const command of [['sync'], ['status'], ['migrate']]) {
      const ended = await own.run(command, env)
      expect(ended.code).toBe(78)
      expect(ended.stderr).toContain('DATABASE_URL: is not set, and NODE_ENV is production')
    }
    expect((await own.rows()).size).toBe(0)
  })
})

describe('usage', () => {
  test('--help lists what there is and exits with 0', async () => {
    const [all, sync, status, migrate, worker] = await Promise.all([
      shop.run(['--help'], { CLERK_SECRET_KEY: '' }),
      ...['sync', 'status', 'migrate', 'worker'].map((command) => shop.run([command, '--help'])),
    ])
    expect([all, sync, status, migrate, worker].map((ended) => [ended?.code, ended?.stderr])).toEqual(
      Array(5).fill([0, '']),
    )
    for (const command of ['sync', 'worker', 'status', 'migrate'])
      expect(all?.stdout).toContain(`  ${command} `)
    const flags = [
      ...['--incremental', '--user <id>', '--dry-run', '--show-values', '--detailed-exitcode', '--json'],
      ...['--approve-deletes <n>', '--accept-instance <id>', '--skip-if-running'],
    ]
    for (const flag of flags) expect(sync?.stdout).toContain(flag)
    for (const code of [0, 1, 2, 3, 4, 64, 75, 78, 130, 143]) {
      expect(sync?.stdout).toMatch(new RegExp(`(^| )${code} +[a-zS-]`, 'm'))
    }
    expect(status?.stdout).toContain('--json')
  })

  test('what is not understood exits with 64, says why on stderr, and does nothing', async () => {
    const before = await snapshot(shop.database.sql)
    const wrong: [string[], string][] = [
      [[], 'Usage: '],
      [['synk'], "unknown command 'synk'"],
      [['sync', '--dryrun'], '--dryrun'],
      [['sync', '--show-values'], '--dry-run'],
      [['sync', '--detailed-exitcode'], '--dry-run'],
      [['sync', '--approve-deletes', '-1'], 'whole number'],
      [['sync', '--approve-deletes'], 'argument missing'],
      [['sync', '--accept-instance', 'yes'], 'ins_'],
      [['sync', '--user', 'user_2abc', '--accept-instance', 'ins_2abc'], '--accept-instance'],
      [['sync', '--user', 'somebody'], 'user_'],
      [['status', '--limit', 'all'], 'whole number'],
    ]
    const ended = await Promise.all(wrong.map(([args]) => shop.run(args)))
    expect(ended.map(({ code, stdout }) => ({ code, stdout }))).toEqual(
      wrong.map(() => ({ code: 64, stdout: '' })),
    )
    for (const [index, [, said]] of wrong.entries()) expect(ended[index]?.stderr).toContain(said)
    expect(shop.sandbox.requests).toEqual([])
    expect(await snapshot(shop.database.sql)).toEqual(before)
  })
})

describe('migrate and status', () => {
  test('need no key, and see a new database become an empty table and then a synced one', async (context) => {
    const own = await openShopForTest(context, { count: 12, empty: true })
    const nothingYet = {
      instanceId: null,
      rows: 0,
      deletionHold: null,
      withheld: null,
      lastSuccess: null,
      open: [],
      runs: [],
    }
    const status = async () => {
      const ended = await own.run(['status', '--json'], { CLERK_SECRET_KEY: '' })
      expect(ended.code).toBe(0)
      // What stdout carries is not said on a terminal a second time.
      expect(linesOf(ended.stderr).filter(({ msg }) => msg === 'status')).toEqual([])
      return JSON.parse(ended.stdout)
    }
    expect(await status()).toEqual(nothingYet)
    const migrate = () =>
      own.project.start(['npm', 'run', '--silent', 'db:migrate'], { DATABASE_URL: own.database.url }).ended
    const first = await migrate()
    expect(first).toMatchObject({ code: 0, stderr: '' })
    expect(linesOf(first.stdout)).toMatchObject([{ msg: 'migrated', applied: expect.any(Number) }])
    const migrated = await snapshot(own.database.sql)
    expect(linesOf((await migrate()).stdout)).toMatchObject([{ msg: 'migrated', applied: 0 }])
    expect(await snapshot(own.database.sql)).toEqual(migrated)
    expect(await status()).toEqual(nothingYet)

    const ran = reportOf(await own.run(['sync', '--json']))
    const after = await status()
    expect(after).toMatchObject({
      instanceId: own.sandbox.instanceId,
      rows: 12,
      lastSuccess: { runId: 1, pass: 'full' },
      open: [],
    })
    expect(after.runs).toEqual([
      expect.objectContaining({
        runId: 1,
        pass: 'full',
        status: 'succeeded',
        counts: ran.counts,
        error: null,
      }),
    ])
    const text = await own.project.start(['npm', 'run', '--silent', 'status'], own.env).ended
    expect(linesOf(text.stdout)).toMatchObject([{ msg: 'status', rows: 12, runs: [{ runId: 1 }] }])
  })
})
