// Each exit code by a situation that an operator can really be in, and what the command says then.
import { cp, mkdtemp, rm, symlink } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { compiledClerkSync, type Ended, openShopForTest, reportOf, type Shop, statistics } from './command.ts'

/** A port on which nobody listens. */
async function closedPort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  return typeof address === 'object' ? (address?.port ?? 0) : 0
}

const sync = (shop: Shop, ...flags: string[]) => shop.run(['sync', '--json', ...flags])
const outcomeOf = (ended: Ended) => ({ code: ended.code, status: reportOf(ended).status })

describe.concurrent('sync exits with', () => {
  test('0 when the table equals Clerk, and 2 when a dry run was to tell by its code', async (context) => {
    const shop = await openShopForTest(context)
    expect(await sync(shop, '--dry-run')).toMatchObject({ code: 0 })
    expect(await sync(shop, '--dry-run', '--detailed-exitcode')).toMatchObject({ code: 2 })
    expect(outcomeOf(await sync(shop))).toEqual({ code: 0, status: 'succeeded' })
    expect(await shop.rows()).toEqual(shop.wanted())
    expect(await sync(shop, '--dry-run', '--detailed-exitcode')).toMatchObject({ code: 0 })
  })

  test('1 when the database is not what it was', async (context) => {
    const shop = await openShopForTest(context)
    await shop.database.sql`alter table users alter column email type integer using null`
    const ended = await sync(shop)
    expect(outcomeOf(ended)).toEqual({ code: 1, status: 'failed' })
    expect(reportOf(ended).error).toMatchObject({ kind: 'contract', hint: expect.stringContaining('column') })
  })

  test('1 when a column of the app refuses everybody', async (context) => {
    const shop = await openShopForTest(context, { count: 150 })
    await shop.database.sql`alter table users add column team text not null`
    const ended = await sync(shop)
    expect(outcomeOf(ended)).toEqual({ code: 1, status: 'failed' })
    expect(reportOf(ended)).toMatchObject({
      error: { kind: 'constraint', message: expect.stringContaining('team') },
      notes: [expect.stringContaining('users.team')],
    })
  })

  test('3 when deletions are withheld, and the command that it prints finishes the job', async (context) => {
    const shop = await openShopForTest(context)
    await sync(shop)
    const everybody = shop.sandbox.users.all().map((user) => user.id)
    for (const id of everybody.slice(0, 25)) shop.sandbox.users.delete(id)
    const signedUp = shop.sandbox.users.create()
    const withheld = await sync(shop)
    expect(outcomeOf(withheld)).toEqual({ code: 3, status: 'withheld' })
    const { counts, notes } = reportOf(withheld)
    expect(counts).toMatchObject({ created: 1, deleted: 0, withheld: 25 })
    const rows = await shop.rows()
    expect(rows.size).toBe(41)
    expect(rows.get(signedUp.id)).toEqual(shop.wanted().get(signedUp.id))

    const [, command = ''] = /If they are right: (npm run .*)$/.exec(notes.join('\n')) ?? []
    expect(command).toMatch(/^npm run sync -- --approve-deletes 25:[0-9a-f]{8}$/)
    expect(await shop.project.start(command.split(' '), shop.env).ended).toMatchObject({ code: 0 })
    expect(await shop.rows()).toEqual(shop.wanted())
  })

  test('3 again when more has gone since than was approved', async (context) => {
    const shop = await openShopForTest(context)
    await sync(shop)
    const everybody = shop.sandbox.users.all().map((user) => user.id)
    for (const id of everybody.slice(0, 26)) shop.sandbox.users.delete(id)
    expect(outcomeOf(await sync(shop, '--approve-deletes', '25'))).toEqual({ code: 3, status: 'withheld' })
    expect((await shop.rows()).size).toBe(40)
  })

  test('4 when a user of Clerk cannot be read, and everybody else is written', async (context) => {
    const shop = await openShopForTest(context)
    const [broken = ''] = shop.sandbox.users.all().map((user) => user.id)
    shop.sandbox.faults.add({
      endpoint: 'list',
      kind: 'malformed-user',
      how: 'email_addresses no array',
      ids: [broken],
      times: Number.POSITIVE_INFINITY,
    })
    const ended = await sync(shop)
    expect(outcomeOf(ended)).toEqual({ code: 4, status: 'partial' })
    expect(ended.stderr).toContain(broken)
    const wanted = shop.wanted()
    wanted.delete(broken)
    expect(await shop.rows()).toEqual(wanted)
  })

  test('75 when Clerk is down', async (context) => {
    const shop = await openShopForTest(context)
    const ended = await shop.run(['sync', '--json'], {
      CLERK_API_URL: `http://127.0.0.1:${await closedPort()}`,
    })
    expect(outcomeOf(ended)).toEqual({ code: 75, status: 'failed' })
    expect(reportOf(ended).error).toMatchObject({
      kind: 'transient',
      message: expect.stringContaining('Clerk'),
    })
  })

  test('75 when Postgres is down', async (context) => {
    const shop = await openShopForTest(context)
    const url = new URL(shop.database.url)
    url.port = String(await closedPort())
    const ended = await shop.run(['sync', '--json'], { DATABASE_URL: url.href })
    expect(outcomeOf(ended)).toEqual({ code: 75, status: 'failed' })
    expect(reportOf(ended).error).toMatchObject({
      kind: 'transient',
      message: expect.stringContaining('Postgres'),
    })
    expect(await shop.run(['status'], { DATABASE_URL: url.href })).toMatchObject({ code: 75 })
  })

  test('78 for a key of another instance, which writes nothing until it is accepted', async (context) => {
    const shop = await openShopForTest(context)
    await sync(shop)
    const users = async () => (await statistics(shop)).filter(({ relname }) => relname !== 'runs')
    const before = await users()
    shop.sandbox.faults.add({
      endpoint: 'instance',
      kind: 'another-instance',
      instanceId: 'ins_other',
      times: Number.POSITIVE_INFINITY,
    })
    for (const flags of [[], ['--dry-run'], ['--accept-instance', 'ins_third']]) {
      const ended = await sync(shop, ...flags)
      expect(outcomeOf(ended)).toEqual({ code: 78, status: 'refused' })
      expect(reportOf(ended)).toMatchObject({ error: { kind: 'refused' } })
    }
    // Its line in the history is all that a refused run writes, and a dry run writes none.
    expect(await users()).toEqual(before)
    const lines = await shop.database.sql`select id::int, status from clerk_sync.runs order by id`
    expect([...lines]).toEqual([
      { id: 1, status: 'succeeded' },
      { id: 2, status: 'refused' },
      { id: 3, status: 'refused' },
    ])
    expect(await sync(shop, '--accept-instance', 'ins_other')).toMatchObject({ code: 0 })
    expect(await sync(shop)).toMatchObject({ code: 0 })
  })

  test('78 for a database that does not know the user', async (context) => {
    const shop = await openShopForTest(context)
    const url = new URL(shop.database.url)
    url.password = 'wrong-Zk4mPq9s'
    const ended = await shop.run(['sync', '--json'], { DATABASE_URL: url.href })
    expect(outcomeOf(ended)).toEqual({ code: 78, status: 'refused' })
    expect(ended.stdout + ended.stderr).not.toContain('wrong-Zk4mPq9s')
  })

  test('78 where the folder with the migrations was not copied along, which is no bug', async (context) => {
    const shop = await openShopForTest(context)
    const [node = '', main = ''] = await compiledClerkSync()
    const directory = await mkdtemp(join(tmpdir(), 'clerk-sync-without-'))
    context.onTestFinished(() => rm(directory, { recursive: true, force: true }))
    for (const name of ['dist', 'package.json', 'node_modules']) {
      const from = join(main, '../..', name)
      if (name === 'node_modules') await symlink(from, join(directory, name))
      else await cp(from, join(directory, name), { recursive: true })
    }
    const ended = await shop.project.start([node, join(directory, 'dist/main.js'), 'migrate'], shop.env).ended
    expect(ended.code).toBe(78)
    expect(ended.stderr).toContain('drizzle/')
    expect(ended.stderr).not.toContain('report')
  })
})
