// What a request fails with. Each failure is classified here, once: worth another try, worth a smaller page, or final.
import { isSyncError, SyncError } from '../errors.ts'
import { field } from './answers.ts'

/** A 200 whose body is not what the API promises: a proxy's page, a cut body. Worth another try, then `contract`. */
export class UnexpectedAnswer extends Error {
  readonly isTooLong: boolean
  constructor(message: string, isTooLong = false) {
    super(message)
    this.isTooLong = isTooLong
  }
  final(): SyncError {
    return new SyncError('contract', `Clerk's answer cannot be used: ${this.message}`, {
      hint: 'Does CLERK_API_URL lead to Clerk, without a proxy that answers in its place?',
    })
  }
}

/** True if an answer about fewer users could have arrived. */
export function isTooMuch(error: Error): boolean {
  return error instanceof UnexpectedAnswer
    ? error.isTooLong
    : isSyncError(error, 'transient') && error.facts.code === timeoutCode
}

export function isWorthAnotherTry(error: Error): boolean {
  return (
    error instanceof UnexpectedAnswer ||
    (isSyncError(error, 'transient') && error.facts.waitSeconds === undefined)
  )
}

/** What an answer's status says, or undefined for a 200. */
export function statusFailure(status: number): SyncError | undefined {
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

/** What `withTimeout` ends a request with. */
const timeoutCode = 'TimeoutError'

/** No cause goes along: a parser's error, for one, carries the bytes that the server sent. Its code says enough. */
export function unreachable(error: unknown, throughProxy: boolean): SyncError {
  const timedOut = error instanceof Error && error.name === timeoutCode
  const code = timedOut ? timeoutCode : codeOf(error)
  if (untrustedCodes.has(code)) return untrusted(code)
  const proxy = throughProxy ? ' Requests go through the proxy of HTTPS_PROXY: check that too.' : ''
  return new SyncError('transient', timedOut ? 'Clerk did not answer in time' : 'Clerk cannot be reached', {
    hint: `Check the network and CLERK_API_URL, then run the command again.${proxy}`,
    facts: { code },
  })
}

/** OpenSSL's words for a certificate that no authority known to Node has signed. */
const untrustedCodes = new Set([
  'SELF_SIGNED_CERT_IN_CHAIN',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
])

/** Clerk's own certificate is signed by a public authority: so another one answers, and waiting does not help. */
function untrusted(code: string): SyncError {
  return new SyncError(
    'configuration',
    'the certificate that answers in place of Clerk is not from an authority that Node trusts',
    {
      hint: 'A proxy that inspects traffic, as many companies have one, signs with a certificate of its own: set NODE_EXTRA_CA_CERTS to the file with its authority, and start again.',
      facts: { code },
    },
  )
}

/** The system's or the HTTP client's code, such as ECONNREFUSED; else the error's name. */
function codeOf(error: unknown): string {
  const code = field(error, 'code')
  if (typeof code === 'string') return code
  const cause = field(error, 'cause')
  return cause !== undefined ? codeOf(cause) : error instanceof Error ? error.name : typeof error
}
