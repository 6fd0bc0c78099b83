// The files and the process of one Postgres: made, started, looked at, stopped. The rule: nothing here decides whether to,
// and every call but the look needs the lock.
import { createHash, randomBytes } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { chown, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { SyncError } from '../../errors.ts'
import { clusterOf, type Home, type Outcome, otherWay, prepareBinaries, runAs } from './home.ts'
import { isSameKernel, ownPlace, whereIs } from './place.ts'
import { isProcessAlive } from './process-lock.ts'

const logBytesMax = 10_000_000

/**
 * Makes the data, once, and gives the superuser's password. A password, not `trust`: everybody on the machine reaches the
 * loopback, and a superuser of Postgres runs programs as the user that it runs as.
 */
export async function prepareCluster(home: Home, onProgress: (message: string) => void): Promise<string> {
  const cluster = clusterOf(home.path)
  const passwordPath = join(home.path, 'password')
  await mkdir(cluster, { recursive: true, mode: 0o700 })
  await give(home, cluster)
  if (existsSync(dataOf(home))) {
    if (existsSync(passwordPath)) return readFile(passwordPath, 'utf8')
    throw postgresError('the password of the embedded Postgres is missing', home, '')
  }
  for (const name of await readdir(cluster)) {
    if (name.startsWith('new-'))
      await rm(join(cluster, name), { recursive: true, force: true, maxRetries: 3 })
  }
  onProgress(`creating a Postgres in ${home.path}`)
  const password = randomBytes(24).toString('base64url')
  await rm(passwordPath, { force: true })
  await writeFile(passwordPath, password, { mode: 0o600, flag: 'wx' })
  await give(home, passwordPath)
  const unfinished = join(cluster, `new-${randomBytes(4).toString('hex')}`)
  const native = await prepareBinaries(home, onProgress)
  const { code, output } = await runAs(home.account, join(native, 'bin/initdb'), [
    `--pgdata=${unfinished}`,
    '--username=postgres',
    `--pwfile=${passwordPath}`,
    '--auth=scram-sha-256',
    '--encoding=UTF8',
    // The same order of text on every machine, whatever locales it has.
    '--locale-provider=builtin',
    '--builtin-locale=C.UTF-8',
  ])
  if (code !== 0) throw postgresError('the embedded Postgres could not be created', home, output)
  // An initdb that was killed leaves half a cluster, which must not look like a whole one.
  await rename(unfinished, dataOf(home))
  return password
}

/** The data directory. */
export function dataOf(home: Home): string {
  return join(clusterOf(home.path), 'data')
}

async function give(home: Home, path: string): Promise<void> {
  if (home.account !== undefined) await chown(path, home.account.uid, home.account.gid)
}

/** Starts it, on the folder's own port if that is free. Returns what went wrong, or nothing. */
export async function startPostgres(
  home: Home,
  settings: Readonly<Record<string, string>>,
  onProgress: (message: string) => void,
): Promise<string> {
  const native = await prepareBinaries(home, onProgress)
  const logPath = logOf(home)
  const logged = (await stat(logPath).catch(() => undefined))?.size ?? 0
  if (logged > logBytesMax) await rm(logPath)
  const flags = Object.entries({
    ...settings,
    listen_addresses: '127.0.0.1',
    port: String(await choosePort(home)),
    // A socket's path has at most about 100 characters, a project's path may have more.
    unix_socket_directories: '',
  }).map(([name, value]) => `-c '${`${name}=${value}`.replaceAll("'", "'\\''")}'`)
  await writeFile(placePath(home), ownPlace())
  // pg_ctl gives Postgres a session of its own, so that Ctrl-C in this terminal does not reach it.
  const { code, output } = await runLocked(home, [
    join(native, 'bin/pg_ctl'),
    'start',
    '--wait',
    `--pgdata=${dataOf(home)}`,
    `--log=${logPath}`,
    `--options=${flags.join(' ')}`,
  ])
  if (code === 0) return ''
  const log = await readFile(logPath, 'utf8').catch(() => '')
  return output + log.slice(-2_000)
}

/** The place in which the Postgres of postmaster.pid was started. */
function placePath(home: Home): string {
  return join(home.path, 'place')
}

/** How long processes of a Postgres that crashed may take to go. */
const orphanSecondsMax = 10

/**
 * Runs a program that keeps the lock of the system on the folder: it and whatever it starts hold that lock to their end,
 * also one by SIGKILL, and every container under the same kernel sees it. So no second Postgres can start on these data
 * where the first is seen by no process id. Where the system or the folder knows no such lock, it is done without.
 */
async function runLocked(home: Home, command: readonly [string, ...string[]]): Promise<Outcome> {
  const [program, ...args] = command
  if ((await lockOf(home)) === 'unknown') return runAs(home.account, program, args)
  const wait = ['--timeout', String(orphanSecondsMax)]
  const { code, output } = await runAs(home.account, 'flock', [...wait, clusterOf(home.path), ...command])
  return {
    code,
    output: code !== 0 && output === '' ? 'another Postgres holds the lock on the folder' : output,
  }
}

/** Of no error of the program `flock` itself. */
const heldExitCode = 200

/** Whether somebody holds the lock. `unknown` on macOS, and on some folders shared by a network or a virtual machine. */
async function lockOf(home: Home): Promise<'free' | 'held' | 'unknown'> {
  const flags = ['--nonblock', '--conflict-exit-code', String(heldExitCode)]
  const { code } = await runAs(home.account, 'flock', [...flags, clusterOf(home.path), 'true'])
  return code === 0 ? 'free' : code === heldExitCode ? 'held' : 'unknown'
}

/** Whether the Postgres that was started in that other place may still run. */
async function mayRunElsewhere(home: Home, place: string): Promise<boolean> {
  if (whereIs(place) === 'before') return false
  return !isSameKernel(place) || (await lockOf(home)) !== 'free'
}

/** Stops it, whoever is connected. Throws if it goes on running for a minute. */
export async function stopPostgres(home: Home): Promise<void> {
  const native = await prepareBinaries(home, () => {})
  const stop = ['stop', '--mode=fast', '--wait', '--timeout=60', `--pgdata=${dataOf(home)}`]
  const { code, output } = await runAs(home.account, join(native, 'bin/pg_ctl'), stop)
  if (code !== 0) throw postgresError('the embedded Postgres does not stop', home, output)
}

function logOf(home: Home): string {
  return join(clusterOf(home.path), 'postgres.log')
}

/** Ports that no system hands out by itself, so that another program has one of them only if it was told to. */
const ports = { first: 20_000, count: 10_000 }

/** The same port for a folder each time, so that a saved connection of psql or a browser holds; another if it is taken. */
async function choosePort(home: Home): Promise<number> {
  const hash = createHash('sha256').update(home.path).digest().readUInt32BE(0)
  return freePort(ports.first + (hash % ports.count)).catch(() => freePort())
}

/** A port of the loopback that nobody listens on, a moment ago: that one, else any. Rejects if that one is taken. */
export function freePort(wanted = 0): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(wanted, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0))
    })
  })
}

/** What is known of the Postgres that runs, or ran last. */
export interface Postmaster {
  readonly port: number
  /**
   * `other`: the id is not a living Postgres's: it was used again, or it is from a place that has ended. `elsewhere`: it is
   * from another container or machine, where it may be alive.
   */
  readonly process: 'alive' | 'gone' | 'other' | 'elsewhere'
}

/** Reads postmaster.pid: the process in its first line, the port in its fourth. Undefined without a readable one. */
export async function readPostmaster(home: Home): Promise<Postmaster | undefined> {
  const text = await readFile(join(dataOf(home), 'postmaster.pid'), 'utf8').catch(() => '')
  const [pid = '', , , port = ''] = text.split('\n')
  if (!/^\d+$/.test(pid)) return undefined
  const place = await readFile(placePath(home), 'utf8').catch(ownPlace)
  if (whereIs(place) !== 'here') {
    return { port: Number(port), process: (await mayRunElsewhere(home, place)) ? 'elsewhere' : 'other' }
  }
  if (!isProcessAlive(Number(pid))) return { port: Number(port), process: 'gone' }
  return { port: Number(port), process: isPostgres(pid) ? 'alive' : 'other' }
}

function isPostgres(pid: string): boolean {
  try {
    // `4711 (postgres) S …`; a dead one that nobody reaped, as in many containers, is Z.
    return /^\d+ \(postgres\) [^ZX]/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    // No /proc on macOS: waiting for a stranger is slow, but never wrong.
    return true
  }
}

/**
 * Makes postmaster.pid name no living process: Postgres takes any that has the old id for itself and would refuse to
 * start. The rest stays, since by it Postgres sees whether backends of the old one are still at work on the data.
 */
export async function disownProcess(home: Home): Promise<void> {
  // The largest id that fits; no system gives it.
  const script = '{ echo 2147483647; tail -n +2 "$1"; } >"$1.new" && mv "$1.new" "$1"'
  await runAs(home.account, '/bin/sh', ['-c', script, 'sh', join(dataOf(home), 'postmaster.pid')])
}

/** An error with what Postgres said among its facts, and the ways out. */
export function postgresError(message: string, home: Home, output: string): SyncError {
  const facts = { output: output.trim().slice(-2_000) }
  if (output.includes('No space left on device')) return diskFull(facts)
  return new SyncError('configuration', message, {
    hint: `See ${logOf(home)}, or remove ${home.path} to begin anew without its data. ${otherWay}`,
    facts,
  })
}

/** The one failure that goes away by itself, or nearly. */
export function diskFull(facts: Record<string, string>): SyncError {
  return new SyncError('transient', 'the disk is full', { hint: `Free some space. ${otherWay}`, facts })
}
