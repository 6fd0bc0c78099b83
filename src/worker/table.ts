// The table as the worker finds it: prepared at start, and checked again for each readiness request. A
// table that is bound and up to date takes webhooks at once, also while Clerk is away.
import { setTimeout as delay } from 'node:timers/promises'
import type { ClerkClient } from '../clerk/api.ts'
import { readCatalog, type TableCatalog } from '../db/catalog.ts'
import { type Database, WriteError } from '../db/database.ts'
import { hasPendingMigrations } from '../db/migrate.ts'
import { readState } from '../db/state.ts'
import { isSyncError } from '../errors.ts'
import type { Log } from '../log.ts'
import { checkInstance } from '../sync/instance.ts'
import { bindTable, migrateTable } from '../sync/prepare.ts'

/** How long to wait before looking again at a Clerk or a Postgres that is away. */
const retryMs = 5000

export interface Table {
  /** Undefined until it is ready. */
  catalog(): TableCatalog | undefined
  /** What is missing right now: `postgres`, `migrations`, `instance`. */
  missing(): Promise<string[]>
  /**
   * Migrates and binds it, and waits for a Clerk or a Postgres that is away. Throws what waiting cannot cure: a wrong
   * key, another instance, a failed migration. Ends without a word when the worker is stopped.
   */
  prepare(): Promise<void>
}

export function watchTable(parts: {
  database: Database
  clerk: () => ClerkClient
  log: Log
  signal: AbortSignal
}): Table {
  const { database, log, signal } = parts
  let ready: TableCatalog | undefined

  const isBoundAndUpToDate = async (catalog: TableCatalog) =>
    !(await hasPendingMigrations(database.db)) && (await readState(database.db, catalog)) !== undefined

  const prepareOnce = async () => {
    const catalog = await readCatalog(database.db)
    if (await isBoundAndUpToDate(catalog)) ready = catalog
    const instance = await checkInstance(parts.clerk(), database.db, catalog, undefined)
    const { catalog: migrated, applied } = await migrateTable(database)
    if (applied > 0) log.info({ applied }, 'migrations applied')
    await bindTable(database, instance)
    ready = migrated
    log.info({ instanceId: instance.instanceId }, 'the table is ready')
  }

  return {
    catalog: () => ready,
    async missing() {
      try {
        if (await hasPendingMigrations(database.db)) return ['migrations']
        const state = await readState(database.db, await readCatalog(database.db))
        return state === undefined || ready === undefined ? ['instance'] : []
      } catch (error) {
        log.warn({ err: error }, 'not ready')
        return ['postgres']
      }
    },
    async prepare() {
      for (;;) {
        try {
          return await prepareOnce()
        } catch (error) {
          if (signal.aborted) return
          // A table that is bound takes webhooks meanwhile; an answer that makes no sense may be a proxy's, and pass.
          const isOddAnswer = ready !== undefined && isSyncError(error, 'contract')
          if (!canPass(error) && !isOddAnswer) throw error
          // `/readyz` says "ready" of a table that was bound before.
          const message =
            ready === undefined ? 'not ready yet' : 'ready, but the instance is not confirmed yet'
          log.warn({ err: error }, message)
          await delay(retryMs, undefined, { signal }).catch(() => undefined)
        }
      }
    },
  }
}

function canPass(error: unknown): boolean {
  return isSyncError(error, 'transient') || isSyncError(error, 'busy') || error instanceof WriteError
}
