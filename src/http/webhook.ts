// A webhook: verify, check the instance, write one user, answer. Slim: no queue and no request to Clerk.
// The answer says whether a repeat can help: 503 if it can, 200 or 400 if it cannot.
import type { Context } from 'hono'
import { readWebhook, type WebhookEvent } from '../clerk/event.ts'
import type { TableCatalog } from '../db/catalog.ts'
import type { Database } from '../db/database.ts'
import { readState } from '../db/state.ts'
import { withDeadline } from '../deadline.ts'
import { isSyncError } from '../errors.ts'
import type { Log } from '../log.ts'
import { readDifference } from '../sync/known-difference.ts'
import type { WaitingDeliveries } from '../sync/waiting.ts'
import { type Delivered, type DeliveryOutcome, deliverDeletion, deliverUser } from '../sync/webhook.ts'

export interface WebhookDeps {
  readonly database: Database
  /** Empty without `CLERK_WEBHOOK_SIGNING_SECRET`. */
  readonly signingSecrets: readonly string[]
  readonly policy: 'sync' | 'upsert-only'
  /** Undefined until the worker has found the table ready. */
  readonly catalog: () => TableCatalog | undefined
  readonly log: Log
  /** 12 s if absent. */
  readonly answerMsMax?: number
}

/** Svix counts an attempt as failed after 15 s; a silent Postgres could be waited for much longer. */
const answerMsMax = 12_000

interface Answer {
  readonly status: 200 | 400 | 503
  readonly result: DeliveryOutcome | 'ignored' | 'rejected' | 'failed'
  readonly reason?: string
  readonly clerkId?: string
  readonly settled?: readonly string[]
  /** For the log alone. */
  readonly error?: unknown
}

/** Answers one delivery. Never throws. */
export async function answerWebhook(
  context: Context,
  deps: WebhookDeps,
  waiting: WaitingDeliveries,
): Promise<Response> {
  const svixId = readableId(context.req.header('svix-id'))
  const { status, error, ...facts } = await answerOf(context.req.raw, deps, waiting)
  // Of a user who was turned away the sender hears nothing more: that must not pass for success in the log.
  const isFine = status === 200 && facts.reason === undefined
  const cause = error === undefined ? {} : { err: error }
  deps.log[isFine ? 'info' : 'warn']({ svixId, status, ...facts, ...cause }, 'webhook')
  return context.json(facts, status)
}

/** Anyone can send a header. What is not an id may hold anything, so it is not logged. */
function readableId(svixId: string | undefined): string | null {
  return svixId !== undefined && /^[\w-]{1,64}$/.test(svixId) ? svixId : null
}

async function answerOf(request: Request, deps: WebhookDeps, waiting: WaitingDeliveries): Promise<Answer> {
  const { signingSecrets } = deps
  if (signingSecrets.length === 0) return unavailable('CLERK_WEBHOOK_SIGNING_SECRET is not set')
  const delivery = await readWebhook(request, signingSecrets)
  if (delivery.kind === 'malformed') return { status: 400, result: 'failed', reason: delivery.reason }
  if (delivery.kind === 'other') return { status: 200, result: 'ignored' }
  const catalog = deps.catalog()
  if (catalog === undefined) return unavailable('the table is not ready yet')
  const clerkId = delivery.kind === 'user' ? delivery.user.clerkId : delivery.clerkId
  try {
    const work = apply(delivery, catalog, deps, waiting)
    // A write that is done after all is done once: the repeat finds it.
    const late = () => unavailable('the database did not answer in time')
    return { ...(await withDeadline(work, deps.answerMsMax ?? answerMsMax, late)), clerkId }
  } catch (error) {
    const reason = isSyncError(error) ? error.message : 'the delivery could not be written'
    return { ...unavailable(reason), clerkId, error }
  }
}

async function apply(
  delivery: Exclude<WebhookEvent, { kind: 'malformed' | 'other' }>,
  catalog: TableCatalog,
  deps: WebhookDeps,
  waiting: WaitingDeliveries,
): Promise<Answer> {
  const { database } = deps
  const state = await readState(database.db, catalog)
  if (state === undefined) return unavailable('the table is not bound to a Clerk instance yet')
  if (delivery.instanceId !== undefined && delivery.instanceId !== state.instanceId) {
    return { status: 400, result: 'failed', reason: 'the event is of another Clerk instance' }
  }
  const ours = waiting.keepOnly(state.instanceId)
  if (delivery.kind === 'deletion') {
    return applied(await deliverDeletion(database, delivery.clerkId, deps.policy, { catalog, waiting: ours }))
  }
  const { user } = delivery
  // A repeat would be the same; a pass will name it again.
  if (user.kind === 'rejected') return { status: 200, result: 'rejected', reason: user.reason }
  const altered = readDifference(state.difference)?.altered
  const alteredBefore = altered?.find(([clerkId]) => clerkId === user.clerkId)?.[1]
  return applied(await deliverUser(database, catalog, user.desired, ours, alteredBefore))
}

const applied = ({ outcome, ...facts }: Delivered): Answer => ({ status: 200, result: outcome, ...facts })

const unavailable = (reason: string): Answer => ({ status: 503, result: 'failed', reason })
