// A world in which every user has its row and every row is older than the grace: from here on an absence can cost a
// row. The clock stands still unless a test moves it.
import { createClock, type SandboxOptions } from '../../src/dev/sandbox/sandbox.ts'
import { longAgo } from './walking.ts'
import { createWorld, type World } from './world.ts'

const hourMs = 3600_000

/** Creation times, in ms after `longAgo`, with a tie longer than a page of five and users on both sides of it. */
export const timesWithTie = [...upTo(11), ...Array.from({ length: 12 }, () => 20), ...upTo(11, 30)]

/** So many numbers from `start` on. */
export function upTo(count: number, start = 0): number[] {
  return Array.from({ length: count }, (_, index) => start + index)
}

/** A world with a user for each creation time, synced, an hour later. The caller closes it. */
export async function createSettledWorld(
  times: readonly number[],
  options: SandboxOptions = {},
): Promise<World> {
  const clock = createClock({ at: longAgo + 30 * 24 * hourMs, frozen: true })
  const world = await createWorld({ clock, ...options })
  for (const time of times) world.sandbox.users.import({ created_at: longAgo + time })
  clock.advance(hourMs)
  const { report } = await world.sync()
  if (report.counts.created !== times.length) throw new Error('the first run did not create all rows')
  return world
}

/** The sandbox's users by creation time, ties by id: the order in which it lists them unless told otherwise. */
export function idsInOrder(world: Pick<World, 'sandbox'>): string[] {
  const users = world.sandbox.users.all()
  users.sort((a, b) => a.created_at - b.created_at || (a.id < b.id ? -1 : 1))
  return users.map((user) => user.id)
}

/** The ids of those users who have no row. */
export async function idsWithoutRow(world: World, ids: Iterable<string>): Promise<string[]> {
  const rows = await world.database.sql<{ clerk_id: string }[]>`select clerk_id from users`
  const found = new Set(rows.map((row) => row.clerk_id))
  return [...ids].filter((id) => !found.has(id))
}
