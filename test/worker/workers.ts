// Workers for tests: as processes of a shop, and their schedules alone in this process, on a real ledger. Every wait is
// for something that is said or written, never for time to pass.
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type postgres from 'postgres'
import { openDatabase } from '../../src/db/database.ts'
import { hasRun, isLeaseHeld } from '../../src/db/lease.ts'
import { lastFullPassAge } from '../../src/db/runs.ts'
import { logTo } from '../../src/log.ts'
import { type Schedule, type ScheduleDeps, startSchedules } from '../../src/worker/schedules.ts'
import type { Environment, Running, Shop } from '../cli/command.ts'
import { send } from '../support/endpoint.ts'
import type { SyncOptions, World } from '../support/world.ts'

/** Asks again and again, with a short breath in between. Throws after `seconds`, with the last answer. */
export async function until<T>(
  ask: () => Promise<T> | T,
  isEnough: (answer: T) => boolean,
  seconds = 30,
): Promise<T> {
  const deadline = performance.now() + seconds * 1000
  for (;;) {
    const answer = await ask()
    if (isEnough(answer)) return answer
    if (performance.now() > deadline) throw new Error(`after ${seconds} s still ${JSON.stringify(answer)}`)
    await sleep(20)
  }
}

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const port = portOf(server)
  server.close()
  await once(server, 'close')
  return port
}

export function portOf(server: Server): number {
  const address = server.address()
  if (typeof address !== 'object' || address === null) throw new Error('it does not listen')
  return address.port
}

export interface WorkerProcess extends Running {
  readonly port: number
  /** What the log has said so far. */
  lines(message?: string): LogLine[]
  /** Until the log has said it so often. */
  logged(message: string, times?: number): Promise<LogLine[]>
  get(path: string): Promise<{ status: number; body: Record<string, unknown> }>
  /** SIGTERM; gives the exit code and how long it took, ms. */
  stop(): Promise<{ code: number | null; tookMs: number }>
}

export type LogLine = Record<string, unknown> & { msg: string }

/** Both schedules off unless the environment says otherwise: a test says what is to happen. */
export async function startWorker(shop: Shop, env: Environment = {}): Promise<WorkerProcess> {
  const port = Number(env.PORT ?? (await freePort()))
  const running = shop.start(['worker'], {
    PORT: `${port}`,
    FULL_SCHEDULE: 'off',
    INCREMENTAL_SCHEDULE: 'off',
    CLERK_WEBHOOK_SIGNING_SECRET: shop.sandbox.webhookSecret,
    ...env,
  })
  let output = ''
  running.child.stdout?.on('data', (text: string) => {
    output += text
  })
  let isOver = false
  running.ended.then(() => {
    isOver = true
  })
  const lines = (message?: string) => {
    const whole = output.slice(0, output.lastIndexOf('\n') + 1)
    const all = whole.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line) as LogLine]))
    return message === undefined ? all : all.filter((line) => line.msg === message)
  }
  return {
    ...running,
    port,
    lines,
    async logged(message, times = 1) {
      const enough = await until(
        () => (isOver ? undefined : lines(message)),
        (found) => found === undefined || found.length >= times,
      )
      if (enough !== undefined) return enough
      const { code, stdout, stderr } = await running.ended
      throw new Error(`it ended with ${code} without "${message}": ${stdout}${stderr}`)
    },
    get: (path) => send(port, { method: 'GET', path }),
    async stop() {
      const from = performance.now()
      running.child.kill('SIGTERM')
      const { code } = await running.ended
      return { code, tookMs: performance.now() - from }
    },
  }
}

export interface LedgerRow {
  readonly id: number
  readonly pass: string
  readonly trigger: string
  readonly status: string
  readonly host: string
  /** Postgres's clock, ms. */
  readonly startedAt: number
  readonly finishedAt: number | null
}

/** All runs, oldest first. */
export async function ledgerOf(sql: postgres.Sql): Promise<LedgerRow[]> {
  return sql<LedgerRow[]>`
    select id::int, pass, trigger, status, host,
      (extract(epoch from started_at) * 1000)::float8 as "startedAt",
      (extract(epoch from finished_at) * 1000)::float8 as "finishedAt"
    from clerk_sync.runs order by id`
}

/** The ledger once it satisfies. */
export function ledgerUntil(
  sql: postgres.Sql,
  isEnough: (rows: LedgerRow[]) => boolean,
  seconds?: number,
): Promise<LedgerRow[]> {
  return until(() => ledgerOf(sql), isEnough, seconds)
}

export interface Schedules {
  /** Messages logged so far. */
  readonly said: string[]
  /** How often it has looked whether the lease is held. */
  looks(): number
  stop(): Promise<void>
}

/** Starts schedules in this process; each run is a real one on the world's ledger. The caller stops them. */
export function scheduleIn(
  world: World,
  schedule: Partial<Schedule>,
  options: { waits?: ScheduleDeps['waits']; sync?: SyncOptions } = {},
): Schedules {
  const database = openDatabase(world.database.url, { connections: 2 })
  const said: string[] = []
  let looks = 0
  const ending = new AbortController()
  const schedules = startSchedules({
    schedule: { full: undefined, incremental: undefined, timezone: 'UTC', ...schedule },
    run: ({ pass, trigger, tick }) => {
      const stop = new AbortController()
      ending.signal.addEventListener('abort', () => stop.abort(ending.signal.reason), { once: true })
      return world.sync({ ...options.sync, pass, trigger, tick, stop })
    },
    hasRun: (tick) => hasRun(database.db, tick),
    isLeaseHeld() {
      looks += 1
      return isLeaseHeld(database.db)
    },
    lastFullPassAge: () => lastFullPassAge(database.db),
    log: logTo({ write: (line: string) => void said.push(JSON.parse(line).msg) }, 'trace'),
    signal: ending.signal,
    waits: options.waits,
  })
  return {
    said,
    looks: () => looks,
    async stop() {
      ending.abort()
      await schedules.stop()
      await database.close(1)
    },
  }
}

/** A stretch of wire to Postgres that a test can cut, let hang, and mend. */
export interface Wire {
  readonly url: string
  /** Ends every connection, and refuses new ones, as a Postgres that is stopped does. */
  cut(): Promise<void>
  /** Carries nothing any more, without a word. */
  hang(): void
  mend(): Promise<void>
  close(): Promise<void>
}

/** A TCP proxy in front of the database of that URL. The caller closes it. */
export async function layWire(databaseUrl: string): Promise<Wire> {
  const target = new URL(databaseUrl)
  const pairs = new Set<[Socket, Socket]>()
  let isHanging = false
  const server = createServer((near) => {
    const far = connect(Number(target.port), target.hostname)
    const pair: [Socket, Socket] = [near, far]
    pairs.add(pair)
    for (const [from, to] of [pair, [far, near]] as const) {
      from.on('data', (bytes) => {
        if (!isHanging) to.write(bytes)
      })
      from.on('error', () => {})
      from.on('close', () => {
        to.destroy()
        pairs.delete(pair)
      })
    }
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const port = portOf(server)
  const url = new URL(databaseUrl)
  url.hostname = '127.0.0.1'
  url.port = `${port}`
  const cut = async () => {
    if (!server.listening) return
    const closed = once(server, 'close')
    server.close()
    for (const [near, far] of pairs) {
      near.destroy()
      far.destroy()
    }
    await closed
  }
  return {
    url: url.href,
    cut,
    hang() {
      isHanging = true
    },
    async mend() {
      server.listen(port, '127.0.0.1')
      await once(server, 'listening')
    },
    close: cut,
  }
}
