// A fault of the list by hand: one change to the SQL or to what holds it together, and the tests that have to find it.
export interface Fault {
  readonly name: string
  /** The file of src, a text that it holds once, and what stands there instead. */
  readonly edit: readonly [file: string, search: string, replace: string]
  /** The test files that are run; one of them has to fail. */
  readonly tests: readonly string[]
  /** Why no test can tell the difference. Such a fault must survive, or the reason is wrong. */
  readonly equivalent: string | undefined
}

type Line = readonly [name: string, search: string, replace: string, equivalent?: string]

/** The faults of one file, which the same tests have to find. */
export function faultsIn(file: string, tests: readonly string[], lines: readonly Line[]): Fault[] {
  return lines.map(([name, search, replace, equivalent]) => ({
    name,
    edit: [file, search, replace],
    tests,
    equivalent,
  }))
}
