import { afterAll, beforeAll, expect, test } from 'vitest'
import { seedUsers } from '../../src/dev/sandbox/seed.ts'
import { tableStatistics } from '../support/database.ts'
import { createWorld, type World } from '../support/world.ts'

let world: World
const users = 3217

beforeAll(async () => {
  world = await createWorld({ users: seedUsers({ count: users, seed: 7 }) })
})
afterAll(() => world.close())

test('a first run makes the table equal to Clerk, value by value', async () => {
  const { report } = await world.sync()
  expect(report).toMatchObject({ status: 'succeeded', error: null, notes: [] })
  expect(report.counts).toMatchObject({ seen: users, created: users, rejected: 0 })
  expect(await world.rows()).toEqual(world.wanted())
})

test('a second run writes nothing to users and costs at most a request a page and six', async () => {
  const before = await tableStatistics(world.database.sql)
  const { report } = await world.sync()
  expect(report.counts).toMatchObject({ seen: users, unchanged: users, created: 0, updated: 0, refreshed: 0 })
  expect(report.requests.total).toBeLessThanOrEqual(Math.ceil(users / 500) + 6)
  expect(await tableStatistics(world.database.sql)).toEqual(before)
})

test('creates, updates, sign-ins and deletions are counted exactly and leave the table equal', async () => {
  const ids = world.sandbox.users.all().map((user) => user.id)
  for (const id of ids.slice(0, 9)) world.sandbox.users.delete(id)
  for (const id of ids.slice(100, 150)) world.sandbox.users.update(id, { first_name: 'Changed' })
  for (const id of ids.slice(200, 240)) world.sandbox.users.signIn(id)
  for (let index = 0; index < 30; index++) world.sandbox.users.create()
  const { report } = await world.sync()
  expect(report).toMatchObject({ status: 'succeeded', error: null })
  expect(report.counts).toEqual({
    seen: users - 9 + 30,
    created: 30,
    updated: 50,
    refreshed: 40,
    unchanged: users - 9 - 50 - 40,
    deleted: 9,
    pending: 0,
    withheld: 0,
    rejected: 0,
  })
  expect(await world.rows()).toEqual(world.wanted())
})
