// The steps of a history: what people do in Clerk, what the network does to answers and deliveries, what time does, and
// when runs begin, go on and die. Each step draws from its own seed.
import type { UserIdFilter } from '../../src/dev/sandbox/list.ts'
import { type Random, randomFrom } from '../../src/dev/sandbox/random.ts'
import type { Event } from './clerk.ts'
import { pickFault, pickGap, pickLive } from './faults.ts'
import type { Actor } from './gate.ts'
import type { Step, StepKind } from './options.ts'
import type { PassRequest, Simulation } from './simulation.ts'

const secondMs = 1000
const minuteMs = 60 * secondMs
const hourMs = 60 * minuteMs
const dayMs = 24 * hourMs
/** Longer than that no delivery is late: tombstones are kept 30 days. */
const latestDeliveryMs = 27 * dayMs
const passesMax = 2

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

const names = ['Ada', 'Bo', 'Cy', 'Di'] as const

/** Few different times, so that ties are longer than pages. */
const oldTime = (simulation: Simulation, random: Random) =>
  simulation.clerk.now() - 40 * dayMs - random.below(3) * hourMs

const parts = (random: Random) => ({
  first_name: random.pick(names),
  last_name: random.chance(0.5) ? `No ${random.below(1000)}` : null,
})

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
  async (simulation, random) => {
    const running = simulation.gate.active().filter((actor) => simulation.stops.has(actor))
    if (running.length < passesMax) await simulation.startPass(request(simulation, random))
  }

const approval = (random: Random) => (random.chance(0.2) ? { approveDeletes: random.below(4) } : {})

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
  'full pass': startPass((_simulation, random) => ({ pass: 'full', ...approval(random) })),
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
  /** Users go, time passes, and a whole pass follows: what the guard is for. */
  async turnover(simulation, random) {
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
    await actions[random.pick<StepKind>(['full pass', 'full pass', 'incremental pass'])](simulation, random)
    if (random.chance(0.6)) await simulation.drain(random)
  },
  /** A user goes, and the news of it comes, just while somebody is about to insert or to delete. */
  async race(simulation, random) {
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
  },
  /** Users change, and the news of it comes, between what a run has planned for them and its write. */
  async outrun(simulation, random) {
    const changed = pickLive(simulation, random)
    if (changed !== undefined) simulation.clerk.update(changed, parts(random))
    await actions['full pass'](simulation, random)
    const hasRead = (actor: Actor) =>
      simulation.witnesses.get(actor)?.heard.some(({ request }) => request.query.has('order_by'))
    const isAboutToWrite = () =>
      simulation.gate.parked().some((actor) => hasRead(actor) && actor.calls[0]?.kind === 'begin')
    for (let calls = random.below(80); calls > 0 && !isAboutToWrite(); calls--) await simulation.go(1, random)
    simulation.pass(1 + random.below(1000))
    await changeAndTell(simulation, random, changed)
  },
  /** Postgres takes longer than the grace to answer a run, and meanwhile users change, as webhooks tell. */
  async stall(simulation, random) {
    const isAsking = () => simulation.gate.parked().some(({ calls }) => calls[0]?.kind === 'query')
    for (let calls = random.below(80); calls > 0 && !isAsking(); calls--) await simulation.go(1, random)
    const { graceMs } = simulation.options
    simulation.pass(graceMs + random.below(graceMs))
    forgetLate(simulation)
    await changeAndTell(simulation, random)
    simulation.pass(1 + random.below(1000))
  },
  async crash(simulation, random) {
    const parked = simulation.gate.parked()
    const actor = parked[random.below(parked.length)]
    if (actor !== undefined) await simulation.crash(actor)
  },
  stop(simulation, random) {
    const actors = simulation.gate.active().filter((actor) => simulation.stops.has(actor))
    const actor = actors[random.below(actors.length)]
    if (actor !== undefined) simulation.stop(actor)
  },
  beat: (simulation, random) => simulation.beat(random),
  fault(simulation, random) {
    const fault = pickFault(simulation, random)
    if (fault.kind === 'another-instance' && !simulation.snapshot.isBound) return
    if (random.chance(0.15) && !simulation.options.mayDenyAlone) {
      const id = pickLive(simulation, random)
      const withoutOne = new Set(id === undefined ? [] : [id])
      simulation.clerk.behaviour.userIdFilter = random.pick<UserIdFilter>(['ignored', 'empty', withoutOne])
      simulation.say('  user_id filter')
      return
    }
    simulation.say(`  ${fault.kind} on ${fault.endpoint}, ${fault.times} times`)
    simulation.clerk.faults.add(fault)
  },
  'faults off': (simulation) => {
    simulation.clerk.faults.clear()
    simulation.clerk.behaviour.userIdFilter = 'normal'
  },
  async 'database fault'(simulation, random) {
    const parked = simulation.gate.parked().filter((actor) => actor.calls[0]?.kind !== 'fetch')
    const actor = parked[random.below(parked.length)]
    if (actor === undefined) return
    const codes = ['55P03', '40P01', '57014', '57P01', 'CONNECTION_CLOSED', 'ECONNRESET'] as const
    await simulation.failDatabase(actor, random.pick(codes))
  },
  async 'hand edit'(simulation, random) {
    const ids = [...simulation.snapshot.rows.keys()]
    const id = ids[random.below(ids.length)]
    if (id === undefined || simulation.gate.actors.some((actor) => actor.isInTransaction)) return
    simulation.say(`  ${id}`)
    const ahead = random.pick([0, secondMs, simulation.options.graceMs * 2, 3650 * dayMs])
    const version = random.chance(0.5) ? null : (simulation.clerk.now() + ahead) / 1000
    await simulation.server.sql`update users set name = 'By hand',
      clerk_updated_at = coalesce(to_timestamp(${version}::float8), clerk_updated_at) where clerk_id = ${id}`
    simulation.checks.edited.add(id)
    await simulation.look()
  },
  /** A user of a shape that no row can have, until it is changed again. */
  spoil: aboutUser((simulation, id) =>
    simulation.clerk.update(id, { username: { en: 'ada' } as unknown as string }),
  ),
}

/** Some users change, and their deliveries are through before anybody else goes on. */
async function changeAndTell(simulation: Simulation, random: Random, first?: string): Promise<void> {
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
