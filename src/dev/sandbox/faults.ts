// Bad answers on demand. A fault waits for a request that fits it and then spoils the right answer, the way Clerk, a
// proxy or the network could.
import { errorReply, htmlReply, jsonReply, type Reply } from './reply.ts'

/** Which of the four requests; everything else is `other`. */
export type Endpoint = 'list' | 'count' | 'user' | 'instance' | 'other'

/** A request as it was answered. */
export interface RecordedRequest {
  readonly endpoint: Endpoint
  readonly method: string
  readonly path: string
  readonly query: URLSearchParams
  /** The sandbox's time at which it came in. */
  readonly at: number
  /** 0 until it is decided, and where no status was sent. */
  status: number
}

/** What the fault makes of the answer; a number is a status with the body that belongs to it. */
export type FaultKind =
  | 'html'
  | 'charset'
  | 'object'
  | 'wrapped'
  | 'wrapped-empty'
  | 'empty-array'
  | 'null'
  | 'string'
  | 'malformed-user'
  | 'cut-short'
  | 'missing-users'
  | 'truncated'
  | 'reset'
  | 'hang'
  | 'slow-body'
  | 'trickle'
  | 'wrong-order'
  | 'duplicate-user'
  | 'count-high'
  | 'count-low'
  | 'count-string'
  | 'another-instance'
  | 400
  | 401
  | 403
  | 404
  | 422
  | 429
  | 500
  | 502
  | 503

/** How a user is broken. */
export type Malformation =
  | 'null'
  | 'a string'
  | 'no id'
  | 'a numeric id'
  | 'a foreign id'
  | 'created_at a string'
  | 'no updated_at'
  | 'email_addresses no array'
  | 'first_name an object'

export interface FaultOptions {
  readonly endpoint: Endpoint | 'any'
  readonly kind: FaultKind
  /** How many requests it spoils: 1, or `Infinity` for good. */
  readonly times?: number
  /** Spoils only requests for which this holds. */
  readonly when?: (request: RecordedRequest) => boolean
  /** `malformed-user`: how; `null` if absent. */
  readonly how?: Malformation
  /** `malformed-user`, `duplicate-user`: which user of the page, by place (0 if absent). */
  readonly index?: number
  /** `missing-users`: whom to leave out; `malformed-user`: whom to break, in place of `index`. */
  readonly ids?: readonly string[]
  /**
   * `cut-short`: how many users to hold back (half if absent); `count-high`, `count-low`: by how much (1); `trickle`: how
   * many bytes a second arrive (100 if absent).
   */
  readonly n?: number
  /** 429, 503: the `Retry-After` header, in seconds or as an HTTP date; absent: no header. */
  readonly retryAfter?: number | Date
  /** `another-instance`: which. */
  readonly instanceId?: string
}

/** A fault in place. */
export interface Fault {
  /** How many requests it has spoilt. */
  readonly used: number
  remove(): void
}

/** The faults in place; of several that fit a request the oldest spoils it. */
export interface Faults {
  add(options: FaultOptions): Fault
  clear(): void
}

/** The instance that `another-instance` names unless told otherwise. */
const anotherInstance = 'ins_9zYxWvUtSrQpOnMlKjIhGfEdCbA'

type Json = Record<string, unknown>

function malform(user: Json, how: Malformation): unknown {
  switch (how) {
    case 'null':
      return null
    case 'a string':
      return 'not a user'
    case 'no id': {
      const { id: _id, ...rest } = user
      return rest
    }
    case 'a numeric id':
      return { ...user, id: 17 }
    case 'a foreign id':
      return { ...user, id: `org_${String(user.id).slice('user_'.length)}` }
    case 'created_at a string':
      return { ...user, created_at: new Date(Number(user.created_at)).toISOString() }
    case 'no updated_at': {
      const { updated_at: _updatedAt, ...rest } = user
      return rest
    }
    case 'email_addresses no array':
      return { ...user, email_addresses: { 0: 'user@example.com' } }
    case 'first_name an object':
      return { ...user, first_name: { en: 'Ada' } }
  }
}

function malformed(value: unknown, { how = 'null', index = 0, ids }: FaultOptions): unknown {
  if (!Array.isArray(value)) return malform(value as Json, how)
  const isChosen = (user: Json | null, place: number) =>
    ids === undefined ? place === index : ids.includes(String(user?.id))
  return value.map((user: Json | null, place) =>
    user !== null && isChosen(user, place) ? malform(user, how) : user,
  )
}

/** The user a second time right behind the first; a full page loses its last user, which the next one brings. */
function duplicated(users: unknown[], index: number, limit: number): unknown[] {
  const twice = users.toSpliced(index + 1, 0, users[index])
  return users.length === 0 ? users : twice.slice(0, Math.max(limit, 2))
}

const statusErrors: Record<number, readonly [code: string, message: string]> = {
  400: ['bad_request', 'Bad request'],
  401: ['clerk_key_invalid', 'The provided Clerk Secret Key is invalid.'],
  403: ['authorization_invalid', 'You are not authorized to perform this request'],
  404: ['resource_not_found', 'Resource not found'],
  422: ['form_param_value_invalid', 'is invalid'],
  429: ['too_many_requests', 'Too many requests. Please try again in a bit.'],
  500: ['internal_clerk_error', 'There was an internal error on our servers.'],
  503: ['service_unavailable', 'The service is temporarily unavailable.'],
}

function statusReply(status: number, retryAfter: number | Date | undefined): Reply {
  if (status === 502) return htmlReply(502, '502 Bad Gateway')
  const [code, message] = statusErrors[status] ?? ['unexpected_error', 'Unexpected error']
  if (retryAfter === undefined) return errorReply(status, code, message)
  const header = typeof retryAfter === 'number' ? String(retryAfter) : retryAfter.toUTCString()
  return errorReply(status, code, message, { headers: { 'retry-after': header } })
}

function changedCount(right: Reply, change: (total: number) => unknown): Reply {
  const count = right.value as Json
  return { ...right, value: { ...count, total_count: change(Number(count.total_count)) } }
}

/** The answer with the fault in it. `limit` is the page size that was asked for. */
export function spoil(right: Reply, fault: FaultOptions, limit: number): Reply {
  const { kind, n } = fault
  const users = Array.isArray(right.value) ? right.value : undefined
  switch (kind) {
    case 'html':
      return htmlReply(200, 'Welcome')
    case 'charset':
      return { ...right, headers: { ...right.headers, 'content-type': 'application/json; charset=utf-8' } }
    case 'object':
      return jsonReply({})
    case 'wrapped':
      return jsonReply({ data: right.value })
    case 'wrapped-empty':
      return jsonReply({ data: [] })
    case 'empty-array':
      return jsonReply([])
    case 'null':
      return jsonReply(null)
    case 'string':
      return jsonReply('users')
    case 'malformed-user':
      return { ...right, value: malformed(right.value, fault) }
    case 'cut-short':
      return users
        ? { ...right, value: users.slice(0, Math.max(users.length - (n ?? Math.ceil(users.length / 2)), 0)) }
        : right
    case 'missing-users':
      if (users) return { ...right, value: users.filter((user) => !fault.ids?.includes(user?.id)) }
      return fault.ids?.includes(String((right.value as Json).id)) ? statusReply(404, undefined) : right
    case 'wrong-order':
      return users ? { ...right, value: users.toReversed() } : right
    case 'duplicate-user':
      return users ? { ...right, value: duplicated(users, fault.index ?? 0, limit) } : right
    case 'count-high':
      return changedCount(right, (total) => total + (n ?? 1))
    case 'count-low':
      return changedCount(right, (total) => Math.max(total - (n ?? 1), 0))
    case 'count-string':
      return changedCount(right, String)
    case 'another-instance':
      return { ...right, value: { ...(right.value as Json), id: fault.instanceId ?? anotherInstance } }
    case 'trickle':
      return { ...right, wire: kind, bytesPerSecond: n ?? 100 }
    case 'truncated':
    case 'slow-body':
      return { ...right, wire: kind }
    case 'reset':
    case 'hang':
      return { ...right, status: 0, wire: kind }
    default:
      return statusReply(kind, fault.retryAfter)
  }
}

/** An empty set of faults, and the look-up that uses one of them. */
export function createFaults(): Faults & { take(request: RecordedRequest): FaultOptions | undefined } {
  interface Waiting {
    readonly options: FaultOptions
    used: number
  }
  let waiting: Waiting[] = []
  const fits = ({ options, used }: Waiting, request: RecordedRequest) =>
    used < (options.times ?? 1) &&
    (options.endpoint === 'any' || options.endpoint === request.endpoint) &&
    (options.when?.(request) ?? true)
  return {
    add(options) {
      const added: Waiting = { options, used: 0 }
      waiting.push(added)
      return {
        get used() {
          return added.used
        },
        remove: () => {
          waiting = waiting.filter((fault) => fault !== added)
        },
      }
    },
    clear: () => {
      waiting = []
    },
    take(request) {
      const found = waiting.find((fault) => fits(fault, request))
      if (found !== undefined) found.used += 1
      return found?.options
    },
  }
}
