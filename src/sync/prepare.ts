// What has to be true before anything is written to `users`: the newest schema, and a table that belongs to the key's
// instance. A run does it under its lease, the worker at start.

import { readCatalog, type TableCatalog } from '../db/catalog.ts'
import { type Database, type Executor, transaction } from '../db/database.ts'
import type { HoldReason } from '../db/hold.ts'
import { migrate } from '../db/migrate.ts'
import { bindInstance } from '../db/state.ts'
import { countRows } from '../db/users.ts'
import { SyncError } from '../errors.ts'
import type { InstanceCheck } from './instance.ts'

/** Applies pending migrations. Returns the catalogue afterwards. Throws what `migrate` throws. */
export async function migrateTable(database: Database): Promise<{ catalog: TableCatalog; applied: number }> {
  const { applied } = await migrate(database)
  return { catalog: await readCatalog(database.db), applied }
}

/** Returns the hold on deletions that `bindTable` would bring; undefined if none. */
export async function holdOfBinding(
  executor: Executor,
  instance: InstanceCheck,
  catalog: TableCatalog,
): Promise<HoldReason | undefined> {
  return instance.isBound || (await countRows(executor, catalog)) === 0 ? undefined : 'first-look'
}

/** Binds the table to the instance. Throws `refused` if another run has just bound it to another. */
export async function bindTable(database: Database, instance: InstanceCheck): Promise<void> {
  const bound = await transaction(database, (tx) => bindInstance(tx, instance.instanceId, instance.replaced))
  if (bound === instance.instanceId) return
  throw new SyncError('refused', 'another run has just bound the table to another instance', {
    hint: 'Two keys of different instances are in use for this database. Keep one.',
    facts: { instanceId: instance.instanceId, bound: bound ?? 'none' },
  })
}
