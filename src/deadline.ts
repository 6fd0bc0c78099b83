// Deadlines: how long something is waited for. The rule: the timer is referenced for as long as the wait lasts. Node 20 may
// collect an `AbortSignal.timeout` that only `AbortSignal.any` refers to, and a request that is never answered then waits
// for ever.

/**
 * Returns what `work` returns, or what `late` returns (or throws) if the work takes longer than `milliseconds`. The work
 * itself continues.
 */
export async function withDeadline<T, Late>(
  work: PromiseLike<T> | T,
  milliseconds: number,
  late: () => Late,
): Promise<T | Late> {
  let timer: NodeJS.Timeout | undefined
  const deadline = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), milliseconds)
  })
  try {
    const first = await Promise.race([Promise.resolve(work).then((value) => ({ value })), deadline])
    return first === undefined ? late() : first.value
  } finally {
    clearTimeout(timer)
  }
}

/**
 * A controller that aborts with the signal and for the same reason, and can also be aborted alone. `release` lets go of
 * the signal, which may live much longer.
 */
export function linkedAbortController(signal: AbortSignal): { controller: AbortController; release(): void } {
  const controller = new AbortController()
  const onAbort = () => controller.abort(signal.reason)
  if (signal.aborted) onAbort()
  else signal.addEventListener('abort', onAbort, { once: true })
  return { controller, release: () => signal.removeEventListener('abort', onAbort) }
}

/**
 * Returns what `work` returns. The signal that it receives aborts after `milliseconds` with a `TimeoutError`, or
 * together with `signal` and for the same reason; it must be used until the last byte is read. `restart` begins the time
 * anew.
 */
export async function withTimeout<T>(
  signal: AbortSignal,
  milliseconds: number,
  work: (signal: AbortSignal, restart: () => void) => Promise<T>,
): Promise<T> {
  signal.throwIfAborted()
  const { controller, release } = linkedAbortController(signal)
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

/** Rejects with the signal's reason, `milliseconds` after it is aborted. Never resolves, and does not keep the process alive. */
export function rejectAfterAbort(signal: AbortSignal, milliseconds: number): Promise<never> {
  return new Promise((_resolve, reject) => {
    const wait = () => setTimeout(() => reject(signal.reason), milliseconds).unref()
    if (signal.aborted) wait()
    else signal.addEventListener('abort', wait, { once: true })
  })
}
