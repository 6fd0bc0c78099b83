// `--dry-run` shows and writes nothing; and a dry run that npm would make a real one is refused.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { linesOf, openShop, openShopForTest, reportOf, type Shop, snapshot } from './command.ts'

describe('on a table that has drifted', () => {
  let shop: Shop
  let ids: string[]
  const changed = { name: 'Grace Brewster Hopper', before: '' }

  beforeAll(async () => {
    shop = await openShop()
    await shop.run(['sync'])
    const { users } = shop.sandbox
    ids = users.all().map((user) => user.id)
    const [first = '', second = '', third = ''] = ids
    changed.before = shop.wanted().get(first)?.name ?? ''
    users.update(first, { first_name: 'Grace Brewster', last_name: 'Hopper' })
    users.signIn(second)
    users.delete(third)
    users.create({ first_name: 'Katherine', last_name: 'Johnson', email_address: 'katherine@example.com' })
  })
  afterAll(() => shop.close())

  test('it writes nothing, shows each change with values masked, and counts them', async () => {
    const before = await snapshot(shop.database.sql)
    const ended = await shop.run(['sync', '--dry-run'])
    expect(ended.code).toBe(0)
    const lines = linesOf(ended.stdout)
    const shown = lines.filter((line) => line.msg === 'would change')
    const masked = expect.stringMatching(
      /^(\(\d+ characters\)|https:\/\/img\.clerk\.com\/….{4}(, differs from letter \d+ on)?)$/,
    )
    expect(shown.map((line) => line.change).sort()).toEqual(['create', 'delete', 'refresh', 'update'])
    expect(shown.find((line) => line.change === 'update')).toMatchObject({
      clerkId: ids[0],
      columns: [
        {
          column: 'name',
          from: `(${[...changed.before].length} characters)`,
          to: '(21 characters, differs from letter 1 on)',
        },
        { column: 'image_url', from: masked, to: masked },
      ],
    })
    expect(shown.find((line) => line.change === 'create')).toMatchObject({
      columns: ['name', 'email', 'image_url'].map((column) => ({ column, from: '', to: masked })),
    })
    expect(shown.find((line) => line.change === 'delete')).toMatchObject({ clerkId: ids[2], columns: [] })
    expect(lines.find((line) => line.msg === 'run finished')?.report).toMatchObject({
      runId: null,
      dryRun: true,
      counts: { created: 1, updated: 1, refreshed: 1, deleted: 1 },
    })
    expect(await snapshot(shop.database.sql)).toEqual(before)
    expect(shop.leaks()).toEqual([])
  })

  test('it shows the values when asked to', async () => {
    const before = await snapshot(shop.database.sql)
    const { stdout } = await shop.run(['sync', '--dry-run', '--show-values'])
    const update = linesOf(stdout).find((line) => line.change === 'update')
    expect(update?.columns).toContainEqual({
      column: 'name',
      from: JSON.stringify(changed.before),
      to: JSON.stringify(changed.name),
    })
    expect(stdout).toContain('katherine@example.com')
    expect(await snapshot(shop.database.sql)).toEqual(before)
  })

  test('its exit code tells of changes when asked to, of a single user too', async () => {
    const before = await snapshot(shop.database.sql)
    const user = (id = '') => shop.run(['sync', '--json', '--user', id, '--dry-run', '--detailed-exitcode'])
    const [all, drifted, equal] = await Promise.all([
      shop.run(['sync', '--json', '--dry-run', '--detailed-exitcode']),
      user(ids[0]),
      user(ids[5]),
    ])
    expect([all.code, drifted.code, equal.code]).toEqual([2, 2, 0])
    expect(reportOf(drifted)).toMatchObject({ pass: 'user', counts: { seen: 1, updated: 1 } })
    expect(await snapshot(shop.database.sql)).toEqual(before)
  })

  test.each([
    { typed: ['--dry-run'], meant: '--dry-run' },
    { typed: ['--approve-deletes', '5'], meant: '--approve-deletes 5' },
    { typed: ['--dry-run=true', '--json'], meant: '--dry-run --json' },
  ])(
    'npm run sync $typed without -- is refused with the command that was meant',
    async ({ typed, meant }) => {
      const before = await snapshot(shop.database.sql)
      const command = ['npm', 'run', '--silent', 'sync', ...typed]
      const ended = await shop.project.start(command, shop.env).ended
      expect(ended.code).toBe(64)
      expect(ended.stderr).toContain(`npm run sync -- ${meant}\n`)
      // npm's own object, which a `--json` that it kept makes it print.
      if (typed.includes('--json')) expect(JSON.parse(ended.stdout)).toEqual({ error: expect.anything() })
      else expect(ended.stdout).toBe('')
      expect(await snapshot(shop.database.sql)).toEqual(before)
    },
  )
})

test('on an empty database it shows every user and leaves the database empty', async (context) => {
  const shop = await openShopForTest(context, { empty: true })
  const before = await snapshot(shop.database.sql)
  const ended = await shop.run(['sync', '--dry-run', '--json'])
  expect(ended.code).toBe(0)
  expect(reportOf(ended).counts).toMatchObject({ seen: 40, created: 40 })
  expect(linesOf(ended.stderr).filter((line) => line.change === 'create')).toHaveLength(40)
  expect(await snapshot(shop.database.sql)).toEqual(before)
})

test("on a tutorial's table it shows the drift and leaves the table as it is", async (context) => {
  const shop = await openShopForTest(context, { empty: true })
  const [known, gone] = shop.sandbox.users.all()
  if (known === undefined || gone === undefined) throw new Error('the sandbox is empty')
  shop.sandbox.users.delete(gone.id)
  await shop.database.sql`create table users (id serial primary key, clerk_id text not null unique,
    name text not null, image_url text not null, created_at timestamp default now(), updated_at timestamp)`
  await shop.database.sql`insert into users (clerk_id, name, image_url, created_at)
    select id, 'old', '', now() - interval '1 year' from unnest(${[known.id, gone.id]}::text[]) as id`
  const before = await snapshot(shop.database.sql)
  const ended = await shop.run(['sync', '--dry-run', '--json'])
  expect(ended.code).toBe(0)
  // The first look at a table that has rows deletes nothing.
  const counts = { seen: 39, created: 38, updated: 1, deleted: 0, withheld: 1 }
  expect(reportOf(ended).counts).toMatchObject(counts)
  expect(await snapshot(shop.database.sql)).toEqual(before)

  // What it has shown is what the run then does.
  const run = await shop.run(['sync', '--json'])
  expect(run.code).toBe(3)
  expect(reportOf(run).counts).toMatchObject(counts)
  const approved = await shop.run(['sync', '--json', '--approve-deletes', '1'])
  expect(approved.code).toBe(0)
  expect(reportOf(approved).counts).toMatchObject({ deleted: 1, withheld: 0 })
  expect(await shop.rows()).toEqual(shop.wanted())
})
