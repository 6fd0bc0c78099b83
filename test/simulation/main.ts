// `npm run simulate -- --seeds 1000 [--seed N]`: so many worlds from so many seeds, on a Postgres of its own, in as many
// processes as there are processors. Exit 1 if something happened that must not.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import postgres from 'postgres'
import { refuseSwallowed } from '../support/npm.ts'
import { startServer } from '../support/server.ts'
import { openSimulatedPostgres } from './postgres.ts'
import { describeFailure } from './report.ts'
import { type Failure, runSeed, shrink } from './run.ts'

const file = fileURLToPath(import.meta.url)
const failuresShown = 5

interface Work {
  readonly url: string
  readonly first: number
  readonly seeds: number
  readonly every: number
  readonly stopAtFirst: boolean
}

type Message = { readonly begins: number } | { readonly ran: number } | { readonly failure: Failure }

/** Runs its share of the seeds and tells the parent. */
async function runShare(work: Work, tell: (message: Message) => void): Promise<void> {
  const server = await openSimulatedPostgres(work.url)
  try {
    for (let seed = work.first; seed < work.first + work.seeds; seed += work.every) {
      tell({ begins: seed })
      const { failure } = await runSeed(seed, server)
      if (failure !== undefined) {
        tell({ failure: work.stopAtFirst ? failure : await shrink(failure, server) })
        if (work.stopAtFirst || failure.isStalled) return
      }
      tell({ ran: seed })
    }
  } finally {
    await server.close()
  }
}

const usage = `usage: npm run simulate -- [options]

  --seeds <n>       how many worlds (1000)
  --seed <n>        only this one: what a failure prints
  --first <n>       the first of the seeds (1)
  --lanes <n>       processes at once (as many as processors)
  --stop-at-first   end at the first violation, without shrinking it

Exit 1 if anything happened that must not.
`

interface Flags {
  readonly seeds: number
  readonly first: number
  readonly lanes: number
  readonly stopAtFirst: boolean
}

/** What was asked for; a text is what is wrong with it. */
function readFlags(): Flags | 'help' | string {
  const text = { type: 'string' } as const
  const yes = { type: 'boolean' } as const
  const options = { seeds: text, seed: text, first: text, lanes: text, 'stop-at-first': yes, help: yes }
  try {
    refuseSwallowed(options)
    const { values } = parseArgs({ options })
    if (values.help) return 'help'
    const flags = {
      seeds: values.seed === undefined ? Number(values.seeds ?? 1000) : 1,
      first: Number(values.seed ?? values.first ?? 1),
      lanes: Number(values.lanes ?? availableParallelism()),
      stopAtFirst: values['stop-at-first'] ?? false,
    }
    const isWhole = Number.isSafeInteger(flags.first) && Number.isSafeInteger(flags.seeds + flags.lanes)
    return isWhole && flags.seeds > 0 && flags.lanes > 0 ? flags : 'the numbers must be whole and above zero'
  } catch (error) {
    return (error as Error).message
  }
}

async function main(): Promise<void> {
  const flags = readFlags()
  if (typeof flags === 'string') {
    if (flags === 'help') process.stdout.write(usage)
    else process.stderr.write(`${flags}\n\n${usage}`)
    process.exitCode = flags === 'help' ? 0 : 64
    return
  }
  const server = await startServer()
  const progress = startProgress(flags.seeds)
  try {
    const failures = await runShares(flags, server.url, progress)
    process.stdout.write(`${progress.summary()}, ${failures.length} violations\n`)
    if (failures.length > 0) process.exitCode = 1
  } finally {
    progress.stop()
    await server.stop()
  }
}

interface Progress {
  begin(lane: number, seed: number): void
  add(): void
  summary(): string
  stop(): void
}

/** A line every ten seconds: how far, how fast, how much longer, and which seeds are at work. */
function startProgress(seeds: number): Progress {
  const startedAt = performance.now()
  const atWork = new Map<number, number>()
  let ran = 0
  const seconds = () => (performance.now() - startedAt) / 1000
  const timer = setInterval(() => {
    const minutes = ran === 0 ? '?' : Math.ceil((((seeds - ran) / ran) * seconds()) / 60)
    const rate = (ran / seconds()).toFixed(1)
    const now = [...atWork.values()].join(', ')
    process.stderr.write(
      `${ran} of ${seeds} seeds, ${rate} a second, about ${minutes} min left, now at ${now}\n`,
    )
  }, 10_000)
  return {
    begin: (lane, seed) => void atWork.set(lane, seed),
    add: () => void ran++,
    summary: () => `${ran} seeds in ${seconds().toFixed(1)} s`,
    stop: () => clearInterval(timer),
  }
}

async function runShares(
  { seeds, first, lanes, stopAtFirst }: Flags,
  serverUrl: string,
  progress: Progress,
): Promise<Failure[]> {
  const failures: Failure[] = []
  const every = Math.min(lanes, seeds)
  const children = await Promise.all(
    Array.from({ length: every }, async (_, lane) => {
      const url = await createDatabase(serverUrl, `simulation_${lane}`)
      const child = fork(file, { execArgv: ['--import', 'tsx'] })
      child.on('message', (message: Message) => {
        if ('failure' in message) {
          failures.push(message.failure)
          if (failures.length <= failuresShown) process.stdout.write(`${describeFailure(message.failure)}\n`)
          if (stopAtFirst) for (const each of children) each.kill()
        } else if ('begins' in message) progress.begin(lane, message.begins)
        else progress.add()
      })
      child.send({ url, first: first + lane, every, seeds: seeds - lane, stopAtFirst } satisfies Work)
      return child
    }),
  )
  const ends = await Promise.all(children.map((child) => once(child, 'exit')))
  if (!stopAtFirst && ends.some(([code]) => code !== 0)) throw new Error('a process of the simulation failed')
  return failures
}

async function createDatabase(serverUrl: string, name: string): Promise<string> {
  const admin = postgres(serverUrl, { max: 1, onnotice: () => {} })
  await admin`create database ${admin(name)} template template0`.finally(() => admin.end())
  return Object.assign(new URL(serverUrl), { pathname: name }).href
}

if (process.send === undefined) await main()
else {
  // The parent is gone, and its Postgres with it.
  process.once('disconnect', () => process.exit())
  const [work] = (await once(process, 'message')) as [Work]
  await runShare(work, (message) => void process.send?.(message))
  process.disconnect()
}
