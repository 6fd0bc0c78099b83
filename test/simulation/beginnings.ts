// How a world begins: users from long ago, and a table that is empty or that an app has filled before the first run.
import { randomFrom, seedOf } from '../../src/dev/sandbox/random.ts'
import { pickCreation } from './accidents.ts'
import type { Scenario } from './options.ts'
import type { Simulation } from './simulation.ts'

const hourMs = 3600_000
const dayMs = 24 * hourMs

/** Users from long ago, of whom a table from before may know some; others of its rows are of users that are gone, or of
 * another instance's. */
export async function populate(simulation: Simulation, { seed, options }: Scenario): Promise<void> {
  const random = randomFrom(seedOf(`users ${seed}`))
  const { clerk, otherClerk, checks } = simulation
  const old = () => clerk.now() - dayMs - random.below(3) * hourMs
  for (let user = 0; user < options.users; user++) {
    // Where a trigger changes addresses, there are some that it changes.
    const address = options.lowersAddresses ? { email_address: clerk.freshAddress() } : {}
    clerk.create({ first_name: `User ${user}`, created_at: old(), ...address })
  }
  clerk.events.length = 0
  simulation.pass(30 * dayMs)
  const [ours, others] = [clerk.liveIds(), otherClerk.liveIds()]
  for (let place = 0; place < options.rowsBefore; place++) {
    const whose = random.pick(['ours', 'ours', 'ours', 'gone', 'another'])
    const id = whose === 'ours' ? ours[place] : whose === 'another' ? others.pop() : undefined
    const clerkId = id ?? `user_gone${place}`
    const address = clerk.addressOf(clerkId) ?? clerk.freshAddress()
    const created = pickCreation(simulation, random)
    // A backup of a table that was in use has Clerk's times, a table from before them has none.
    const version = random.chance(0.3) ? (clerk.now() - dayMs) / 1000 : null
    await simulation.server.sql`
      insert into users (clerk_id, name, email, image_url, clerk_created_at, clerk_updated_at, created_at)
      values (${clerkId}, 'Adopted', ${address}, '', to_timestamp(${version}::float8), to_timestamp(${version}::float8),
        to_timestamp(${created === null ? null : created / 1000}::float8))`
    checks.edited.add(clerkId)
  }
  await simulation.look()
}
