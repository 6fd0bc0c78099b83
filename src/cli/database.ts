// The database that a command works on: the one of DATABASE_URL, or the embedded Postgres that a source checkout has for a
// laptop. A command that ends stops that one again, unless another still uses it.
import type { Config } from '../config/config.ts'
import { type Database, openDatabase } from '../db/database.ts'
import { SyncError } from '../errors.ts'

/** Starts the embedded Postgres, or joins the one that another command has started. */
export type OpenEmbeddedPostgres = (options: {
  readonly directory: string
  readonly onProgress: (message: string) => void
}) => Promise<{ readonly url: string; release(): Promise<void> }>

export interface CommandDatabase {
  /** A pool of its own; `close` ends it too. */
  open(options?: { connections?: number; applicationName?: string; deleteMsMax?: number }): Database
  /** Where the embedded Postgres listens; undefined for a database of the operator's own. */
  readonly embeddedUrl: string | undefined
  /** Ends all pools, waiting at most `timeoutSeconds` for statements under way. */
  close(timeoutSeconds?: number): Promise<void>
}

/** The folder of the embedded default, below the working directory. */
const dataFolder = '.data'

/**
 * Finds the database, and starts it with `openEmbedded` if no URL is configured. Throws `configuration`, also where
 * `openEmbedded` is undefined, or `transient`.
 */
export async function openCommandDatabase(
  database: Config['database'],
  openEmbedded: OpenEmbeddedPostgres | undefined,
  onProgress: (message: string) => void,
): Promise<CommandDatabase> {
  if (!('url' in database) && openEmbedded === undefined) throw withoutEmbedded()
  const opened = new Set<Database>()
  const embedded = 'url' in database ? undefined : await openEmbedded?.({ directory: dataFolder, onProgress })
  const url = 'url' in database ? database.url : (embedded?.url ?? '')
  return {
    embeddedUrl: embedded?.url,
    open(options = {}) {
      const pool = openDatabase(url, {
        ...options,
        ...('url' in database && database.options !== undefined ? { driver: database.options } : {}),
      })
      opened.add(pool)
      return {
        db: pool.db,
        deleteMsMax: pool.deleteMsMax,
        close(timeoutSeconds) {
          opened.delete(pool)
          return pool.close(timeoutSeconds)
        },
      }
    },
    async close(timeoutSeconds) {
      await Promise.all([...opened].map((pool) => pool.close(timeoutSeconds)))
      await embedded?.release()
    },
  }
}

function withoutEmbedded(): SyncError {
  return new SyncError(
    'configuration',
    'DATABASE_URL is not set, and this command has no embedded Postgres',
    {
      hint: 'Set DATABASE_URL. Only the npm scripts of a source checkout have an embedded Postgres.',
    },
  )
}
