// The simulation in small: seeds that are always run, and one that nobody has run before.
import postgres from 'postgres'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { randomFrom } from '../../src/dev/sandbox/random.ts'
import { deliver } from './deliveries.ts'
import { scenarioOf } from './options.ts'
import { openSimulatedPostgres, type SimulatedPostgres } from './postgres.ts'
import { describeFailure } from './report.ts'
import { runSeed, shrink } from './run.ts'
import { Simulation } from './simulation.ts'

/** The first twelve, and those that once came upon something. */
const fixedSeeds = [...Array.from({ length: 12 }, (_, index) => index + 1), 30_018]
/** No larger than a person likes to type. */
const randomSeed = 1_000_000 + Math.floor(Math.random() * 1_000_000)

let server: SimulatedPostgres
let database: string

beforeAll(async () => {
  const url = new URL(inject('postgresUrl'))
  database = `${inject('databasePrefix')}simulation`
  await asAdmin((admin) => admin`create database ${admin(database)} template template0`)
  url.pathname = database
  server = await openSimulatedPostgres(url.href)
})

afterAll(async () => {
  await server?.close()
  await asAdmin((admin) => admin`drop database if exists ${admin(database)} with (force)`)
})

test('no seed loses or wrongly deletes a row, and each ends with a table equal to Clerk', async () => {
  for (const seed of [...fixedSeeds, randomSeed]) {
    const { failure } = await runSeed(seed, server)
    if (failure !== undefined) expect.fail(describeFailure(await shrink(failure, server, 30)))
  }
}, 300_000)

// Two whose history once hung on the order in which Postgres keeps its rows, and one that nobody has run before.
test.each([1_500_278, 1_800_278, randomSeed + 1])('seed %i gives the same history again', async (seed) => {
  const first = await runSeed(seed, server)
  const second = await runSeed(seed, server)
  expect(first.trace.length).toBeGreaterThan(10)
  expect(second.trace).toEqual(first.trace)
})

test('a page that waited for Postgres longer than the grace puts no older value over a newer one', async () => {
  const scenario = scenarioOf(1)
  const peaceful = { hasFaults: false, dateHeader: true, cursorMode: 'normal', policy: 'sync' } as const
  const lag = { graceMs: 60_000, listingLagMs: 60_000, isLagSteady: true, filterLags: true }
  const options = { ...scenario.options, ...peaceful, ...lag }
  const simulation = await Simulation.begin({ ...scenario, options }, server)
  const random = randomFrom(1)
  try {
    const id = simulation.clerk.create({ first_name: 'Old' })
    simulation.pass(3600_000)
    await simulation.startPass({ pass: 'full' })
    await simulation.drain(random)
    simulation.pass(3600_000)
    const run = await simulation.startPass({ pass: 'full' })
    if (run === undefined) throw new Error('the run did not begin')
    // The page has been read, its rows have not.
    while (!(run.calls[0]?.label.startsWith('select u.clerk_id, ?') ?? true)) await simulation.release(run)
    simulation.pass(150_000)
    simulation.clerk.update(id, { first_name: 'New' })
    simulation.pass(1000)
    const event = simulation.clerk.events.at(-1)
    const delivery = event && (await deliver(simulation, event, false))
    while (delivery?.state === 'parked') await simulation.release(delivery)
    expect(simulation.snapshot.rows.get(id)?.name).toBe('New')
    await simulation.drain(random)
    expect(simulation.snapshot.rows.get(id)?.name).toBe('New')
  } finally {
    await simulation.close()
  }
}, 60_000)

async function asAdmin(run: (admin: postgres.Sql) => PromiseLike<unknown>): Promise<void> {
  const admin = postgres(inject('postgresUrl'), { max: 1, onnotice: () => {} })
  await Promise.resolve(run(admin)).finally(() => admin.end({ timeout: 1 }))
}
