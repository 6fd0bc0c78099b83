// The four requests to Clerk: list, count, one user, the instance. Each answer is validated, so that no bad answer can
// read as "no users"; each request is timed, abortable, within the budget, and retried here and nowhere else.
import pRetry from 'p-retry'
import { isSyncError, SyncError } from '../errors.ts'
import { follow, withTimeout } from './abort.ts'
import { createGate, defaultRequestsPer10s } from './rate-limit.ts'
import { isClerkUserId, type ReadUser, readUser } from './user.ts'

/** The API version that `@clerk/backend` 3.25 sends, which does not export it. */
const apiVersion = '2026-05-12'

/** What a list is asked for. Times are milliseconds. */
export interface ListQuery {
  limit: number
  orderBy?: '+created_at' | '-updated_at'
  startingAfter?: string
  offset?: number
  createdAtAfter?: number
  userIds?: readonly string[]
}

/** One page of users. */
export interface ListAnswer {
  users: ReadUser[]
  /** Clerk's clock when it answered, ms; undefined where the answer had no `Date`. Whole seconds, rounded down. */
  date: number | undefined
}

export interface ClerkClient {
  /** One page. A refused query is a `contract` error whose `facts.status` is the 4xx. */
  listUsers(query: ListQuery): Promise<ListAnswer>
  /** All users of the instance: unfiltered, since a filtered count can take minutes. */
  countUsers(): Promise<{ count: number; date: number | undefined }>
  /** The user, or `denied`: Clerk says in so many words that there is none. */
  fetchUser(clerkId: string): Promise<{ user: ReadUser | 'denied'; date: number | undefined }>
  fetchInstance(): Promise<{ id: string; date: number | undefined }>
  /** Ends every request and every wait, also of questions that nobody waits for any more. */
  close(): void
  /** Requests sent so far, tries included, and how many of them met a 429. */
  readonly requests: { total: number; throttled: number }
}

export interface ClerkClientOptions {
  secretKey: string
  apiUrl: string
  requestsPer10s?: number | undefined
  /** Ends every request and every wait. Its reason is what they throw. */
  signal: AbortSignal
  /** The way to the network; the platform's own if absent. */
  fetch?: typeof fetch | undefined
  /** Defaults: 10 s a request, 5 tries, 60 s in all. */
  limits?: { requestMs: number; tries: number; totalMs: number; firstRetryMs: number } | undefined
}

const defaultLimits = { requestMs: 10_000, tries: 5, totalMs: 60_000, firstRetryMs: 250 }

/**
 * A client for one run. Its requests throw `SyncError`: `configuration` for 401 and 403, `transient` for what stayed
 * unreachable through all tries, `contract` for an answer that is not what the API promises, or the signal's reason.
 */
export function createClerkClient(options: ClerkClientOptions): ClerkClient {
  const limits = options.limits ?? defaultLimits
  const { controller, release } = follow(options.signal)
  const { signal } = controller
  const fetchAnswer = options.fetch ?? fetch
  const gate = createGate(options.requestsPer10s ?? defaultRequestsPer10s(options.secretKey), signal)
  const requests = { total: 0, throttled: 0 }

  const send = async (url: URL, headers: Headers, deadline: number) => {
    requests.total++
    const restMs = Math.max(1, Math.ceil(deadline - performance.now()))
    return withTimeout(signal, Math.min(limits.requestMs, restMs), async (ended) => {
      // A redirect would carry the request to a server that nobody configured.
      const response = await fetchAnswer(url, { headers, redirect: 'manual', signal: ended })
      return { status: response.status, headers: response.headers, body: await response.text() }
    })
  }

  const attempt = async <T>(
    url: URL,
    deadline: number,
    tryNumber: number,
    read: Reader<T>,
  ): Promise<Answer<T>> => {
    const sent = headersOf(options.secretKey)
    if (tryNumber > 1) await gate.enter(deadline)
    const { status, headers, body } = await send(url, sent, deadline).catch((error: unknown) => {
      signal.throwIfAborted()
      throw unreachable(error)
    })
    const date = dateOf(headers.get('date'))
    if (status === 429) {
      requests.throttled++
      gate.pause(retryAfterMs(headers.get('retry-after'), date) ?? 1000 * 2 ** (tryNumber - 1))
      gate.requireEndOfPause(deadline)
    }
    const json = parseJson(body)
    const failure = statusFailure(status)
    if (failure !== undefined) {
      const denied = status === 404 && read.notFound !== undefined && isNotFoundError(json)
      if (denied && read.notFound !== undefined) return { value: read.notFound(), date }
      throw failure
    }
    const value = json === undefined ? undefined : read.body(json)
    if (value === undefined) throw new UnexpectedAnswer(read.what)
    return { value, date }
  }

  const request = async <T>(path: string, query: URLSearchParams, read: Reader<T>): Promise<Answer<T>> => {
    const url = new URL(`${options.apiUrl}/v1${path}`)
    url.search = query.toString()
    await gate.enter(performance.now() + limits.totalMs)
    // From here on: how long the budget keeps a request waiting says nothing about Clerk.
    const deadline = performance.now() + limits.totalMs
    try {
      return await pRetry((tryNumber) => attempt(url, deadline, tryNumber, read), {
        retries: limits.tries - 1,
        minTimeout: limits.firstRetryMs,
        maxTimeout: 5000,
        randomize: true,
        maxRetryTime: limits.totalMs,
        signal,
        shouldRetry: ({ error }) =>
          error instanceof UnexpectedAnswer ||
          (isSyncError(error, 'transient') && error.facts.waitSeconds === undefined),
      })
    } catch (error) {
      throw error instanceof UnexpectedAnswer ? error.final() : error
    }
  }

  return {
    requests,
    close() {
      release()
      controller.abort(new SyncError('aborted', 'the run has ended'))
    },
    async listUsers(query) {
      const answer = await request('/users', listParameters(query), listReader)
      return { users: answer.value, date: answer.date }
    },
    async countUsers() {
      const answer = await request('/users/count', new URLSearchParams(), countReader)
      return { count: answer.value, date: answer.date }
    },
    async fetchUser(clerkId) {
      const answer = await request(`/users/${clerkId}`, new URLSearchParams(), userReader(clerkId))
      return { user: answer.value, date: answer.date }
    },
    async fetchInstance() {
      const answer = await request('/instance', new URLSearchParams(), instanceReader)
      return { id: answer.value, date: answer.date }
    },
  }
}

interface Answer<T> {
  value: T
  date: number | undefined
}

/** How an endpoint's answer is read: undefined is "not what the API promises". */
interface Reader<T> {
  what: string
  body(json: unknown): T | undefined
  notFound?(): T
}

const listReader: Reader<ReadUser[]> = {
  what: 'the list of users is not an array of users',
  body: (json) => (Array.isArray(json) ? json.map(readUser) : undefined),
}

const countReader: Reader<number> = {
  what: 'the count of users is not a number',
  body(json) {
    const count = field(json, 'total_count')
    return typeof count === 'number' && Number.isInteger(count) && count >= 0 ? count : undefined
  },
}

const instanceReader: Reader<string> = {
  what: 'the instance has no id',
  body(json) {
    const id = field(json, 'id')
    return field(json, 'object') === 'instance' && typeof id === 'string' && /^ins_\w+$/.test(id)
      ? id
      : undefined
  },
}

const userReader = (clerkId: string): Reader<ReadUser | 'denied'> => ({
  what: 'the user is not the one that was asked for',
  body: (json) => (field(json, 'id') === clerkId && isClerkUserId(clerkId) ? readUser(json) : undefined),
  notFound: () => 'denied',
})

/** A 200 whose body is not what the API promises: a proxy's page, a cut body. Worth another try, then `contract`. */
class UnexpectedAnswer extends Error {
  final(): SyncError {
    return new SyncError('contract', `Clerk's answer cannot be used: ${this.message}`, {
      hint: 'Does CLERK_API_URL lead to Clerk, without a proxy that answers in its place?',
    })
  }
}

/** The headers of a request. Throws `configuration` for a key that is no header value, without a cause: it has the key. */
function headersOf(secretKey: string): Headers {
  try {
    return new Headers({
      Authorization: `Bearer ${secretKey}`,
      'Clerk-API-Version': apiVersion,
      'User-Agent': 'clerk-sync',
      Accept: 'application/json',
    })
  } catch {
    throw new SyncError('configuration', 'the secret key holds a character that no key has', {
      hint: 'Copy CLERK_SECRET_KEY again, without a line break or an ellipsis: Clerk dashboard, Configure, API keys.',
    })
  }
}

function listParameters(query: ListQuery): URLSearchParams {
  const parameters = new URLSearchParams({ limit: String(query.limit) })
  if (query.orderBy !== undefined) parameters.set('order_by', query.orderBy)
  if (query.startingAfter !== undefined) parameters.set('starting_after', query.startingAfter)
  if (query.offset !== undefined) parameters.set('offset', String(query.offset))
  if (query.createdAtAfter !== undefined) parameters.set('created_at_after', String(query.createdAtAfter))
  for (const id of query.userIds ?? []) parameters.append('user_id', id)
  return parameters
}

/** What an answer's status says, or undefined for a 200. */
function statusFailure(status: number): SyncError | undefined {
  if (status === 200) return undefined
  const facts = { status }
  if (status === 401 || status === 403) {
    return new SyncError('configuration', 'Clerk refuses the secret key', {
      hint: 'Set CLERK_SECRET_KEY to a key of your instance: Clerk dashboard, Configure, API keys.',
      facts,
    })
  }
  if (status === 408 || status === 425 || status === 429 || status >= 500) {
    return new SyncError('transient', 'Clerk cannot answer for now', {
      hint: status === 429 ? 'The instance is over its request limit. Try again later.' : 'Try again later.',
      facts,
    })
  }
  return new SyncError('contract', 'Clerk refuses the request', {
    hint: 'Does CLERK_API_URL lead to Clerk, without a proxy that answers in its place?',
    facts,
  })
}

/** No cause goes along: a parser's error, for one, carries the bytes that the server sent. Its code says enough. */
function unreachable(error: unknown): SyncError {
  const timedOut = error instanceof Error && error.name === 'TimeoutError'
  return new SyncError('transient', timedOut ? 'Clerk did not answer in time' : 'Clerk cannot be reached', {
    hint: 'Check the network and CLERK_API_URL, then run the command again.',
    facts: { code: codeOf(error) },
  })
}

/** The system's or the HTTP client's code, such as ECONNREFUSED; else the error's name. */
function codeOf(error: unknown): string {
  const code = field(error, 'code')
  if (typeof code === 'string') return code
  const cause = field(error, 'cause')
  return cause !== undefined ? codeOf(cause) : error instanceof Error ? error.name : typeof error
}

/** Clerk's own word for "no such user"; a proxy's 404 says nothing about users. */
function isNotFoundError(json: unknown): boolean {
  const errors = field(json, 'errors')
  return Array.isArray(errors) && errors.some((each) => field(each, 'code') === 'resource_not_found')
}

/** `Retry-After` in milliseconds: seconds, or a date on Clerk's clock. */
function retryAfterMs(header: string | null, date: number | undefined): number | undefined {
  if (header === null) return undefined
  const seconds = Number(header)
  if (header.trim() !== '' && Number.isFinite(seconds)) return Math.max(0, seconds * 1000)
  const until = dateOf(header)
  return until === undefined ? undefined : Math.max(0, until - (date ?? Date.now()))
}

function dateOf(header: string | null): number | undefined {
  const time = header === null ? Number.NaN : Date.parse(header)
  return Number.isNaN(time) ? undefined : time
}

function parseJson(body: string): unknown {
  try {
    return JSON.parse(body)
  } catch {
    return undefined
  }
}

function field(json: unknown, key: string): unknown {
  return typeof json === 'object' && json !== null ? (json as Record<string, unknown>)[key] : undefined
}
