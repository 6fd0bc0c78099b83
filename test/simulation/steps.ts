// The steps of a history: what people do in Clerk, when deliveries come, what time does, and when runs begin and go on.
// Each step draws from its own seed. What goes wrong is in accidents.ts and denials.ts.
import { type Random, randomFrom } from '../../src/dev/sandbox/random.ts'
import {
  addFault,
  crashOne,
  editByHand,
  failOne,
  insertByApp,
  keepBackup,
  makeAnew,
  restore,
  stopOne,
  useOtherKey,
} from './accidents.ts'
import { changeAddress, handAddressesOn, reissue, swapAddresses } from './addresses.ts'
import { deliver, forgetLate, parts } from './deliveries.ts'
import { deny, denyById, leaveOut, tellWrongTime } from './denials.ts'
import { pickLive, stopFaults } from './faults.ts'
import type { Step, StepKind } from './options.ts'
import type { PassRequest } from './processes.ts'
import { outrun, race, stall, trickle, turnOver } from './races.ts'
import { approval, startFullPass, startRun } from './runs.ts'
import type { Simulation } from './simulation.ts'

const secondMs = 1000
const minuteMs = 60 * secondMs
const hourMs = 60 * minuteMs
const dayMs = 24 * hourMs

/** Does one step, and lets some calls of whoever is under way through. */
export async function takeStep(simulation: Simulation, step: Step): Promise<void> {
  const random = randomFrom(step.seed)
  simulation.pass(1 + random.below(50))
  simulation.say(`${step.kind}`)
  await actions[step.kind](simulation, random)
  const calls = random.pick([0, 0, 1, 3, 8, 20, 60, Number.POSITIVE_INFINITY])
  await simulation.go(calls, random)
}

type Action = (simulation: Simulation, random: Random) => Promise<void> | void

/** Few different times, so that ties are longer than pages. */
const oldTime = (simulation: Simulation, random: Random) =>
  simulation.clerk.now() - 40 * dayMs - random.below(3) * hourMs

/** A step about some user, if there is any. */
const aboutUser =
  (action: (simulation: Simulation, id: string, random: Random) => void): Action =>
  (simulation, random) => {
    const id = pickLive(simulation, random)
    if (id === undefined) return
    simulation.say(`  ${id}`)
    action(simulation, id, random)
  }

const startPass =
  (request: (simulation: Simulation, random: Random) => PassRequest): Action =>
  (simulation, random) =>
    startRun(simulation, request(simulation, random))

function pickKnown(simulation: Simulation, random: Random): string {
  const ids = [...new Set([...simulation.clerk.history.keys(), ...simulation.snapshot.rows.keys()])]
  return ids[random.below(ids.length)] ?? 'user_nobody'
}

const actions: Record<StepKind, Action> = {
  create: (simulation, random) => void simulation.clerk.create(parts(random)),
  import: (simulation, random) =>
    void simulation.clerk.create({ ...parts(random), created_at: oldTime(simulation, random) }),
  update: aboutUser((simulation, id, random) => {
    simulation.clerk.update(id, parts(random))
    // Twice within a millisecond: two values of one version.
    if (random.chance(0.2)) simulation.clerk.update(id, parts(random))
  }),
  'sign in': aboutUser((simulation, id) => simulation.clerk.signIn(id)),
  move: aboutUser((simulation, id, random) =>
    simulation.clerk.update(id, { created_at: oldTime(simulation, random) }),
  ),
  delete: aboutUser((simulation, id) => simulation.clerk.delete(id)),
  'full pass': startFullPass,
  'incremental pass': startPass((_simulation, random) => ({ pass: 'incremental', ...approval(random) })),
  'one user': startPass((simulation, random) => ({ pass: 'user', userId: pickKnown(simulation, random) })),
  'dry run': startPass((_simulation, random) => ({
    pass: random.pick(['full', 'incremental']),
    dryRun: true,
    ...approval(random),
  })),
  async deliver(simulation, random) {
    const { events } = simulation.clerk
    const index = random.chance(0.5) ? 0 : random.below(events.length)
    const event = events[index]
    if (event !== undefined) await deliver(simulation, event, random.chance(0.3))
  },
  lose(simulation, random) {
    const { events } = simulation.clerk
    events.splice(random.below(events.length), 1)
  },
  async tick(simulation, random) {
    const { graceMs, listingLagMs } = simulation.options
    const isIdle = simulation.gate.active().length === 0
    const times = [
      1,
      secondMs,
      11 * secondMs,
      31 * secondMs,
      listingLagMs,
      graceMs / 2,
      graceMs,
      graceMs + 1,
      hourMs,
    ]
    const time =
      isIdle && random.chance(0.1) ? random.pick([dayMs, 31 * dayMs]) : times[random.below(times.length)]
    simulation.say(`  ${time} ms`)
    simulation.pass(time ?? 1)
    forgetLate(simulation)
  },
  go: (simulation, random) => simulation.go(1 + random.below(30), random),
  drain: (simulation, random) => simulation.drain(random),
  turnover: turnOver,
  trickle,
  race,
  outrun,
  stall,
  crash: crashOne,
  stop: stopOne,
  beat: (simulation, random) => simulation.beat(random),
  fault: addFault,
  'faults off': stopFaults,
  'database fault': failOne,
  'hand edit': editByHand,
  'swap addresses': swapAddresses,
  'hand addresses on': handAddressesOn,
  reissue,
  'odd address': changeAddress,
  deny,
  'deny by id': denyById,
  'leave out': leaveOut,
  'wrong clock': tellWrongTime,
  'app row': insertByApp,
  'other key': useOtherKey,
  'back up': keepBackup,
  restore,
  'make anew': makeAnew,
  /** A user of a catalog that no row can have, until it is changed again. */
  spoil: aboutUser((simulation, id) =>
    simulation.clerk.update(id, { username: { en: 'ada' } as unknown as string }),
  ),
}
