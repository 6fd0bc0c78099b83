// One Postgres for a whole run of tests, in memory where there is room. The rule: nothing of it outlives the run, however
// that ends.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, rm, statfs } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openEmbeddedPostgres } from '../../src/dev/embedded-postgres/embedded-postgres.ts'
import { openPostgres15 } from './postgres-15.ts'

export interface Server {
  /** A superuser's. */
  readonly url: string
  /** For what else belongs to the run; it goes with the server. */
  readonly folder: string
  stop(): Promise<void>
}

interface ServerOptions {
  /** The embedded one, or the oldest that README promises. */
  readonly version?: 'embedded' | '15'
  /** They win over those that make it quick. */
  readonly settings?: Readonly<Record<string, string>>
}

/** Starts a Postgres. The caller stops it. */
export async function startServer(options: ServerOptions = {}): Promise<Server> {
  if (!(await hasRoom(memory))) return startServerIn(tmpdir(), options)
  // A folder in memory may forbid to run programs, and the binaries are copied there if they cannot be read in place.
  return startServerIn(memory, options).catch(() => startServerIn(tmpdir(), options))
}

/** A copy of the template is 300 small files: 15 ms in memory, 15 to 300 ms on disks. */
const memory = '/dev/shm'

/** Containers have 64 MB there, in which a first Postgres would fit and the tests would not. */
async function hasRoom(folder: string): Promise<boolean> {
  const found = await statfs(folder).catch(() => undefined)
  return found !== undefined && found.bavail * found.bsize > 4_000_000_000
}

async function startServerIn(parent: string, options: ServerOptions): Promise<Server> {
  const folder = await mkdtemp(join(parent, 'clerk-sync-test-'))
  const reaper = startReaper(folder)
  const reap = async () => {
    reaper.stdin?.end()
    await once(reaper, 'exit')
  }
  try {
    // mkdtemp closes it to others, and Postgres runs as another user if the tests run as root.
    await chmod(folder, 0o711)
    const open = options.version === '15' ? openPostgres15 : openEmbeddedPostgres
    const opened = await open({ directory: folder, settings: { ...quick, ...options.settings } })
    return {
      url: opened.url,
      folder,
      stop: async () => {
        await opened.release()
        await reap()
        // Elsewhere if the folder was not good enough for Postgres.
        await rm(opened.directory, { recursive: true, force: true })
      },
    }
  } catch (error) {
    await reap()
    throw error
  }
}

const quick = {
  fsync: 'off',
  synchronous_commit: 'off',
  full_page_writes: 'off',
  max_connections: '200',
  // Room for the log is memory, and a checkpoint without fsync costs little.
  max_wal_size: '256MB',
  // The template is copied all the time, and a vacuum in it would make the copy wait.
  autovacuum: 'off',
}

/**
 * A shell in a session of its own that waits for the end of its input, which the system closes with this process: so the
 * server and its folder go even after Ctrl-C or SIGKILL, and even if a test has left a connection open.
 */
function startReaper(folder: string): ChildProcess {
  const script = `
    cat >/dev/null
    pid=$(head -n 1 "$1/postgres/cluster/data/postmaster.pid" 2>/dev/null)
    tries=0
    while [ -n "$pid" ] && kill -QUIT "$pid" 2>/dev/null && [ $tries -lt 100 ]; do tries=$((tries + 1)); sleep 0.1; done
    rm -rf "$1"`
  return spawn('/bin/sh', ['-c', script, 'sh', folder], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  })
}
