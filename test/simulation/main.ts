// `npm run simulate -- --seeds 1000 [--seed N]`: so many worlds from so many seeds, on a Postgres of its own, in as many
// processes as there are processors. Exit 1 if something happened that must not.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import postgres from 'postgres'
import type { TestProject } from 'vitest/node'
import startPostgres from '../support/global-setup.ts'
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

type Message = { readonly ran: number } | { readonly failure: Failure }

/** Runs its share of the seeds and tells the parent. */
async function runShare(work: Work, tell: (message: Message) => void): Promise<void> {
  const server = await openSimulatedPostgres(work.url)
  try {
    for (let seed = work.first; seed < work.first + work.seeds; seed += work.every) {
      const { failure } = await runSeed(seed, server)
      if (failure !== undefined) {
        tell({ failure: work.stopAtFirst ? failure : await shrink(failure, server) })
        if (work.stopAtFirst) return
      }
      tell({ ran: seed })
    }
  } finally {
    await server.close()
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seeds: { type: 'string', default: '1000' },
      seed: { type: 'string' },
      first: { type: 'string', default: '1' },
      lanes: { type: 'string', default: String(availableParallelism()) },
      'stop-at-first': { type: 'boolean', default: false },
    },
  })
  const seeds = values.seed === undefined ? Number(values.seeds) : 1
  const first = Number(values.seed ?? values.first)
  if (!(Number.isSafeInteger(seeds) && seeds > 0 && Number.isSafeInteger(first))) {
    process.stderr.write(
      'usage: npm run simulate -- [--seeds <n>] [--seed <n>] [--first <n>] [--lanes <n>]\n',
    )
    process.exitCode = 64
    return
  }
  const provided: Record<string, string> = {}
  const project = {
    provide(key: string, value: string) {
      provided[key] = value
    },
  }
  const stop = await startPostgres(project as unknown as TestProject)
  const startedAt = performance.now()
  try {
    const lanes = Math.min(Number(values.lanes) || 1, seeds)
    const shares = Array.from({ length: lanes }, (_, lane) => ({ first: first + lane, every: lanes }))
    const failures = await runShares(shares, seeds, provided, values['stop-at-first'])
    const seconds = (performance.now() - startedAt) / 1000
    process.stdout.write(`${seeds} seeds in ${seconds.toFixed(1)} s, ${failures.length} violations\n`)
    if (failures.length > 0) process.exitCode = 1
  } finally {
    await stop()
  }
}

async function runShares(
  shares: { first: number; every: number }[],
  seeds: number,
  provided: Record<string, string>,
  stopAtFirst: boolean,
): Promise<Failure[]> {
  const failures: Failure[] = []
  let ran = 0
  const children = await Promise.all(
    shares.map(async ({ first, every }, lane) => {
      const url = await createDatabase(provided, `sim${lane}`)
      const child = fork(file, { execArgv: ['--import', 'tsx'] })
      child.on('message', (message: Message) => {
        if ('failure' in message) {
          failures.push(message.failure)
          if (failures.length <= failuresShown) process.stdout.write(`${describeFailure(message.failure)}\n`)
          if (stopAtFirst) for (const each of children) each.kill()
        } else if (++ran % 500 === 0) process.stderr.write(`${ran} of ${seeds} seeds\n`)
      })
      child.send({ url, first, every, seeds: seeds - lane, stopAtFirst } satisfies Work)
      return child
    }),
  )
  const ends = await Promise.all(children.map((child) => once(child, 'exit')))
  if (!stopAtFirst && ends.some(([code]) => code !== 0)) throw new Error('a process of the simulation failed')
  return failures
}

async function createDatabase(provided: Record<string, string>, name: string): Promise<string> {
  const url = new URL(provided.postgresUrl ?? '')
  const admin = postgres(url.href, { max: 1, onnotice: () => {} })
  const database = `${provided.databasePrefix}${name}`
  await admin`create database ${admin(database)} template template0`.finally(() => admin.end())
  url.pathname = database
  return url.href
}

if (process.send === undefined) await main()
else {
  // The parent is gone, and its Postgres with it.
  process.once('disconnect', () => process.exit())
  const [work] = (await once(process, 'message')) as [Work]
  await runShare(work, (message) => void process.send?.(message))
  process.disconnect()
}
