// The commands as a user types them: processes in a folder that looks like a fresh clone, against a sandbox Clerk and a
// database of their own. The rule: a process gets nothing of this one's environment, so that no real `.env`, key or
// database is ever near, and all it says is kept, to be searched for what must never be said.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { chmod, copyFile, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import type postgres from 'postgres'
import { afterAll, expect, type TestContext } from 'vitest'
import type { SandboxOptions } from '../../src/dev/sandbox/sandbox.ts'
import { seedUsers } from '../../src/dev/sandbox/seed.ts'
import type { Report } from '../../src/sync/report.ts'
import { type Build, buildClerkSync } from '../support/build.ts'
import { tableStatistics } from '../support/database.ts'
import { createGate } from '../support/gate.ts'
import { createWorld, type World } from '../support/world.ts'

const repository = resolve(import.meta.dirname, '../..')

export type Environment = Record<string, string>

/** What a process left behind. `code` is null if a signal killed it. */
export interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** A process under way. */
export interface Running {
  readonly child: ChildProcess
  readonly ended: Promise<Ended>
  /** Resolves once stdout and stderr together hold the text; rejects if the process ends before. */
  said(text: string): Promise<void>
}

/** A folder with the project in it, as far as commands need it. */
export interface Project {
  readonly directory: string
  /** Everything that every process of this project said, but for those that were asked to show values. */
  readonly output: string[]
  write(file: string, text: string): Promise<void>
  /** Starts any program here, in a process group of its own. */
  start(command: readonly string[], env: Environment): Running
  /** Ends what still runs, and removes the folder. */
  remove(): Promise<void>
}

/** Makes a project in a temporary folder: package.json, and links to the sources. */
export async function createProject(): Promise<Project> {
  const directory = await mkdtemp(join(tmpdir(), 'clerk-sync-cli-'))
  // An embedded Postgres runs as another user if the tests run as root.
  await chmod(directory, 0o755)
  await link(directory, ['src', 'test', 'drizzle', 'node_modules', 'tsconfig.json'])
  for (const file of ['package.json', '.npmrc']) await copyFile(join(repository, file), join(directory, file))
  const running = new Set<ChildProcess>()
  const output: string[] = []
  return {
    directory,
    output,
    write: (file, text) => writeFile(join(directory, file), text),
    start([file = '', ...args], env) {
      const child = spawn(file, args, {
        cwd: directory,
        env: { PATH: process.env.PATH, HOME: directory, ...env },
        stdio: ['ignore', 'pipe', 'pipe'],
        detached: true,
      })
      running.add(child)
      child.once('exit', () => running.delete(child))
      return watch(child, args.includes('--show-values') ? [] : output)
    },
    async remove() {
      for (const child of running) if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
      await stopPostgresIn(directory)
      await rm(directory, { recursive: true, force: true })
    },
  }
}

/** An embedded Postgres that a command has left behind, which fails its test, must not outlive the test. */
async function stopPostgresIn(directory: string): Promise<void> {
  const below = await readdir(join(directory, 'tmp')).catch(() => [])
  const homes = [
    '.data',
    ...below.filter((name) => name.startsWith('clerk-sync')).map((name) => join('tmp', name)),
  ]
  for (const home of homes) {
    const path = join(directory, home, 'postgres/cluster/data/postmaster.pid')
    const pid = Number.parseInt(await readFile(path, 'utf8').catch(() => ''), 10)
    if (pid > 1 && existsSync(`/proc/${pid}`)) process.kill(pid, 'SIGQUIT')
  }
}

function watch(child: ChildProcess, output: string[]): Running {
  const heard = { stdout: '', stderr: '' }
  const listeners = new Set<() => void>()
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]?.setEncoding('utf8').on('data', (text: string) => {
      heard[name] += text
      for (const listener of listeners) listener()
    })
  }
  const closed = once(child, 'close')
  const ended = closed.then(([code]) => {
    output.push(heard.stdout, heard.stderr)
    return { code: code as number | null, ...heard }
  })
  return {
    child,
    ended,
    said: (text) =>
      new Promise((resolve, reject) => {
        const look = () => {
          if (`${heard.stdout}${heard.stderr}`.includes(text)) resolve()
        }
        listeners.add(look)
        look()
        closed.then(() => reject(new Error(`it ended without "${text}": ${heard.stdout}${heard.stderr}`)))
      }),
  }
}

/** A project, a sandbox and a database that belong together. */
export interface Shop extends World {
  readonly project: Project
  /** What points a command at this sandbox and this database. */
  readonly env: Environment
  /** `clerk-sync` with these arguments, to its end. */
  run(args: readonly string[], env?: Environment): Promise<Ended>
  /** The same, under way. */
  start(args: readonly string[], env?: Environment): Running
  /** What any process said and should not have: of the users at the beginning and of those there are now. */
  leaks(): string[]
}

/** A shop for one test, which fails if any of its processes says what it should not. */
export async function openShopForTest(
  test: Pick<TestContext, 'onTestFinished'>,
  options: Parameters<typeof openShop>[0] = {},
): Promise<Shop> {
  const shop = await openShop(options)
  test.onTestFinished(async () => {
    await shop.close()
    expect(shop.leaks()).toEqual([])
  })
  return shop
}

/** Opens a shop with so many users. The caller closes it. */
export async function openShop(
  options: SandboxOptions & { count?: number; empty?: boolean } = {},
): Promise<Shop> {
  const { count = 40, ...rest } = options
  // First, since what follows has to be closed.
  const clerkSync = await compiledClerkSync()
  const world = await createWorld({ users: seedUsers({ count, seed: 3 }), secretKey, ...rest })
  const project = await createProject()
  const env = {
    CLERK_SECRET_KEY: world.sandbox.secretKey,
    CLERK_API_URL: world.sandbox.url,
    CLERK_REQUESTS_PER_10S: '1000',
    DATABASE_URL: world.database.url,
  }
  const secretsAtFirst = secretsOf(world)
  const start = (args: readonly string[], more: Environment = {}) =>
    project.start([...clerkSync, ...args], { ...env, ...more })
  return {
    ...world,
    project,
    env,
    start,
    run: (args, more) => start(args, more).ended,
    leaks() {
      const said = project.output.join('\n')
      return [...secretsAtFirst, ...secretsOf(world)].filter((secret) => said.includes(secret))
    },
    async close() {
      await project.remove()
      await world.close()
    },
  }
}

/** What the scripts of package.json run, without the time that npm takes. */
export const clerkSyncFromSource = [process.execPath, '--import', 'tsx', 'src/dev/cli.ts']

let built: Promise<Build> | undefined

/** What images and crontabs run. Made once a test file. */
export async function compiledClerkSync(): Promise<readonly string[]> {
  built ??= buildClerkSync()
  return (await built).command
}

afterAll(async () => {
  await (await built)?.remove()
})

async function link(directory: string, names: readonly string[]): Promise<void> {
  for (const name of names) await symlink(join(repository, name), join(directory, name))
}

/** So long that it is in no output by chance. */
const secretKey = 'sk_test_Qm7rXv2LkTz9'

/** A server that only counts who comes, and hangs up. */
export async function openTrap() {
  let connections = 0
  const first = createGate()
  const server = createServer((socket) => {
    connections += 1
    socket.destroy()
    first.open()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  const port = typeof address === 'object' ? address?.port : undefined
  return {
    httpUrl: `http://127.0.0.1:${port}`,
    connections: () => connections,
    sprung: first.opened,
    close: () => new Promise<void>((resolve) => void server.close(() => resolve())),
  }
}

/** The one JSON object on stdout. Throws if there is anything else. */
export function reportOf({ stdout }: Ended): Report {
  if (!/^\{.*\}\n$/.test(stdout)) throw new Error(`stdout is not one line with one object: ${stdout}`)
  return JSON.parse(stdout)
}

/** The lines of a log, each of them an object. Throws if one is not. */
export function linesOf(text: string): Record<string, unknown>[] {
  return text.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line)]))
}

/** What must be in no output: the key, the database's password, addresses and names. */
function secretsOf(world: World): string[] {
  const people = [...world.wanted().values()].flatMap(({ name, email }) => [name, email ?? ''])
  // A name of a few letters may be part of any word.
  return [secretKey, new URL(world.database.url).password, ...people].filter((secret) => secret.length >= 6)
}

/** How many rows of each table were ever written, rolled back or not. Nothing else may be connected. */
export async function statistics(shop: Shop): Promise<{ relname: string }[]> {
  await tableStatistics(shop.database.sql)
  return shop.database.sql<{ relname: string }[]>`
    select relname, n_tup_ins::int, n_tup_upd::int, n_tup_del::int from pg_stat_user_tables order by 1`
}

/** Everything that is in the database: tables with their columns and rows, indexes, sequences. */
export async function snapshot(sql: postgres.Sql): Promise<unknown> {
  const relations = await sql<{ schema: string; name: string; kind: string }[]>`
    select n.nspname as schema, c.relname as name, c.relkind as kind
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname not like 'pg\\_%' and n.nspname <> 'information_schema' order by 1, 2`
  const schemas = await sql`select nspname from pg_namespace order by 1`
  const columns = await sql`
    select table_schema, table_name, column_name, data_type, is_nullable, column_default
    from information_schema.columns
    where table_schema not in ('pg_catalog', 'information_schema') order by 1, 2, ordinal_position`
  const rows: Record<string, unknown> = {}
  for (const { schema, name, kind } of relations) {
    if (kind !== 'r' && kind !== 'S') continue
    // xmin and ctid show a row that was written with the values it had.
    const found =
      kind === 'r'
        ? await sql`select r.ctid::text, r.xmin::text, r.* from ${sql(schema)}.${sql(name)} r order by 1`
        : await sql`select * from ${sql(schema)}.${sql(name)}`
    rows[`${schema}.${name}`] = [...found]
  }
  return { relations: [...relations], schemas: [...schemas], columns: [...columns], rows }
}
