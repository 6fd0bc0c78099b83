// A signed webhook → one user or one deletion. Tolerant of what Clerk's documents and old payloads differ in, and of
// nothing else.
import { verifyWebhook } from '@clerk/backend/webhooks'
import { isClerkUserId, type ReadableUser, readUser } from './user.ts'

export type WebhookEvent = {
  /** Absent in old payloads and in the dashboard's test events. */
  readonly instanceId: string | undefined
} & (
  | { readonly kind: 'user'; readonly user: ReadableUser }
  | { readonly kind: 'deletion'; readonly clerkId: string }
  /** An event of another type. */
  | { readonly kind: 'other'; readonly type: string }
  | { readonly kind: 'malformed'; readonly reason: string }
)

/** How far the verifier lets the time of a delivery differ from this machine's clock, in seconds. */
const clockToleranceSeconds = 300

/**
 * Verifies the signature over the raw body with each of the secrets, of which two are valid while one replaces the other,
 * and reads the event. Never throws: what is not Clerk's comes back malformed, with a reason that repeats nothing of what
 * was sent.
 */
export async function readWebhook(
  request: Request,
  signingSecrets: readonly string[],
): Promise<WebhookEvent> {
  let body: string
  try {
    body = await request.text()
  } catch {
    return malformed('the body did not arrive whole')
  }
  const { url, method, headers } = request
  for (const signingSecret of signingSecrets) {
    try {
      return readEvent(await verifyWebhook(new Request(url, { method, headers, body }), { signingSecret }))
    } catch {
      // The library's message may quote what was sent, and does not say which of several secrets it is about.
    }
  }
  return malformed(whyNotVerified(headers, body))
}

const malformed = (reason: string): WebhookEvent => ({ instanceId: undefined, kind: 'malformed', reason })

/** Why a signature is not valid, as far as it can be said without the secret. */
function whyNotVerified(headers: Headers, body: string): string {
  const missing = ['svix-id', 'svix-timestamp', 'svix-signature'].filter((name) => !headers.get(name)?.trim())
  if (missing.length > 0) {
    return `the header ${missing.join(', ')} is missing: the request is not a webhook of Clerk, or a proxy drops its headers`
  }
  const time = headers.get('svix-timestamp')?.trim() ?? ''
  if (!/^\d{1,12}$/.test(time)) return 'the header svix-timestamp is not a time'
  const age = Math.floor(Date.now() / 1000) - Number(time)
  if (Math.abs(age) > clockToleranceSeconds) {
    const side = age > 0 ? 'before' : 'after'
    return `the webhook is dated more than 5 minutes ${side} the clock of this machine: check that clock`
  }
  if (!isJson(body)) return 'the body is not JSON: a proxy has cut or changed it'
  return 'the signature does not fit: CLERK_WEBHOOK_SIGNING_SECRET is not the one of this endpoint, or a proxy has changed the body'
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

/** Versions below this are seconds: as milliseconds it is March 1973, long before Clerk. */
const secondsBelow = 1e11

/** Reads an event that has been verified. Never throws. */
export function readEvent(event: unknown): WebhookEvent {
  if (!isRecord(event) || typeof event.type !== 'string') {
    return { instanceId: undefined, kind: 'malformed', reason: 'the event has no type' }
  }
  const instanceId = event.instance_id ?? undefined
  // Absent is accepted; what cannot be read must not pass for absent.
  if (instanceId !== undefined && typeof instanceId !== 'string') {
    return { instanceId: undefined, kind: 'malformed', reason: 'the event names no readable instance' }
  }
  switch (event.type) {
    case 'user.created':
    case 'user.updated': {
      const user = readUser(inMilliseconds(event.data))
      return user.kind === 'unreadable'
        ? { instanceId, kind: 'malformed', reason: 'the user has no readable id' }
        : { instanceId, kind: 'user', user }
    }
    case 'user.deleted': {
      const clerkId = isRecord(event.data) ? event.data.id : undefined
      return isClerkUserId(clerkId)
        ? { instanceId, kind: 'deletion', clerkId }
        : { instanceId, kind: 'malformed', reason: 'the deletion names no user' }
    }
    default:
      return { instanceId, kind: 'other', type: event.type }
  }
}

/** Clerk's examples show seconds, its payloads milliseconds. The version decides for both of a user's times. */
function inMilliseconds(user: unknown): unknown {
  if (!isRecord(user)) return user
  const { created_at: createdAt, updated_at: updatedAt } = user
  if (typeof updatedAt !== 'number' || Math.abs(updatedAt) >= secondsBelow) return user
  return {
    ...user,
    created_at: typeof createdAt === 'number' ? createdAt * 1000 : createdAt,
    updated_at: updatedAt * 1000,
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
