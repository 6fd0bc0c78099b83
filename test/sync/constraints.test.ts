// The app's own constraints, triggers and transactions: what they refuse is told by name and holds up nobody else.
import { randomBytes } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, inject, test } from 'vitest'
import type { SandboxUser } from '../../src/dev/sandbox/sandbox.ts'
import { seedUsers } from '../../src/dev/sandbox/seed.ts'
import { exitCodeOf } from '../../src/sync/report.ts'
import { tableStatistics } from '../support/database.ts'
import { createWorld, type SyncOutcome, type World } from '../support/world.ts'

const noFlags = { detailedExitcode: false, skipIfRunning: false }
const count = 30
let world: World
let users: SandboxUser[]

beforeEach(async () => {
  world = await createWorld({ users: seedUsers({ count, seed: 11 }) })
  await world.sync()
  users = world.sandbox.users.all()
})
afterEach(() => world.close())

const idAt = (index: number) => users[index]?.id ?? ''
const run = (ddl: string) => world.database.sql.unsafe(ddl)
const uniqueEmail = () => run('create unique index one_address on users (email)')
const setEmail = (id: string, email: string) => world.sandbox.users.update(id, { email_address: email })
const emailOf = async (id: string) => (await world.rows()).get(id)?.email
/** Distinct addresses for all, so that nothing else stands in the way of a unique index. */
const distinctAddresses = async () => {
  for (const { id } of users) setEmail(id, `${id.toLowerCase()}@example.com`)
  await world.sync()
}
/** A partial run that names these users and no other, and whose every other row is what Clerk says. */
async function expectRejected(outcome: SyncOutcome, ids: string[], reason: RegExp) {
  expect(outcome.report).toMatchObject({ status: 'partial', error: null, counts: { rejected: ids.length } })
  expect(exitCodeOf(outcome, noFlags)).toBe(4)
  expect(outcome.rejections.map((each) => each.clerkId).sort()).toEqual([...ids].sort())
  for (const rejection of outcome.rejections) {
    expect(rejection.reason).toMatch(reason)
    expect(outcome.log).toContain(rejection.clerkId)
  }
  const [ledger] = await world.database.sql`select rejected from clerk_sync.runs order by id desc limit 1`
  expect(ledger?.rejected).toEqual(outcome.rejections)
  const [rows, wanted] = [await world.rows(), world.wanted()]
  for (const id of ids) {
    rows.delete(id)
    wanted.delete(id)
  }
  expect(rows).toEqual(wanted)
}

describe('a unique email', () => {
  beforeEach(async () => {
    await distinctAddresses()
    await uniqueEmail()
  })

  test('that refuses one user rejects that one by name, and the rest of the page is written', async () => {
    await run(
      `insert into users (clerk_id, name, image_url, email) values ('the app''s own', 'x', '', 'taken@example.com')`,
    )
    const [created, updated] = [world.sandbox.users.create().id, idAt(4)]
    setEmail(idAt(3), 'taken@example.com')
    setEmail(updated, 'free@example.com')
    const outcome = await world.sync()
    await run(`delete from users where email = 'taken@example.com'`)
    await expectRejected(outcome, [idAt(3)], /^email is taken by another row \(23505, one_address\)$/)
    expect(outcome.report.counts).toMatchObject({ created: 1, updated: 1 })
    expect(await emailOf(created)).toBe(world.wanted().get(created)?.email)
    // What was in the way is gone: the next run finds nothing to reject.
    expect((await world.sync()).report).toMatchObject({ status: 'succeeded', counts: { updated: 1 } })
    expect(await world.rows()).toEqual(world.wanted())
  })

  test('that moved from a deleted user to a new one lands in the same run', async () => {
    world.sandbox.users.delete(idAt(3))
    const heir = world.sandbox.users.create({ email_address: `${idAt(3).toLowerCase()}@example.com` })
    world.sandbox.clock.advance(11 * 60_000)
    const { report } = await world.sync()
    expect(report).toMatchObject({ status: 'succeeded', counts: { created: 1, deleted: 1, rejected: 0 } })
    expect(await emailOf(heir.id)).toBe(heir.email_addresses[0]?.email_address)
    expect(await world.rows()).toEqual(world.wanted())
  })

  test('that moved from a user deleted just now waits for the old row, by name, and lands once that goes', async () => {
    const old = setEmail(idAt(3), 'moving@example.com')
    await world.sync()
    world.sandbox.users.delete(old.id)
    const heir = world.sandbox.users.create({ email_address: 'moving@example.com' })
    const outcome = await world.sync()
    expect(outcome.report).toMatchObject({
      status: 'partial',
      counts: { pending: 1, deleted: 0, rejected: 1 },
    })
    expect(outcome.rejections.map((each) => each.clerkId)).toEqual([heir.id])
    world.sandbox.clock.advance(11 * 60_000)
    expect((await world.sync()).report).toMatchObject({
      status: 'succeeded',
      counts: { created: 1, deleted: 1 },
    })
    expect(await world.rows()).toEqual(world.wanted())
  })

  test.each([
    ['ascending', 1],
    ['descending', -1],
  ])('handed on along four users (%s) lands in one run', async (_order, step) => {
    const chain = [...[5, 6, 7, 8].map(idAt)].sort()
    if (step < 0) chain.reverse()
    chain.forEach((id, index) => {
      const next = chain[index + 1]
      setEmail(id, next === undefined ? 'end@example.com' : `${next.toLowerCase()}@example.com`)
    })
    expect((await world.sync()).report).toMatchObject({ status: 'succeeded', counts: { updated: 4 } })
    expect(await world.rows()).toEqual(world.wanted())
  })

  test('that two users have swapped lands at once where the constraint can wait for the end of the statement', async () => {
    await run(
      'drop index one_address; alter table users add constraint one_address unique (email) deferrable',
    )
    const [a, b] = [idAt(3), idAt(9)]
    setEmail(a, `${b.toLowerCase()}@example.com`)
    setEmail(b, `${a.toLowerCase()}@example.com`)
    world.sandbox.users.create()
    expect((await world.sync()).report).toMatchObject({
      status: 'succeeded',
      counts: { updated: 2, created: 1 },
    })
    expect(await world.rows()).toEqual(world.wanted())
  })
})

describe('an address that one user gives up and another takes', () => {
  test.each(['full', 'incremental'] as const)('lands in one %s pass, whoever comes first', async (pass) => {
    await distinctAddresses()
    await uniqueEmail()
    for (const [from, to] of [
      [3, 8],
      [9, 4],
    ] as const) {
      const email = (await emailOf(idAt(from))) ?? ''
      setEmail(idAt(from), `new-${from}@example.com`)
      setEmail(idAt(to), email)
    }
    const { report } = await world.sync({ pass })
    expect(report).toMatchObject({ pass, status: 'succeeded', counts: { rejected: 0 } })
    expect(await world.rows()).toEqual(world.wanted())
  })
})

describe('a foreign key', () => {
  test('that refuses more than a hundred deletions ends the run, by its name', async () => {
    await world.close()
    world = await createWorld({ users: seedUsers({ count: 110, seed: 11 }) })
    await world.sync()
    await run(`create table orders (buyer text references users (clerk_id));
      insert into orders select clerk_id from users`)
    for (const { id } of world.sandbox.users.all().slice(0, 105)) world.sandbox.users.delete(id)
    world.sandbox.clock.advance(3600_000)
    const outcome = await world.sync({ approveDeletes: 105 })
    expect(outcome.report).toMatchObject({ status: 'failed', error: { kind: 'constraint' } })
    expect(outcome.report.error?.message).toContain('orders_buyer_fkey')
    expect(exitCodeOf(outcome, noFlags)).toBe(1)
    expect((await world.rows()).size).toBe(110)
  })

  test.each([
    ['at once', ''],
    ['at the commit', 'deferrable initially deferred'],
  ])('that refuses one deletion %s holds up no other', async (_when, deferrable) => {
    await run(`create table orders (buyer text references users (clerk_id) ${deferrable});
      insert into orders values ('${idAt(2)}')`)
    for (const index of [0, 1, 2, 3, 4]) world.sandbox.users.delete(idAt(index))
    const outcome = await world.sync()
    await run('delete from orders')
    expect(outcome.report.counts).toMatchObject({ deleted: 4, withheld: 0 })
    expect(outcome.rejections).toEqual([
      {
        clerkId: idAt(2),
        reason: 'the row cannot be deleted: rows of orders still refer to it (23503, orders_buyer_fkey)',
      },
    ])
    expect(exitCodeOf(outcome, noFlags)).toBe(4)
    const [left] = await world.database.sql`select count(*)::int from clerk_sync.tombstones`
    expect(left).toEqual({ count: 4 })
    expect((await world.sync()).report).toMatchObject({ status: 'succeeded', counts: { deleted: 1 } })
    expect(await world.rows()).toEqual(world.wanted())
  })
})

describe('one user by name', () => {
  test.each([
    [
      'a foreign key refuses the deletion',
      '',
      /^the row cannot be deleted: rows of orders still refer to it/,
    ],
    [
      'a trigger keeps the row',
      `create function keep() returns trigger language plpgsql as $$ begin return null; end $$;
        create trigger keep before delete on users for each row execute function keep();`,
      /^the database keeps the row$/,
    ],
  ])('is rejected where %s', async (_what, ddl, reason) => {
    await run(`${ddl} create table orders (buyer text references users (clerk_id));
      insert into orders values ('${idAt(2)}')`)
    world.sandbox.users.delete(idAt(2))
    const outcome = await world.sync({ pass: 'user', userId: idAt(2) })
    expect(outcome.report).toMatchObject({
      status: 'partial',
      error: null,
      counts: { deleted: 0, rejected: 1 },
    })
    expect(outcome.rejections).toMatchObject([{ clerkId: idAt(2), reason: expect.stringMatching(reason) }])
    expect((await world.rows()).has(idAt(2))).toBe(true)
    await run('drop table orders; drop trigger if exists keep on users')
    const again = await world.sync({ pass: 'user', userId: idAt(2) })
    expect(again.report).toMatchObject({ status: 'succeeded', counts: { deleted: 1 } })
    const [tombstone] = await world.database.sql`select clerk_id, run_id from clerk_sync.tombstones`
    expect(tombstone).toEqual({ clerk_id: idAt(2), run_id: String(again.report.runId) })
  })
})

describe('a column that must be given and has no default', () => {
  beforeEach(() =>
    run(
      `alter table users add column plan text not null default 'x'; alter table users alter plan drop default`,
    ),
  )

  test('is reported before the first page, and refuses the new users alone, by name', async () => {
    const created = [world.sandbox.users.create().id, world.sandbox.users.create().id]
    world.sandbox.users.update(idAt(2), { first_name: 'Changed' })
    const outcome = await world.sync()
    await expectRejected(outcome, created, /^plan must be given and has no default \(23502, plan\)$/)
    expect(outcome.report.counts).toMatchObject({ created: 0, updated: 1 })
    expect(outcome.report.notes.join()).toContain('users.plan must be given and has no default')
    const lines = outcome.log.split('\n')
    const told = lines.findIndex((line) => line.includes('"column":"plan"'))
    const rejected = lines.findIndex((line) => line.includes('user rejected'))
    expect(told).toBeGreaterThanOrEqual(0)
    expect(told).toBeLessThan(rejected)
    await run(`alter table users alter plan set default 'free'`)
    expect((await world.sync()).report).toMatchObject({
      status: 'succeeded',
      notes: [],
      counts: { created: 2 },
    })
  })

  test('is reported although Clerk could not be read, and by a dry run', async () => {
    expect((await world.sync({ dryRun: true })).report.notes.join()).toContain('users.plan')
    world.sandbox.faults.add({ endpoint: 'list', kind: 404, times: Number.POSITIVE_INFINITY })
    const { report } = await world.sync()
    expect(report).toMatchObject({ status: 'failed', counts: { seen: 0 } })
    expect(report.notes.join()).toContain('users.plan')
  })

  test('refuses a hundred users by name, and ends the run at the next one', async () => {
    for (let index = 0; index < 100; index++) world.sandbox.users.create()
    world.sandbox.users.delete(idAt(0))
    const hundred = await world.sync()
    expect(hundred.report).toMatchObject({ status: 'partial', counts: { rejected: 100, deleted: 1 } })
    world.sandbox.users.create()
    world.sandbox.users.delete(idAt(1))
    const outcome = await world.sync()
    expect(outcome.report).toMatchObject({
      status: 'failed',
      error: { kind: 'constraint', message: 'plan refuses more than 100 users' },
      counts: { created: 0, deleted: 0 },
    })
    expect(exitCodeOf(outcome, noFlags)).toBe(1)
    expect((await world.rows()).has(idAt(1))).toBe(true)
    const [ledger] = await world.database
      .sql`select status, error->>'message' as message from clerk_sync.runs order by id desc limit 1`
    expect(ledger).toEqual({ status: 'failed', message: 'plan refuses more than 100 users' })
  })
})

describe('the reason of a rejected user', () => {
  const withoutAddress = () => world.sandbox.users.create({ email_address: [], first_name: 'Ada' })
  const named = (first_name: string) => () => world.sandbox.users.create({ first_name, last_name: 'x' })

  test.each([
    [
      'a missing address',
      'update users set email = clerk_id where email is null; alter table users alter email set not null',
      withoutAddress,
      'email must not be empty, and this user has none (23502, email)',
    ],
    [
      'a name too long for its column',
      'alter table users alter name type varchar(60)',
      named('a'.repeat(70)),
      'name is too long for varchar(60) (22001)',
    ],
    [
      'a length that two columns have',
      'alter table users alter name type varchar(200), alter email type varchar(200)',
      named('a'.repeat(210)),
      'a value is too long for varchar(200) (22001)',
    ],
    [
      "a key of a trigger's own table",
      `create table people (name text primary key);
       insert into people select 'Twin x';
       create function copy() returns trigger language plpgsql security definer as $$
         begin insert into people values (new.name); return new; end $$;
       create trigger copy before insert on users for each row execute function copy()`,
      named('Twin'),
      'name of the table people is taken by another row (23505, people_pkey)',
    ],
    [
      'a sentence that a trigger has put into the detail',
      `create function tell() returns trigger language plpgsql as $$ begin
         raise unique_violation using detail = 'Key (Zaphod Beeblebrox)=(x)', constraint = 'one_name'; end $$;
       create trigger tell before insert on users for each row execute function tell()`,
      named('Zaphod'),
      'one_name is taken by another row (23505, one_name)',
    ],
  ])(
    'for %s is a sentence, with the code and the constraint at its end',
    async (_what, ddl, make, reason) => {
      await run(ddl)
      const { id } = make()
      const { rejections } = await world.sync()
      expect(rejections).toContainEqual({ clerkId: id, reason })
    },
  )
})

describe('a check constraint', () => {
  test('that refuses a user puts no address and no name into log, report or ledger', async () => {
    await run(`alter table users add constraint no_plus check (email !~ '[+]')`)
    const user = world.sandbox.users.create({
      email_address: 'zaphod+secret@example.com',
      first_name: 'Zaphod',
    })
    setEmail(idAt(2), 'marvin+secret@example.com')
    const outcome = await world.sync()
    await expectRejected(
      outcome,
      [user.id, idAt(2)],
      /^the check no_plus does not take its values \(23514, no_plus\)$/,
    )
    const ledger = await world.database.sql`select to_jsonb(r)::text as run from clerk_sync.runs r`
    const said = [
      outcome.log,
      JSON.stringify(outcome.report),
      JSON.stringify(outcome.rejections),
      ...ledger.map((row) => row.run),
    ]
    for (const text of said) {
      expect(text).not.toMatch(/zaphod|marvin|secret@|failing row/i)
    }
  })
})

describe('a trigger', () => {
  const trigger = (body: string, events = 'insert or update') =>
    run(`create function guard() returns trigger language plpgsql as $$ begin ${body} end $$;
      create trigger guard before ${events} on users for each row execute function guard()`)

  test.each([
    ['plainly', '', 'P0001'],
    ['with a code of the app’s own', `using errcode = 'UE001'`, 'UE001'],
  ])('that raises %s for one user rejects that one by name', async (_how, using, code) => {
    await trigger(
      `if new.name like 'Mallory%' then raise exception 'not %', new.email ${using}; end if; return new;`,
    )
    world.sandbox.users.update(idAt(2), { first_name: 'Mallory', last_name: 'X' })
    world.sandbox.users.update(idAt(3), { first_name: 'Trent', last_name: 'X' })
    const created = world.sandbox.users.create()
    const outcome = await world.sync()
    await expectRejected(
      outcome,
      [idAt(2)],
      new RegExp(`^a trigger or function of the app does not take it \\(${code}\\)$`),
    )
    expect(outcome.report.counts).toMatchObject({ updated: 1, created: 1 })
    expect((await world.rows()).has(created.id)).toBe(true)
  })

  test('that raises on the deletion of one user holds up no other', async () => {
    await trigger(`if old.clerk_id = '${idAt(2)}' then raise exception 'no'; end if; return old;`, 'delete')
    for (const index of [1, 2, 3]) world.sandbox.users.delete(idAt(index))
    const outcome = await world.sync()
    expect(outcome.report.counts).toMatchObject({ deleted: 2 })
    expect(outcome.rejections).toEqual([
      {
        clerkId: idAt(2),
        reason: 'the row cannot be deleted: a trigger or function of the app does not take it (P0001)',
      },
    ])
  })

  test('that keeps a row from being deleted is not silent: rejected by name, no tombstone, in every run', async () => {
    await trigger(`if old.clerk_id = '${idAt(2)}' then return null; end if; return old;`, 'delete')
    for (const index of [1, 2, 3]) world.sandbox.users.delete(idAt(index))
    for (const deleted of [2, 0]) {
      const outcome = await world.sync()
      expect(outcome.report).toMatchObject({
        status: 'partial',
        counts: { deleted, pending: 0, rejected: 1 },
      })
      expect(outcome.rejections).toEqual([{ clerkId: idAt(2), reason: 'the database keeps the row' }])
    }
    const stones = await world.database.sql`select clerk_id from clerk_sync.tombstones order by 1`
    expect(stones.map((row) => row.clerk_id)).toEqual([idAt(1), idAt(3)].sort())
  })

  test('that swallows an insert, an update or a refresh is not silent either', async () => {
    const created = world.sandbox.users.create()
    const [updated, refreshed] = [idAt(2), idAt(3)]
    await trigger(
      `if new.clerk_id in ('${created.id}', '${updated}', '${refreshed}') then return null; end if; return new;`,
    )
    world.sandbox.users.update(updated, { first_name: 'Changed' })
    world.sandbox.users.signIn(refreshed)
    world.sandbox.users.update(idAt(4), { first_name: 'Changed' })
    for (const done of [1, 0]) {
      const outcome = await world.sync()
      await expectRejected(outcome, [created.id, updated, refreshed], /^the database /)
      expect(outcome.report.counts).toMatchObject({ created: 0, updated: done, refreshed: 0, pending: 0 })
    }
    await run('drop trigger guard on users')
    expect((await world.sync()).report).toMatchObject({
      status: 'succeeded',
      counts: { created: 1, updated: 1, refreshed: 1 },
    })
    expect(await world.rows()).toEqual(world.wanted())
  })
})

describe('a deletion that takes longer than it may', () => {
  /** As slow as a cascade over a table without an index. */
  const slowDeletion = (condition: string) =>
    run(`create function cascade() returns trigger language plpgsql as $$ begin
        if ${condition} then perform pg_sleep(60); end if; return old; end $$;
      create trigger cascade before delete on users for each row execute function cascade()`)
  const tooSlow = expect.stringMatching(
    /^the deletion took longer than 0.2 s \(57014\): is an index missing on a table that refers to users\?$/,
  )

  test('is rejected by name, in words that say what to look for, and holds up no other', async () => {
    await slowDeletion(`old.clerk_id = '${idAt(2)}'`)
    for (const index of [1, 2, 3]) world.sandbox.users.delete(idAt(index))
    const outcome = await world.sync({ deleteMsMax: 200 })
    expect(outcome.report).toMatchObject({ status: 'partial', error: null, counts: { deleted: 2 } })
    expect(outcome.rejections).toEqual([{ clerkId: idAt(2), reason: tooSlow }])
    const one = await world.sync({ pass: 'user', userId: idAt(2), deleteMsMax: 200 })
    expect(one.rejections).toEqual([{ clerkId: idAt(2), reason: tooSlow }])
    await run('drop trigger cascade on users')
    expect((await world.sync()).report).toMatchObject({ status: 'succeeded', counts: { deleted: 1 } })
    expect(await world.rows()).toEqual(world.wanted())
  })

  test('five times in a row leaves the others for the next run, which begins with another row', async () => {
    const gone = users.slice(0, 8).map(({ id }) => id)
    gone.sort()
    // The second run of this table begins with its third row, the third run with the fourth.
    const slow = gone.slice(2, 7)
    await slowDeletion(`old.clerk_id = any('{${slow}}')`)
    for (const id of gone) world.sandbox.users.delete(id)
    const left = 'deletion left for the next run: those before it took too long'
    for (const deleted of [0, 3]) {
      const outcome = await world.sync({ deleteMsMax: 50 })
      expect(outcome.report).toMatchObject({ status: 'partial', error: null, counts: { deleted } })
      expect(outcome.rejections.filter(({ reason }) => reason === left)).toHaveLength(3 - deleted)
    }
    expect([...(await world.rows()).keys()].filter((id) => gone.includes(id)).sort()).toEqual(slow)
  })
})

// A pooler's connections were made before the limit, and keep what they had.
test.skipIf(inject('isPooled'))(
  'a write that a time limit of the database cuts off is told apart from one that another transaction holds up',
  async () => {
    const { url } = world.database
    await run(`create function slow() returns trigger language plpgsql as $$ begin
      if new.clerk_id = '${idAt(2)}' then perform pg_sleep(60); end if; return new; end $$;
    create trigger slow before update on users for each row execute function slow()`)
    for (const index of [2, 3]) world.sandbox.users.update(idAt(index), { first_name: 'Changed' })
    await run(`alter database ${new URL(url).pathname.slice(1)} set statement_timeout = '1s'`)
    const outcome = await world.sync()
    await expectRejected(outcome, [idAt(2)], /^the write was cut off because it took too long \(57014\)$/)
    expect(outcome.report.counts).toMatchObject({ updated: 1 })
  },
)

describe('a role that may not do everything', () => {
  /** A login that may do all that docs/configuration.md asks for, but for `revoked`. */
  async function loginWithout(revoked: string): Promise<string> {
    const name = `writer_${randomBytes(4).toString('hex')}`
    await run(`create role ${name} login password 'writer'; grant usage on schema public, clerk_sync to ${name};
      grant all on all tables in schema public, clerk_sync to ${name};
      grant all on all sequences in schema clerk_sync to ${name}; ${revoked.replace('$role', name)}`)
    roles.push(name)
    return Object.assign(new URL(world.database.url), { username: name, password: 'writer' }).href
  }
  const roles: string[] = []
  afterEach(async () => {
    for (const name of roles.splice(0)) await run(`drop owned by ${name}; drop role ${name}`)
  })

  test('rejects the rows that it may not delete, by name, and the rest of the pass counts', async () => {
    const databaseUrl = await loginWithout('revoke delete on users from $role')
    for (const index of [1, 2]) world.sandbox.users.delete(idAt(index))
    const created = world.sandbox.users.create()
    for (const done of [1, 0]) {
      const outcome = await world.sync({ databaseUrl })
      expect(outcome.report).toMatchObject({
        status: 'partial',
        error: null,
        counts: { created: done, deleted: 0 },
      })
      expect(exitCodeOf(outcome, noFlags)).toBe(4)
      expect(outcome.rejections.map(({ clerkId }) => clerkId).sort()).toEqual([idAt(1), idAt(2)].sort())
      for (const { reason } of outcome.rejections) {
        expect(reason).toBe('the database role lacks a privilege to delete it (42501)')
      }
    }
    expect((await world.rows()).has(created.id)).toBe(true)
    expect((await world.sync()).report).toMatchObject({ status: 'succeeded', counts: { deleted: 2 } })
  })

  test('that a trigger turns away for one user holds up nobody else', async () => {
    await run(`create table secrets (name text); create function look() returns trigger language plpgsql as $$ begin
        if new.clerk_id = '${idAt(2)}' then insert into secrets values (new.name); end if; return new; end $$;
      create trigger look before update on users for each row execute function look()`)
    const databaseUrl = await loginWithout('revoke all on secrets from $role')
    for (const index of [2, 3]) world.sandbox.users.update(idAt(index), { first_name: 'Changed' })
    const outcome = await world.sync({ databaseUrl })
    await expectRejected(outcome, [idAt(2)], /^the database role lacks a privilege to write it \(42501\)$/)
    expect(outcome.report.counts).toMatchObject({ updated: 1 })
  })

  test('to write anybody at all ends the run once that is plain, and 78 says that nothing was written', async () => {
    const databaseUrl = await loginWithout('revoke insert on users from $role')
    for (let index = 0; index < 101; index++) world.sandbox.users.create()
    const nothing = await world.sync({ databaseUrl })
    expect(nothing.report).toMatchObject({ status: 'refused', error: { kind: 'configuration' } })
    expect(exitCodeOf(nothing, noFlags)).toBe(78)
    // The update comes on an earlier page than the newcomers.
    world.sandbox.users.update(idAt(0), { first_name: 'Changed' })
    const something = await world.sync({ databaseUrl, pageSize: 20 })
    expect(something.report).toMatchObject({
      status: 'failed',
      error: { kind: 'configuration' },
      counts: { updated: 1 },
    })
    expect(exitCodeOf(something, noFlags)).toBe(1)
  })
})

test('a key that is revoked after the first page has failed the run, not refused it: rows were written', async () => {
  for (let index = 0; index < 20; index++) world.sandbox.users.create()
  let pages = 0
  world.sandbox.onRequest = ({ query }) => {
    if (!query.has('starting_after') || ++pages < 5) return
    world.sandbox.faults.add({ endpoint: 'list', kind: 401, times: Number.POSITIVE_INFINITY })
  }
  const outcome = await world.sync({ pageSize: 10 })
  expect(outcome.report.counts.created).toBeGreaterThan(0)
  expect(outcome.report).toMatchObject({ status: 'failed', error: { kind: 'configuration' } })
  expect(exitCodeOf(outcome, noFlags)).toBe(1)
  const [ledger] = await world.database.sql`select status from clerk_sync.runs order by id desc limit 1`
  expect(ledger).toEqual({ status: 'failed' })
})

test('a run whose key is revoked once it has bound the table has failed, too; the next one is refused', async () => {
  await run('truncate clerk_sync.state')
  world.sandbox.onRequest = async ({ endpoint }) => {
    const [state] = await world.database.sql`select from clerk_sync.state`
    if (endpoint !== 'list' || state === undefined) return
    world.sandbox.onRequest = undefined
    world.sandbox.faults.add({ endpoint: 'list', kind: 401, times: Number.POSITIVE_INFINITY })
  }
  const first = await world.sync()
  expect(first.report).toMatchObject({ status: 'failed', error: { kind: 'configuration' } })
  expect(exitCodeOf(first, noFlags)).toBe(1)
  const second = await world.sync()
  expect(second.report).toMatchObject({ status: 'refused', error: { kind: 'configuration' } })
  expect(exitCodeOf(second, noFlags)).toBe(78)
})

describe('a transaction of the app’s', () => {
  test('that holds one row until the run has ended delays nobody else’s, and rejects that user by name', async () => {
    const [held, leaving] = [idAt(2), idAt(5)]
    world.sandbox.users.update(held, { first_name: 'Changed' })
    world.sandbox.users.update(idAt(3), { first_name: 'Changed' })
    world.sandbox.users.delete(leaving)
    world.sandbox.users.delete(idAt(6))
    const created = world.sandbox.users.create()
    const app = world.database.connect()
    await app`begin`
    await app`select from users where clerk_id in (${held}, ${leaving}) for update`
    const outcome = await world.sync()
    await app`commit`
    expect(outcome.report).toMatchObject({
      status: 'partial',
      counts: { created: 1, updated: 1, deleted: 1, rejected: 2, unchanged: count - 4 },
    })
    expect(outcome.rejections).toEqual([
      { clerkId: leaving, reason: 'another transaction holds the row (55P03)' },
      { clerkId: held, reason: 'another transaction holds the row (55P03)' },
    ])
    const [rows, wanted] = [await world.rows(), world.wanted()]
    expect(rows.get(created.id)).toEqual(wanted.get(created.id))
    expect(rows.get(idAt(3))).toEqual(wanted.get(idAt(3)))
    expect(rows.has(idAt(6))).toBe(false)
    expect((await world.sync()).report).toMatchObject({
      status: 'succeeded',
      counts: { updated: 1, deleted: 1 },
    })
    expect(await world.rows()).toEqual(wanted)
  })

  test('that ends while a row is waited for costs nobody a rejection', async () => {
    world.sandbox.users.update(idAt(2), { first_name: 'Changed' })
    world.sandbox.users.delete(idAt(5))
    const app = world.database.connect()
    await app`begin`
    await app`select from users where clerk_id in (${idAt(2)}, ${idAt(5)}) for update`
    const syncing = world.sync()
    // The app lets go of the rows once it has been waited for.
    for (let waiting = 0; waiting === 0; ) {
      const [row] = await world.database.sql<{ count: number }[]>`
        select count(*)::int from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`
      waiting = row?.count ?? 0
    }
    await app`commit`
    expect((await syncing).report).toMatchObject({
      status: 'succeeded',
      counts: { updated: 1, deleted: 1, rejected: 0 },
    })
    expect(await world.rows()).toEqual(world.wanted())
  })
})

test.each([
  [
    'an update',
    (id: string) => void world.sandbox.users.update(id, { first_name: 'Changed' }),
    { updated: 1 },
  ],
  ['a deletion', (id: string) => void world.sandbox.users.delete(id), { deleted: 1 }],
])(
  'a lock that outlasts the first try of %s, but not the second, costs nobody a rejection',
  async (_what, change, counts) => {
    change(idAt(2))
    const app = world.database.connect()
    await app`begin`
    await app`select from users where clerk_id = ${idAt(2)} for update`
    const syncing = world.sync()
    const tries = new Set<string>()
    while (tries.size < 2) {
      const waiting = await world.database.sql<{ since: string }[]>`
      select xact_start::text as since from pg_stat_activity
      where datname = current_database() and wait_event_type = 'Lock'`
      for (const { since } of waiting) tries.add(since)
    }
    await app`commit`
    expect((await syncing).report).toMatchObject({ status: 'succeeded', counts: { ...counts, rejected: 0 } })
    expect(await world.rows()).toEqual(world.wanted())
  },
)

test('a run in which the app refuses a user writes that user’s row in no later run either, and no other', async () => {
  await run(`alter table users add constraint no_plus check (email !~ '[+]')`)
  setEmail(idAt(2), 'a+b@example.com')
  await world.sync()
  const before = await tableStatistics(world.database.sql)
  const { report } = await world.sync()
  expect(report).toMatchObject({
    status: 'partial',
    counts: { unchanged: count - 1, updated: 0, rejected: 1 },
  })
  const after = await tableStatistics(world.database.sql)
  expect([after.inserted, after.deleted]).toEqual([before.inserted, before.deleted])
})
