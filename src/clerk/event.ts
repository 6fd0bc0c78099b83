// A signed webhook → one user or one deletion. Tolerant of what Clerk's documents and old payloads differ in, and of
// nothing else.
import { verifyWebhook } from '@clerk/backend/webhooks'
import { isClerkUserId, type ReadableUser, readUser } from './user.ts'

export type Delivery = {
  /** Absent in old payloads and in the dashboard's test events. */
  readonly instanceId: string | undefined
} & (
  | { readonly kind: 'user'; readonly user: ReadableUser }
  | { readonly kind: 'deletion'; readonly clerkId: string }
  /** An event of another type. */
  | { readonly kind: 'other'; readonly type: string }
  | { readonly kind: 'malformed'; readonly reason: string }
)

/**
 * Verifies the signature over the raw body and reads the event. Never throws: what is not Clerk's comes back malformed,
 * without the library's message, which may quote what was sent.
 */
export async function readDelivery(request: Request, signingSecret: string): Promise<Delivery> {
  try {
    return readEvent(await verifyWebhook(request, { signingSecret }))
  } catch {
    const reason = 'the signature, its time or the body is not valid'
    return { instanceId: undefined, kind: 'malformed', reason }
  }
}

/** Versions below this are seconds: as milliseconds it is March 1973, long before Clerk. */
const secondsBelow = 1e11

/** Reads an event that has been verified. Never throws. */
export function readEvent(event: unknown): Delivery {
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
