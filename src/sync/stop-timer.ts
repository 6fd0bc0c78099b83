// How long a run may go on after it was told to stop.

/** How long the page in hand may take to be committed. The worker's own end is cut off after 7 s. */
const stopMsMax = 4000

/** Rejects with the signal's reason some seconds after it is aborted. Never resolves. */
export function rejectAfterStop(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    const wait = () => setTimeout(() => reject(signal.reason), stopMsMax).unref()
    if (signal.aborted) wait()
    else signal.addEventListener('abort', wait, { once: true })
  })
}
