// One seed from beginning to end: the history with everything that can go wrong (nothing wrong may happen), then peace
// (the table must become equal to Clerk and stay so). A failure is shrunk by leaving out steps.
import { type Random, randomFrom, seedOf } from '../../src/dev/sandbox/random.ts'
import type { RunOutcome } from '../../src/sync/reconcile.ts'
import { Stalled } from './gate.ts'
import { type Scenario, type Step, scenarioOf } from './options.ts'
import type { Row, SimulatedPostgres, Snapshot } from './postgres.ts'
import { type PassRequest, Simulation } from './simulation.ts'
import { deliver, forgetLate, takeStep } from './steps.ts'
import { Violation } from './witness.ts'

const hourMs = 3600_000
const dayMs = 24 * hourMs
/** More than a world of the simulation ever deletes. */
const enough = 1000

export interface Failure {
  readonly seed: number
  readonly message: string
  readonly trace: readonly string[]
  readonly steps: readonly Step[]
  readonly options: Scenario['options']
  /** True if it hangs: the server is good for nothing after that. */
  readonly isStalled: boolean
}

export interface SeedResult {
  readonly failure: Failure | undefined
  /** What happened, in order: the same for the same seed. */
  readonly trace: readonly string[]
}

/** Runs one seed. Never throws for a violation, always for a fault of the simulation's own. */
export async function runSeed(seed: number, server: SimulatedPostgres): Promise<SeedResult> {
  return runScenario(scenarioOf(seed), server)
}

/** Leaves out steps one by one for as long as it still fails, at most so many runs. */
export async function shrink(failure: Failure, server: SimulatedPostgres, runsMax = 150): Promise<Failure> {
  if (failure.isStalled) return failure
  let smallest = failure
  let runs = 0
  for (let index = smallest.steps.length - 1; index >= 0 && runs < runsMax; index--) {
    const steps = smallest.steps.toSpliced(index, 1)
    const scenario = { seed: failure.seed, options: failure.options, steps }
    runs++
    const { failure: still } = await runScenario(scenario, server)
    if (still !== undefined) smallest = still
  }
  return smallest
}

async function runScenario(scenario: Scenario, server: SimulatedPostgres): Promise<SeedResult> {
  const simulation = await Simulation.begin(scenario, server)
  const { trace } = simulation
  let violation: unknown
  try {
    await populate(simulation, scenario)
    for (const step of scenario.steps) await takeStep(simulation, step)
    await findPeace(simulation, scenario)
  } catch (error) {
    violation = error
  }
  const isStalled = violation instanceof Stalled
  if (!isStalled) await simulation.close()
  if (violation === undefined) return { failure: undefined, trace }
  const message =
    violation instanceof Violation ? violation.message : ((violation as Error).stack ?? String(violation))
  const { seed, options, steps } = scenario
  return { failure: { seed, message, trace: [...trace], steps, options, isStalled }, trace }
}

/** Users from long ago, of whom a table from before may know some. */
async function populate(simulation: Simulation, { seed, options }: Scenario): Promise<void> {
  const random = randomFrom(seedOf(`users ${seed}`))
  const { clerk, server } = simulation
  const old = () => clerk.now() - dayMs - random.below(3) * hourMs
  for (let user = 0; user < options.users; user++) {
    clerk.create({ first_name: `User ${user}`, created_at: old() })
  }
  clerk.events.length = 0
  simulation.pass(30 * dayMs)
  const ids = clerk.liveIds()
  for (let row = 0; row < options.adoptedRows; row++) {
    const clerkId = ids[row] ?? `user_adopted${row}`
    await server.sql`insert into users (clerk_id, name, image_url, created_at)
      values (${clerkId}, 'Adopted', '', to_timestamp(${(simulation.now() - random.below(2) * 2 * dayMs) / 1000}::float8))`
    simulation.checks.edited.add(clerkId)
  }
  await simulation.look()
}

/** Faults off, time past the grace: two passes, and the table equals Clerk; the third finds nothing to do. */
async function findPeace(simulation: Simulation, { seed, options }: Scenario): Promise<void> {
  const random = randomFrom(seedOf(`peace ${seed}`))
  const { clerk } = simulation
  simulation.say('peace')
  clerk.faults.clear()
  clerk.behaviour.userIdFilter = 'normal'
  clerk.behaviour.dateHeader = true
  if (random.chance(0.5)) clerk.behaviour.cursorMode = 'normal'
  await simulation.drain(random)
  simulation.pass(Math.max(options.graceMs, 31 * 60_000) + dayMs + hourMs + 1000)
  forgetLate(simulation)

  const full: PassRequest = { pass: 'full', approveDeletes: enough }
  const plan = random.chance(0.25) ? await runAlone(simulation, { ...full, dryRun: true }) : undefined
  const first = await runAlone(simulation, full)
  if (plan !== undefined) requireSameCounts(plan, first)
  simulation.pass(1000)
  await runAlone(simulation, full)
  requireEqual(simulation, 'two passes later')

  const settled = simulation.snapshot
  simulation.pass(1000)
  if (random.chance(0.5)) {
    requireNothing(simulation, settled, await runAlone(simulation, { pass: 'full' }))
    simulation.pass(1000)
  }
  const incremental = await runAlone(simulation, { pass: 'incremental' })
  requireNothing(simulation, settled, incremental)
  if (incremental.report.pass !== 'incremental')
    throw new Violation('a table at peace made a full pass follow')

  await deliverLate(simulation, random)
  if (random.chance(0.4)) await catchUp(simulation, random)
  if (random.chance(0.3)) await lookTooEarly(simulation, random)
  if (random.chance(0.5)) await vanish(simulation, random)
}

async function deliverLate(simulation: Simulation, random: Random): Promise<void> {
  const { clerk } = simulation
  while (clerk.events.length > 0) {
    const event = clerk.events.splice(random.below(clerk.events.length), 1)[0]
    if (event !== undefined) await deliver(simulation, event, false)
    await simulation.go(random.below(6), random)
  }
  await simulation.drain(random)
  requireEqual(simulation, 'after late deliveries')
}

/** One incremental pass must see whatever has changed, if need be by a full pass; no webhook helps it. */
async function catchUp(simulation: Simulation, random: Random): Promise<void> {
  const { clerk, options } = simulation
  const ids = clerk.liveIds()
  const pick = () => ids.splice(random.below(ids.length), 1)[0]
  const [deleted, updated, signedIn] = [pick(), pick(), pick()]
  if (random.chance(0.5)) clerk.create({ first_name: 'New' })
  if (deleted !== undefined) clerk.delete(deleted)
  if (updated !== undefined) clerk.update(updated, { last_name: 'Changed' })
  if (signedIn !== undefined) clerk.signIn(signedIn)
  clerk.events.length = 0
  simulation.pass(options.graceMs + Math.max(options.listingLagMs, options.countLagMs) + 1000)
  await runAlone(simulation, { pass: 'incremental', approveDeletes: enough })
  requireEqual(simulation, 'an incremental pass later')
}

/**
 * A full pass among changes of which its pages may show none, and the question for the newest may show all: what it was
 * too early for is the next incremental pass's.
 */
async function lookTooEarly(simulation: Simulation, random: Random): Promise<void> {
  const { clerk, options } = simulation
  const others = clerk.liveIds()
  const [hidden] = others.splice(random.below(others.length), 1)
  if (hidden === undefined) return
  clerk.update(hidden, { last_name: 'Hidden' })
  for (const id of others) {
    simulation.pass(1 + random.below(20))
    clerk.signIn(id)
  }
  clerk.events.length = 0
  simulation.pass(1)
  await runAlone(simulation, { pass: 'full', approveDeletes: enough })
  simulation.pass(options.graceMs + Math.max(options.listingLagMs, options.countLagMs) + 1000)
  await runAlone(simulation, { pass: 'incremental', approveDeletes: enough })
  requireEqual(simulation, 'an incremental pass after a look too early')
}

/**
 * A user on no page, whom the list by id has, goes just when it is asked for alone. One of two answers that must agree
 * has then been "it lives".
 */
async function vanish(simulation: Simulation, random: Random): Promise<void> {
  const { clerk, options, gate } = simulation
  const ids = clerk.liveIds()
  const id = ids[random.below(ids.length)]
  if (id === undefined) return
  clerk.faults.add({
    endpoint: 'list',
    kind: 'missing-users',
    ids: [id],
    times: Number.POSITIVE_INFINITY,
    when: ({ query }) => query.get('order_by') === '+created_at',
  })
  simulation.pass(options.graceMs + options.listingLagMs + 1000)
  await simulation.startPass({ pass: 'full', approveDeletes: enough })
  const isAskedAlone = () => gate.parked().some(({ calls: [call] }) => call?.label === `GET /v1/users/${id}`)
  while (gate.parked().length > 0 && !isAskedAlone()) await simulation.go(1, random)
  if (isAskedAlone()) clerk.delete(id)
  await simulation.drain(random)
}

async function runAlone(simulation: Simulation, request: PassRequest): Promise<RunOutcome> {
  let outcome: RunOutcome | undefined
  await simulation.startPass(request, (ended) => {
    outcome = ended
  })
  await simulation.drain(randomFrom(1))
  if (outcome === undefined) throw new Violation('a run at peace did not end')
  const { report } = outcome
  if (report.error !== null) throw new Violation(`a run at peace ${report.status}: ${report.error.message}`)
  return outcome
}

function requireSameCounts(plan: RunOutcome, done: RunOutcome): void {
  for (const key of ['seen', 'created', 'updated', 'refreshed', 'deleted', 'withheld'] as const) {
    const [planned, did] = [plan.report.counts[key], done.report.counts[key]]
    if (planned !== did) throw new Violation(`the dry run promised ${planned} ${key}, the run did ${did}`)
  }
}

function requireNothing(simulation: Simulation, settled: Snapshot, { report }: RunOutcome): void {
  const { created, updated, refreshed, deleted, pending } = report.counts
  if (created + updated + refreshed + deleted + pending > 0) {
    throw new Violation(`a table at peace is still changed: ${JSON.stringify(report.counts)}`)
  }
  for (const [id, row] of simulation.snapshot.rows) {
    if (settled.rows.get(id)?.writtenBy !== row.writtenBy) throw new Violation(`${id} was written at peace`)
  }
  const isWhole = simulation.clerk
    .liveIds()
    .every((id) => simulation.clerk.history.get(id)?.at(-1)?.wanted !== undefined)
  const expected = isWhole ? 'succeeded' : 'partial'
  if (report.status !== expected) {
    throw new Violation(`a ${report.pass} pass at peace is ${report.status}: ${report.notes.join('; ')}`)
  }
}

/** Every user that can be mapped has its row, value by value; other rows are those of rejected users, or kept by policy. */
function requireEqual(simulation: Simulation, when: string): void {
  const { clerk, options, checks } = simulation
  const { rows } = simulation.snapshot
  for (const id of clerk.liveIds()) {
    const wanted = clerk.history.get(id)?.at(-1)?.wanted
    if (wanted === undefined) continue
    const row = rows.get(id)
    if (row === undefined) throw new Violation(`${when} live ${id} has no row`)
    for (const key of Object.keys(wanted) as (keyof typeof wanted)[]) {
      if ((row as Row)[key] !== wanted[key]) throw new Violation(`${when} the ${key} of ${id} is not Clerk's`)
    }
  }
  for (const id of rows.keys()) {
    if (clerk.history.get(id)?.at(-1)?.isDeleted === false || options.policy === 'upsert-only') continue
    if (when !== 'after late deliveries' || checks.buried.has(id))
      throw new Violation(`${when} dead ${id} has a row`)
  }
}
