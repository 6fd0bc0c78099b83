// Every environment variable: what it is for, and what a value must look like. Each check says what is wrong and what
// to do about it, and none repeats the value: a secret ends up in the wrong line sooner or later.
import { isIP } from 'node:net'
import { z } from 'zod'

export interface Variable {
  name: string
  /** As one would type it; undefined where there is none, or where it follows from something else. */
  default: string | undefined
  description: string
  secret: boolean
}

const row = (name: string, fallback: string | undefined, description: string, secret = false): Variable => ({
  name,
  default: fallback,
  description,
  secret,
})

/** Every variable that is read, in the order in which `.env.example` and docs/configuration.md show them. */
export const variables: readonly Variable[] = [
  row('CLERK_SECRET_KEY', undefined, 'Secret key of the Clerk instance. Required.', true),
  row(
    'CLERK_WEBHOOK_SIGNING_SECRET',
    undefined,
    'Signing secret of the webhook endpoint in Clerk; several are separated by commas.',
    true,
  ),
  row('CLERK_SIGNING_SECRET', undefined, 'Another name for CLERK_WEBHOOK_SIGNING_SECRET.', true),
  row('CLERK_API_URL', 'https://api.clerk.com', 'Where the Clerk Backend API answers: https, or loopback.'),
  row('HTTPS_PROXY', undefined, 'Proxy that leads to Clerk, where it is the only way out.'),
  row('NO_PROXY', undefined, 'Hosts that are reached without the proxy, separated by commas.'),
  row('DATABASE_URL', undefined, 'Postgres. In development without one: an embedded one under .data/.', true),
  row('SYNC_POLICY', 'sync', '`sync`, or `upsert-only`: never delete a row.'),
  row(
    'MAX_DELETES',
    undefined,
    'The most rows that all runs together may delete within an hour. Default: 10 % of the rows, but at least 10 and at most 500.',
  ),
  row('GRACE_SECONDS', '600', 'How long a listing of Clerk may lag behind.'),
  row(
    'DELETE_TIMEOUT_SECONDS',
    '60',
    'How long a batch of deletions may take, with the cascades of your schema.',
  ),
  row('INCREMENTAL_SCHEDULE', '*/5 * * * *', 'When the worker reads what changed: cron, or `off`.'),
  row('FULL_SCHEDULE', '0 * * * *', 'When the worker reads everything: cron, or `off`.'),
  row('SCHEDULE_TIMEZONE', 'UTC', 'Time zone of both schedules.'),
  row(
    'CLERK_REQUESTS_PER_10S',
    undefined,
    "The most requests to Clerk within 10 seconds. Default: half of the instance's limit.",
  ),
  row('CLERK_LANES', '8', 'How many pages are read from Clerk at once. It has no effect yet.'),
  row('HOST', '127.0.0.1', 'Address that the worker listens on; 0.0.0.0 in a container.'),
  row('PORT', '3000', 'Port that the worker listens on. `next dev` takes 3000 too.'),
  row(
    'ADMIN_TOKEN',
    undefined,
    'Bearer token for POST /api/sync, 16 characters or more. It has no effect yet.',
    true,
  ),
  row('LOG_LEVEL', 'info', 'trace, debug, info, warn, error, fatal or silent.'),
  row('NODE_ENV', undefined, '`production` rules out the embedded Postgres.'),
  row('NGROK_AUTHTOKEN', undefined, 'For npm run dev:webhook.', true),
  row('NGROK_DOMAIN', undefined, 'Static ngrok domain: a bare host name.'),
]

// Where the dashboard shows the secrets.
const keysPage = 'Clerk dashboard, Configure, API keys: https://dashboard.clerk.com/last-active?path=api-keys'
const webhooksPage =
  'Clerk dashboard, Configure, Webhooks, your endpoint, Signing Secret: https://dashboard.clerk.com/last-active?path=webhooks'

/** A check that says the first thing wrong, or gives the value. */
function check<T>(read: (value: string) => T, wrong: (value: string) => string | undefined) {
  return z.string().transform((value, context) => {
    const message = wrong(value)
    if (message === undefined) return read(value)
    context.addIssue({ code: 'custom', message })
    return z.NEVER
  })
}

const asIs = (value: string) => value
const text = (wrong: (value: string) => string | undefined) => check(asIs, wrong).optional()

function integer(min: number, max: number) {
  // Number() alone reads `1e3`, `0x10` and ` 5 `.
  const strict = (value: string) =>
    /^(0|[1-9]\d{0,9})$/.test(value) && Number(value) >= min && Number(value) <= max
  return check(Number, (value) =>
    strict(value)
      ? undefined
      : `must be a whole number from ${min} to ${max}. Write digits only, or remove it.`,
  )
}

/** What copying does to a secret. */
export function pastedWrong(value: string): string | undefined {
  if (value.trim() !== value) {
    return 'has white space or a line break around it. Remove it; for a secret made from a file, write the file with printf, not echo.'
  }
  if (/^["'`]|["'`]$/.test(value)) {
    return 'has quotation marks around it. Remove them: not every reader of environment files takes them off.'
  }
  return undefined
}

function isPlaceholder(secret: string): boolean {
  if (secret === '' || /^(.)\1*$/.test(secret) || /\.\.\.|[…•*<>[\]]/.test(secret)) return true
  // Only short ones: a real secret may hold any word by chance.
  return (
    secret.length < 30 && /your|replace|placeholder|example|change.?me|secret.?key|paste|insert/i.test(secret)
  )
}

function wrongSecretKey(value: string): string | undefined {
  const where = `Copy the secret key (${keysPage}).`
  const pasted = pastedWrong(value)
  if (pasted !== undefined) return pasted
  if (value.startsWith('pk_')) return `is the publishable key (pk_…). ${where} It begins with sk_.`
  if (value.startsWith('whsec_')) {
    return `is a webhook signing secret (whsec_…), which belongs in CLERK_WEBHOOK_SIGNING_SECRET. ${where}`
  }
  const rest = /^sk_(?:test|live)_(.*)$/s.exec(value)?.[1]
  if (rest === undefined) return `must begin with sk_test_ or sk_live_. ${where}`
  if (isPlaceholder(rest)) return `is still the placeholder. ${where}`
  if (!/^[\w-]{4,}$/.test(rest))
    return `is not a whole key: it holds other signs than letters and digits. ${where}`
  return undefined
}

/** Several are valid while one replaces another. */
const listOf = (value: string) => value.split(',').map((each) => each.trim())

function wrongSigningSecrets(value: string): string | undefined {
  return pastedWrong(value) ?? listOf(value).map(wrongSigningSecret).find(Boolean)
}

function wrongSigningSecret(value: string): string | undefined {
  const where = `Copy it again (${webhooksPage}).`
  const pasted = pastedWrong(value)
  if (pasted !== undefined) return pasted
  if (!value.startsWith('whsec_')) return `must begin with whsec_. ${where}`
  const rest = value.slice('whsec_'.length)
  if (isPlaceholder(rest)) return `is still the placeholder. ${where}`
  // The verifier decodes it on the first delivery only, and would then refuse every webhook.
  if (rest.length % 4 !== 0 || !/^[A-Za-z0-9+/]+={0,2}$/.test(rest)) {
    return `is not whole: what follows whsec_ is not base64. ${where}`
  }
  return undefined
}

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host.endsWith('.localhost') || host === '[::1]' || /^127\.[\d.]+$/.test(host)
}

function wrongApiUrl(value: string): string | undefined {
  const remove = 'Remove it to use https://api.clerk.com.'
  if (!URL.canParse(value)) return `is not a URL. ${remove}`
  const url = new URL(value)
  if (url.hostname.endsWith('.accounts.dev'))
    return `is the Frontend API; the Backend API is needed. ${remove}`
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && isLoopback(url.hostname))) {
    return `must be https, since the secret key travels with each request (http only to this machine). ${remove}`
  }
  if (url.username + url.password + url.search + url.hash !== '' || !/^\/+(v1\/*)?$/.test(url.pathname)) {
    return `must be an origin: no path, user or query. ${remove}`
  }
  return undefined
}

/** Many write a proxy without its scheme, and mean http. */
export const proxyUrl = (value: string) => (value.includes('://') ? value : `http://${value}`)

export function wrongProxy(value: string): string | undefined {
  if (value === '' || (URL.canParse(proxyUrl(value)) && /^https?:/i.test(proxyUrl(value)))) return undefined
  return 'is not an HTTP proxy. Write its URL, http://host:port, or remove it.'
}

function wrongSchedule(value: string): string | undefined {
  // Loosely: the scheduler itself has the last word on each field.
  if (value.toLowerCase() === 'off' || /^[\w*,/?#-]+(\s+[\w*,/?#-]+){4,5}$/.test(value)) return undefined
  return 'is not a cron expression. Write five fields, or six with seconds first (`*/5 * * * *` is every five minutes), or `off`.'
}

function wrongTimezone(value: string): string | undefined {
  try {
    new Intl.DateTimeFormat('en', { timeZone: value })
    return undefined
  } catch {
    return 'is not a time zone. Write a name such as UTC or Europe/Berlin.'
  }
}

const hostName = /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$/i

function wrongHost(value: string): string | undefined {
  if (isIP(value) !== 0 || hostName.test(value)) return undefined
  return 'is not an address to listen on. Write 127.0.0.1, 0.0.0.0 or a host name, without scheme and port.'
}

function wrongAdminToken(value: string): string | undefined {
  const make = 'Make one with `openssl rand -hex 32`.'
  const pasted = pastedWrong(value)
  if (pasted !== undefined) return pasted
  if (isPlaceholder(value)) return `is still a placeholder. ${make}`
  if (value.length < 16) return `must have at least 16 characters. ${make}`
  // Nothing else passes as a bearer token, so that no request could ever match.
  if (!/^[\w.~+/-]+=*$/.test(value)) return `holds signs that no bearer token may have. ${make}`
  return undefined
}

function wrongNgrokToken(value: string): string | undefined {
  if (!isPlaceholder(value)) return pastedWrong(value)
  return 'is still the placeholder. Copy the token from https://dashboard.ngrok.com, or remove it.'
}

function wrongNgrokDomain(value: string): string | undefined {
  if (hostName.test(value) && value.includes('.')) return undefined
  return 'must be a bare host name such as name.ngrok-free.app. Remove scheme, port and path.'
}

const levels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']
const oneOf = <T extends string>(words: readonly T[]) =>
  check(
    (value) => value as T,
    (value) =>
      (words as readonly string[]).includes(value)
        ? undefined
        : `is not a known word. Write one of ${words.join(', ')}.`,
  )

const signingSecrets = check(listOf, wrongSigningSecrets).optional()

/** The check of each variable on its own; messages are `what is wrong. What to do.`, without the name. */
export const checks = z.object({
  CLERK_SECRET_KEY: z
    .string({ error: `is not set. Copy the secret key (${keysPage}) into .env.local.` })
    .pipe(check(asIs, wrongSecretKey)),
  CLERK_WEBHOOK_SIGNING_SECRET: signingSecrets,
  CLERK_SIGNING_SECRET: signingSecrets,
  CLERK_API_URL: check((value) => new URL(value).origin, wrongApiUrl).default('https://api.clerk.com'),
  SYNC_POLICY: oneOf(['sync', 'upsert-only'] as const).default('sync'),
  MAX_DELETES: integer(0, 1_000_000_000).optional(),
  GRACE_SECONDS: integer(0, 86_400).default(600),
  DELETE_TIMEOUT_SECONDS: integer(1, 3600).default(60),
  INCREMENTAL_SCHEDULE: check(asIs, wrongSchedule).default('*/5 * * * *'),
  FULL_SCHEDULE: check(asIs, wrongSchedule).default('0 * * * *'),
  SCHEDULE_TIMEZONE: check(asIs, wrongTimezone).default('UTC'),
  CLERK_REQUESTS_PER_10S: integer(1, 1000).optional(),
  CLERK_LANES: integer(1, 32).default(8),
  HOST: check(asIs, wrongHost).default('127.0.0.1'),
  PORT: integer(1, 65_535).default(3000),
  ADMIN_TOKEN: text(wrongAdminToken),
  LOG_LEVEL: oneOf(levels).default('info'),
  NODE_ENV: z.string().optional(),
  NGROK_AUTHTOKEN: text(wrongNgrokToken),
  NGROK_DOMAIN: text(wrongNgrokDomain),
})

const otherNames = new Map([
  ...['CLERK_SECRET', 'CLERK_API_KEY', 'CLERK_KEY', 'CLERK_TOKEN'].map(
    (name) => [name, 'CLERK_SECRET_KEY'] as const,
  ),
  ...[
    'WEBHOOK_SECRET',
    'CLERK_WEBHOOK_SECRET',
    'CLERK_WEBHOOK_KEY',
    'SVIX_SECRET',
    'SVIX_WEBHOOK_SECRET',
  ].map((name) => [name, 'CLERK_WEBHOOK_SIGNING_SECRET'] as const),
  ...['POSTGRES_URL', 'POSTGRESQL_URL', 'DATABASE_URI', 'DB_URL', 'PG_URL'].map(
    (name) => [name, 'DATABASE_URL'] as const,
  ),
])

/** Says which of the variables that are set do nothing in this version. */
export function withoutEffect(given: Readonly<Record<string, string | undefined>>): string[] {
  return variables
    .filter(({ description }) => description.includes('no effect yet'))
    .filter(({ name, default: fallback }) => given[name] !== undefined && given[name] !== fallback)
    .map(({ name }) => `${name}: has no effect yet.`)
}

/** Hints about names in the environment that look like one of ours: sentences with names, without values. */
export function misspelt(values: Record<string, string>): string[] {
  const hints: string[] = []
  const names = new Set(variables.map(({ name }) => name))
  for (const name of Object.keys(values)) {
    const upper = name.toUpperCase().replaceAll(/[.-]/g, '_')
    // Short ones, such as `host`, are other programs'.
    if (upper !== name && upper.length >= 8 && names.has(upper) && !values[upper]) {
      hints.push(`${name}: is not read. Did you mean ${upper}?`)
    }
    if (names.has(name) || !/^[A-Z][A-Z0-9_]{3,60}$/.test(name)) continue
    const rest = /^(?:NEXT_PUBLIC|NUXT_PUBLIC|EXPO_PUBLIC|PUBLIC|VITE|REACT_APP|GATSBY)_(.+)$/.exec(name)?.[1]
    if (variables.some((variable) => variable.secret && variable.name === rest)) {
      hints.push(
        `${name}: bundlers publish this name to browsers. Rename it to ${rest}, and rotate the secret.`,
      )
      continue
    }
    const meant = otherNames.get(name) ?? variables.find((variable) => oneEditAway(name, variable.name))?.name
    if (meant !== undefined && !values[meant]) hints.push(`${name}: is not read. Did you mean ${meant}?`)
  }
  return hints
}

/** True where one letter is wrong, missing, too many, or swapped with its neighbour. Short names are too alike. */
function oneEditAway(a: string, b: string): boolean {
  if (b.length < 8 || Math.abs(a.length - b.length) > 1) return false
  let start = 0
  while (start < a.length && a[start] === b[start]) start++
  let end = 0
  while (end < Math.min(a.length, b.length) - start && a.at(-1 - end) === b.at(-1 - end)) end++
  const [left, right] = [a.slice(start, a.length - end), b.slice(start, b.length - end)]
  return (
    (left.length <= 1 && right.length <= 1) ||
    (left.length === 2 && left === right[1]?.concat(right[0] ?? ''))
  )
}
