// A reporter that lists the tests that passed only in a second try, and how slow the machine was meanwhile. The rule: such
// a test is named at the end of the run, since it is either a defect that shows now and then or an impatient test.
import { appendFileSync } from 'node:fs'
import { availableParallelism, loadavg } from 'node:os'
import { relative } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { Reporter, TestCase } from 'vitest/node'

/** A file that the list is appended to, for a caller that runs several suites. */
const file = process.env.SECOND_TRIES_FILE

export default class SecondTries implements Reporter {
  private readonly lines: string[] = []
  private readonly lateness = monitorEventLoopDelay()

  onTestRunStart(): void {
    this.lateness.enable()
  }

  onTestCaseResult(test: TestCase): void {
    if (test.diagnostic()?.flaky !== true) return
    const [first] = test.result().errors ?? []
    const reason = first?.message.split('\n')[0]?.slice(0, 160) ?? 'no reason given'
    this.lines.push(`${relative(process.cwd(), test.module.moduleId)} > ${test.fullName}: ${reason}`)
  }

  onTestRunEnd(): void {
    this.lateness.disable()
    const lateMs = Math.round(this.lateness.max / 1e6)
    const load = loadavg()[0]?.toFixed(1)
    const machine = `the machine: load ${load} on ${availableParallelism()} cores, timers up to ${lateMs} ms late`
    const list = this.lines.map((line) => `passed in a second try only: ${line}\n`).join('')
    process.stdout.write(`\n${list}${machine}\n`)
    if (file !== undefined && list !== '') appendFileSync(file, `${list}${machine}\n`)
  }
}
