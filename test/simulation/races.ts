// Histories in which the order of two things decides: news that comes between a look and a write.
import type { Random } from '../../src/dev/sandbox/random.ts'
import { changeAndTell, deliver, forgetLate, parts } from './deliveries.ts'
import { pickGap, pickLive, stopFaults } from './faults.ts'
import type { Actor } from './gate.ts'
import { approval, startFullPass, startRun } from './runs.ts'
import type { Simulation } from './simulation.ts'

/** Users go, time passes, and a whole pass follows: what the guard is for. */
export async function turnOver(simulation: Simulation, random: Random): Promise<void> {
  await simulation.drain(random)
  for (let count = random.below(3); count > 0; count--) {
    const id = pickLive(simulation, random)
    if (id !== undefined) simulation.clerk.delete(id)
  }
  const { graceMs, listingLagMs } = simulation.options
  simulation.pass(random.pick([listingLagMs + 1, graceMs, graceMs + 1001, 31_000]))
  forgetLate(simulation)
  if (simulation.options.hasFaults && random.chance(0.5))
    simulation.clerk.faults.add(pickGap(simulation, random))
  await startRun(simulation, { pass: random.pick(['full', 'full', 'incremental']), ...approval(random) })
  if (random.chance(0.6)) await simulation.drain(random)
}

/** Some users go one by one while nothing fails, and a pass sees each go: how many the guard lets go within an hour. */
export async function trickle(simulation: Simulation, random: Random): Promise<void> {
  const { clerk, options } = simulation
  await simulation.drain(random)
  stopFaults(simulation)
  simulation.pass(options.graceMs + 1001)
  forgetLate(simulation)
  for (let count = 2 + random.below(3); count > 0; count--) {
    const id = pickLive(simulation, random)
    if (id === undefined) return
    clerk.delete(id)
    simulation.pass(Math.max(options.listingLagMs, options.countLagMs) + 1001)
    forgetLate(simulation)
    await startRun(simulation, { pass: 'full' })
    await simulation.drain(random)
  }
  await lookEarly(simulation, random)
}

/** A user signs in and goes, and a pass comes shortly before the grace is over. */
async function lookEarly(simulation: Simulation, random: Random): Promise<void> {
  const { clerk, options } = simulation
  const id = pickLive(simulation, random)
  if (id === undefined) return
  clerk.signIn(id)
  const event = clerk.events.pop()
  if (event !== undefined) await deliver(simulation, event, false)
  await simulation.drain(random)
  clerk.delete(id)
  clerk.events.pop()
  simulation.pass(options.graceMs * 0.8)
  await startRun(simulation, { pass: 'full' })
  await simulation.drain(random)
}

/** A user goes, and the news of it comes, just while somebody is about to insert or to delete. */
export async function race(simulation: Simulation, random: Random): Promise<void> {
  const isClose = () =>
    simulation.gate.parked().some(({ calls: [call], isInTransaction }) => {
      if (!isInTransaction || call === undefined) return false
      return call.kind === 'commit' || /^(insert into users|delete from)/.test(call.label)
    })
  for (let calls = random.below(80); calls > 0 && !isClose(); calls--) await simulation.go(1, random)
  const rowless = simulation.clerk.liveIds().filter((id) => !simulation.snapshot.rows.has(id))
  const id = rowless[random.below(rowless.length)] ?? pickLive(simulation, random)
  if (id === undefined) return
  simulation.clerk.delete(id)
  const event = simulation.clerk.events.at(-1)
  if (event !== undefined) await deliver(simulation, event, random.chance(0.2))
}

/** Users change, and the news of it comes, between what a run has planned for them and its write. */
export async function outrun(simulation: Simulation, random: Random): Promise<void> {
  const changed = pickLive(simulation, random)
  if (changed !== undefined) simulation.clerk.update(changed, parts(random))
  await startFullPass(simulation, random)
  const hasRead = (actor: Actor) =>
    simulation.witnesses.get(actor)?.heard.some(({ request }) => request.query.has('order_by'))
  const isAboutToWrite = () =>
    simulation.gate.parked().some((actor) => hasRead(actor) && actor.calls[0]?.kind === 'begin')
  for (let calls = random.below(80); calls > 0 && !isAboutToWrite(); calls--) await simulation.go(1, random)
  simulation.pass(1 + random.below(1000))
  await changeAndTell(simulation, random, changed)
}

/** Postgres takes longer than the grace to answer a run, and meanwhile users change, as webhooks tell. */
export async function stall(simulation: Simulation, random: Random): Promise<void> {
  const isAsking = () => simulation.gate.parked().some(({ calls }) => calls[0]?.kind === 'query')
  for (let calls = random.below(80); calls > 0 && !isAsking(); calls--) await simulation.go(1, random)
  const { graceMs } = simulation.options
  simulation.pass(graceMs + random.below(graceMs))
  forgetLate(simulation)
  await changeAndTell(simulation, random)
  simulation.pass(1 + random.below(1000))
}
