// Signed deliveries in Clerk's catalog. The signature is made from the published scheme (HMAC-SHA256 over
// `id.timestamp.body`) and not with the library that verifies it, so that the two check each other.
import { createHmac } from 'node:crypto'
import type { SandboxUser } from './user.ts'

export type WebhookEvent = 'user.created' | 'user.updated' | 'user.deleted'

/** A delivery, ready to be posted. */
export interface Delivery {
  headers: Record<string, string>
  body: string
}

export interface WebhookOptions {
  /** The `svix-id`, the same in every attempt of one message; a new one if absent. */
  id?: string
  /** When this attempt is made, in ms on the receiver's clock, which is the real time unless told otherwise. */
  attemptedAt?: number
  /** The envelope's time, in ms on Clerk's clock. */
  timestamp?: number
  /** The instance it comes from; null leaves it out, as old payloads did. */
  instanceId?: string | null
  /** The key that signs: another one makes a signature that must not hold. */
  secret?: string
}

/** How long after the change Clerk stamps the envelope, in ms, as seen in captured payloads. */
const envelopeDelayMs = 15

/** The signature of a body: `v1,` and base64. The secret is `whsec_` and the key in base64. */
function signature(secret: string, id: string, timestampSeconds: number, body: string): string {
  const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64')
  return `v1,${createHmac('sha256', key).update(`${id}.${timestampSeconds}.${body}`).digest('base64')}`
}

function deletedObject(user: SandboxUser | string): Record<string, unknown> {
  if (typeof user === 'string') return { deleted: true, id: user, object: 'user' }
  const object = { deleted: true, id: user.id, object: 'user' }
  return user.external_id === null ? object : { ...object, external_id: user.external_id }
}

/** The delivery of one event. A deletion needs no more than the id. */
export function buildDelivery(
  event: WebhookEvent,
  user: SandboxUser | string,
  defaults: { id: string; secret: string; instanceId: string; now: number },
  options: WebhookOptions = {},
): Delivery {
  const changedAt =
    typeof user === 'string' || event === 'user.deleted' ? defaults.now : user.updated_at + envelopeDelayMs
  const instanceId = options.instanceId === undefined ? defaults.instanceId : options.instanceId
  const body = JSON.stringify({
    data: event === 'user.deleted' ? deletedObject(user) : user,
    event_attributes: { http_request: { client_ip: '192.0.2.1', user_agent: 'clerk-sandbox' } },
    ...(instanceId === null ? {} : { instance_id: instanceId }),
    object: 'event',
    timestamp: options.timestamp ?? changedAt,
    type: event,
  })
  const id = options.id ?? defaults.id
  const seconds = Math.floor((options.attemptedAt ?? Date.now()) / 1000)
  return {
    headers: {
      'content-type': 'application/json',
      'svix-id': id,
      'svix-timestamp': String(seconds),
      'svix-signature': signature(options.secret ?? defaults.secret, id, seconds, body),
    },
    body,
  }
}
