// A Clerk in which things happen, a Postgres that is watched, and the compiled command between them, as processes that
// each carry a number. What is started here ends here, also a process that was put to sleep.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import type { RecordedRequest } from '../../src/dev/sandbox/faults.ts'
import type { Random } from '../../src/dev/sandbox/random.ts'
import { buildClerkSync } from '../support/build.ts'
import { until } from '../worker/workers.ts'
import { type Changes, graceSeconds, openChanges } from './changes.ts'
import { openRecorder, type Recorder } from './recorder.ts'
import type { OwnServer } from './server.ts'

export interface Process {
  readonly number: number
  readonly child: ChildProcess
  /** Set for a worker. */
  readonly port: number | undefined
  /** Requests that came in since it was started. */
  readonly requests: RecordedRequest[]
  readonly ended: Promise<Ended>
}

export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

export interface World {
  readonly changes: Changes
  readonly recorder: Recorder
  readonly server: OwnServer
  /** All that were started, by number. */
  readonly processes: ReadonlyMap<number, Process>
  sync(flags?: readonly string[]): Process
  worker(port: number): Process
  /** Called with every request before it is answered; the last one set. */
  onRequest: ((request: RecordedRequest) => void | Promise<void>) | undefined
  close(): Promise<void>
}

/** Opens a world on that server. The caller closes both. */
export async function openWorld(server: OwnServer, seed: number): Promise<World> {
  const build = await buildClerkSync()
  const changes = await openChanges(seed)
  const recorder = await openRecorder(await server.createDatabase())
  const { sandbox } = changes
  const processes = new Map<number, Process>()
  const running = new Set<ChildProcess>()
  const endAll = () => {
    for (const child of running) child.kill('SIGKILL')
  }
  const atExit = () => {
    endAll()
    rmSync(build.directory, { recursive: true, force: true })
  }
  process.once('exit', atExit)

  const start = (args: readonly string[], port?: number): Process => {
    const number = processes.size + 1
    const [file, ...rest] = build.command
    const child = spawn(file, [...rest, ...args], {
      cwd: build.directory,
      env: {
        PATH: process.env.PATH,
        CLERK_SECRET_KEY: sandbox.secretKey,
        CLERK_API_URL: sandbox.url,
        CLERK_WEBHOOK_SIGNING_SECRET: sandbox.webhookSecret,
        CLERK_REQUESTS_PER_10S: '1000',
        DATABASE_URL: recorder.urlFor(number),
        // Deletions of an hour are many here, and what holds them back is not what is looked at.
        MAX_DELETES: '1000000',
        GRACE_SECONDS: `${graceSeconds}`,
        FULL_SCHEDULE: '*/2 * * * * *',
        INCREMENTAL_SCHEDULE: '* * * * * *',
        ...(port === undefined ? {} : { PORT: `${port}` }),
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    running.add(child)
    child.once('exit', () => running.delete(child))
    const heard = { stdout: '', stderr: '' }
    for (const name of ['stdout', 'stderr'] as const) {
      child[name]?.setEncoding('utf8').on('data', (text: string) => {
        heard[name] += text
      })
    }
    const ended = once(child, 'close').then(([code, signal]) => ({ code, signal, ...heard }))
    const requests: RecordedRequest[] = []
    const started = { number, child, port, requests, ended }
    processes.set(number, started)
    return started
  }

  const world: World = {
    changes,
    recorder,
    server,
    processes,
    sync: (flags = []) => start(['sync', '--json', ...flags]),
    worker: (port) => start(['worker'], port),
    onRequest: undefined,
    async close() {
      endAll()
      process.off('exit', atExit)
      await Promise.all([...processes.values()].map(({ ended }) => ended))
      await changes.close()
      await recorder.close()
      await build.remove()
    },
  }
  sandbox.onRequest = async (request) => {
    changes.cutPage(request.query)
    processes.get(processes.size)?.requests.push(request)
    await world.onRequest?.(request)
  }
  return world
}

/** Until no session of the tool is left. */
export async function sessionsGone(recorder: Recorder): Promise<void> {
  await until(
    () => recorder.sessions(),
    (sessions) => sessions.length === 0,
  )
}

/** Makes the silence of whoever holds the lease as long as it takes to count as gone. */
export async function passSilence(recorder: Recorder): Promise<void> {
  await recorder.sql`update clerk_sync.runs set heartbeat_at = heartbeat_at - interval '31 seconds' where status = 'running'`
}

/** So many changes in Clerk now, and from now on some with its requests. A worker hears of them by webhook. */
export function keepChanging(world: World, random: Random, count: number): void {
  const { changes, processes } = world
  for (let index = 0; index < count; index++) changes.make(random, undefined)
  world.onRequest = () => {
    const port = processes.get(processes.size)?.port
    if (random.chance(0.25)) changes.make(random, port)
    if (port !== undefined && random.chance(0.1)) changes.deliverLate(random, port)
  }
}
