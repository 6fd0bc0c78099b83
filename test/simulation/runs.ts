// How a step begins a run: with what an operator may say along with it, and only so many at the same time.
import type { Random } from '../../src/dev/sandbox/random.ts'
import type { PassRequest } from './processes.ts'
import type { Simulation } from './simulation.ts'

const passesMax = 3

/** What the operator says along with a run. */
export const approval = (random: Random) => ({
  ...(random.chance(0.15) ? { approveDeletes: random.below(4) } : {}),
  ...(random.chance(0.1) ? { acceptInstance: true } : {}),
})

/** Begins a run, unless as many are under way as there are runners. */
export async function startRun(simulation: Simulation, request: PassRequest): Promise<void> {
  const running = simulation.gate.active().filter((actor) => simulation.stops.has(actor))
  if (running.length < passesMax) await simulation.startPass(request)
}

/** Begins a full pass, with or without an operator's word. */
export const startFullPass = (simulation: Simulation, random: Random): Promise<void> =>
  startRun(simulation, { pass: 'full', ...approval(random) })
