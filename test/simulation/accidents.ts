// What goes wrong around the code: processes die, Postgres fails a statement, somebody edits rows, tables come back as they
// were, and a key of another instance is used.
import type { UserIdFilter } from '../../src/dev/sandbox/list.ts'
import type { Random } from '../../src/dev/sandbox/random.ts'
import { pickFault, pickLive } from './faults.ts'
import type { Simulation } from './simulation.ts'
import { backUp, makeUsersAnew, restoreOwn, restoreUsers } from './tables.ts'

const secondMs = 1000
const hourMs = 3600 * secondMs
const dayMs = 24 * hourMs

export async function crashOne(simulation: Simulation, random: Random): Promise<void> {
  const parked = simulation.gate.parked()
  const actor = parked[random.below(parked.length)]
  if (actor !== undefined) await simulation.crash(actor)
}

export function stopOne(simulation: Simulation, random: Random): void {
  const actors = simulation.gate.active().filter((actor) => simulation.stops.has(actor))
  const actor = actors[random.below(actors.length)]
  if (actor !== undefined) simulation.stop(actor)
}

export function addFault(simulation: Simulation, random: Random): void {
  const fault = pickFault(simulation, random)
  if (fault.kind === 'another-instance' && simulation.snapshot.boundTo === null) return
  if (random.chance(0.15) && !simulation.options.mayDenyAlone) {
    const id = pickLive(simulation, random)
    const withoutOne = new Set(id === undefined ? [] : [id])
    simulation.clerk.behaviour.userIdFilter = random.pick<UserIdFilter>(['ignored', 'empty', withoutOne])
    simulation.say('  user_id filter')
    return
  }
  simulation.say(`  ${fault.kind} on ${fault.endpoint}, ${fault.times} times`)
  simulation.clerk.faults.add(fault)
}

export async function failOne(simulation: Simulation, random: Random): Promise<void> {
  const parked = simulation.gate.parked().filter((actor) => actor.calls[0]?.kind !== 'fetch')
  const actor = parked[random.below(parked.length)]
  if (actor === undefined) return
  const codes = ['55P03', '40P01', '57014', '57P01', 'CONNECTION_CLOSED', 'ECONNRESET'] as const
  await simulation.failDatabase(actor, random.pick(codes))
}

const isAnybodyWriting = (simulation: Simulation) =>
  simulation.gate.actors.some((actor) => actor.isInTransaction)

export async function editByHand(simulation: Simulation, random: Random): Promise<void> {
  const ids = [...simulation.snapshot.rows.keys()]
  const id = ids[random.below(ids.length)]
  if (id === undefined || isAnybodyWriting(simulation)) return
  simulation.say(`  ${id}`)
  const ahead = random.pick([0, secondMs, simulation.options.graceMs * 2, 3650 * dayMs])
  const version = random.chance(0.5) ? null : (simulation.clerk.now() + ahead) / 1000
  await simulation.server.sql`update users set name = 'By hand',
    clerk_updated_at = coalesce(to_timestamp(${version}::float8), clerk_updated_at) where clerk_id = ${id}`
  simulation.checks.edited.add(id)
  simulation.checks.lastEdit = simulation.clerk.now()
  await simulation.look()
}

/** When the app made a row; null where it does not say. */
export function pickCreation(simulation: Simulation, random: Random): number | null {
  const age = random.pick([0, hourMs, 2 * dayMs])
  return simulation.options.mayLackCreation && random.chance(0.5) ? null : simulation.now() - age
}

/** A row of the app's old webhook: without Clerk's times, of a user that may be there, gone, or another instance's. */
export async function insertByApp(simulation: Simulation, random: Random): Promise<void> {
  const { clerk, otherClerk, checks, snapshot } = simulation
  const known = [...clerk.history.keys(), ...otherClerk.liveIds()].filter((id) => !snapshot.rows.has(id))
  const id = random.chance(0.2) ? `user_gone${random.below(5)}` : known[random.below(known.length)]
  if (id === undefined || isAnybodyWriting(simulation)) return
  simulation.say(`  ${id}`)
  const created = pickCreation(simulation, random)
  await simulation.server.sql`insert into users (clerk_id, name, email, image_url, created_at)
    values (${id}, 'By the app', ${clerk.freshAddress()}, '', to_timestamp(${created === null ? null : created / 1000}::float8))
    on conflict do nothing`
  checks.edited.add(id)
  checks.lastEdit = clerk.now()
  await simulation.look()
}

/** A run with a key of another instance, where it must be told that it is the wrong one. */
export async function useOtherKey(simulation: Simulation, random: Random): Promise<void> {
  const { clerk, otherClerk, snapshot, gate } = simulation
  const others = otherClerk.liveIds()
  const known = others.filter((id) => snapshot.rows.has(id)).length
  const isToldApart = snapshot.boundTo === clerk.instanceId || known < snapshot.rows.size / 2
  // Nobody may be about to make the table another one.
  if (!isToldApart || gate.active().length > 0) return
  const pass = random.pick(['full', 'full', 'incremental', 'user'] as const)
  const ids = [...snapshot.rows.keys()]
  const userId = pass === 'user' ? { userId: ids[random.below(ids.length)] ?? 'user_nobody' } : {}
  await simulation.startPass({ pass, ...userId, isOtherKey: true, dryRun: random.chance(0.1) })
}

/** Keeps a copy of all tables, unless an older one is kept longer. */
export async function keepBackup(simulation: Simulation, random: Random): Promise<void> {
  if (simulation.backup !== undefined && random.chance(0.6)) return
  const tables = await backUp(simulation.server.sql)
  simulation.backup = { tables, model: simulation.checks.save() }
}

/** Users, our bookkeeping or both as they were. Everybody who was at work has lost the database meanwhile. */
export async function restore(simulation: Simulation, random: Random): Promise<void> {
  const { backup, server, checks, options } = simulation
  if (backup === undefined) return keepBackup(simulation, random)
  const [what, isAnew, isRowsAlone] = [
    random.pick(['users', 'bookkeeping', 'both'] as const),
    random.chance(0.5),
    random.chance(0.3),
  ]
  simulation.say(`  ${what}${isAnew ? ', the table made anew' : ''}${isRowsAlone ? ', rows alone' : ''}`)
  await simulation.crashAll()
  if (what !== 'bookkeeping') {
    await restoreUsers(server.sql, backup.tables, options, isAnew)
    checks.noteRestored(isAnew)
  }
  if (what !== 'users') {
    await restoreOwn(server.sql, backup.tables, isRowsAlone)
    checks.recall(backup.model)
  }
  await simulation.look()
}

/** The app drops its table and makes it anew. */
export async function makeAnew(simulation: Simulation): Promise<void> {
  await simulation.crashAll()
  await makeUsersAnew(simulation.server.sql, simulation.options)
  simulation.checks.noteRestored(true)
  await simulation.look()
}
