// When an incremental pass may begin, and what it leaves to the full pass that has to follow where it may not.
import type { State } from '../db/state.ts'
import type { Findings } from './findings.ts'
import { type IncrementalResult, runIncrementalPass } from './incremental-pass.ts'
import { type KnownDifference, readDifference } from './known-difference.ts'
import type { PassContext, ShownChange } from './pass.ts'

/** Runs an incremental pass from where the last pass has read to. Returns why a full pass has to follow where it has to. */
export async function tryIncrementalPass(
  pass: PassContext,
  findings: Findings,
  state: State | undefined,
): Promise<IncrementalResult> {
  const start = incrementalStart(state)
  if (typeof start === 'string') return { stepUp: start }
  // Only what holds is shown: after a step up the full pass plans all of it again.
  const shown: ShownChange[] = []
  const result = await runIncrementalPass(
    { ...pass, onChange: (change) => void shown.push(change) },
    findings,
    start,
  )
  if (!('stepUp' in result)) for (const change of shown) pass.onChange(change)
  return result
}

/** Where an incremental pass may begin, or why a full pass is due instead. */
function incrementalStart(
  state: State | undefined,
): { watermark: number; difference: KnownDifference } | string {
  const difference = readDifference(state?.difference)
  if (state === undefined || state.watermark === null || difference === undefined) {
    return 'no full pass has been completed yet'
  }
  if (!state.isSameTable)
    return 'the users table is not the one that the last pass left: made anew, restored or emptied'
  if (state.isFullPassDue)
    return 'it is due: what was left for the grace has settled, or the table was migrated'
  return { watermark: state.watermark, difference }
}
