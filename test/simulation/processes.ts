// The code under test as processes: a run with its client of Clerk, a worker that answers a delivery. Every call of theirs
// goes through the gate, and everything that they hear is noted in their witness.
import { AsyncLocalStorage } from 'node:async_hooks'
import pino from 'pino'
import { createClerkClient } from '../../src/clerk/api.ts'
import type { TableCatalog } from '../../src/db/catalog.ts'
import type { Database } from '../../src/db/database.ts'
import { randomFrom, seedOf } from '../../src/dev/sandbox/random.ts'
import { buildDelivery } from '../../src/dev/sandbox/webhooks.ts'
import { createApp } from '../../src/http/app.ts'
import { reconcile } from '../../src/sync/reconcile.ts'
import type { RunOutcome, RunRequest } from '../../src/sync/run-request.ts'
import type { Heartbeats } from './beats.ts'
import type { Event, Heard, SimulatedClerk } from './clerk.ts'
import type { Actor, Gate } from './gate.ts'
import { recountDelayMs, type SimulationOptions } from './options.ts'
import type { SimulatedPostgres } from './postgres.ts'
import type { Witness } from './witness.ts'

const secret = 'sk_test_simulation'
const webhookSecret = `whsec_${Buffer.from('the-simulation-signs-this').toString('base64')}`
const log = pino({ level: 'silent' })

export interface PassRequest {
  readonly pass: 'full' | 'incremental' | 'user'
  readonly userId?: string
  readonly dryRun?: boolean
  readonly approveDeletes?: number
  readonly policy?: 'sync'
  /** The operator names the key's instance. */
  readonly acceptInstance?: boolean
  /** The key is another instance's. */
  readonly isOtherKey?: boolean
}

/** The world around a process. */
interface World {
  readonly seed: number
  readonly options: SimulationOptions
  readonly gate: Gate
  readonly beats: Heartbeats
  readonly server: SimulatedPostgres
  readonly clerk: SimulatedClerk
  readonly catalog: TableCatalog | undefined
  /** Time goes on. */
  pass(milliseconds: number): void
  say(line: string): void
}

/** One run to its end. */
export function reconcileAs(
  world: World,
  request: PassRequest,
  actor: Actor,
  witness: Witness,
  stop: AbortController,
): Promise<RunOutcome> {
  const { options, gate, beats, server } = world
  const asked: RunRequest = {
    pass: request.pass,
    userId: request.userId,
    trigger: 'cli',
    dryRun: request.dryRun ?? false,
    acceptInstance: request.acceptInstance ? witness.clerk.instanceId : undefined,
    options: {
      policy: request.policy ?? options.policy,
      graceMs: options.graceMs,
      maxDeletes: options.maxDeletes,
      approveDeletes: request.approveDeletes,
      pageSize: options.pageSize,
      recountDelayMs: 0,
    },
  }
  const clerk = createClerkClient({
    secretKey: secret,
    apiUrl: 'http://127.0.0.1',
    requestsPer10s: 1e9,
    signal: stop.signal,
    fetch: fetchAs(world, actor, witness),
    smallestPage: 2,
    limits: { silenceMs: 1e8, requestMs: 1e8, tries: 3, totalMs: 1e8, firstRetryMs: 0 },
  })
  return reconcile(asked, {
    clerk,
    database: gate.database(actor),
    heartbeatDatabase: beats.database(server.heart.database),
    log,
    stop,
    onProgress: () => {},
    onChange: () => {},
  })
}

function fetchAs(world: World, actor: Actor, witness: Witness): typeof fetch {
  let requests = 0
  return async (input, init) => {
    const url = new URL(String(input))
    await world.gate.enter(actor, 'fetch', `GET ${url.pathname}${url.search}`)
    init?.signal?.throwIfAborted()
    if (url.pathname === '/v1/users/count' && isRecount(witness.heard)) world.pass(recountDelayMs)
    const random = randomFrom(seedOf(`${world.seed} ${actor.name} ${++requests}`))
    const { response, heard } = witness.clerk.answer(url, random)
    witness.heard.push(heard)
    const users = Array.isArray(heard.value) ? `${heard.value.length} users` : JSON.stringify(heard.value)
    world.say(`    ${heard.fault === undefined ? '' : `fault ${heard.fault.kind}: `}${users?.slice(0, 60)}`)
    return response
  }
}

/**
 * Whose statements they are. There is one for all worlds: each such store slows down every promise of the process for as long
 * as it lives.
 */
const answering = new AsyncLocalStorage<Database>()

/** A worker: one app for all deliveries, so that it may remember some. Each statement is that of the delivery it is for. */
export class Worker {
  private readonly world: World
  private app: ReturnType<typeof createApp>

  constructor(world: World) {
    this.world = world
    this.app = this.startApp()
  }

  /** The process died, and another one takes its place. */
  restart(): void {
    this.app = this.startApp()
  }

  /** The answer to a delivery that is signed now. */
  async answer(actor: Actor, event: Event): Promise<{ status: number; result: string; reason?: string }> {
    const { headers, body } = buildDelivery(event.type, event.user ?? event.clerkId, {
      id: `msg_${event.id}`,
      secret: webhookSecret,
      instanceId: this.world.clerk.instanceId,
      now: event.at,
    })
    const { app } = this
    const response = await answering.run(this.world.gate.database(actor), async () =>
      app.request('/api/users/webhook', { method: 'POST', headers, body }),
    )
    const answer = (await response.json()) as { result: string; reason?: string }
    return { status: response.status, ...answer }
  }

  private startApp(): ReturnType<typeof createApp> {
    const { world } = this
    const database = (): Database => {
      const found = answering.getStore()
      if (found === undefined) throw new Error('a statement of no delivery')
      return found
    }
    return createApp({
      database: {
        get db() {
          return database().db
        },
        deleteMsMax: 60_000,
        close: async () => {},
      },
      log,
      signingSecrets: [webhookSecret],
      policy: world.options.policy,
      catalog: () => world.catalog,
      readiness: async () => [],
    })
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
