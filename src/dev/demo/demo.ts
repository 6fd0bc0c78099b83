// `npm run demo`: the whole story on a bare machine, for somebody who has just cloned the project. It reads no `.env`, no
// DATABASE_URL and no CLERK_*, checks every claim that it makes, and leaves nothing behind, also after Ctrl-C.
import { constants } from 'node:os'
import { isSyncError, SyncError } from '../../errors.ts'
import { openStage, type Stage } from './stage.ts'
import { steps } from './steps.ts'

const stop = new AbortController()
const stopBy = (signal: NodeJS.Signals) =>
  stop.abort(new SyncError('aborted', 'stopped by a signal', { facts: { signal } }))
// Once and for all: what is cleaned up after the first is not left lying around by a second.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => stopBy(signal))
// `npm run demo | head`: nobody reads along any more.
process.stdout.on('error', () => stopBy('SIGPIPE'))

async function tell(stage: Stage): Promise<number> {
  stage.introduce()
  for (const [index, step] of steps.entries()) {
    stop.signal.throwIfAborted()
    stage.begin(`${index + 1}. ${step.title}`)
    await step.play(stage)
  }
  return stage.conclude()
}

let stage: Stage | undefined
try {
  stage = await openStage(stop)
  process.exitCode = await tell(stage)
} catch (thrown) {
  const error = stop.signal.aborted ? stop.signal.reason : thrown
  if (isSyncError(error, 'aborted')) {
    process.stderr.write('\nstopped; cleaning up\n')
    process.exitCode = 128 + constants.signals[error.facts.signal as NodeJS.Signals]
  } else {
    process.stderr.write(`\nThe demo itself failed: ${error instanceof Error ? error.stack : 'unknown'}\n`)
    if (isSyncError(error) && error.hint !== undefined) process.stderr.write(`${error.hint}\n`)
    process.exitCode = 1
  }
} finally {
  await stage?.close()
}
