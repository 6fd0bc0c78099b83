// Postgres fails in the middle of everything: sessions of the tool are ended one and all, or the whole server falls and
// recovers. A run then ends with an honest word, the worker goes on without a restart, and nothing that was promised is lost.
import { setTimeout as sleep } from 'node:timers/promises'
import { type Random, randomFrom, seedOf } from '../../src/dev/sandbox/random.ts'
import { send } from '../support/endpoint.ts'
import { freePort, until } from '../worker/workers.ts'
import { Checks } from './checks.ts'
import { type Found, type KillPoint, killPointFrom, look, waitFor } from './kill-points.ts'
import type { OwnServer } from './server.ts'
import { keepChanging, openWorld, type Process, passSilence, type World } from './world.ts'

/** What a moment is waited for that may not come to a worker. */
const workerMsMax = 2000
const cuts = ['all sessions', 'all sessions', 'one session'] as const

interface Hit extends Found {
  readonly hit: (typeof cuts)[number] | 'restart'
}

export interface Outage extends Hit {
  readonly by: 'sync' | 'worker'
}

export interface OutagesResult {
  readonly outages: readonly Outage[]
  /** Runs of the command line that ended before their moment came. */
  readonly missed: number
  /** How the runs of the command line ended, by exit code. */
  readonly exits: Readonly<Record<string, number>>
  /** Deliveries that were answered with 200. */
  readonly webhooks: number
  /** Runs whose counts were held against what they wrote. */
  readonly countsCompared: number
  readonly violations: readonly string[]
}

/**
 * So many outages: the first half meets runs of the command line, the second one worker that lives through all of them.
 * At least one of each; beyond that none is begun after `msMax`.
 */
export async function runOutages(
  server: OwnServer,
  options: { seed: number; outages: number; msMax?: number; onOutage?: (outages: number) => void },
): Promise<OutagesResult> {
  const world = await openWorld(server, options.seed)
  const checks = new Checks(world)
  const outages: Outage[] = []
  const exits: Record<string, number> = {}
  let missed = 0
  const deadline = deadlines(options.msMax)
  const isDue = (share: number, by: Outage['by']) =>
    outages.length < options.outages * share &&
    (performance.now() < deadline[by] || !outages.some((outage) => outage.by === by)) &&
    checks.violations.length === 0
  const note = (outage: Outage) => {
    outages.push(outage)
    options.onOutage?.(outages.length)
  }
  try {
    await checks.orBreakOff(async () => {
      for (let round = 1; isDue(0.5, 'sync'); round++) {
        const random = randomFrom(seedOf(`outage ${options.seed} ${round}`))
        const { outage, code } = await meetSync(world, checks, random, round % 2 === 0)
        if (outage === undefined) missed++
        else note({ ...outage, by: 'sync' })
        exits[code] = (exits[code] ?? 0) + 1
      }
      const worker = world.worker(await freePort())
      for (let round = 1; isDue(1, 'worker'); round++) {
        const random = randomFrom(seedOf(`outage of a worker ${options.seed} ${round}`))
        const outage = await meetWorker(world, checks, worker, random, round % 2 === 0)
        if (outage !== undefined) note({ ...outage, by: 'worker' })
      }
      if (checks.violations.length === 0) await endAll(world, checks, worker)
    })
    const { countsCompared, violations } = checks
    const webhooks = world.changes.answered.length
    return { outages, missed, exits, webhooks, countsCompared, violations }
  } finally {
    await world.close()
  }
}

/** A run of the command line, in which Postgres fails. */
async function meetSync(world: World, checks: Checks, random: Random, isRestart: boolean) {
  keepChanging(world, random, 6 + random.below(8))
  const process = world.sync()
  const outage = await strike(world, process, random, isRestart)
  const code = await judgeEnd(process, outage, checks)
  await passSilence(world.recorder)
  await checks.look()
  if (random.chance(0.3)) await world.changes.settle()
  return { outage, code }
}

/** The worker, under which Postgres fails, until it is well again. */
async function meetWorker(
  world: World,
  checks: Checks,
  worker: Process,
  random: Random,
  isRestart: boolean,
): Promise<Hit | undefined> {
  keepChanging(world, random, 6 + random.below(8))
  const outage = await strike(world, worker, random, isRestart)
  await recovers(world, worker)
  await checks.look()
  if (random.chance(0.3)) await world.changes.settle()
  return outage
}

/** The worker ends in good order, and one clean run follows. */
async function endAll(world: World, checks: Checks, worker: Process): Promise<void> {
  worker.child.kill('SIGTERM')
  const { code, stdout, stderr } = await worker.ended
  if (code !== 0) checks.violated(`the worker ended with ${code}: ${stdout}${stderr}`)
  world.onRequest = undefined
  await world.changes.quiet()
  await passSilence(world.recorder)
  await world.changes.settle()
  await checks.end(await world.sync().ended, false)
}

/** Until when each half begins outages. */
function deadlines(msMax = Number.POSITIVE_INFINITY): Record<Outage['by'], number> {
  const now = performance.now()
  return { sync: now + msMax / 2, worker: now + msMax }
}

/** Waits for the moment and lets Postgres fail in it. Undefined if the process ended before. */
async function strike(
  world: World,
  process: Process,
  random: Random,
  isRestart: boolean,
): Promise<Hit | undefined> {
  const { recorder, server } = world
  const moment: KillPoint = killPointFrom(random)
  const hit = isRestart ? 'restart' : random.pick(cuts)
  if (moment.kind === 'stop') await recorder.arm(moment.stop, moment.nth)
  const from = process.requests.length
  const counted = moment.kind === 'request' ? { ...moment, nth: from + moment.nth } : moment
  const late = process.port === undefined ? new Promise<never>(() => {}) : sleep(workerMsMax, true)
  const isMet = await Promise.race([waitFor(counted, process, world), late])
  try {
    if (!isMet) return undefined
    process.child.kill('SIGSTOP')
    const found = await look(moment, process, recorder)
    const pids = (await recorder.sessions()).map(({ pid }) => pid)
    const chosen = hit === 'one session' ? pids.slice(random.below(pids.length)).slice(0, 1) : pids
    // A server takes a while to fall, in which the process goes on.
    if (hit === 'restart') {
      process.child.kill('SIGCONT')
      await server.restart()
    } else await recorder.sql`select pg_terminate_backend(pid) from unnest(${chosen}::int[]) as pid`
    return { ...found, hit }
  } finally {
    process.child.kill('SIGCONT')
    await until(
      () => recorder.disarm().catch(() => 'away'),
      (answer) => answer === undefined,
    )
  }
}

/** The exit code, the report and the ledger tell one story. Gives the exit code. */
async function judgeEnd(process: Process, outage: Found | undefined, checks: Checks): Promise<string> {
  const { code, stdout, stderr } = await process.ended
  const status = await checks.ended(process.number)
  const report = stdout.startsWith('{') ? JSON.parse(stdout) : undefined
  // A commit whose answer was lost may be found done afterwards.
  const isLostAnswer = status === 'succeeded' && outage?.phase === 'closing'
  // Clerk's changes may look like users that no page showed.
  const met = { 0: 'succeeded', 4: 'partial' }[code ?? -1]
  const isHonest =
    met !== undefined
      ? report?.status === met && status === met
      : code === 75 &&
        (report === undefined || (report.status === 'failed' && report.error.kind === 'transient')) &&
        (status === undefined || status === 'failed' || status === 'running' || isLostAnswer)
  if (!isHonest) checks.violated(`exit ${code} while the ledger says ${status}: ${stdout}${stderr}`)
  return String(code)
}

/** Until the worker is ready, takes webhooks, and has met the end of a run that it began after the outage. */
async function recovers(world: World, worker: Process): Promise<void> {
  const { sql } = world.recorder
  const { port = 0 } = worker
  const [last] = await sql<{ id: number }[]>`select coalesce(max(id), 0)::int as id from clerk_sync.runs`
  const isOver = worker.ended.then(({ code, stdout, stderr }) => {
    throw new Error(`the worker ended with ${code}: ${stdout}${stderr}`)
  })
  const recovered = until(
    async () => {
      await passSilence(world.recorder)
      const [run] =
        await sql`select from clerk_sync.runs where id > ${last?.id ?? 0} and status = 'succeeded'`
      return run !== undefined && (await send(port, { method: 'GET', path: '/readyz' })).status === 200
    },
    (isReady) => isReady,
  )
  await Promise.race([recovered, isOver])
}
