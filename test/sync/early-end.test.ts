// Runs that end before they hold the lease: each that reached Postgres leaves its line, so that the history does not end
// in the last success.
import { expect, test } from 'vitest'
import { readCatalog } from '../../src/db/catalog.ts'
import { openDatabase } from '../../src/db/database.ts'
import { acquireLease } from '../../src/db/lease.ts'
import { readRuns } from '../../src/db/runs.ts'
import { seedUsers } from '../../src/dev/sandbox/seed.ts'
import { createWorld, impatient, type World } from '../support/world.ts'

async function withWorld(use: (world: World) => Promise<void>, options: { empty?: boolean } = {}) {
  const world = await createWorld({ users: seedUsers({ count: 5, seed: 3 }), ...options })
  try {
    await use(world)
  } finally {
    await world.close()
  }
}

async function history(world: World) {
  const database = openDatabase(world.database.url, { connections: 1 })
  try {
    return (await readRuns(database.db, 20, await readCatalog(database.db))).reverse()
  } finally {
    await database.close()
  }
}

test('a key that was revoked, a Clerk that is away and another instance are in the history, with the reason', () =>
  withWorld(async (world) => {
    await world.sync()
    const revoked = await world.sync({ secretKey: 'sk_test_revoked' })
    world.sandbox.faults.add({ endpoint: 'instance', kind: 503, times: 3 })
    const away = await world.sync({ pass: 'incremental', limits: impatient })
    world.sandbox.faults.add({
      endpoint: 'instance',
      kind: 'another-instance',
      instanceId: 'ins_other',
      times: 1,
    })
    const other = await world.sync({ trigger: 'schedule' })
    const single = await world.sync({ userId: 'user_1', secretKey: 'sk_test_revoked' })
    const runs = await history(world)
    expect(runs).toMatchObject([
      { status: 'succeeded', error: null },
      { runId: revoked.report.runId, pass: 'full', status: 'refused', instanceId: null },
      { runId: away.report.runId, pass: 'incremental', status: 'failed', error: { kind: 'transient' } },
      { runId: other.report.runId, trigger: 'schedule', status: 'refused', error: { kind: 'refused' } },
      { runId: single.report.runId, pass: 'user', status: 'refused', error: { kind: 'configuration' } },
    ])
    expect(runs.map((each) => each.runId)).toEqual([1, 2, 3, 4, 5])
    for (const { error, finishedAt, heartbeatAt } of runs.slice(1)) {
      expect(error?.message).toBeTruthy()
      expect(finishedAt).not.toBeNull()
      expect(Date.parse(heartbeatAt)).toBeGreaterThan(0)
    }
    // None of them is the lease, takes a tick or counts as a pass.
    expect((await world.sync()).report).toMatchObject({ status: 'succeeded', runId: 6 })
  }))

test('a run that finds the lease taken leaves no line and uses up no number; nor does a dry run', () =>
  withWorld(async (world) => {
    const other = openDatabase(world.database.url, { connections: 1 })
    const run = { pass: 'full', trigger: 'cli', instanceId: 'ins_1', host: 'another', approveDeletes: null }
    await acquireLease(other, run)
    await other.close()
    expect((await world.sync()).report).toMatchObject({ status: 'skipped', runId: null })
    const dry = await world.sync({ dryRun: true, secretKey: 'sk_test_revoked' })
    expect(dry.report).toMatchObject({ status: 'refused', runId: null })
    await world.database.sql`update clerk_sync.runs set status = 'abandoned'`
    expect((await world.sync()).report.runId).toBe(2)
    expect(await history(world)).toHaveLength(2)
  }))

test('where there is no history yet, none is made for a failure', () =>
  withWorld(
    async (world) => {
      const { report } = await world.sync({ secretKey: 'sk_test_revoked' })
      expect(report).toMatchObject({ status: 'refused', runId: null })
      const schemas = await world.database.sql`select from pg_namespace where nspname = 'clerk_sync'`
      expect(schemas).toHaveLength(0)
    },
    { empty: true },
  ))

test('a line that cannot be written changes nothing about how the run ended', () =>
  withWorld(async (world) => {
    await world.database.sql`create function refuse() returns trigger language plpgsql as
      $$ begin raise exception 'no'; end $$`
    await world.database.sql`create trigger refuse before insert on clerk_sync.runs execute function refuse()`
    const { report, log } = await world.sync({ secretKey: 'sk_test_revoked' })
    expect(report).toMatchObject({ status: 'refused', runId: null, error: { kind: 'configuration' } })
    expect(log).toContain('the end of the run could not be noted in the ledger')
  }))
