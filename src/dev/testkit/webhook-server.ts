// The worker's webhook endpoint on a loopback port, without the rest of the worker.
import { once } from 'node:events'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { serve } from '@hono/node-server'
import { readCatalog, type TableCatalog } from '../../db/catalog.ts'
import type { Database } from '../../db/database.ts'
import { type AppDeps, createApp } from '../../http/app.ts'

export interface WebhookServerOptions extends Omit<AppDeps, 'database' | 'catalog' | 'readiness'> {
  readonly database: Database
  /** False: the worker has not found the table ready yet. True by default. */
  readonly isReady?: boolean
}

export interface WebhookServer {
  readonly port: number
  readonly catalog: TableCatalog
  /** Ends at once, also with requests under way. The database stays open. */
  close(): Promise<void>
}

/** Listens until closed. Reads the catalogue once, at the start. */
export async function openWebhookServer(options: WebhookServerOptions): Promise<WebhookServer> {
  const { isReady = true, ...deps } = options
  const catalog = await readCatalog(deps.database.db)
  const app = createApp({
    ...deps,
    catalog: () => (isReady ? catalog : undefined),
    readiness: async () => [],
  })
  const server = serve({ fetch: app.fetch, hostname: '127.0.0.1', port: 0 }) as Server
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    port,
    catalog,
    async close() {
      server.closeAllConnections()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    },
  }
}
