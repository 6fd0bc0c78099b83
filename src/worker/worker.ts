// The worker: what runs all day. The webhook endpoint, both schedules, and an orderly end. A failed run never ends it;
// only what no later run could cure does, and only at start.
import { once } from 'node:events'
import { Server, type ServerResponse } from 'node:http'
import { serve } from '@hono/node-server'
import type { ClerkClient } from '../clerk/api.ts'
import type { Database } from '../db/database.ts'
import { hasRun, isLeaseHeld } from '../db/lease.ts'
import { lastFullPassAge } from '../db/runs.ts'
import { withDeadline } from '../deadline.ts'
import { SyncError } from '../errors.ts'
import { createApp, webhookPaths } from '../http/app.ts'
import type { Log } from '../log.ts'
import { checkSchedule, type ScheduleDeps, startSchedules } from './schedules.ts'
import { watchTable } from './table.ts'

export interface WorkerParts {
  readonly http: { readonly host: string; readonly port: number }
  readonly schedule: ScheduleDeps['schedule']
  readonly policy: 'sync' | 'upsert-only'
  /** Empty where none is set. */
  readonly webhookSecrets: readonly string[]
  /** For webhooks and questions; the caller closes it. */
  readonly database: Database
  /** A client for the look at start. */
  readonly clerk: () => ClerkClient
  readonly run: ScheduleDeps['run']
  readonly log: Log
  /** Aborted by the first signal. */
  readonly signal: AbortSignal
  /** Called with the port once the server listens. */
  readonly onListening?: (port: number) => void
  readonly waits?: ScheduleDeps['waits']
}

/** How long work may continue after a signal, ms. Orchestrators kill after 10 s, or 30. */
const shutdownMsMax = 7000

/**
 * Runs until the signal, then ends in good order: no new ticks, webhooks in flight are answered, the page in hand is
 * committed, the lease is given back. Throws `configuration` or `refused` for what keeps it from working at all.
 */
export async function runWorker(parts: WorkerParts): Promise<void> {
  const { database, log, signal } = parts
  checkSchedule(parts.schedule)
  const stopped = signal.aborted ? Promise.resolve() : once(signal, 'abort').then(() => {})
  const table = watchTable({ database, clerk: parts.clerk, log, signal })
  if (parts.webhookSecrets.length === 0) {
    log.warn('CLERK_WEBHOOK_SIGNING_SECRET is not set: every webhook is answered with 503')
  }
  const app = createApp({
    database,
    log,
    signingSecrets: parts.webhookSecrets,
    policy: parts.policy,
    catalog: () => table.catalog(),
    readiness: () => table.missing(),
  })
  const server = await listen(app.fetch, parts.http)
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : parts.http.port
  log.info(
    { host: parts.http.host, port, url: urlOf(parts.http.host, port), paths: webhookPaths },
    'listening',
  )
  parts.onListening?.(port)
  let schedules: { stop(): Promise<void> } | undefined
  try {
    await Promise.race([table.prepare(), stopped])
    if (!signal.aborted) {
      schedules = startSchedules({
        schedule: parts.schedule,
        run: parts.run,
        hasRun: (tick) => hasRun(database.db, tick),
        isLeaseHeld: () => isLeaseHeld(database.db),
        lastFullPassAge: () => lastFullPassAge(database.db),
        log,
        signal,
        waits: parts.waits,
      })
      await stopped
    }
  } finally {
    const ended = Promise.all([schedules?.stop(), close(server)]).then(() => true)
    if (!(await withDeadline(ended, shutdownMsMax, () => false))) {
      server.closeAllConnections()
      log.warn('what was still under way is cut off')
    }
    log.info('stopped')
  }
}

/** Where this machine finds it: a service that listens everywhere is at `localhost`, too. */
function urlOf(host: string, port: number): string {
  const isEverywhere = host === '0.0.0.0' || host === '::'
  const name = isEverywhere ? 'localhost' : host.includes(':') ? `[${host}]` : host
  return `http://${name}:${port}`
}

/** The address is of another program, privileged, of another machine, or of none. */
const unusableAddressCodes = new Set(['EADDRINUSE', 'EACCES', 'EADDRNOTAVAIL', 'ENOTFOUND', 'EAI_AGAIN'])

/** Listens, or says which port is taken. */
async function listen(
  fetch: Parameters<typeof serve>[0]['fetch'],
  http: { host: string; port: number },
): Promise<Server> {
  const server = serve({ fetch, hostname: http.host, port: http.port })
  if (!(server instanceof Server)) throw new Error('the server is not an HTTP/1 server')
  try {
    await once(server, 'listening')
    return server
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code === undefined || !unusableAddressCodes.has(code)) throw error
    const what = code === 'EADDRINUSE' ? 'is taken' : 'cannot be listened on'
    throw new SyncError('configuration', `port ${http.port} on ${http.host} ${what}`, {
      hint: 'Set PORT (and HOST) to an address that is free, such as PORT=3100, or stop the program that has it. `next dev` takes 3000 too.',
      cause: error,
    })
  }
}

/** Answers what is in flight and takes nothing new, also where a sender keeps its connection open. */
async function close(server: Server): Promise<void> {
  server.prependListener('request', (_request, response: ServerResponse) =>
    response.setHeader('Connection', 'close'),
  )
  await new Promise<void>((resolve) => server.close(() => resolve()))
}
