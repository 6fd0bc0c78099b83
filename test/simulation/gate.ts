// The gate: every request to Clerk and every statement to Postgres waits here until the simulation lets it through, one
// at a time. So a seed decides the interleaving, and a failure can be repeated. A call that waits for a lock of Postgres
// counts as parked; it goes on when the lock is free, which is asked for after every end of a transaction.
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { SQL } from 'drizzle-orm'
import type { Database } from '../../src/db/database.ts'
import type { Handle, SimulatedPostgres } from './postgres.ts'

/** What an actor is about to do. `after` is where a commit has succeeded and nobody knows it yet. */
export type CallKind = 'fetch' | 'query' | 'begin' | 'statement' | 'commit' | 'after'

/** A process that died: everything it calls from now on fails with this. */
export class Crash extends Error {
  override readonly name = 'Crash'
}

export interface Call {
  readonly kind: CallKind
  readonly label: string
  go(): void
  fail(error: unknown): void
}

/** One run or one delivery under way. */
export interface Actor {
  readonly name: string
  readonly handle: Handle
  state: 'running' | 'parked' | 'blocked' | 'done'
  /** What waits at the gate: the first is next. A run asks Clerk for several users at once. */
  readonly calls: Call[]
  isCrashed: boolean
  isInTransaction: boolean
}

/** Errors of the database that mean a broken connection. */
const lostCodes = new Set(['CONNECTION_CLOSED', 'ECONNRESET'])

/** How long nothing at all may happen: far longer than any statement takes. */
const stalledMs = 60_000

/** Somebody waits for what never comes. The server's connections are then not what they were: nothing else can be tried. */
export class Stalled extends Error {
  override readonly name = 'Stalled'
}

/** How long nothing happens before Postgres is asked who waits for a lock. Only costs time, decides nothing. */
const quietMs = 3

export class Gate {
  readonly actors: Actor[] = []
  private readonly server: SimulatedPostgres
  private changed: () => void = () => {}

  constructor(server: SimulatedPostgres) {
    this.server = server
  }

  /** Begins something that calls through the gate as that actor. */
  start(name: string, run: (actor: Actor) => Promise<void>): Actor | undefined {
    const taken = new Set(this.actors.filter((actor) => actor.state !== 'done').map((actor) => actor.handle))
    const handle = this.server.handles.find((each) => !taken.has(each))
    if (handle === undefined) return undefined
    const actor: Actor = {
      name,
      handle,
      state: 'running',
      calls: [],
      isCrashed: false,
      isInTransaction: false,
    }
    this.actors.push(actor)
    run(actor).finally(() => {
      actor.state = 'done'
      this.changed()
    })
    return actor
  }

  active(): Actor[] {
    return this.actors.filter((actor) => actor.state !== 'done')
  }

  parked(): Actor[] {
    return this.actors.filter((actor) => actor.state === 'parked')
  }

  /** Waits to be let through. Throws what the simulation wants the call to end with. */
  async enter(actor: Actor, kind: CallKind, label: string): Promise<void> {
    if (actor.isCrashed) throw new Crash()
    await new Promise<void>((resolve, reject) => {
      actor.calls.push({ kind, label, go: resolve, fail: reject })
      actor.state = 'parked'
      this.changed()
    })
  }

  /** Lets a parked call through, or ends it with an error, and waits for everybody to park again. */
  async release(actor: Actor, error?: unknown): Promise<void> {
    const call = actor.calls.shift()
    if (call === undefined || actor.state !== 'parked') throw new Error(`${actor.name} is not parked`)
    actor.state = 'running'
    const endsTransaction = call.kind === 'commit' || error !== undefined
    if (error === undefined) call.go()
    else call.fail(error)
    if (actor.isCrashed) for (const other of actor.calls.splice(0)) other.fail(error)
    // Requests go at once, statements do not: what an answer sets off is done within a few turns.
    for (let turn = 0; turn < 5 && actor.calls.length > 0; turn++) await nextTurn()
    if (actor.calls.length > 0) actor.state = 'parked'
    await this.settle(endsTransaction)
  }

  /** Waits until nobody runs: all are parked, done, or wait for a lock. */
  async settle(locksMayBeFree = false): Promise<void> {
    if (locksMayBeFree) {
      // The one that ends the transaction first: only then is its lock free.
      await this.settleRunning()
      for (const actor of this.actors) if (actor.state === 'blocked') actor.state = 'running'
    }
    await this.settleRunning()
    while (this.actors.length > 0 && this.actors[0]?.state === 'done') this.actors.shift()
  }

  private async settleRunning(): Promise<void> {
    for (;;) {
      const running = this.actors.filter((actor) => actor.state === 'running')
      if (running.length === 0) {
        const isStuck = this.active().length > 0 && this.parked().length === 0
        if (!isStuck) return
        // Only locks are waited for: Postgres ends a deadlock.
        for (const actor of this.active()) actor.state = 'running'
      }
      // One transaction alone waits for no lock.
      const mayWait = this.actors.filter((actor) => actor.isInTransaction).length > 1
      const isQuiet = await this.isQuietFor(mayWait ? quietMs : stalledMs)
      if (!isQuiet) continue
      if (!mayWait) throw new Stalled(`nothing has moved for a minute: ${running.map((each) => each.name)}`)
      const still = this.actors.filter((actor) => actor.state === 'running')
      if (still.length === 0) continue
      const waiting = await this.server.waiting(still.map((actor) => actor.handle.pid))
      for (const actor of still) {
        if (actor.state === 'running' && waiting.has(actor.handle.pid)) actor.state = 'blocked'
      }
    }
  }

  /** False once anything happens, true if that takes longer. */
  private isQuietFor(milliseconds: number): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(true), milliseconds)
      this.changed = () => {
        clearTimeout(timer)
        this.changed = () => {}
        resolve(false)
      }
    })
  }

  /** The database as the actor sees it. */
  database(actor: Actor): Database {
    const { db } = actor.handle.database
    const run = async (executor: { execute: typeof db.execute }, kind: CallKind, statement: unknown) => {
      await this.enter(actor, kind, labelOf(statement))
      return executor.execute(statement as SQL)
    }
    const gated = {
      execute: (statement: unknown) => run(db, 'query', statement),
      transaction: async (work: (tx: unknown) => Promise<unknown>, config: never) => {
        await this.enter(actor, 'begin', 'begin')
        actor.isInTransaction = true
        let result: unknown
        try {
          result = await db.transaction(async (tx) => {
            // The driver ends a transaction whose connection broke by itself, whatever the work in it does.
            let lose: (error: unknown) => void = () => {}
            const lost = new Promise<never>((_resolve, reject) => {
              lose = reject
            })
            const gatedIn = (executor: typeof tx): unknown => ({
              execute: async (statement: unknown) => {
                try {
                  return await run(executor, 'statement', statement)
                } catch (error) {
                  if (lostCodes.has((error as { code?: string }).code ?? '')) lose(error)
                  throw error
                }
              },
              transaction: (inner: (tx: unknown) => Promise<unknown>) =>
                executor.transaction((savepoint) => inner(gatedIn(savepoint))),
            })
            const done = await Promise.race([work(gatedIn(tx)), lost])
            await this.enter(actor, 'commit', 'commit')
            return done
          }, config)
        } finally {
          actor.isInTransaction = false
        }
        await this.enter(actor, 'after', 'after commit')
        return result
      },
    }
    return {
      ...actor.handle.database,
      db: gated as unknown as Database['db'],
      close: () => Promise.resolve(),
    }
  }
}

/** Lets what only waits for its turn have it. */
export const breathe = nextTurn

/** The beginning of a statement, for the trace. */
function labelOf(statement: unknown): string {
  const chunks = (statement as { queryChunks?: { value?: unknown }[] }).queryChunks ?? []
  const text = chunks.map((chunk) => (Array.isArray(chunk?.value) ? chunk.value.join('') : '?')).join('')
  return text.replace(/\s+/g, ' ').trim().slice(0, 60)
}
