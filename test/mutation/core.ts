// `npm run mutate`: Stryker changes the pure core in every way it knows, one change at a time, and the tests of the core
// have to find each. Prints a score per file and what was not found. Exit 1 if that is more than the list below allows.
import { readFile } from 'node:fs/promises'
import { Stryker } from '@stryker-mutator/core'

const files = [
  ...['src/sync/plan.ts', 'src/sync/guard.ts', 'src/sync/report.ts', 'src/sync/known-difference.ts'],
  ...['src/sync/deletion-policy.ts', 'src/clerk/user.ts'],
]

type Equivalent = readonly [file: string, code: string, replacement: string, reason: string]

/** Changes that change nothing, and why no test can tell the difference. */
const equivalents: readonly Equivalent[] = [
  [
    'src/sync/plan.ts',
    'a.clerkId < b.clerkId',
    'a.clerkId <= b.clerkId',
    'No two of a page have the same id, so they are never equal.',
  ],
  [
    'src/clerk/user.ts',
    'value !== undefined',
    'true',
    'Undefined is not above a number either. The comparison is for the compiler.',
  ],
]

/** One change, and what came of it. */
interface Change {
  readonly file: string
  readonly at: string
  readonly code: string
  readonly replacement: string
  readonly status: 'found' | 'timeout' | 'equivalent' | 'survived' | 'uncovered'
}

const stryker = new Stryker({
  mutate: files,
  plugins: [import.meta.resolve('@stryker-mutator/vitest-runner')],
  testRunner: 'vitest',
  vitest: { configFile: 'test/mutation/vitest.config.ts', related: false },
  // Stryker would read it through an interface that TypeScript 7 no longer has; it passes over a file that is not there.
  tsconfigFile: 'none.json',
  coverageAnalysis: 'perTest',
  concurrency: 2,
  // A busy machine is no endless loop.
  timeoutMS: 30_000,
  tempDirName: 'coverage/stryker',
  reporters: [],
  logLevel: 'error' as never,
})

type Mutant = Awaited<ReturnType<Stryker['runMutationTest']>>[number]

async function main(): Promise<void> {
  const changes = await Promise.all((await stryker.runMutationTest()).map(changeOf))
  print('| file | score | changes | found | timeout | survived | uncovered | equivalent |')
  print('| --- | --- | --- | --- | --- | --- | --- | --- |')
  for (const file of files) print(rowOf(file, changes))
  const missed = changes.filter(({ status }) => status === 'survived' || status === 'uncovered')
  for (const { file, at, code, replacement, status } of missed) {
    print(`\n${status}: ${file}:${at}\n- ${code}\n+ ${replacement}`)
  }
  const stale = equivalents.filter(
    (known) => !changes.some((change) => change.status === 'equivalent' && isSame(known, change)),
  )
  for (const [file, code] of stale)
    print(`\nlisted as equivalent, but found or no longer there: ${file}: ${code}`)
  if (changes.length === 0 || missed.length + stale.length > 0) process.exitCode = 1
}

const print = (line: string) => process.stdout.write(`${line}\n`)

async function changeOf({ fileName, location, replacement = '', status }: Mutant): Promise<Change> {
  const file = files.find((name) => fileName.endsWith(name)) ?? fileName
  const { start, end } = location
  const lines = (await readFile(file, 'utf8')).split('\n').slice(start.line - 1, end.line)
  const behind = (lines.at(-1) ?? '').length - end.column + 1
  const text = lines.join('\n')
  const code = text.slice(start.column - 1, text.length - behind)
  const change = { file, at: `${start.line}:${start.column}`, code, replacement }
  return { ...change, status: statusOf(status, change) }
}

function statusOf(status: Mutant['status'], change: Omit<Change, 'status'>): Change['status'] {
  if (status === 'Killed') return 'found'
  if (status === 'Timeout') return 'timeout'
  if (equivalents.some((known) => isSame(known, change))) return 'equivalent'
  return status === 'NoCoverage' ? 'uncovered' : 'survived'
}

function isSame([file, code, replacement]: Equivalent, change: Omit<Change, 'status'>): boolean {
  return file === change.file && code === change.code && replacement === change.replacement
}

function rowOf(file: string, all: readonly Change[]): string {
  const changes = all.filter((change) => change.file === file)
  const statuses = ['found', 'timeout', 'survived', 'uncovered', 'equivalent'] as const
  const counts = statuses.map((status) => changes.filter((change) => change.status === status).length)
  const [found = 0, timeout = 0, survived = 0, uncovered = 0] = counts
  const score = (100 * (found + timeout)) / (found + timeout + survived + uncovered)
  return `| ${[file, `${score.toFixed(1)} %`, changes.length, ...counts].join(' | ')} |`
}

await main()
