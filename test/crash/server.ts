// A Postgres that may be restarted in the middle of everything. Commits are durable in it, since what a process was told
// is written has to be there afterwards, whatever happened to the server.
import { randomBytes } from 'node:crypto'
import { stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import postgres from 'postgres'
import { openDatabase } from '../../src/db/database.ts'
import { migrate } from '../../src/db/migrate.ts'
import { runAs } from '../../src/dev/embedded-postgres/home.ts'
import { startServer } from '../support/server.ts'

export interface OwnServer {
  /** Makes a migrated database. Gives its URL. */
  createDatabase(): Promise<string>
  /** Ends every session in the middle of what it does, and starts anew on the same port after crash recovery. */
  restart(): Promise<void>
  stop(): Promise<void>
}

/** Starts it. The caller stops it. */
export async function openServer(): Promise<OwnServer> {
  const { url, stop } = await startServer({ settings: { synchronous_commit: 'on' } })
  const [home] = await asAdmin(
    url,
    (admin) => admin<{ data: string; bin: string }[]>`
      select current_setting('data_directory') as data, setting as bin from pg_config where name = 'BINDIR'`,
  )
  if (home === undefined) throw new Error('Postgres does not say where its programs are')
  const { uid, gid } = await stat(home.data)
  const account = uid === process.geteuid?.() ? undefined : { uid, gid }
  return {
    stop,
    async createDatabase() {
      const name = `clerk_sync_crash_${randomBytes(4).toString('hex')}`
      await asAdmin(url, (admin) => admin`create database ${admin(name)} template template0 encoding 'UTF8'`)
      const own = Object.assign(new URL(url), { pathname: name }).href
      const pool = openDatabase(own)
      await migrate(pool).finally(() => pool.close())
      return own
    },
    async restart() {
      const { code, output } = await runAs(account, join(home.bin, 'pg_ctl'), [
        'restart',
        '--mode=immediate',
        '--wait',
        `--pgdata=${home.data}`,
        // Else Postgres would keep our pipe open, and we would wait for its end.
        `--log=${join(dirname(home.data), 'postgres.log')}`,
      ])
      if (code !== 0) throw new Error(`Postgres did not come back: ${output}`)
    },
  }
}

async function asAdmin<T>(url: string, run: (admin: postgres.Sql) => PromiseLike<T>): Promise<T> {
  const admin = postgres(url, { max: 1, onnotice: () => {} })
  return Promise.resolve(run(admin)).finally(() => admin.end({ timeout: 1 }))
}
