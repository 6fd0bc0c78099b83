// What Ctrl-C and SIGTERM do to a command: the first ends it in good order, a second one at once.
import { SyncError } from '../errors.ts'

/**
 * Ctrl-C reaches a command twice when npm started it: from the terminal, and forwarded by npm. So much later is a person
 * who has lost patience.
 */
const repeatMs = 500
/** A process manager that ends all when one has ended (`npm run dev:all`) sends SIGTERM some moments behind Ctrl-C. */
const termBehindIntMs = 3000

/**
 * Aborts `stop` with an `aborted` error at the first signal, and ends the process at another one that is
 * not merely a repeat of it. Returns a function that stops listening.
 */
export function stopOnSignals(stop: AbortController, onFirst: (signal: NodeJS.Signals) => void): () => void {
  let first: { signal: NodeJS.Signals; at: number } | undefined
  const onSignal = (signal: NodeJS.Signals) => {
    if (first !== undefined) {
      const repeatsWithinMs = signal === first.signal ? repeatMs : signal === 'SIGTERM' ? termBehindIntMs : 0
      if (performance.now() - first.at < repeatsWithinMs) return
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
