// The worker's webhook endpoint on a loopback port, and a Clerk that delivers to it, for as long as a step needs it.
import { once } from 'node:events'
import { type AddressInfo, Server } from 'node:net'
import { serve } from '@hono/node-server'
import { readCatalog } from '../../db/catalog.ts'
import type { Database } from '../../db/database.ts'
import { createApp } from '../../http/app.ts'
import { createLog } from '../../log.ts'
import type { Delivery, Sandbox } from '../sandbox/sandbox.ts'

export interface Endpoint {
  /** Delivers as Clerk would. Gives the status and what the endpoint made of it, as `200 created`. */
  deliver(delivery: Delivery): Promise<string>
  close(): Promise<void>
}

/** Listens until closed. */
export async function openEndpoint(database: Database, clerk: Sandbox): Promise<Endpoint> {
  const catalog = await readCatalog(database.db)
  const app = createApp({
    database,
    signingSecrets: [clerk.webhookSecret],
    policy: 'sync',
    catalog: () => catalog,
    readiness: async () => [],
    log: createLog({ level: 'silent', destination: 'stderr', pretty: false }),
  })
  const server = serve({ fetch: app.fetch, hostname: '127.0.0.1', port: 0 })
  if (!(server instanceof Server)) throw new Error('the server is not one of TCP')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    async deliver({ headers, body }) {
      const url = `http://127.0.0.1:${port}/api/users/webhook`
      const answer = await fetch(url, { method: 'POST', headers, body })
      const { result } = (await answer.json()) as { result: string }
      return `${answer.status} ${result}`
    },
    close: () => new Promise((resolve) => server.close(() => resolve())),
  }
}
