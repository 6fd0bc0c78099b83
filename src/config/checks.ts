// What the value of each environment variable must look like. A check says what is wrong and what to do about it, and none
// repeats the value: a secret ends up in the wrong line sooner or later.
import { isIP } from 'node:net'
import { z } from 'zod'

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
export function pasteError(value: string): string | undefined {
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
  const pasted = pasteError(value)
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
  return pasteError(value) ?? listOf(value).map(wrongSigningSecret).find(Boolean)
}

function wrongSigningSecret(value: string): string | undefined {
  const where = `Copy it again (${webhooksPage}).`
  const pasted = pasteError(value)
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
  const pasted = pasteError(value)
  if (pasted !== undefined) return pasted
  if (isPlaceholder(value)) return `is still a placeholder. ${make}`
  if (value.length < 16) return `must have at least 16 characters. ${make}`
  // Nothing else passes as a bearer token, so that no request could ever match.
  if (!/^[\w.~+/-]+=*$/.test(value)) return `holds signs that no bearer token may have. ${make}`
  return undefined
}

function wrongNgrokToken(value: string): string | undefined {
  if (!isPlaceholder(value)) return pasteError(value)
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
