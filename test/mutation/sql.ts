// `npm run mutate:sql [-- word…]`: puts each fault of the list (those whose name holds a word) into a copy of the tree, and
// lets the tests that should find it run there on a real Postgres. Prints what found it. Exit 1 if one was not found.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import pLimit from 'p-limit'
import { withFaultyCopy } from '../support/faulty-copy.ts'
import { startServer } from '../support/server.ts'
import type { SqlFault } from './fault.ts'
import { faults } from './faults.ts'

/** Two at a time: more would make the tests of locks and timeouts late. */
const lanes = pLimit(2)

const print = (line: string) => process.stdout.write(`${line}\n`)

async function main(): Promise<void> {
  const words = process.argv.slice(2)
  const chosen = faults.filter(({ name }) => words.length === 0 || words.some((word) => name.includes(word)))
  const server = await startServer()
  try {
    await requireSoundTests(chosen, server.url)
    print('| fault | in | found by |\n| --- | --- | --- |')
    const found = await Promise.all(chosen.map((fault) => lanes(() => look(fault, server.url))))
    report(chosen, found)
  } finally {
    await server.stop()
  }
}

/** What fails without a fault finds nothing. */
async function requireSoundTests(chosen: readonly SqlFault[], url: string): Promise<void> {
  const tests = [...new Set(chosen.flatMap((fault) => fault.tests))]
  const failure = await withFaultyCopy(undefined, (folder) => firstFailure(folder, tests, url))
  if (failure !== undefined) throw new Error(`fails without any fault: ${failure}`)
}

/** The name of the test that found it, or undefined. */
async function look(fault: SqlFault, url: string): Promise<string | undefined> {
  const { name, edits, tests, equivalent } = fault
  const found = await withFaultyCopy(fault, (folder) => firstFailure(folder, tests, url))
  const otherwise = equivalent === undefined ? '**not found**' : `none can: ${equivalent}`
  print(`| ${name} | ${edits[0]?.[0]} | ${found ?? otherwise} |`)
  return found
}

function report(chosen: readonly SqlFault[], found: readonly (string | undefined)[]): void {
  const results = chosen.map((fault, index) => ({ ...fault, isFound: found[index] !== undefined }))
  const real = results.filter((each) => each.equivalent === undefined)
  const missed = real.filter((each) => !each.isFound)
  const stale = results.filter((each) => each.equivalent !== undefined && each.isFound)
  print(
    `\nfound ${real.length - missed.length} of ${real.length}; ${results.length - real.length} change nothing`,
  )
  for (const { name } of missed) print(`not found: ${name}`)
  for (const { name } of stale) print(`listed as changing nothing, but found: ${name}`)
  if (results.length === 0 || missed.length + stale.length > 0) process.exitCode = 1
}

interface JsonReport {
  readonly testResults: readonly {
    readonly name: string
    readonly status: string
    readonly message: string
    readonly assertionResults: readonly { readonly fullName: string; readonly status: string }[]
  }[]
}

/** Runs the tests until one fails twice in a row; a busy machine may fail one once. Throws if they cannot run at all. */
async function firstFailure(
  folder: string,
  tests: readonly string[],
  url: string,
): Promise<string | undefined> {
  const report = join(folder, 'report.json')
  const { CI: _retries, ...env } = process.env
  const vitest = spawn(
    process.execPath,
    [
      ...['node_modules/vitest/vitest.mjs', 'run', ...tests, '--bail', '1', '--retry', '1'],
      ...['--testTimeout', '30000', '--maxWorkers', '1', '--reporter', 'json', '--outputFile', report],
    ],
    { cwd: folder, env: { ...env, TEST_DATABASE_URL: url }, stdio: ['ignore', 'ignore', 'pipe'] },
  )
  const errors = await errorsOf(vitest)
  if (vitest.exitCode === 0) return undefined
  const text = await readFile(report, 'utf8').catch(() => {
    throw new Error(`the tests did not run: ${errors}`)
  })
  const { testResults } = JSON.parse(text) as JsonReport
  const failed = testResults
    .flatMap((file) => file.assertionResults)
    .find(({ status }) => status === 'failed')
  if (failed !== undefined) return failed.fullName
  const crashed = testResults.find(({ status }) => status === 'failed')
  throw new Error(`no test failed, but: ${crashed?.message ?? errors}`)
}

async function errorsOf(child: ChildProcess): Promise<string> {
  let errors = ''
  child.stderr?.on('data', (chunk) => {
    errors += chunk
  })
  await once(child, 'close')
  return errors
}

await main()
