// The sandbox: a local stand-in for Clerk's Users API over real HTTP, as faithful as its documents allow and as unkind
// as a test wants it. It listens on the loopback address alone and knows nothing of the tool it is used against.
import type { Server, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { createAdaptorServer, type HttpBindings } from '@hono/node-server'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import { type Context, Hono } from 'hono'
import { createClock, type SandboxClock } from './clock.ts'
import { createFaults, type Endpoint, type Faults, type RecordedRequest, spoil } from './faults.ts'
import type { DeletedCursor } from './list.ts'
import { type BadLimit, defaultLimit, Refusal } from './query.ts'
import { ksuid, randomFrom } from './random.ts'
import { createRateWindow, rateLimits } from './rate-limit.ts'
import {
  answerCount,
  answerInstance,
  answerList,
  answerUser,
  type Behaviour,
  type EnvironmentType,
} from './reads.ts'
import { errorReply, type Reply, sendReply } from './reply.ts'
import { sandboxInstanceId } from './seed.ts'
import { createUserStore, type UserStore } from './store.ts'
import type { SandboxUser } from './user.ts'
import { buildDelivery, type Delivery, type WebhookEvent, type WebhookOptions } from './webhooks.ts'
import type { Ties } from './world.ts'
import { createUser, deleteUser, updateUser } from './writes.ts'

export type { SandboxClock } from './clock.ts'
export { createClock } from './clock.ts'
export type { FaultKind, FaultOptions, Faults, Malformation, RecordedRequest } from './faults.ts'
export type { CursorMode, DeletedCursor } from './list.ts'
export type { EnvironmentType } from './reads.ts'
export { seedUsers } from './seed.ts'
export type { UserStore } from './store.ts'
export type { SandboxUser } from './user.ts'
export type { Delivery, WebhookEvent, WebhookOptions } from './webhooks.ts'

export interface SandboxOptions {
  /** 0, the default, takes any free port. A taken one rejects with Node's `EADDRINUSE`. */
  port?: number
  secretKey?: string
  instanceId?: string
  environmentType?: EnvironmentType
  /** They have always been there: no lag hides them. */
  users?: readonly SandboxUser[]
  /** Requests per 10 s on the sandbox's clock; null: none. Clerk's own limit if absent. */
  rateLimit?: number | null
  clock?: SandboxClock
  latencyMs?: number
  webhookSecret?: string
  ties?: Ties
  badLimit?: BadLimit
  deletedCursor?: DeletedCursor
  inclusive?: boolean
}

/** A running sandbox. What is not readonly takes effect with the next request. */
export interface Sandbox extends Behaviour {
  /** Without `/v1`. */
  readonly url: string
  readonly port: number
  readonly secretKey: string
  readonly instanceId: string
  readonly webhookSecret: string
  readonly users: UserStore
  readonly clock: SandboxClock
  readonly faults: Faults
  /** Every request in the order in which its answer was decided, the last 100,000. */
  readonly requests: RecordedRequest[]
  /** Does not follow `environmentType`. */
  rateLimit: number | null
  /** Time between the answer and its sending, in real ms: the answer is that old when it arrives. */
  latencyMs: number
  /** Whether answers carry a `Date`. */
  dateHeader: boolean
  /** How far that is ahead of Clerk's clock, ms, as a proxy with a clock of its own makes it. */
  dateLeadMs: number
  /** Awaited before the answer is computed, with how many requests of that endpoint have come in. */
  onRequest: ((request: RecordedRequest, countOfThatEndpoint: number) => void | Promise<void>) | undefined
  /** A signed delivery. An id stands for the user of that id, in `user.deleted` for itself if there is none. */
  webhook(event: WebhookEvent, user: SandboxUser | string, options?: WebhookOptions): Delivery
  /** Ends at once, also with requests under way. */
  close(): Promise<void>
}

const requestsMax = 100_000
const defaultSecretKey = 'sk_test_sandbox'
/** `whsec_` and 24 bytes in base64. */
const defaultWebhookSecret = `whsec_${Buffer.from('clerk-sandbox-signs-this').toString('base64')}`

type SandboxContext = Context<{ Bindings: HttpBindings }>
type Answer = (context: SandboxContext, query: URLSearchParams) => Reply | Promise<Reply>

const idOf = (context: SandboxContext) => context.req.param('id') ?? ''

/** Why there is no right answer: a wrong key or one request too many. */
function turnAway(
  sandbox: Sandbox,
  authorization: string | undefined,
  isOneTooMany: ReturnType<typeof createRateWindow>,
) {
  if (authorization !== `Bearer ${sandbox.secretKey}`) {
    return errorReply(401, 'clerk_key_invalid', 'The provided Clerk Secret Key is invalid.')
  }
  const retryAfterSeconds = isOneTooMany(sandbox.clock.now(), sandbox.rateLimit)
  if (retryAfterSeconds === undefined) return undefined
  const headers = { 'retry-after': String(retryAfterSeconds) }
  return errorReply(429, 'too_many_requests', 'Too many requests. Please try again in a bit.', { headers })
}

/** The right answer, or 422 with the parameter that is refused. */
async function answerOf(answer: Answer, context: SandboxContext, query: URLSearchParams): Promise<Reply> {
  try {
    return await answer(context, query)
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    const meta = { param_name: error.parameter }
    return errorReply(422, 'form_param_value_invalid', 'is invalid', { longMessage: error.message, meta })
  }
}

function createApp(sandbox: Sandbox, take: ReturnType<typeof createFaults>['take'], closing: AbortSignal) {
  const isOneTooMany = createRateWindow()
  const arrived = new Map<Endpoint, number>()

  const respond = (endpoint: Endpoint, answer: Answer) => async (context: SandboxContext) => {
    const { searchParams: query } = new URL(context.req.url)
    const { method, path } = context.req
    const request: RecordedRequest = { endpoint, method, path, query, at: sandbox.clock.now(), status: 0 }
    const ordinal = (arrived.get(endpoint) ?? 0) + 1
    arrived.set(endpoint, ordinal)
    await sandbox.onRequest?.(request, ordinal)
    const refused = turnAway(sandbox, context.req.header('authorization'), isOneTooMany)
    const right = refused ?? (await answerOf(answer, context, query))
    const fault = refused === undefined ? take(request) : undefined
    const reply =
      fault === undefined ? right : spoil(right, fault, Number(query.get('limit')) || defaultLimit)
    request.status = reply.status
    sandbox.requests.push(request)
    if (sandbox.requests.length > requestsMax) sandbox.requests.shift()
    if (sandbox.latencyMs > 0) await delay(sandbox.latencyMs, undefined, { signal: closing }).catch(() => {})
    const date = sandbox.dateHeader
      ? new Date(sandbox.clock.now() + sandbox.dateLeadMs).toUTCString()
      : undefined
    sendReply(context.env.outgoing as ServerResponse, reply, date)
    return RESPONSE_ALREADY_SENT
  }

  const app = new Hono<{ Bindings: HttpBindings }>()
  const { users } = sandbox
  app.get(
    '/v1/users',
    respond('list', (_context, query) => answerList(sandbox, query)),
  )
  app.get(
    '/v1/users/count',
    respond('count', (_context, query) => answerCount(sandbox, query)),
  )
  app.get(
    '/v1/users/:id',
    respond('user', (context) => answerUser(sandbox, idOf(context))),
  )
  app.get(
    '/v1/instance',
    respond('instance', () => answerInstance(sandbox)),
  )
  app.post(
    '/v1/users',
    respond('other', (context) => createUser(users, context.req.raw)),
  )
  app.patch(
    '/v1/users/:id',
    respond('other', (context) => updateUser(users, idOf(context), context.req.raw)),
  )
  app.delete(
    '/v1/users/:id',
    respond('other', (context) => deleteUser(users, idOf(context))),
  )
  app.all(
    '*',
    respond('other', () => errorReply(404, 'resource_not_found', 'Resource not found')),
  )
  app.onError((error, context) => {
    sendReply(
      context.env.outgoing as ServerResponse,
      errorReply(500, 'sandbox_failed', String(error)),
      undefined,
    )
    return RESPONSE_ALREADY_SENT
  })
  return app
}

async function listen(server: Server, port: number): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', resolve)
  })
  return (server.address() as AddressInfo).port
}

/** Starts a sandbox. Resolves once it listens, and rejects with Node's error where the port is taken. */
export async function createSandbox(options: SandboxOptions = {}): Promise<Sandbox> {
  const clock = options.clock ?? createClock()
  const instanceId = options.instanceId ?? sandboxInstanceId
  const environmentType = options.environmentType ?? 'development'
  const faults = createFaults()
  const random = randomFrom(1)
  const closing = new AbortController()
  // The process's own Request and Response stay what they are: tests share the process.
  const server = createAdaptorServer({
    fetch: (request, env) => app.fetch(request, env),
    overrideGlobalObjects: false,
  }) as Server
  const port = await listen(server, options.port ?? 0)

  const sandbox: Sandbox = {
    url: `http://127.0.0.1:${port}`,
    port,
    secretKey: options.secretKey ?? defaultSecretKey,
    instanceId,
    webhookSecret: options.webhookSecret ?? defaultWebhookSecret,
    users: createUserStore({ clock, instanceId, users: options.users ?? [], ties: options.ties ?? 'id' }),
    clock,
    faults,
    requests: [],
    environmentType,
    rateLimit: options.rateLimit === undefined ? rateLimits[environmentType] : options.rateLimit,
    latencyMs: options.latencyMs ?? 0,
    listingLagMs: 0,
    countLagMs: 0,
    filterLags: true,
    cursorMode: 'normal',
    deletedCursor: options.deletedCursor ?? 'remember',
    userIdFilter: 'normal',
    paramsIgnored: new Set(),
    badLimit: options.badLimit ?? 'default',
    inclusive: options.inclusive ?? false,
    dateHeader: true,
    dateLeadMs: 0,
    onRequest: undefined,
    webhook(event, userOrId, webhookOptions) {
      const found = typeof userOrId === 'string' ? sandbox.users.get(userOrId) : userOrId
      if (found === undefined && event !== 'user.deleted')
        throw new Error(`the sandbox has no user ${userOrId}`)
      const now = clock.now()
      const defaults = { id: ksuid('msg_', now, random), secret: sandbox.webhookSecret, instanceId, now }
      return buildDelivery(event, found ?? userOrId, defaults, webhookOptions)
    },
    async close() {
      closing.abort()
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      server.closeAllConnections()
      await closed
    },
  }
  const app = createApp(sandbox, faults.take, closing.signal)
  return sandbox
}
