// What Ctrl-C and SIGTERM do to a command: the first ends it in good order, a second one at once.
import { SyncError } from '../errors.ts'

/**
 * Ctrl-C reaches a command twice when npm started it: from the terminal, and forwarded by npm. So much later is a person
 * who has lost patience.
 */
const repeatMs = 500

/**
 * Aborts `stop` with an `aborted` error at the first signal, and ends the process at another one: any of another kind,
 * or the same again after half a second. Gives how to stop listening.
 */
export function stopOnSignals(stop: AbortController, onFirst: (signal: NodeJS.Signals) => void): () => void {
  let first: { signal: NodeJS.Signals; at: number } | undefined
  const onSignal = (signal: NodeJS.Signals) => {
    if (first !== undefined) {
      if (signal === first.signal && performance.now() - first.at < repeatMs) return
      process.exit(signal === 'SIGINT' ? 130 : 143)
    }
    first = { signal, at: performance.now() }
    onFirst(signal)
    stop.abort(
      new SyncError('aborted', 'stopped by a signal', {
        hint: 'What was written stays; the next run goes on from there.',
        facts: { signal },
      }),
    )
  }
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal)
  return () => process.off('SIGINT', onSignal).off('SIGTERM', onSignal)
}
