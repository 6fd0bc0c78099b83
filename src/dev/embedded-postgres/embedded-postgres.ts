// A real Postgres for a machine that has none, shared by all commands of the project that run at the same time. The
// rule: who starts, joins or stops it holds the lock meanwhile, and who has joined keeps one connection open. So the
// last one to leave sees whether it is the last, and nobody is handed a server that is just being stopped.
import { realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import postgres from 'postgres'
import { SyncError } from '../../errors.ts'
import {
  dataOf,
  diskFull,
  disownProcess,
  type Postmaster,
  postgresError,
  prepareCluster,
  readPostmaster,
  startPostgres,
  stopPostgres,
} from './cluster.ts'
import { type Home, otherWay, prepareHome } from './home.ts'
import { withProcessLock } from './process-lock.ts'

/** A running Postgres of the project's own. */
export interface EmbeddedPostgres {
  /** Of the database that was asked for, with a superuser's password. */
  readonly url: string
  /** False if another command already ran it. */
  readonly startedHere: boolean
  /** The folder with everything in it: data, log, password, and the binaries if they had to be copied. */
  readonly directory: string
  /** Stops Postgres if it has no other client, else leaves it to them. Close your own connections first. */
  release(): Promise<void>
}

export interface EmbeddedPostgresOptions {
  /** Where the data live, in a folder `postgres`: `.data` of the project. Made if missing. */
  readonly directory: string
  /** Made if missing. A plain name, `clerk_sync_dev` by default: drivers disagree about escapes in a URL's path. */
  readonly database?: string
  /** Postgres settings, in force only if this call starts it. Never weaken `fsync` for data that are kept. */
  readonly settings?: Readonly<Record<string, string>>
  readonly onProgress?: (message: string) => void
}

/** How long a Postgres that runs but does not take connections may recover or stop. */
const busyMsMax = 120_000
/** Another program may take the free port in between, so one failure proves nothing. */
const startsMax = 3
/** A connection that its client has closed is still listed until its backend has gone. */
const goneMsMax = 1_000

const keeperName = 'clerk-sync keeper'
const leavingName = 'clerk-sync leaving'

/**
 * Starts the project's own Postgres, or joins the one that another command has started. It outlives this process, and
 * Ctrl-C too, unless it is released. Throws `configuration` or `transient`, with the way out as hint.
 */
export async function openEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const onProgress = options.onProgress ?? (() => {})
  try {
    const home = await prepareHome(options.directory, onProgress)
    const lockPath = join(home.path, 'lock')
    return await withProcessLock(lockPath, async () => {
      const password = await prepareCluster(home, onProgress)
      const { keeper, port, startedHere } = await startOrJoin(
        home,
        password,
        options.settings ?? {},
        onProgress,
      )
      const database = options.database ?? 'clerk_sync_dev'
      try {
        await createDatabase(keeper, database)
      } catch (error) {
        await keeper.end({ timeout: 1 })
        throw error
      }
      let released: Promise<void> | undefined
      return {
        url: `postgres://postgres:${password}@127.0.0.1:${port}/${database}`,
        startedHere,
        directory: home.path,
        release: () => (released ??= withProcessLock(lockPath, () => leave(home, keeper))),
      }
    })
  } catch (error) {
    throw systemError(error, options.directory)
  }
}

interface Joined {
  readonly keeper: postgres.Sql
  readonly port: number
  readonly startedHere: boolean
}

async function startOrJoin(
  home: Home,
  password: string,
  settings: Readonly<Record<string, string>>,
  onProgress: (message: string) => void,
): Promise<Joined> {
  const deadline = Date.now() + busyMsMax
  let output = ''
  for (let starts = 0; ; ) {
    const running = await readPostmaster(home)
    if (running?.process === 'elsewhere') throw runsElsewhere(home)
    if (running !== undefined) {
      const found = await connect(home, password, running)
      if (typeof found !== 'string') return { keeper: found, port: running.port, startedHere: starts > 0 }
      if (found === 'busy' && Date.now() < deadline) {
        await sleep(50)
        continue
      }
      if (found === 'another') await disownProcess(home)
    }
    if (starts === startsMax) throw postgresError('the embedded Postgres does not start', home, output)
    starts += 1
    if (starts === 1) onProgress('starting Postgres')
    output = await startPostgres(home, settings, onProgress)
  }
}

/** Two at once on the same data would ruin them. */
function runsElsewhere(home: Home): SyncError {
  const pidPath = join(dataOf(home), 'postmaster.pid')
  return new SyncError(
    'transient',
    'the embedded Postgres of this folder runs in another container or machine',
    {
      hint: `Stop the commands that use it there. If none runs there any more, remove ${pidPath}. ${otherWay}`,
    },
  )
}

/**
 * Gives the connection that shows the others that we are here. Else: `busy`, it starts or stops; `gone`, it does not run;
 * `another`, the process that postmaster.pid names is alive and not ours.
 */
async function connect(
  home: Home,
  password: string,
  running: Postmaster,
): Promise<postgres.Sql | 'busy' | 'gone' | 'another'> {
  if (running.process === 'other') return 'another'
  if (running.process === 'gone') return 'gone'
  if (!(running.port > 0)) return 'busy'
  const keeper = postgres({
    host: '127.0.0.1',
    port: running.port,
    username: 'postgres',
    password,
    database: 'postgres',
    ssl: false,
    max: 1,
    prepare: false,
    fetch_types: false,
    // The default of up to an hour would let us vanish from a long run.
    max_lifetime: null,
    connect_timeout: 10,
    onnotice: () => {},
    connection: { application_name: keeperName },
  })
  try {
    const [row] = await keeper<{ path: string }[]>`select current_setting('data_directory') as path`
    // A copied project carries the postmaster.pid and the password of the one it was copied from.
    if (row !== undefined && (await realpath(row.path)) === (await realpath(dataOf(home)))) return keeper
    await keeper.end({ timeout: 0 })
    return 'another'
  } catch (error) {
    await keeper.end({ timeout: 0 })
    const { code = '' } = error as { code?: string }
    // Class 28: the login is refused. It runs, so waiting cannot help and starting it again must not be tried.
    if (code.startsWith('28')) throw postgresError('the embedded Postgres has another password', home, code)
    return 'busy'
  }
}

async function createDatabase(keeper: postgres.Sql, name: string): Promise<void> {
  const found = await keeper`select from pg_database where datname = ${name}`
  if (found.length === 0) await keeper`create database ${keeper(name)}`
}

async function leave(home: Home, keeper: postgres.Sql): Promise<void> {
  const alone = await isAlone(keeper)
  await keeper.end({ timeout: 1 })
  if (alone) await stopPostgres(home)
}

async function isAlone(keeper: postgres.Sql): Promise<boolean> {
  const deadline = Date.now() + goneMsMax
  try {
    // Ours stays listed for a moment after its end, and two that leave together would each leave it to the other.
    await keeper`select set_config('application_name', ${leavingName}, false)`
    for (;;) {
      const [row] = await keeper<{ others: number; keepers: number }[]>`
        select count(*)::int as others, (count(*) filter (where application_name = ${keeperName}))::int as keepers
        from pg_stat_activity
        where backend_type = 'client backend' and pid <> pg_backend_pid() and application_name <> ${leavingName}`
      if (row === undefined || row.others === 0) return true
      if (row.keepers > 0 || Date.now() > deadline) return false
      await sleep(20)
    }
  } catch {
    // It is already gone, by whatever hand: there is nothing to stop.
    return false
  }
}

function systemError(error: unknown, directory: string): unknown {
  const { code = '' } = error as NodeJS.ErrnoException
  if (error instanceof SyncError) return error
  if (code === 'ENOSPC' || code === 'EDQUOT') return diskFull({ directory })
  if (!/^(EACCES|EPERM|EROFS|ENOTDIR)$/.test(code)) return error
  return new SyncError('configuration', 'the folder of the embedded Postgres cannot be used by this user', {
    hint: `Make ${directory} writable, or run as the user that it belongs to. ${otherWay}`,
    cause: error,
    facts: { code },
  })
}
