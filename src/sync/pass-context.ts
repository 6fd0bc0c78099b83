// What a pass begins with, and the context that it is given: what it may use, and nothing that it finds.
import { readClock } from '../db/clock.ts'
import { readHold } from '../db/hold.ts'
import type { Shape } from '../db/shape.ts'
import { readState, type State } from '../db/state.ts'
import { clientHeardBy, openClerkClock } from './clock.ts'
import type { Difference } from './difference.ts'
import type { Findings } from './findings.ts'
import type { PassContext } from './pass.ts'
import { preview } from './preview.ts'
import { RefusalCounter } from './refusal-counter.ts'
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
  readonly shape: Shape
  readonly state: State | undefined
  /** What the last full pass left open. */
  readonly known: Difference | undefined
  /** The hold on deletions, undefined if none. */
  readonly hold: string | undefined
}

export async function readPassStart(deps: RunDeps, shape: Shape, run: RunOfPass): Promise<PassStart> {
  const { db } = deps.database
  const state = await readState(db, shape)
  const known = (state?.difference ?? undefined) as Difference | undefined
  return { ...run, shape, state, known, hold: run.holdToCome ?? (await readHold(db, shape)) }
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
    shape: start.shape,
    options,
    writer: request.dryRun ? preview : tableWriter,
    runId: start.runId,
    startedAt: start.startedAt,
    known: start.known,
    youngSince: start.startedAt - options.graceMs,
    holdToCome: start.holdToCome,
    holdAtStart: start.hold,
    altered: new Map([...(start.known?.altered ?? []), ...altered]),
    signal: deps.stop.signal,
    log: deps.log,
    refusals: new RefusalCounter(),
    clock,
    onPhase: deps.onPhase ?? (() => {}),
    onProgress: deps.onProgress,
    onChange: deps.onChange,
  }
}
