// Deliveries on their way: sent in any order, again, or so late that they no longer come.
import type { Random } from '../../src/dev/sandbox/random.ts'
import type { Event } from './clerk.ts'
import { pickLive } from './faults.ts'
import type { Actor } from './gate.ts'
import type { Simulation } from './simulation.ts'

/** Longer than that no delivery is late: tombstones are kept 30 days. */
const latestDeliveryMs = 27 * 24 * 3600_000

const names = ['Ada', 'Bo', 'Cy', 'Di'] as const

/** What a user is called from now on. */
export const parts = (random: Random) => ({
  first_name: random.pick(names),
  last_name: random.chance(0.5) ? `No ${random.below(1000)}` : null,
})

/** Sends a delivery. It leaves the queue once it has been taken, unless it is to come again. */
export function deliver(simulation: Simulation, event: Event, again: boolean): Promise<Actor | undefined> {
  const { events } = simulation.clerk
  return simulation.deliver(event, (status) => {
    const place = events.indexOf(event)
    if (status === 200 && !again && place >= 0) events.splice(place, 1)
  })
}

/** Drops what is too late to come. */
export function forgetLate(simulation: Simulation): void {
  const { events } = simulation.clerk
  const kept = events.filter((event) => simulation.clerk.now() - event.at < latestDeliveryMs)
  events.splice(0, events.length, ...kept)
}

/** Some users change, and their deliveries are through before anybody else goes on. */
export async function changeAndTell(simulation: Simulation, random: Random, first?: string): Promise<void> {
  for (let count = 1 + random.below(3), next = first; count > 0; count--, next = undefined) {
    const id = next ?? pickLive(simulation, random)
    if (id === undefined || !simulation.clerk.liveIds().includes(id)) return
    simulation.clerk.update(id, parts(random))
    const event = simulation.clerk.events.at(-1)
    if (event === undefined) return
    const actor = await deliver(simulation, event, false)
    while (actor?.state === 'parked') await simulation.release(actor)
  }
}
