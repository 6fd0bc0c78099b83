// Every environment variable and what it is for.

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
