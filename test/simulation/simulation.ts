// One world from a seed: Clerk, Postgres, the runs and deliveries between them, and the hand that moves them on. How the
// code under test is started is in processes.ts, the steps of the history are in steps.ts, what must hold in checks.ts.
import { readCatalog, type TableCatalog } from '../../src/db/catalog.ts'
import type { Random } from '../../src/dev/sandbox/random.ts'
import { sandboxInstanceId } from '../../src/dev/sandbox/seed.ts'
import { SyncError } from '../../src/errors.ts'
import type { RunOutcome } from '../../src/sync/run-request.ts'
import { captureHeartbeats } from './beats.ts'
import { Checks, type Model } from './checks.ts'
import { type Event, SimulatedClerk } from './clerk.ts'
import { judgeEnd } from './endings.ts'
import { type Actor, breathe, Crash, Gate } from './gate.ts'
import type { Scenario, SimulationOptions } from './options.ts'
import type { SimulatedPostgres, Snapshot } from './postgres.ts'
import { type PassRequest, reconcileAs, Worker } from './processes.ts'
import type { Backup } from './tables.ts'
import { type Witness, witnessOf } from './witness.ts'

/** Clerk's time when a world begins: any will do, but not a round one. */
const startMs = Date.parse('2026-03-01T12:34:56.789Z')
/** The instance of another key. Its users are few and stay as they are. */
const otherInstanceId = 'ins_9zYxWvUtSrQpOnMlKjIhGfEdCbA'
const otherUsers = 2

export class Simulation {
  readonly options: SimulationOptions
  readonly clerk: SimulatedClerk
  /** What answers another instance's key. */
  readonly otherClerk: SimulatedClerk
  readonly checks: Checks
  readonly gate: Gate
  readonly server: SimulatedPostgres
  readonly witnesses = new Map<Actor, Witness>()
  readonly stops = new Map<Actor, AbortController>()
  readonly trace: string[] = []
  snapshot: Snapshot
  /** The tables at an earlier moment, and what was known about them then. */
  backup: { readonly tables: Backup; readonly model: Model } | undefined
  readonly seed: number
  catalog: TableCatalog | undefined
  private postgresNow: number
  private readonly realNow = Date.now
  private isTimeOld = false
  private actorCount = 0
  private readonly ended: { witness: Witness; outcome: RunOutcome }[] = []
  readonly beats = captureHeartbeats()
  private readonly worker: Worker
  private failure: unknown

  private constructor(scenario: Scenario, server: SimulatedPostgres, snapshot: Snapshot) {
    this.seed = scenario.seed
    this.options = scenario.options
    this.server = server
    this.snapshot = snapshot
    this.postgresNow = startMs + scenario.options.skewMs
    this.clerk = new SimulatedClerk(scenario.options, startMs, sandboxInstanceId)
    this.otherClerk = new SimulatedClerk(scenario.options, startMs, otherInstanceId)
    for (let user = 0; user < otherUsers; user++) this.otherClerk.create({ first_name: `Other ${user}` })
    this.checks = new Checks(this.clerk, scenario.options)
    this.gate = new Gate(server)
    this.worker = new Worker(this)
    // The process has a clock of its own, as every machine.
    Date.now = () => Math.floor(this.clerk.now() + scenario.options.processSkewMs)
  }

  static async begin(scenario: Scenario, server: SimulatedPostgres): Promise<Simulation> {
    await server.reset(startMs + scenario.options.skewMs, scenario.options)
    const simulation = new Simulation(scenario, server, await server.read())
    simulation.catalog = await readCatalog(server.heart.database.db)
    return simulation
  }

  /** Everybody dies, so that the next world finds free connections. */
  async close(): Promise<void> {
    await this.crashAll()
    this.beats.stop()
    Date.now = this.realNow
  }

  /** Every process dies. */
  async crashAll(): Promise<void> {
    for (const actor of this.gate.active()) {
      actor.isCrashed = true
      this.beats.forget(actor)
    }
    this.worker.restart()
    while (this.gate.parked().length > 0) {
      const [actor] = this.gate.parked()
      if (actor !== undefined) await this.gate.release(actor, new Crash())
    }
    await breathe()
  }

  say(line: string): void {
    this.trace.push(line)
  }

  /** Both clocks go on. */
  pass(milliseconds: number): void {
    this.clerk.clock.advance(milliseconds)
    this.otherClerk.clock.advance(milliseconds)
    this.postgresNow += milliseconds
    this.isTimeOld = true
  }

  /** Sets every clock right. */
  agreeOnTime(): void {
    this.postgresNow = this.clerk.now()
    Date.now = () => this.clerk.now()
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
    this.checks.noteRows(this.snapshot, this.postgresNow)
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
    this.snapshot = await this.server.read()
    this.checks.commit(witness, before, this.snapshot, this.postgresNow)
    this.checks.noteRows(this.snapshot, this.postgresNow)
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
      const { clerk, options, checks, snapshot } = this
      const scene = { clerk, options, checks, after: snapshot }
      judgeEnd(scene, ended.witness, ended.outcome)
    }
  }

  /** Begins a run. Gives undefined where too much is going on already. `onEnd` is told its outcome. */
  async startPass(request: PassRequest, onEnd?: (outcome: RunOutcome) => void): Promise<Actor | undefined> {
    const key = request.isOtherKey ? 'other key, ' : ''
    const name = `${key}${request.dryRun ? 'dry ' : ''}${request.pass} ${++this.actorCount}`
    const clerk = request.isOtherKey ? this.otherClerk : this.clerk
    const witness = witnessOf(name, request.pass, clerk, this.snapshot, request)
    if (request.approveDeletes !== undefined && !request.dryRun) this.checks.operatorSpeaks()
    const stop = new AbortController()
    const actor = await this.start(name, witness, async (self) => {
      const outcome = await reconcileAs(this, request, self, witness, stop)
      this.beats.forget(self)
      if (self.isCrashed) return
      this.ended.push({ witness, outcome })
      onEnd?.(outcome)
    })
    if (actor !== undefined) this.stops.set(actor, stop)
    return actor
  }

  /** Begins a delivery, signed now. `onEnd` is told the status and what came of it. */
  deliver(event: Event, onEnd: (status: number, result: string) => void): Promise<Actor | undefined> {
    const name = `webhook ${++this.actorCount} (${event.type} ${event.clerkId})`
    const witness = witnessOf(name, 'webhook', this.clerk, this.snapshot, { event })
    return this.start(name, witness, async (actor) => {
      const { status, result, reason } = await this.worker.answer(actor, event)
      if (actor.isCrashed) return
      this.say(`${name} ends: ${status} ${result} ${reason ?? ''}`)
      onEnd(status, result)
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
    if (!this.stops.has(actor)) this.worker.restart()
    await this.release(actor, new Crash())
    await breathe()
  }

  /** An error of the database, as the driver throws it. */
  async failDatabase(actor: Actor, code: string): Promise<void> {
    await this.release(actor, Object.assign(new Error('the database failed'), { code }))
  }
}
