// What a pass begins with, and the context that it is given: what it may use, and nothing that it finds.

import type { TableCatalog } from '../db/catalog.ts'
import { readClock } from '../db/clock.ts'
import { readHold } from '../db/hold.ts'
import { readState, type State } from '../db/state.ts'
import { clientHeardBy, openClerkClock } from './clock.ts'
import { FailureCounter } from './failure-counter.ts'
import type { Findings } from './findings.ts'
import { type KnownDifference, readDifference } from './known-difference.ts'
import type { PassContext } from './pass.ts'
import { preview } from './preview.ts'
import type { RunDeps, RunRequest } from './run-request.ts'
import { tableWriter } from './table-writer.ts'

/** The run of a pass. */
export interface RunOfPass {
  /** Null in a dry run. */
  readonly runId: number | null
  /** Postgres's clock, ms. */
  readonly startedAt: number
  /** Of a dry run: the hold on deletions that binding would bring. */
  readonly holdToCome?: string | undefined
}

/** What the passes before have left. */
export interface PassStart extends RunOfPass {
  readonly catalog: TableCatalog
  readonly state: State | undefined
  /** What the last full pass left open. */
  readonly known: KnownDifference | undefined
  /** The hold on deletions, undefined if none. */
  readonly hold: string | undefined
}

export async function readPassStart(
  deps: RunDeps,
  catalog: TableCatalog,
  run: RunOfPass,
): Promise<PassStart> {
  const { db } = deps.database
  const state = await readState(db, catalog)
  const known = readDifference(state?.difference)
  return { ...run, catalog, state, known, hold: run.holdToCome ?? (await readHold(db, catalog)) }
}

/** `altered` is what a pass of the same run has found already. Throws what asking Postgres for its time throws. */
export async function openPass(
  request: RunRequest,
  deps: RunDeps,
  start: PassStart,
  findings: Findings,
  altered: readonly (readonly [string, string])[] = [],
): Promise<PassContext> {
  const { options } = request
  const clocks = deps.clocks ?? { own: () => Date.now(), postgres: () => readClock(deps.database.db) }
  const clock = await openClerkClock(clocks, options.graceMs, (text) => findings.add({ notes: [text] }))
  return {
    clerk: clientHeardBy(clock, deps.clerk),
    database: deps.database,
    catalog: start.catalog,
    options,
    writer: request.dryRun ? preview : tableWriter,
    runId: start.runId,
    startedAt: start.startedAt,
    known: start.known,
    tombstonesBlockSince: start.startedAt - options.graceMs,
    holdToCome: start.holdToCome,
    holdAtStart: start.hold,
    altered: new Map([...(start.known?.altered ?? []), ...altered]),
    signal: deps.stop.signal,
    log: deps.log,
    failures: new FailureCounter(),
    clock,
    onPhase: deps.onPhase ?? (() => {}),
    onProgress: deps.onProgress,
    onChange: deps.onChange,
  }
}
