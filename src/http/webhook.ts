// `POST /api/users/webhook`: verify, check the instance, write one user, answer. Slim: no queue and no request to Clerk.
// The answer says whether a repeat can help: 503 if it can, 200 or 400 if it cannot.
import type { Context } from 'hono'
import { type Delivery, readDelivery } from '../clerk/event.ts'
import type { Database } from '../db/database.ts'
import type { Shape } from '../db/shape.ts'
import { readState } from '../db/state.ts'
import { isSyncError } from '../errors.ts'
import type { Log } from '../log.ts'
import { type DeliveryOutcome, deliverDeletion, deliverUser } from '../sync/delivery.ts'

export interface WebhookParts {
  readonly database: Database
  /** Undefined without `CLERK_WEBHOOK_SIGNING_SECRET`. */
  readonly signingSecret: string | undefined
  readonly policy: 'sync' | 'upsert-only'
  /** Undefined until the worker has found the table ready. */
  readonly shape: () => Shape | undefined
  readonly log: Log
}

type Answer = {
  status: 200 | 400 | 503
  result: DeliveryOutcome | 'ignored' | 'rejected' | 'failed'
  reason?: string
}

/** Answers one delivery. Never throws. */
export async function answerWebhook(context: Context, parts: WebhookParts): Promise<Response> {
  const svixId = context.req.header('svix-id') ?? null
  const answer = await answerOf(context.req.raw, parts)
  const level = answer.status === 200 ? 'info' : 'warn'
  const { status, ...facts } = answer
  parts.log[level]({ svixId: svixId?.slice(0, 64) ?? null, status, ...facts }, 'webhook')
  return context.json(facts, status)
}

async function answerOf(
  request: Request,
  parts: WebhookParts,
): Promise<Answer & { clerkId?: string; type?: string }> {
  const { signingSecret } = parts
  if (signingSecret === undefined) return unavailable('CLERK_WEBHOOK_SIGNING_SECRET is not set')
  const delivery = await readDelivery(request, signingSecret)
  if (delivery.kind === 'malformed') return { status: 400, result: 'failed', reason: delivery.reason }
  if (delivery.kind === 'other') return { status: 200, result: 'ignored' }
  const shape = parts.shape()
  if (shape === undefined) return unavailable('the table is not ready yet')
  const clerkId = delivery.kind === 'user' ? delivery.user.clerkId : delivery.clerkId
  try {
    return { ...(await apply(delivery, shape, parts)), clerkId }
  } catch (error) {
    if (!isSyncError(error)) parts.log.error({ err: error }, 'a webhook failed')
    return {
      ...unavailable(isSyncError(error) ? error.message : 'the delivery could not be written'),
      clerkId,
    }
  }
}

async function apply(
  delivery: Exclude<Delivery, { kind: 'malformed' | 'other' }>,
  shape: Shape,
  parts: WebhookParts,
): Promise<Answer> {
  const { database } = parts
  const state = await readState(database.db, shape)
  if (state === undefined) return unavailable('the table is not bound to a Clerk instance yet')
  if (delivery.instanceId !== undefined && delivery.instanceId !== state.instanceId) {
    return { status: 400, result: 'failed', reason: 'the event is of another Clerk instance' }
  }
  if (delivery.kind === 'deletion') {
    return { status: 200, result: await deliverDeletion(database, delivery.clerkId, parts.policy) }
  }
  const { user } = delivery
  // A repeat would be the same; a pass will name it again.
  if (user.kind === 'rejected') return { status: 200, result: 'rejected', reason: user.reason }
  return { status: 200, result: await deliverUser(database, shape, user.desired) }
}

const unavailable = (reason: string): Answer => ({ status: 503, result: 'failed', reason })
