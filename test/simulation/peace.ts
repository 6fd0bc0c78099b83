// Peace: nothing lies, nothing breaks, the clocks agree, and an operator approves what is held back. Two passes later the
// table equals Clerk; from then on nothing is written, whatever late news still comes.
import { type Random, randomFrom, seedOf } from '../../src/dev/sandbox/random.ts'
import type { RunOutcome } from '../../src/sync/run-request.ts'
import { deliver, forgetLate } from './deliveries.ts'
import type { Scenario } from './options.ts'
import type { Snapshot } from './postgres.ts'
import type { PassRequest } from './processes.ts'
import type { Simulation } from './simulation.ts'
import { isRequired, isUnique } from './tables.ts'
import { Violation } from './witness.ts'

const minuteMs = 60_000
const hourMs = 60 * minuteMs
const dayMs = 24 * hourMs
/** More than a world of the simulation ever deletes. */
const enough = 1000

/** Faults off, time past the grace: two passes, and the table equals Clerk; the third finds nothing to do. */
export async function findPeace(simulation: Simulation, { seed, options }: Scenario): Promise<void> {
  const random = randomFrom(seedOf(`peace ${seed}`))
  const { clerk } = simulation
  simulation.say('peace')
  clerk.faults.clear()
  clerk.showAll()
  Object.assign(clerk.behaviour, { userIdFilter: 'normal', dateHeader: true, dateOffsetMs: 0 })
  if (random.chance(0.5)) clerk.behaviour.cursorMode = 'normal'
  await simulation.drain(random)
  simulation.agreeOnTime()
  // Postgres may have been a day ahead: what it dated then is a day old only after two.
  simulation.pass(Math.max(options.graceMs, 31 * minuteMs) + dayMs + Math.max(0, options.skewMs) + hourMs)
  forgetLate(simulation)

  const full: PassRequest = { pass: 'full', approveDeletes: enough, acceptInstance: true }
  const plan = random.chance(0.25) ? await runAlone(simulation, { ...full, dryRun: true }) : undefined
  const first = await runAlone(simulation, full)
  // What the app's table refuses is not known before it is tried.
  if (plan !== undefined && options.address === 'free') requireSameCounts(plan, first)
  // A row without any time is a day old a day after it was first met.
  simulation.pass(options.mayLackCreation ? dayMs + hourMs : 1000)
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
  const wasKeptOut = clerk.liveIds().some((id) => isKeptOut(simulation, id))
  while (clerk.events.length > 0) {
    const event = clerk.events.splice(random.below(clerk.events.length), 1)[0]
    if (event !== undefined) await deliver(simulation, event, false)
    await simulation.go(random.below(6), random)
  }
  await simulation.drain(random)
  // Late news may free the address that kept a user out. Of that user, too, only old news may be left, since the newest was
  // refused when it came.
  const { options } = simulation
  const mayComeIn = wasKeptOut || options.policy === 'upsert-only'
  if (mayComeIn && isUnique(options)) await runAlone(simulation, { pass: 'full' })
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
  const isWhole = simulation.clerk.liveIds().every((id) => hasItsRow(simulation, id))
  const expected = isWhole ? 'succeeded' : 'partial'
  if (report.status !== expected) {
    throw new Violation(`a ${report.pass} pass at peace is ${report.status}: ${report.notes.join('; ')}`)
  }
}

const wantedOf = ({ clerk }: Simulation, id: string) => clerk.history.get(id)?.at(-1)?.wanted

/** The first column in which the user's row is not what Clerk has; undefined if it is all that. */
function differenceOf(simulation: Simulation, id: string): string | undefined {
  const wanted = wantedOf(simulation, id)
  const row = simulation.snapshot.rows.get(id)
  if (wanted === undefined || row === undefined) return 'row'
  return (Object.keys(wanted) as (keyof typeof wanted)[]).find((key) => row[key] !== wanted[key])
}

const hasItsRow = (simulation: Simulation, id: string) => differenceOf(simulation, id) === undefined

/** True if the app's own table keeps the user's row from being what Clerk has. */
function isKeptOut(simulation: Simulation, id: string, asked: ReadonlySet<string> = new Set()): boolean {
  const { clerk, options, snapshot } = simulation
  const wanted = wantedOf(simulation, id)
  if (wanted === undefined) return true
  if (wanted.email === null) return isRequired(options)
  if (options.lowersAddresses && wanted.email !== wanted.email.toLowerCase()) return true
  if (!isUnique(options) || asked.has(id)) return false
  // A row that the policy keeps may own the address, or a row of whoever is kept out itself.
  const owner = [...snapshot.rows.values()].find((row) => row.email === wanted.email && row.clerkId !== id)
  if (owner === undefined) return false
  const isLive = clerk.history.get(owner.clerkId)?.at(-1)?.isDeleted === false
  return isLive
    ? isKeptOut(simulation, owner.clerkId, new Set([...asked, id]))
    : options.policy === 'upsert-only'
}

/** Every user has its row, value by value, unless the app's table keeps it out; other rows are there by policy alone. */
function requireEqual(simulation: Simulation, when: string): void {
  const { clerk, options, checks, snapshot } = simulation
  for (const id of clerk.liveIds()) {
    const difference = differenceOf(simulation, id)
    if (difference === undefined || isKeptOut(simulation, id)) continue
    if (difference === 'row') throw new Violation(`${when} live ${id} has no row`)
    throw new Violation(`${when} the ${difference} of ${id} is not Clerk's`)
  }
  for (const id of snapshot.rows.keys()) {
    if (clerk.history.get(id)?.at(-1)?.isDeleted === false || options.policy === 'upsert-only') continue
    if (when !== 'after late deliveries' || checks.buried.has(id))
      throw new Violation(`${when} dead ${id} has a row`)
  }
}
