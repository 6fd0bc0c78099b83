// What becomes of addresses in Clerk: users swap them, hand them on, get new ids and keep the old address. Clerk lets no
// two users have one address at the same time; a table that is read in pages, or told by late webhooks, meets them so.
import type { Random } from '../../src/dev/sandbox/random.ts'
import type { Simulation } from './simulation.ts'

/** Up to `most` users with an address, in an order that the dice decide. */
function pickAddressed(
  simulation: Simulation,
  random: Random,
  most: number,
): { id: string; address: string }[] {
  const ids = simulation.clerk.shownIds()
  const picked: { id: string; address: string }[] = []
  while (ids.length > 0 && picked.length < most) {
    const [id] = ids.splice(random.below(ids.length), 1)
    const address = id === undefined ? undefined : simulation.clerk.addressOf(id)
    if (id !== undefined && address !== undefined) picked.push({ id, address })
  }
  return picked
}

/** Two or three users whose addresses go round. */
export function swapAddresses(simulation: Simulation, random: Random): void {
  const users = pickAddressed(simulation, random, 2 + random.below(2))
  const [first] = users
  if (first === undefined || users.length < 2) return
  const { clerk } = simulation
  simulation.say(`  ${users.map(({ id }) => id).join(', ')}`)
  const stepMs = random.below(2)
  // One has to give its address up first.
  clerk.update(first.id, { email_address: clerk.freshAddress() })
  for (const [place, { address }] of users.entries()) {
    simulation.pass(stepMs)
    const taker = users[place + 1]
    if (taker !== undefined) passOn(simulation, taker.id, address, random)
  }
  clerk.update(first.id, { email_address: users.at(-1)?.address ?? [] })
}

/** The taker has it, and what it had is free. */
function passOn({ clerk }: Simulation, taker: string, address: string, random: Random): void {
  if (random.chance(0.3)) clerk.update(taker, { email_address: [] })
  clerk.update(taker, { email_address: address })
}

/** A chain: the first gets a new address, each other one the address of the one before; the last may be a new user. */
export function handAddressesOn(simulation: Simulation, random: Random): void {
  const { clerk } = simulation
  const users = pickAddressed(simulation, random, 1 + random.below(4))
  simulation.say(`  ${users.map(({ id }) => id).join(', ')}`)
  let free: string | undefined
  for (const { id, address } of users) {
    simulation.pass(random.below(2))
    clerk.update(id, { email_address: free ?? clerk.freshAddress() })
    free = address
  }
  if (free !== undefined && random.chance(0.5)) clerk.create({ first_name: 'Heir', email_address: free })
}

/** Some users, or all, are imported once more: their ids are new, their addresses stay. */
export function reissue(simulation: Simulation, random: Random): void {
  const { clerk } = simulation
  const most = random.chance(0.2) ? Number.POSITIVE_INFINITY : 1 + random.below(2)
  for (const { id, address } of pickAddressed(simulation, random, most)) {
    const createdAt = clerk.users.get(id)?.created_at ?? clerk.now()
    simulation.say(`  ${id}`)
    clerk.delete(id)
    const parts = { first_name: 'Again', email_address: address }
    clerk.create(random.chance(0.5) ? { ...parts, created_at: createdAt } : parts)
  }
}

/** An address that the app may not take as it is, or none. */
export function changeAddress(simulation: Simulation, random: Random): void {
  const { clerk } = simulation
  const [user] = pickAddressed(simulation, random, 1)
  if (user === undefined) return
  simulation.say(`  ${user.id}`)
  clerk.update(user.id, { email_address: random.chance(0.3) ? [] : clerk.freshAddress() })
}
