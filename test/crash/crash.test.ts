// The kills in small, with a seed that nobody has run before: processes die, and Postgres falls under them. As many as
// the machine manages in a few seconds; `npm run crash` does it for longer.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { runKills } from './kills.ts'
import { runOutages } from './outages.ts'
import { describeKills, describeOutages } from './report.ts'
import { type OwnServer, openServer } from './server.ts'

/** No larger than a person likes to type. */
const seed = Math.floor(Math.random() * 1_000_000)

let server: OwnServer

beforeAll(async () => {
  server = await openServer()
})

afterAll(async () => {
  await server?.stop()
})

test('after kills at any moment one clean run makes the table equal to Clerk, and nothing was lost meanwhile', async () => {
  const result = await runKills(server, { seed, kills: 10, msMax: 12_000 })
  expect(result.violations, describeKills(result, seed)).toEqual([])
  expect(result.kills.length).toBeGreaterThan(0)
  expect(result.runs).not.toHaveProperty('running')
}, 120_000)

test('Postgres fails in the middle of runs and under a worker: both say so, go on, and lose nothing', async () => {
  const result = await runOutages(server, { seed, outages: 4, msMax: 8000 })
  expect(result.violations, describeOutages(result, seed)).toEqual([])
  expect(new Set(result.outages.map(({ by }) => by))).toEqual(new Set(['sync', 'worker']))
}, 120_000)
