// The story, a step each: what happens in Clerk, what is typed, and what must be true afterwards.
import { isDeepStrictEqual } from 'node:util'
import type { Counts } from '../../sync/finding.ts'
import { createSandbox, type Sandbox, seedUsers } from '../sandbox/sandbox.ts'
import { lineOf, type Played, type Stage } from './stage.ts'

export interface Step {
  readonly title: string
  play(stage: Stage): Promise<void>
}

/** What happens in Clerk, by how many users. The rest of the numbers follows from these. */
const signUps = 25
const edits = 40
const signIns = 60
const deletions = 12
const massDeletions = 1200
const lateSignUps = 5

const firstSync: Step = {
  title: 'The first sync',
  async play(stage) {
    stage.say('The database is empty. One command makes the tables and reads all of Clerk.')
    const played = await stage.sync()
    checkCounts(stage, played, { seen: stage.clerk.users.size, created: stage.clerk.users.size })
    await stage.checkTable()
  },
}

const secondSync: Step = {
  title: 'The same again',
  async play(stage) {
    stage.say('Nothing has changed in Clerk, so nothing may be written. Postgres itself keeps count.')
    const before = await stage.writes()
    const played = await stage.sync()
    checkCounts(stage, played, { seen: stage.clerk.users.size, unchanged: stage.clerk.users.size })
    const { inserted, updated, deleted } = await stage.writes()
    stage.check(
      `Postgres has written no row since: still ${formatted(inserted)} inserted, ${updated} updated, ${deleted} deleted`,
      isDeepStrictEqual(before, { inserted, updated, deleted }),
    )
  },
}

const changes: Step = {
  title: 'Changes in Clerk, and a look before the leap',
  async play(stage) {
    change(stage.clerk)
    stage.say(
      `${signUps} people sign up, ${edits} change their name or address, ${signIns} sign in, ${deletions} leave. ` +
        'A dry run shows what that means for the table, and writes nothing:',
    )
    const before = await stage.writes()
    const played = await stage.sync({ dryRun: true })
    for (const kind of ['create', 'update', 'refresh', 'delete'] as const) {
      const shown = played.changes.filter((each) => each.kind === kind)
      for (const each of shown.slice(0, 2)) stage.show(lineOf(each, false))
      stage.show(`  … and ${shown.length - 2} more to ${kind}`)
    }
    stage.say('Names and addresses stay out of logs. With --show-values an update reads:')
    const update = played.changes.find((each) => each.kind === 'update')
    if (update !== undefined) stage.show(lineOf(update, true))
    stage.check(
      `the dry run showed ${signUps + edits + signIns + deletions} changes`,
      played.exitCode === 0 && played.changes.length === signUps + edits + signIns + deletions,
    )
    stage.check('and wrote nothing', isDeepStrictEqual(before, await stage.writes()))
  },
}

const resync: Step = {
  title: 'The resync',
  async play(stage) {
    stage.say('Now for real. A sign-in moves only the version that Clerk gives a user: `refreshed`.')
    const before = await stage.writes()
    const played = await stage.sync()
    checkCounts(stage, played, {
      seen: stage.clerk.users.size,
      created: signUps,
      updated: edits,
      refreshed: signIns,
      deleted: deletions,
      unchanged: stage.clerk.users.size - signUps - edits - signIns,
    })
    const after = await stage.writes()
    stage.check(
      `Postgres counts the same: ${signUps} inserted, ${edits + signIns} updated, ${deletions} deleted`,
      isDeepStrictEqual(after, {
        inserted: before.inserted + signUps,
        updated: before.updated + edits + signIns,
        deleted: before.deleted + deletions,
      }),
    )
    await stage.checkTable()
  },
}

const webhooks: Step = {
  title: 'Webhooks, and one that never arrives',
  async play(stage) {
    const { clerk } = stage
    const endpoint = await stage.endpoint()
    try {
      stage.say('Somebody signs up, and Clerk delivers a signed webhook to the worker:')
      const ada = clerk.users.create({ first_name: 'Ada', email_address: 'ada@example.com' })
      const created = clerk.webhook('user.created', ada)
      stage.check('the delivery is answered 200 created', (await endpoint.deliver(created)) === '200 created')
      await stage.checkTable()
      stage.say('She leaves again. The next delivery says so, and the first one is repeated late:')
      clerk.users.delete(ada.id)
      const deleted = await endpoint.deliver(clerk.webhook('user.deleted', ada.id))
      stage.check('the deletion is answered 200 deleted', deleted === '200 deleted')
      const late = await endpoint.deliver(created)
      stage.check('the late repeat is answered 200 stale: nobody is put back', late === '200 stale')
      const forged = { ...created, body: created.body.replace('Ada', 'Eve') }
      stage.check('a forged one is answered 400', (await endpoint.deliver(forged)) === '400 failed')
    } finally {
      await endpoint.close()
    }
    clerk.users.create({ first_name: 'Grace', email_address: 'grace@example.com' })
    stage.say(
      'Somebody else signs up, and this webhook is lost. The incremental pass reads only what changed, and two counts ' +
        'tell it that nothing else did:',
    )
    const { report } = await stage.sync({ incremental: true })
    stage.check('one row created', report.counts.created === 1 && report.pass === 'incremental')
    stage.check(`it took ${report.requests.total} requests to Clerk`, report.requests.total <= 6)
    await stage.checkTable()
  },
}

const massDeletion: Step = {
  title: 'Too many at once',
  async play(stage) {
    const { users } = stage.clerk
    const rows = users.size
    const before = await stage.writes()
    for (const id of ordinary(stage.clerk).slice(-massDeletions)) users.delete(id)
    for (let index = 0; index < lateSignUps; index++) users.create()
    stage.say(
      `Somebody deletes ${formatted(massDeletions)} users in Clerk, and ${lateSignUps} sign up. Is it meant, or an accident? ` +
        'A run that would delete so much of the table writes everything else and asks.',
    )
    const withheld = await stage.sync()
    const [reason = '', command = ''] = withheld.report.notes.join(' ').split(/(?=npm run)/)
    stage.say(reason.trim())
    stage.show(command)
    checkCounts(stage, withheld, {
      seen: users.size,
      created: lateSignUps,
      withheld: massDeletions,
      unchanged: users.size - lateSignUps,
    })
    stage.check('it exits with 3', withheld.exitCode === 3)
    const { deleted } = await stage.writes()
    stage.check(`all ${formatted(rows)} rows from before are still there`, deleted === before.deleted)

    const approval = /--approve-deletes (\d+)/.exec(command)?.[1]
    stage.say('It is meant. That command, with its number as the ceiling:')
    const approved = await stage.sync({ approveDeletes: Number(approval) })
    checkCounts(stage, approved, { seen: users.size, unchanged: users.size, deleted: massDeletions })
    await stage.checkTable()
  },
}

const wrongKey: Step = {
  title: 'The key of another instance',
  async play(stage) {
    stage.say(
      'The development key in production, or the other way round: to such a key every row looks like a leftover.',
    )
    const other = await createSandbox({
      instanceId: 'ins_2elsewhereElsewhereElsewhe',
      secretKey: 'sk_test_elsewhere',
      users: seedUsers({ count: 50, seed: 2 }),
    })
    try {
      const before = await stage.writes()
      const { report, exitCode } = await stage.sync({}, other)
      stage.say(report.error?.message ?? '')
      stage.check('it is refused with exit 78', report.status === 'refused' && exitCode === 78)
      stage.check('no row was touched', isDeepStrictEqual(before, await stage.writes()))
      await stage.checkTable()
    } finally {
      await other.close()
    }
  },
}

/** In the order in which they are played; each may count on the ones before. */
export const steps: readonly Step[] = [
  firstSync,
  secondSync,
  changes,
  resync,
  webhooks,
  massDeletion,
  wrongKey,
]

function change({ users }: Sandbox): void {
  const ids = ordinary({ users })
  const take = (count: number) => ids.splice(0, count)
  for (const [index, id] of take(edits).entries()) {
    const user = users.get(id)
    if (index % 2 === 0) users.update(id, { first_name: `${user?.first_name}-Robin` })
    else users.update(id, { email_address: `new.${index}@example.com` })
  }
  for (const id of take(signIns)) users.signIn(id)
  for (const id of take(deletions)) users.delete(id)
  for (let index = 0; index < signUps; index++)
    users.create({ first_name: 'New', last_name: `User ${index}` })
}

/**
 * Users with a name and an address, oldest first, and none that changed lately: a run leaves the row of a user who has
 * just changed for 10 minutes, since Clerk's listing may lag behind.
 */
function ordinary({ users }: Pick<Sandbox, 'users'>): string[] {
  const lately = Date.now() - 3_600_000
  return users
    .all()
    .filter((user) => user.first_name && user.last_name && user.primary_email_address_id)
    .filter((user) => user.updated_at < lately)
    .map((user) => user.id)
}

const formatted = (count: number) => count.toLocaleString('en')

/** Checks that the run counted exactly this: what is not named is 0. */
function checkCounts(stage: Stage, { report }: Played, expected: Partial<Counts>): void {
  const named = Object.entries(expected).map(([key, count]) => `${formatted(count)} ${key}`)
  const wrong = Object.entries(report.counts).filter(
    ([key, count]) => count !== (expected[key as keyof Counts] ?? 0),
  )
  const claim = `it counted exactly what happened: ${named.join(', ')}`
  stage.check(
    report.error === null || wrong.length === 0 ? claim : `${claim} (${report.error.message})`,
    wrong.length === 0,
  )
}
