// What ends a wait before its time. The rule: it is held by something that lives as long as the wait.

/**
 * A controller that aborts with the signal and for the same reason, and can also be aborted alone. `release` lets go of
 * the signal, which may live much longer.
 */
export function follow(signal: AbortSignal): { controller: AbortController; release(): void } {
  const controller = new AbortController()
  const onAbort = () => controller.abort(signal.reason)
  if (signal.aborted) onAbort()
  else signal.addEventListener('abort', onAbort, { once: true })
  return { controller, release: () => signal.removeEventListener('abort', onAbort) }
}

/**
 * Returns what `work` returns. The signal that it is handed aborts after so many milliseconds with a `TimeoutError`, or
 * together with `signal` and for the same reason; it must be used until the last byte is read. `restart` begins the time
 * anew.
 *
 * `AbortSignal.any` with `AbortSignal.timeout` says the same and does not do it: on Node 20 the timeout is garbage as
 * soon as nobody but `any` refers to it, and a request that Clerk never answers then waits for ever.
 */
export async function withTimeout<T>(
  signal: AbortSignal,
  milliseconds: number,
  work: (signal: AbortSignal, restart: () => void) => Promise<T>,
): Promise<T> {
  signal.throwIfAborted()
  const { controller, release } = follow(signal)
  const timer = setTimeout(
    () => controller.abort(new DOMException('timed out', 'TimeoutError')),
    milliseconds,
  )
  try {
    return await work(controller.signal, () => timer.refresh())
  } finally {
    clearTimeout(timer)
    release()
  }
}
