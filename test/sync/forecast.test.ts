// A dry run says what a run would meet, and ends as that run would.
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { seedUsers } from '../../src/dev/sandbox/seed.ts'
import { exitCodeOf } from '../../src/sync/report.ts'
import { createWorld, type World } from '../support/world.ts'

const noFlags = { detailedExitcode: false, skipIfRunning: false }
const users = seedUsers({ count: 40, seed: 8 })
let world: World

afterEach(() => world.close())
const run = (ddl: string) => world.database.sql.unsafe(ddl)
/** A dry run, and then the run that it stands for. */
const both = async () => {
  const dry = await world.sync({ dryRun: true })
  const real = await world.sync()
  return { dry, real, exits: [exitCodeOf(dry, noFlags), exitCodeOf(real, noFlags)] }
}

describe('on a table of a tutorial', () => {
  beforeEach(async () => {
    world = await createWorld({ users, empty: true })
    await run(`create table users (id serial primary key, clerk_id text, name text not null, image_url text not null);
      insert into users (clerk_id, name, image_url) values ('${users[0]?.id}', 'x', '')`)
  })

  test('it names the migrations, what the table gets, and the instance it would be bound to', async () => {
    const { report } = await world.sync({ dryRun: true })
    expect(report).toMatchObject({ status: 'succeeded', error: null })
    const [first = '', binding] = report.notes
    expect(first).toMatch(
      /^a run would first apply the migrations 0000_init, 0001_safety: the table users keeps all it has and gets /,
    )
    for (const name of ['users.email', 'users.clerk_updated_at', 'a unique users.clerk_id'])
      expect(first).toContain(name)
    expect(binding).toBe(`a run would bind the table to instance ${world.sandbox.instanceId}`)
  })

  test('two rows with one id end it as they end the run, and are named', async () => {
    await run(`insert into users (clerk_id, name, image_url) values ('${users[0]?.id}', 'x', '')`)
    const { dry, real, exits } = await both()
    expect(exits).toEqual([1, 1])
    expect(dry.report.error).toMatchObject({ kind: 'contract', hint: real.report.error?.hint })
    expect(dry.report.error?.hint).toContain(`${users[0]?.id} (2 rows)`)
    // The plan is there all the same.
    expect(dry.report.counts).toMatchObject({ seen: 40, created: 39, updated: 1 })
  })
})

describe('on a table whose schema refuses users', () => {
  const phoneOnly = (count: number) => {
    for (let index = 0; index < count; index++) world.sandbox.users.create({ email_address: [] })
  }
  beforeEach(async () => {
    world = await createWorld({ users })
    await world.sync()
    await run('update users set email = clerk_id where email is null')
    for (const [id, { email }] of world.wanted()) if (email === null) world.sandbox.users.delete(id)
    await run(`delete from users where email = clerk_id; alter table users alter email set not null`)
  })

  test('it rejects the users that the run rejects, with the same reason, and counts them', async () => {
    phoneOnly(85)
    const long = world.sandbox.users.create({ first_name: 'n'.repeat(80) }).id
    await run('alter table users alter name type varchar(70)')
    const { dry, real } = await both()
    const byId = (list: readonly { clerkId: string; reason: string }[]) =>
      new Map(list.map(({ clerkId, reason }) => [clerkId, reason]))
    expect(byId(dry.rejections)).toEqual(byId(real.rejections))
    expect(byId(dry.rejections).get(long)).toContain('name is too long for varchar(70)')
    expect(dry.report.counts).toMatchObject({ created: 0, rejected: 86 })
    expect(dry.report.notes).toContain(
      '85 users would be rejected: email must not be empty, and this user has none (23502, email)',
    )
  })

  test('more than a hundred for one reason end it as they end the run, and all are counted', async () => {
    phoneOnly(130)
    const { dry, real, exits } = await both()
    expect(exits).toEqual([1, 1])
    expect([dry, real].map(({ report }) => report.error?.kind)).toEqual(['constraint', 'constraint'])
    expect(dry.report.error?.message).toContain('130 users')
  })

  test('it names what it cannot foresee, but only where something would be written', async () => {
    await run(`alter table users add constraint no_plus check (email !~ '[+]');
      create unique index one_address on users (email);
      create function keep() returns trigger language plpgsql as $$ begin return new; end $$;
      create trigger audit before insert on users for each row execute function keep()`)
    expect((await world.sync({ dryRun: true })).report.notes).toEqual([])
    world.sandbox.users.create()
    expect((await world.sync({ dryRun: true })).report.notes).toEqual([
      'a dry run cannot foresee what the check no_plus, the trigger audit, the unique index one_address will say',
    ])
  })

  test('it counts what deletions would take along, made or withheld', async () => {
    await run(`create table posts (author text references users (clerk_id) on delete cascade);
      insert into posts select clerk_id from users; grant select on posts to public`)
    for (const { id } of world.sandbox.users.all().slice(0, 3)) world.sandbox.users.delete(id)
    const few = await world.sync({ dryRun: true })
    expect(few.report.counts).toMatchObject({ deleted: 3 })
    expect(few.report.notes).toEqual(['a deletion takes rows of other tables along: 3 of posts'])
    const withheld = await world.sync({ dryRun: true, maxDeletes: 1 })
    expect(withheld.report.counts).toMatchObject({ deleted: 0, withheld: 3 })
    expect(withheld.report.notes).toContain('a deletion takes rows of other tables along: 3 of posts')
  })
})
