// A real Postgres whose time is the simulation's: `now()` and `clock_timestamp()` of its own stand earlier in the
// search path, so that hours pass in a statement. The rule: what is looked at here is looked at through a connection of
// its own, never through the ones under test.
import { drizzle } from 'drizzle-orm/postgres-js'
import postgres from 'postgres'
import type { Database } from '../../src/db/database.ts'
import { migrate } from '../../src/db/migrate.ts'
import { type AppTable, isSameTable, shapeQuery } from './tables.ts'

/** One row of `users`, times in ms. */
export interface Row {
  readonly clerkId: string
  readonly name: string
  readonly email: string | null
  readonly imageUrl: string
  readonly createdAt: number | null
  readonly updatedAt: number | null
  /** Postgres's clock. */
  readonly rowCreatedAt: number | null
  readonly rowUpdatedAt: number
  /** The transaction that wrote the row last. */
  readonly writtenBy: string
}

/** Everything that the code under test may write, at one moment. */
export interface Snapshot {
  readonly rows: ReadonlyMap<string, Row>
  readonly tombstones: ReadonlyMap<string, { deletedAt: number; runId: number | null }>
  /** Status by run. */
  readonly runs: ReadonlyMap<number, string>
  /** The instance that the table belongs to; null before the first run. */
  readonly boundTo: string | null
}

/** A database of one connection, whose backend is known by its process id. */
export interface Handle {
  readonly database: Database
  readonly pid: number
}

export interface SimulatedPostgres {
  /** For the code under test: one for each that runs at the same time. */
  readonly handles: readonly Handle[]
  /** For heartbeats. */
  readonly heart: Handle
  /** Empties all tables, gives `users` the app's constraints and starts the clock at that moment, ms. */
  reset(at: number, app: AppTable): Promise<void>
  setTime(at: number): Promise<void>
  read(): Promise<Snapshot>
  /** Those of the backends that wait for a lock. */
  waiting(pids: readonly number[]): Promise<Set<number>>
  /** The simulation's own hand in the table. */
  readonly sql: postgres.Sql
  close(): Promise<void>
}

const handlesMax = 7

/**
 * Of the driver: no notices, and no end of a connection after 30 to 60 minutes, as is its default. A backend of another
 * process id would wait for locks unseen.
 */
const connectionOptions = { max: 1, max_lifetime: null, onnotice: () => {} }

const clockSetup = `
  create schema sim;
  create table sim.clock (real_at timestamptz primary key, at timestamptz not null);
  -- A transaction's time is the one at which it began.
  create function public.now() returns timestamptz language plpgsql stable as $$ begin
    return (select c.at from sim.clock c where c.real_at operator(pg_catalog.<=) pg_catalog.now()
      order by c.real_at desc limit 1); end $$;
  create function public.clock_timestamp() returns timestamptz language plpgsql volatile as $$ begin
    return (select c.at from sim.clock c order by c.real_at desc limit 1); end $$;
  do $$ begin
    execute format('alter database %I set search_path = public, pg_catalog', current_database());
    execute format('alter database %I set deadlock_timeout = ''50ms''', current_database());
  end $$`

const snapshotQuery = `
  select json_build_object(
    'rows', (select coalesce(json_agg(json_build_object('clerkId', clerk_id, 'name', name, 'email', email,
        'imageUrl', image_url, 'createdAt', (extract(epoch from clerk_created_at) * 1000)::float8,
        'updatedAt', (extract(epoch from clerk_updated_at) * 1000)::float8,
        'rowCreatedAt', (extract(epoch from created_at) * 1000)::float8,
        'rowUpdatedAt', (extract(epoch from updated_at) * 1000)::float8, 'writtenBy', xmin::text) order by clerk_id), '[]') from users),
    'tombstones', (select coalesce(json_agg(json_build_array(clerk_id,
        (extract(epoch from deleted_at) * 1000)::float8, run_id)), '[]') from clerk_sync.tombstones),
    'runs', (select coalesce(json_agg(json_build_array(id, status)), '[]') from clerk_sync.runs),
    'boundTo', (select instance_id from clerk_sync.state))::text as snapshot`

const resetQuery = `
  delete from users; delete from clerk_sync.tombstones; delete from clerk_sync.runs; delete from clerk_sync.state;
  delete from clerk_sync.first_seen; delete from sim.clock; select setval(pg_get_serial_sequence('clerk_sync.runs', 'id'), 1, false)`

/** Prepares an empty database that nobody else uses. */
export async function openSimulatedPostgres(url: string): Promise<SimulatedPostgres> {
  const setup = postgres(url, { max: 1, onnotice: () => {} })
  await setup.unsafe(clockSetup).finally(() => setup.end())
  const sql = postgres(url, { ...connectionOptions, connection: { search_path: 'public' } })
  await setTime(sql, Date.now())
  const opened: Handle[] = []
  for (let count = 0; count <= handlesMax; count++) opened.push(await openHandle(url))
  const [heart, ...handles] = opened as [Handle, ...Handle[]]
  await migrate(heart.database)
  let resets = 0
  let shaped: AppTable | undefined
  return {
    handles,
    heart,
    sql,
    async reset(at, app) {
      await sql.unsafe(resetQuery)
      if (!isSameTable(app, shaped)) await sql.unsafe(shapeQuery(app)).simple()
      shaped = app
      await setTime(sql, at)
      // Without it the dead rows of a thousand seeds slow down each statement.
      if (++resets % 50 === 0) await sql.unsafe('vacuum').simple()
    },
    setTime: (at) => setTime(sql, at),
    async read() {
      const [found] = await sql.unsafe<{ snapshot: string }[]>(snapshotQuery, [], { prepare: true })
      return snapshotOf(JSON.parse(found?.snapshot ?? '{}'))
    },
    async waiting(pids) {
      const found = await sql<{ pid: number }[]>`
        select pid from pg_stat_activity where pid = any(${pids as number[]}) and wait_event_type = 'Lock'`
      return new Set(found.map((each) => each.pid))
    },
    async close() {
      await Promise.all([sql.end({ timeout: 1 }), ...opened.map(({ database }) => database.close(1))])
    },
  }
}

async function setTime(sql: postgres.Sql, at: number): Promise<void> {
  await sql`insert into sim.clock values (pg_catalog.clock_timestamp(), to_timestamp(${at / 1000}::float8))`
}

/** A database whose statements are prepared once: planning them anew, as a pooler needs it, is most of the time. */
function openPrepared(url: string): Database {
  const client = postgres(url, connectionOptions)
  return {
    db: drizzle(prepared(client)),
    deleteMsMax: 60_000,
    close: (timeoutSeconds = 5) => client.end({ timeout: timeoutSeconds }),
  }
}

function prepared<Client extends postgres.Sql>(client: Client): Client {
  return new Proxy(client, {
    get(target, key) {
      if (key === 'unsafe') {
        return (text: string, values: never[] = []) => target.unsafe(text, values, { prepare: true })
      }
      if (key === 'begin') {
        return (work: (tx: unknown) => unknown) => target.begin((tx) => work(prepared(tx as never)))
      }
      if (key === 'savepoint') {
        const within = target as unknown as postgres.TransactionSql
        return (work: (tx: unknown) => unknown) => within.savepoint((tx) => work(prepared(tx as never)))
      }
      return Reflect.get(target, key)
    },
  })
}

async function openHandle(url: string): Promise<Handle> {
  const database = openPrepared(url)
  const [row] = (await database.db.execute('select pg_backend_pid() as pid')) as unknown as { pid: number }[]
  if (row === undefined) throw new Error('a select without a table gave no row')
  return { database, pid: row.pid }
}

function snapshotOf(json: {
  rows: Row[]
  tombstones: [string, number, number | null][]
  runs: [number, string][]
  boundTo: string | null
}): Snapshot {
  return {
    rows: new Map(json.rows.map((row) => [row.clerkId, row])),
    tombstones: new Map(json.tombstones.map(([id, deletedAt, runId]) => [id, { deletedAt, runId }])),
    runs: new Map(json.runs),
    boundTo: json.boundTo,
  }
}
