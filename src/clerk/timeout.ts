// A bound on one request. The rule: what ends a wait is held by something that lives as long as the wait.

/**
 * What `work` gives. The signal that it is handed aborts after so many milliseconds with a `TimeoutError`, or together
 * with `signal` and for the same reason; it must be used until the last byte is read.
 *
 * `AbortSignal.any` with `AbortSignal.timeout` says the same and does not do it: on Node 20 the timeout is garbage as
 * soon as nobody but `any` refers to it, and a request that Clerk never answers then waits for ever.
 */
export async function withTimeout<T>(
  signal: AbortSignal,
  milliseconds: number,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  signal.throwIfAborted()
  const controller = new AbortController()
  const abort = () => controller.abort(signal.reason)
  signal.addEventListener('abort', abort, { once: true })
  const timer = setTimeout(
    () => controller.abort(new DOMException('timed out', 'TimeoutError')),
    milliseconds,
  )
  try {
    return await work(controller.signal)
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', abort)
  }
}
