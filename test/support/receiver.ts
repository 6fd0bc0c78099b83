// The side that receives webhooks, behind the endpoint: what tests of deliveries write with.

import { readCatalog, type TableCatalog } from '../../src/db/catalog.ts'
import { type Database, openDatabase } from '../../src/db/database.ts'
import type { DesiredUser } from '../../src/db/schema.ts'
import type { SandboxUser } from '../../src/dev/sandbox/sandbox.ts'
import { WaitingDeliveries } from '../../src/sync/waiting.ts'
import { type DeliveryOutcome, deliverDeletion, deliverUser } from '../../src/sync/webhook.ts'
import { createdAt } from './endpoint.ts'

/** The receiving side: a pool of its own, as the worker has one beside the run's. */
export interface Receiver {
  readonly database: Database
  readonly catalog: TableCatalog
  user(user: DesiredUser): Promise<DeliveryOutcome>
  deletion(id: string, policy?: 'sync' | 'upsert-only'): Promise<DeliveryOutcome>
}

/** Opens it. The caller closes the database. */
export async function openReceiver(url: string, options: { deleteMsMax?: number } = {}): Promise<Receiver> {
  const database = openDatabase(url, options)
  const catalog = await readCatalog(database.db)
  const waiting = new WaitingDeliveries()
  return {
    database,
    catalog,
    user: async (user) => (await deliverUser(database, catalog, user, waiting)).outcome,
    deletion: async (id, policy = 'sync') =>
      (await deliverDeletion(database, id, policy, { catalog, waiting })).outcome,
  }
}

/** A user made up, of that version. */
export const userOf = (clerkId: string, version: number, over: Partial<DesiredUser> = {}): DesiredUser => ({
  clerkId,
  values: { name: `V${version}`, email: `${clerkId.slice(-8).toLowerCase()}@example.com`, imageUrl: '' },
  clerkCreatedAt: createdAt,
  clerkUpdatedAt: createdAt + version,
  ...over,
})

/** The sandbox's user as a webhook would bring it. */
export const desiredOf = (user: SandboxUser): DesiredUser => ({
  clerkId: user.id,
  values: {
    name: user.first_name ?? '',
    email: user.email_addresses[0]?.email_address ?? null,
    imageUrl: user.image_url ?? '',
  },
  clerkCreatedAt: user.created_at,
  clerkUpdatedAt: user.updated_at,
})
