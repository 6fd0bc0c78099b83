// The database that a command works on: the one of DATABASE_URL, or the project's own Postgres, which a source checkout
// starts for a laptop. A command that ends stops that one again, unless another still uses it.
import type { Config } from '../config/config.ts'
import { type Database, openDatabase } from '../db/database.ts'
import { isSyncError, SyncError } from '../errors.ts'

export interface Target {
  /** A pool of its own; `close` ends it too. */
  open(options?: { connections?: number; applicationName?: string; deleteMsMax?: number }): Database
  /** Where the embedded Postgres listens; undefined for a database of the operator's own. */
  readonly embeddedUrl: string | undefined
  /** Ends all pools, waiting at most `timeoutSeconds` for statements under way. */
  close(timeoutSeconds?: number): Promise<void>
}

/** The folder of the embedded default, below the working directory. */
const dataFolder = '.data'

/** Finds the database, and starts it if it is the embedded one. Throws `configuration` or `transient`. */
export async function openTarget(
  database: Config['database'],
  say: (message: string) => void,
): Promise<Target> {
  const opened = new Set<Database>()
  const embedded = 'url' in database ? undefined : await openEmbedded(say)
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

interface Embedded {
  readonly url: string
  release(): Promise<void>
}

/** The one way into `dev/`, which the compiled build leaves out: a name that the compiler does not follow. */
async function openEmbedded(say: (message: string) => void): Promise<Embedded> {
  const room = new URL('../dev/embedded-postgres.ts', import.meta.url).href
  try {
    const { openEmbeddedPostgres } = await import(room)
    return await openEmbeddedPostgres({ directory: dataFolder, onProgress: say })
  } catch (error) {
    if (isSyncError(error)) throw error
    throw new SyncError(
      'configuration',
      'DATABASE_URL is not set, and the embedded Postgres is not at hand',
      {
        hint: 'Set DATABASE_URL. Only a source checkout with its development dependencies has an embedded Postgres.',
        cause: error,
      },
    )
  }
}
