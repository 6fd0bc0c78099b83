// Clerk says what is not so: it denies users that it has, to every question or to some; it tells a wrong time. Each of these
// comes with the runs that would believe it.
import type { Random } from '../../src/dev/sandbox/random.ts'
import { deliver, forgetLate } from './deliveries.ts'
import { pickLive, stopFaults } from './faults.ts'
import { startFullPass, startRun } from './runs.ts'
import type { Simulation } from './simulation.ts'

const hourMs = 3600_000

function pickSome(simulation: Simulation, random: Random, most: number): string[] {
  const ids = simulation.clerk.shownIds()
  const some: string[] = []
  for (let count = 1 + random.below(most); count > 0 && ids.length > 0; count--) {
    some.push(...ids.splice(random.below(ids.length), 1))
  }
  return some
}

function wait(simulation: Simulation, random: Random): void {
  const { graceMs, listingLagMs } = simulation.options
  simulation.pass(random.pick([1000, listingLagMs + 1, graceMs + 1001, graceMs + 1001, 31 * 60_000]))
  forgetLate(simulation)
}

/** Mostly makes the table equal first: where there are no rows nothing can go wrong with them. */
async function fillTable(simulation: Simulation, random: Random): Promise<void> {
  await simulation.drain(random)
  if (random.chance(0.3)) return
  stopFaults(simulation)
  await startRun(simulation, { pass: 'full' })
  await simulation.drain(random)
  simulation.pass(simulation.options.graceMs + 1001)
  forgetLate(simulation)
}

/** Users whom Clerk denies to every question, and who may be back soon after. */
export async function deny(simulation: Simulation, random: Random): Promise<void> {
  const { clerk } = simulation
  await fillTable(simulation, random)
  for (let rounds = 1 + random.below(3); rounds > 0; rounds--) {
    const whom = random.chance(0.2) ? clerk.shownIds() : pickSome(simulation, random, 3)
    simulation.say(`  denied: ${whom.join(', ')}`)
    clerk.hide(whom, 'everywhere')
    wait(simulation, random)
    await startFullPass(simulation, random)
    if (random.chance(0.8)) await simulation.drain(random)
    if (random.chance(0.3)) return
    clerk.showAll()
    simulation.say('  back')
    const gone = random.chance(0.5) ? pickLive(simulation, random) : undefined
    if (gone !== undefined) clerk.delete(gone)
    wait(simulation, random)
    if (random.chance(0.3)) continue
    // What an operator has approved before knows nothing of those who are back.
    const approval = random.chance(0.4) ? { approveDeletes: 3 } : {}
    await startRun(simulation, { pass: 'full', ...approval })
    await simulation.drain(random)
  }
  // One who is really gone: what a return says of the denials before holds of this one, too.
  const gone = pickLive(simulation, random)
  if (gone !== undefined) clerk.delete(gone)
  wait(simulation, random)
  await startRun(simulation, { pass: 'full' })
  await simulation.drain(random)
}

/** Both questions by id deny everybody, and somebody asks about single users. */
export async function denyById(simulation: Simulation, random: Random): Promise<void> {
  const { clerk, options } = simulation
  clerk.showAll()
  const before = clerk.behaviour.userIdFilter
  const fault = clerk.faults.add({ endpoint: 'user', kind: 404, times: Number.POSITIVE_INFINITY })
  clerk.behaviour.userIdFilter = 'empty'
  simulation.pass(options.graceMs + 1001)
  forgetLate(simulation)
  for (const userId of pickSome(simulation, random, 3)) await simulation.startPass({ pass: 'user', userId })
  if (random.chance(0.3)) await startFullPass(simulation, random)
  await simulation.drain(random)
  fault.remove()
  clerk.behaviour.userIdFilter = before
}

/** Clerk's lists and counts leave out users that it has when it is asked for them alone. */
export async function leaveOut(simulation: Simulation, random: Random): Promise<void> {
  const { clerk, options } = simulation
  if (options.mayDenyAlone) return
  await fillTable(simulation, random)
  const whom = pickSome(simulation, random, random.pick([2, 6]))
  simulation.say(`  left out: ${whom.join(', ')}`)
  clerk.hide(whom, 'in lists')
  // One who is really gone proves nothing about the others.
  const gone = random.chance(0.7) ? pickLive(simulation, random) : undefined
  if (gone !== undefined) clerk.delete(gone)
  wait(simulation, random)
  await startFullPass(simulation, random)
  if (random.chance(0.8)) await simulation.drain(random)
  if (random.chance(0.5)) clerk.showAll()
}

/** `Date` is wrong or missing, and a user who has just changed is gone. */
export async function tellWrongTime(simulation: Simulation, random: Random): Promise<void> {
  const { clerk } = simulation
  clerk.behaviour.dateHeader = random.chance(0.75)
  clerk.behaviour.dateOffsetMs = random.pick([0, hourMs, hourMs, -hourMs, -hourMs, 20 * 60_000])
  simulation.say(`  ${clerk.behaviour.dateHeader ? `${clerk.behaviour.dateOffsetMs} ms off` : 'no Date'}`)
  const id = pickLive(simulation, random)
  if (id === undefined || random.chance(0.3)) return
  clerk.signIn(id)
  const event = clerk.events.at(-1)
  if (event !== undefined) await deliver(simulation, event, false)
  await simulation.drain(random)
  clerk.delete(id)
  clerk.events.pop()
  simulation.pass(random.pick([1000, 30_000, simulation.options.listingLagMs + 1]))
  await startFullPass(simulation, random)
  if (random.chance(0.7)) await simulation.drain(random)
}
