// So many processes killed, one after the other, each at a moment that the seed decides, while Clerk changes; then one
// clean run. Now and then one is only put to sleep, and wakes when another has taken over.
import { setTimeout as sleep } from 'node:timers/promises'
import { type Random, randomFrom, seedOf } from '../../src/dev/sandbox/random.ts'
import { createGate } from '../support/gate.ts'
import { freePort } from '../worker/workers.ts'
import { Checks } from './checks.ts'
import { type Found, type KillPoint, killPointFrom, look, waitFor } from './kill-points.ts'
import type { OwnServer } from './server.ts'
import { keepChanging, openWorld, type Process, passSilence, sessionsGone, type World } from './world.ts'

/** A worker has no end of its own: so long after its start it is killed whatever it does. */
const workerMsMax = 2500
/** How many of the runs that are met between two transactions, with more to come, are put to sleep in place of killed. */
const sleepShare = 0.4
const successorMsMax = 400

export interface Kill extends Found {
  readonly by: 'sync' | 'worker' | 'incremental sync'
  readonly moment: KillPoint
  /** It had taken over from one that slept, and has woken. */
  readonly woke: boolean
}

export interface KillsResult {
  readonly kills: readonly Kill[]
  /** Runs that ended before their moment came. */
  readonly missed: number
  /** How many runs the ledger has of each status. */
  readonly runs: Readonly<Record<string, number>>
  /** Runs whose counts were held against what they wrote. */
  readonly countsCompared: number
  /** Deliveries that were answered with 200. */
  readonly webhooks: number
  readonly violations: readonly string[]
}

/**
 * Kills so many, or until something is violated. `onKill` is told after each; no more are begun after `msMax`, for a
 * machine that is busy.
 */
export async function runKills(
  server: OwnServer,
  options: { seed: number; kills: number; msMax?: number; onKill?: (kills: number) => void },
): Promise<KillsResult> {
  const world = await openWorld(server, options.seed)
  const checks = new Checks(world)
  const kills: Kill[] = []
  let missed = 0
  try {
    await checks.orBreakOff(() =>
      killAll(world, checks, options, (kill) => {
        if (kill === undefined) missed++
        else {
          kills.push(kill)
          options.onKill?.(kills.length)
        }
        return kills
      }),
    )
    const { countsCompared, violations } = checks
    const webhooks = world.changes.answered.length
    return { kills, missed, runs: await countRuns(world), countsCompared, webhooks, violations }
  } finally {
    await world.close()
  }
}

/** `add` is told of each round and gives all kills so far. */
async function killAll(
  world: World,
  checks: Checks,
  options: { seed: number; kills: number; msMax?: number },
  add: (kill: Kill | undefined) => readonly Kill[],
): Promise<void> {
  const { seed, msMax = Number.POSITIVE_INFINITY } = options
  // There is something to lose from the start.
  const first = await world.sync().ended
  if (first.code !== 0) throw new Error(`the first run failed: ${first.stdout}${first.stderr}`)
  const deadline = performance.now() + msMax
  let kills: readonly Kill[] = []
  const goesOn = () => kills.length < options.kills && performance.now() < deadline
  for (let round = 1; goesOn() && checks.violations.length === 0; round++) {
    const random = randomFrom(seedOf(`kill ${seed} ${round}`))
    keepChanging(world, random, 4 + random.below(8))
    kills = add(await killOne(world, checks, random, !kills.some((kill) => kill.woke)))
    await checks.look()
    await passSilence(world.recorder)
    if (random.chance(0.3)) await world.changes.settle()
  }
  world.onRequest = undefined
  await world.changes.settle()
  // Either kind of run has to find all that is missing.
  const flags = seed % 2 === 0 ? [] : ['--incremental']
  await checks.end(await world.sync(flags).ended, true)
}

async function countRuns({ recorder }: World): Promise<Record<string, number>> {
  const runs = await recorder.sql<{ status: string; count: number }[]>`
    select status, count(*)::int from clerk_sync.runs group by 1 order by 2 desc`
  return Object.fromEntries(runs.map(({ status, count }) => [status, count]))
}

/** Starts a process and kills it at its moment. Undefined if it ended before. */
async function killOne(
  world: World,
  checks: Checks,
  random: Random,
  isSleeperDue: boolean,
): Promise<Kill | undefined> {
  const moment = killPointFrom(random)
  const share = random.fraction()
  const by = share < 0.25 ? 'worker' : share < 0.37 ? 'incremental sync' : 'sync'
  const maySleep = random.chance(sleepShare) || isSleeperDue
  if (moment.kind === 'stop') await world.recorder.arm(moment.stop, moment.nth)
  const flags = by === 'sync' ? [] : ['--incremental']
  const process = by === 'worker' ? world.worker(await freePort()) : world.sync(flags)
  const late = by === 'worker' ? sleep(workerMsMax) : new Promise<never>(() => {})
  await Promise.race([waitFor(moment, process, world), late])
  // Frozen first, so that what it was doing can be looked at; what it dies of is the same.
  process.child.kill('SIGSTOP')
  const found = await look(moment, process, world.recorder)
  const hasMore = found.phase === 'pages' || found.phase === 'confirming deletions'
  const sleeps = maySleep && by !== 'worker' && hasMore && found.within === 'none'
  if (!sleeps) {
    const isKilled = await finishOff(process, found, world, checks)
    return isKilled ? { ...found, by, moment, woke: false } : undefined
  }
  await world.recorder.disarm()
  const successor = await takeOver(world, process, checks)
  await sleep(random.below(successorMsMax))
  successor.child.kill('SIGSTOP')
  const next = await look(undefined, successor, world.recorder)
  const isKilled = await finishOff(successor, next, world, checks)
  return isKilled ? { ...next, by: 'sync', moment, woke: true } : undefined
}

/** Kills the frozen process and waits until Postgres has noticed. False if it had ended before. */
async function finishOff(process: Process, found: Found, world: World, checks: Checks): Promise<boolean> {
  const { recorder, changes } = world
  process.child.kill('SIGKILL')
  const { signal, stdout, stderr } = await process.ended
  await recorder.disarm()
  await changes.quiet()
  await sessionsGone(recorder)
  const isKilled = signal === 'SIGKILL'
  if (!isKilled && process.port !== undefined)
    checks.violated(`the worker ended by itself: ${stdout}${stderr}`)
  if (isKilled) await checks.ended(process.number)
  for (const xid of found.doomed) {
    const fate = await recorder.fateOf(xid)
    if (fate !== 'aborted')
      checks.violated(`process ${process.number} died in a transaction, which was ${fate}`)
  }
  return isKilled
}

/** Lets another run take over from one that sleeps, and wakes that one. Gives the other, which has pages to come. */
async function takeOver(world: World, sleeper: Process, checks: Checks): Promise<Process> {
  const rival = await world.sync().ended
  if (rival.code !== 75)
    checks.violated(`a run beside one that was silent for a moment ended with ${rival.code}`)
  await passSilence(world.recorder)
  const { onRequest } = world
  const reached = createGate()
  const released = createGate()
  world.onRequest = async (request) => {
    if (request.query.get('order_by') !== '+created_at') return
    // The next one is the sleeper's.
    world.onRequest = onRequest
    reached.open()
    await released.opened
  }
  const successor = world.sync()
  const early = await Promise.race([reached.opened, successor.ended])
  if (early !== undefined)
    checks.violated(`nobody could take over from a silent run: ${early.stdout}${early.stderr}`)
  sleeper.child.kill('SIGCONT')
  const { code, stdout, stderr } = await sleeper.ended
  if (code !== 75) checks.violated(`a run that woke without its lease ended with ${code}: ${stdout}${stderr}`)
  await checks.ended(sleeper.number)
  released.open()
  return successor
}
