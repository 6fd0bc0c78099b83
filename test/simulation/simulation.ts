// One world from a seed: Clerk, Postgres, the runs and deliveries between them, and the hand that moves them on. The
// steps of the history are in steps.ts; what must hold is in checks.ts.
import pino from 'pino'
import { createClerkClient } from '../../src/clerk/api.ts'
import { readShape, type Shape } from '../../src/db/shape.ts'
import { type Random, randomFrom, seedOf } from '../../src/dev/sandbox/random.ts'
import { buildDelivery } from '../../src/dev/sandbox/webhooks.ts'
import { SyncError } from '../../src/errors.ts'
import { createApp } from '../../src/http/app.ts'
import { type RunOutcome, type RunRequest, reconcile } from '../../src/sync/reconcile.ts'
import { captureHeartbeats } from './beats.ts'
import { Checks } from './checks.ts'
import { type Event, type Heard, SimulatedClerk } from './clerk.ts'
import { judgeEnd } from './endings.ts'
import { type Actor, breathe, Crash, Gate } from './gate.ts'
import { recountDelayMs, type Scenario, type SimulationOptions } from './options.ts'
import type { SimulatedPostgres, Snapshot } from './postgres.ts'
import { type Witness, witnessOf } from './witness.ts'

/** Clerk's time when a world begins: any will do, but not a round one. */
const startMs = Date.parse('2026-03-01T12:34:56.789Z')
const secret = 'sk_test_simulation'
const webhookSecret = `whsec_${Buffer.from('the-simulation-signs-this').toString('base64')}`
const log = pino({ level: 'silent' })

export interface PassRequest {
  readonly pass: 'full' | 'incremental' | 'user'
  readonly userId?: string
  readonly dryRun?: boolean
  readonly approveDeletes?: number
  readonly policy?: 'sync'
}

export class Simulation {
  readonly options: SimulationOptions
  readonly clerk: SimulatedClerk
  readonly checks: Checks
  readonly gate: Gate
  readonly server: SimulatedPostgres
  readonly witnesses = new Map<Actor, Witness>()
  readonly stops = new Map<Actor, AbortController>()
  readonly trace: string[] = []
  snapshot: Snapshot
  private readonly seed: number
  private shape: Shape | undefined
  private postgresNow: number
  private isTimeOld = false
  private actorCount = 0
  private readonly ended: { witness: Witness; outcome: RunOutcome }[] = []
  private readonly beats = captureHeartbeats()
  private failure: unknown

  private constructor(scenario: Scenario, server: SimulatedPostgres, snapshot: Snapshot) {
    this.seed = scenario.seed
    this.options = scenario.options
    this.server = server
    this.snapshot = snapshot
    this.postgresNow = startMs + scenario.options.skewMs
    this.clerk = new SimulatedClerk(scenario.options, startMs)
    this.checks = new Checks(this.clerk, scenario.options)
    this.gate = new Gate(server)
  }

  static async begin(scenario: Scenario, server: SimulatedPostgres): Promise<Simulation> {
    await server.reset(startMs + scenario.options.skewMs)
    const simulation = new Simulation(scenario, server, await server.read())
    simulation.shape = await readShape(server.heart.database.db)
    return simulation
  }

  /** Everybody dies, so that the next world finds free connections. */
  async close(): Promise<void> {
    this.beats.stop()
    for (const actor of this.gate.active()) actor.isCrashed = true
    while (this.gate.parked().length > 0) {
      const [actor] = this.gate.parked()
      if (actor !== undefined) await this.gate.release(actor, new Crash())
    }
  }

  say(line: string): void {
    this.trace.push(line)
  }

  /** Both clocks go on. */
  pass(milliseconds: number): void {
    this.clerk.clock.advance(milliseconds)
    this.postgresNow += milliseconds
    this.isTimeOld = true
  }

  /** Tells Postgres the time, as late as possible: most steps ask it nothing. */
  private async tellTime(): Promise<void> {
    if (!this.isTimeOld) return
    this.isTimeOld = false
    await this.server.setTime(this.postgresNow)
  }

  now(): number {
    return this.postgresNow
  }

  /** Takes a look at the tables after something other than a commit of the code under test has changed them. */
  async look(): Promise<void> {
    this.snapshot = await this.server.read()
  }

  /** Lets up to so many calls through, of whoever the dice name. */
  async go(calls: number, random: Random): Promise<void> {
    for (let call = 0; call < calls; call++) {
      const parked = this.gate.parked()
      if (parked.length === 0) return
      const actor = parked[random.below(parked.length)]
      if (actor !== undefined) await this.release(actor)
    }
  }

  async drain(random: Random): Promise<void> {
    await this.go(Number.POSITIVE_INFINITY, random)
  }

  /** Lets one call through, or ends it with an error, and judges what came of it. */
  async release(actor: Actor, error?: unknown): Promise<void> {
    const [call] = actor.calls
    const witness = this.witnesses.get(actor)
    if (call === undefined || witness === undefined) throw new Error('nobody to let through')
    this.say(`  ${actor.name}: ${call.label}${error === undefined ? '' : ` ✗ ${String(error)}`}`)
    if (call.kind === 'begin') {
      witness.hadLease = witness.runId !== undefined && this.snapshot.runs.get(witness.runId) === 'running'
    }
    if (error !== undefined && call.kind !== 'fetch') {
      witness.wasFailed = true
      if (call.kind === 'after') witness.wasCommitLost = true
    }
    this.beats.owner = actor
    if (call.kind !== 'fetch') await this.tellTime()
    await this.gate.release(actor, error)
    if (call.kind === 'commit' && error === undefined) await this.judgeCommit(witness)
    this.judgeEnds()
  }

  private async judgeCommit(witness: Witness): Promise<void> {
    const before = this.snapshot
    await this.look()
    this.checks.commit(witness, before, this.snapshot, this.postgresNow)
  }

  private judgeEnds(): void {
    if (this.failure !== undefined) throw this.failure
    for (let ended = this.ended.shift(); ended !== undefined; ended = this.ended.shift()) {
      const { report } = ended.outcome
      const counts = Object.entries(report.counts).filter(([, count]) => count > 0)
      const facts = [...counts.map(([key, count]) => `${count} ${key}`), ...report.notes]
      this.say(
        `${ended.witness.name} ends: ${report.status}, ${facts.join(', ')} ${report.error?.message ?? ''}`,
      )
      const scene = { clerk: this.clerk, options: this.options, checks: this.checks, after: this.snapshot }
      judgeEnd(scene, ended.witness, ended.outcome)
    }
  }

  /** Begins a run. Gives undefined where too much is going on already. `onEnd` is told its outcome. */
  async startPass(request: PassRequest, onEnd?: (outcome: RunOutcome) => void): Promise<Actor | undefined> {
    const name = `${request.dryRun ? 'dry ' : ''}${request.pass} ${++this.actorCount}`
    const witness = witnessOf(name, request.pass, this.clerk.now(), request)
    const stop = new AbortController()
    const actor = await this.start(name, witness, async (self) => {
      const outcome = await this.reconcile(request, self, witness, stop)
      this.beats.forget(self)
      if (self.isCrashed) return
      this.ended.push({ witness, outcome })
      onEnd?.(outcome)
    })
    if (actor !== undefined) this.stops.set(actor, stop)
    return actor
  }

  private reconcile(request: PassRequest, actor: Actor, witness: Witness, stop: AbortController) {
    const { options } = this
    const asked: RunRequest = {
      pass: request.pass,
      userId: request.userId,
      trigger: 'cli',
      dryRun: request.dryRun ?? false,
      acceptInstance: this.clerk.instanceId,
      options: {
        policy: request.policy ?? options.policy,
        graceMs: options.graceMs,
        maxDeletes: options.maxDeletes,
        approveDeletes: request.approveDeletes,
        askedAloneMax: 500,
        pageSize: options.pageSize,
        recountDelayMs: 0,
      },
    }
    const clerk = createClerkClient({
      secretKey: secret,
      apiUrl: 'http://127.0.0.1',
      requestsPer10s: 1e9,
      signal: stop.signal,
      fetch: this.fetchAs(actor, witness),
      limits: { requestMs: 1e8, tries: 3, totalMs: 1e8, firstRetryMs: 0 },
    })
    return reconcile(asked, {
      clerk,
      database: this.gate.database(actor),
      heartbeatDatabase: this.beats.database(this.server.heart.database),
      log,
      stop,
      onProgress: () => {},
      onChange: () => {},
    })
  }

  private fetchAs(actor: Actor, witness: Witness): typeof fetch {
    let requests = 0
    return async (input, init) => {
      const url = new URL(String(input))
      await this.gate.enter(actor, 'fetch', `GET ${url.pathname}${url.search}`)
      init?.signal?.throwIfAborted()
      if (url.pathname === '/v1/users/count' && isRecount(witness.heard)) this.pass(recountDelayMs)
      const random = randomFrom(seedOf(`${this.seed} ${actor.name} ${++requests}`))
      const { response, heard } = this.clerk.answer(url, random)
      witness.heard.push(heard)
      const users = Array.isArray(heard.value) ? `${heard.value.length} users` : JSON.stringify(heard.value)
      this.say(`    ${heard.fault === undefined ? '' : `fault ${heard.fault.kind}: `}${users?.slice(0, 60)}`)
      return response
    }
  }

  /** Begins a delivery, signed now. `onEnd` is told the status and what came of it. */
  deliver(event: Event, onEnd: (status: number, result: string) => void): Promise<Actor | undefined> {
    const name = `webhook ${++this.actorCount} (${event.type} ${event.clerkId})`
    const witness = witnessOf(name, 'webhook', this.clerk.now(), { event })
    const defaults = { id: `msg_${event.id}`, secret: webhookSecret, instanceId: this.clerk.instanceId }
    const { headers, body } = buildDelivery(event.type, event.user ?? event.clerkId, {
      ...defaults,
      now: event.at,
    })
    return this.start(name, witness, async (actor) => {
      const app = createApp({
        database: this.gate.database(actor),
        log,
        signingSecret: webhookSecret,
        policy: this.options.policy,
        shape: () => this.shape,
        readiness: async () => [],
      })
      const response = await app.request('/api/users/webhook', { method: 'POST', headers, body })
      const answer = (await response.json()) as { result: string; reason?: string }
      if (actor.isCrashed) return
      this.say(`${name} ends: ${response.status} ${answer.result} ${answer.reason ?? ''}`)
      onEnd(response.status, answer.result)
    })
  }

  private async start(name: string, witness: Witness, run: (actor: Actor) => Promise<void>) {
    const actor = this.gate.start(name, (self) =>
      run(self).catch((error) => {
        this.failure ??= error
      }),
    )
    if (actor === undefined) return undefined
    this.witnesses.set(actor, witness)
    this.say(`${name} begins`)
    await this.gate.settle()
    this.judgeEnds()
    return actor
  }

  /** The heartbeats of that run, or of all. None where a transaction is open, for which one might wait. */
  async beat(random: Random): Promise<void> {
    if (this.gate.actors.some((actor) => actor.isInTransaction)) return
    await this.tellTime()
    for (const actor of this.beats.owners()) if (random.chance(0.7)) await this.beats.fire(actor)
  }

  stop(actor: Actor): void {
    this.stops
      .get(actor)
      ?.abort(new SyncError('aborted', 'stopped by a signal', { facts: { signal: 'SIGTERM' } }))
  }

  async crash(actor: Actor): Promise<void> {
    actor.isCrashed = true
    this.beats.forget(actor)
    await this.release(actor, new Crash())
    await breathe()
  }

  /** An error of the database, as the driver throws it. */
  async failDatabase(actor: Actor, code: string): Promise<void> {
    await this.release(actor, Object.assign(new Error('the database failed'), { code }))
  }
}

/** True if the run has counted since it last read a page: before it counts once more, it waits. */
function isRecount(heard: readonly Heard[]): boolean {
  const last = heard.findLast(
    ({ request: { endpoint, query } }) =>
      endpoint === 'count' || (endpoint === 'list' && !query.has('user_id')),
  )
  return last?.request.endpoint === 'count'
}
