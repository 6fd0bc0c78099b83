// The pass of a run: the one that was asked for, or the full pass that has to follow an incremental one.
import type { Checkpoint } from '../db/state.ts'
import { endsHold } from './allowance.ts'
import type { Findings } from './findings.ts'
import { runFullPass } from './full-pass.ts'
import { reconcileUser } from './one-user.ts'
import { openPass, type PassStart } from './pass-context.ts'
import type { RunDeps, RunRequest } from './run-request.ts'
import { tryIncrementalPass } from './step-up.ts'

/** Where a pass leaves things. */
export interface PassEnd {
  /** Undefined unless the pass completed. */
  readonly checkpoint?: Checkpoint | undefined
  /** The hold on deletions that the pass has ended. */
  readonly endedHold?: string | undefined
}

/** Runs it, and adds what it finds to `findings`. Throws `SyncError`. */
export async function runPass(
  request: RunRequest,
  deps: RunDeps,
  start: PassStart,
  findings: Findings,
): Promise<PassEnd> {
  let pass = await openPass(request, deps, start, findings)
  if (request.userId !== undefined) {
    await reconcileUser(pass, findings, request.userId)
    return {}
  }
  if (findings.pass === 'incremental') {
    const result = await tryIncrementalPass(pass, findings, start.state)
    if (!('stepUp' in result)) return { checkpoint: { ...result, fullPassDueInMs: undefined } }
    deps.log.info({ reason: result.stepUp }, 'a full pass follows')
    const { altered } = findings.openItems()
    findings.stepUp(result.stepUp, request.dryRun)
    pass = await openPass(request, deps, start, findings, altered)
  }
  const checkpoint = await runFullPass(pass, findings)
  const isHoldEnded = checkpoint !== undefined && endsHold(findings, request.options, start.hold)
  return { checkpoint, endedHold: isHoldEnded ? start.hold : undefined }
}
