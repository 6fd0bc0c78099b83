// One request to Clerk and its tries: timed, abortable, within the budget, bounded in size, and retried here and nowhere
// else. What an answer means is its reader's matter.
import pRetry from 'p-retry'
import { linkedAbortController, withTimeout } from '../deadline.ts'
import { SyncError } from '../errors.ts'
import { type Answer, isNotFoundError, parseJson, type Reader } from './answers.ts'
import { readText } from './body.ts'
import { isTooMuch, isWorthAnotherTry, statusFailure, UnexpectedAnswer, unreachable } from './failures.ts'
import { openProxy, type ProxySettings } from './proxy.ts'
import { createRateLimiter, defaultRequestsPer10s } from './rate-limiter.ts'

/** The API version that `@clerk/backend` 3.25 sends, which does not export it. */
const apiVersion = '2026-05-12'

/** How long Clerk is waited for. */
interface Limits {
  /** Without a byte of the answer. */
  silenceMs: number
  /** For a whole answer whose bytes arrive. */
  requestMs: number
  tries: number
  /** For all tries, counted anew where a page is asked for that is smaller than one which took too long. */
  totalMs: number
  firstRetryMs: number
}

const defaultLimits: Limits = {
  silenceMs: 10_000,
  // A page that needs longer than this is better asked for in halves: a lost connection then costs less.
  requestMs: 45_000,
  tries: 5,
  totalMs: 60_000,
  firstRetryMs: 250,
}

/** For one user, a count, the instance, and for what is not a 200. */
const answerBytesMax = 1024 * 1024

export interface TransportOptions {
  secretKey: string
  apiUrl: string
  requestsPer10s?: number | undefined
  /** Ends every request and every wait. Its reason is what they throw. */
  signal: AbortSignal
  /** The way to the network; the platform's own if absent. */
  fetch?: typeof fetch | undefined
  /** Called before each wait with its reason. The function that it returns is called when the wait has ended. */
  onWait?: ((what: string) => () => void) | undefined
  /** The proxy that leads to Clerk, unless `fetch` is given. */
  proxy?: ProxySettings | undefined
  /** Replaces single ones of the default limits. */
  limits?: Partial<Limits> | undefined
}

/** What a request asks for. */
interface Question<T> {
  /** Without the version, as `/users`. */
  readonly path: string
  readonly read: Reader<T>
  /** Asked before each try; no parameters if absent. */
  readonly parameters?: () => URLSearchParams
  /** Called after a try whose answer was too slow or too long. True if the next try asks for less. */
  readonly askForLess?: () => boolean
}

interface Transport {
  /** Throws `SyncError` as the client promises. */
  request<T>(question: Question<T>): Promise<Answer<T>>
  close(): void
  readonly requests: { total: number; throttled: number }
}

/** The way to one instance, with its budget. */
export function createTransport(options: TransportOptions): Transport {
  const limits = { ...defaultLimits, ...options.limits }
  const { controller, release } = linkedAbortController(options.signal)
  const { signal } = controller
  const sender = createSender(options, limits, signal)
  const rateLimiter = createRateLimiter(
    options.requestsPer10s ?? defaultRequestsPer10s(options.secretKey),
    signal,
  )
  const requests = { total: 0, throttled: 0 }

  const attempt = async <T>(
    asked: { url: URL; deadline: number; tryNumber: number },
    read: Reader<T>,
  ): Promise<Answer<T>> => {
    const { url, deadline, tryNumber } = asked
    const headers = headersOf(options.secretKey)
    if (tryNumber > 1) await enter(deadline)
    requests.total++
    const response = await sender.send(url, headers, deadline, read.bytesMax ?? answerBytesMax)
    const date = dateOf(response.headers.get('date'))
    if (response.status === 429) {
      requests.throttled++
      const retryAfter = retryAfterMs(response.headers.get('retry-after'), date)
      rateLimiter.pause(retryAfter ?? 1000 * 2 ** (tryNumber - 1))
      rateLimiter.requireEndOfPause(deadline)
    }
    return { value: readValue(response, read), date }
  }

  const enter = (deadline: number) => {
    const isPaused = rateLimiter.isPaused()
    return announced(
      options.onWait,
      isPaused ? "the end of Clerk's rate limit" : 'its turn in the request budget',
      rateLimiter.enter(deadline),
    )
  }

  const request = <T>(question: Question<T>): Promise<Answer<T>> =>
    enter(performance.now() + limits.totalMs).then(() =>
      announced(
        options.onWait,
        `Clerk's answer (${question.path.replace(/user_\w+$/, '{id}')})`,
        ask(question),
      ),
    )

  const ask = async <T>(question: Question<T>): Promise<Answer<T>> => {
    // From here on: how long the budget keeps a request waiting says nothing about Clerk.
    let deadline = performance.now() + limits.totalMs
    const askAgain = ({ error }: { error: Error }): boolean => {
      if (isTooMuch(error) && question.askForLess?.() === true) deadline = performance.now() + limits.totalMs
      return performance.now() < deadline && isWorthAnotherTry(error)
    }
    try {
      return await pRetry(
        (tryNumber) => {
          const url = new URL(`${options.apiUrl}/v1${question.path}`)
          url.search = question.parameters?.().toString() ?? ''
          return attempt({ url, deadline, tryNumber }, question.read)
        },
        { ...retriesOf(limits), signal, shouldRetry: askAgain },
      )
    } catch (error) {
      throw error instanceof UnexpectedAnswer ? error.final() : error
    }
  }

  return {
    request,
    requests,
    close() {
      release()
      sender.close()
      controller.abort(new SyncError('aborted', 'the run has ended'))
    },
  }
}

/** Waits, and says so before and after. */
async function announced<T>(onWait: TransportOptions['onWait'], what: string, wait: Promise<T>): Promise<T> {
  const end = onWait?.(what)
  try {
    return await wait
  } finally {
    end?.()
  }
}

const retriesOf = (limits: Limits) => ({
  retries: limits.tries - 1,
  minTimeout: limits.firstRetryMs,
  maxTimeout: Math.min(5000, limits.totalMs),
  randomize: true,
})

/** An answer of Clerk's; `body` is undefined where it was longer than it may be. */
interface Received {
  readonly status: number
  readonly headers: Headers
  readonly body: string | undefined
}

/** Sends requests within their limits of time and size, without a retry. */
function createSender(options: TransportOptions, limits: Limits, signal: AbortSignal) {
  const proxy = options.proxy === undefined ? undefined : openProxy(options.proxy)
  const fetchAnswer = options.fetch ?? proxy?.fetch ?? fetch
  return {
    /** Throws the signal's reason, or why Clerk cannot be reached. */
    async send(url: URL, headers: Headers, deadline: number, bytesMax: number): Promise<Received> {
      const restMs = Math.max(1, Math.ceil(deadline - performance.now()))
      const answer = withTimeout(signal, Math.min(limits.requestMs, restMs), (whole) =>
        withTimeout(whole, limits.silenceMs, async (ended, restart) => {
          // A redirect would carry the request to a server that nobody configured.
          const response = await fetchAnswer(url, { headers, redirect: 'manual', signal: ended })
          restart()
          const { status } = response
          const body = await readText(response, status === 200 ? bytesMax : answerBytesMax, restart)
          return { status, headers: response.headers, body }
        }),
      )
      return answer.catch((error: unknown) => {
        signal.throwIfAborted()
        throw unreachable(error, proxy !== undefined)
      })
    },
    close: () => proxy?.close(),
  }
}

/** Reads the answer. Throws `SyncError` for another status than 200, and `UnexpectedAnswer`. */
function readValue<T>({ status, body }: Received, read: Reader<T>): T {
  const json = body === undefined ? undefined : parseJson(body)
  const failure = statusFailure(status)
  if (failure !== undefined) {
    if (status === 404 && read.notFound !== undefined && isNotFoundError(json)) return read.notFound()
    throw failure
  }
  if (body === undefined) {
    throw new UnexpectedAnswer(`it is longer than ${(read.bytesMax ?? answerBytesMax) >> 20} MB`, true)
  }
  const value = json === undefined ? undefined : read.body(json)
  if (value === undefined) throw new UnexpectedAnswer(read.what)
  return value
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
