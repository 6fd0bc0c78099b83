// A fault of the list by hand: one change to the SQL or to what holds it together, and the tests that have to find it.
import type { Fault } from '../support/faulty-copy.ts'

export interface SqlFault extends Fault {
  /** The test files that are run; one of them has to fail. */
  readonly tests: readonly string[]
  /** Why no test can tell the difference. Such a fault must survive, or the reason is wrong. */
  readonly equivalent: string | undefined
}

type Line = readonly [name: string, place: string, replace: string, equivalent?: string]

/** The faults of one file, which the same tests have to find. */
export function faultsIn(file: string, tests: readonly string[], lines: readonly Line[]): SqlFault[] {
  return lines.map(([name, place, replace, equivalent]) => ({
    name,
    edits: [[file, place, replace]],
    tests,
    equivalent,
  }))
}
