// The sandbox's own clock. Everything that Clerk stamps (times in users, the `Date` header, the request window, the
// lag of listings) is read from it, so that a test moves the time instead of waiting for it.

/** Clerk's time as the sandbox tells it, in Unix milliseconds. */
export interface SandboxClock {
  now(): number
  /** Moves the time by that many milliseconds; a negative number turns it back. */
  advance(ms: number): void
  /** Makes it that time now; a running clock runs on from there. */
  set(ms: number): void
  /** Stops the clock at the present time; `advance` and `set` still move it. */
  freeze?(): void
}

/** Real time plus an offset; with `at` it starts from that time, and with `frozen` it stands still. */
export function createClock(options: { at?: number; frozen?: boolean } = {}): Required<SandboxClock> {
  let offsetMs = options.at === undefined ? 0 : options.at - Date.now()
  let frozenAt: number | undefined
  const now = () => frozenAt ?? Date.now() + offsetMs
  const set = (ms: number) => {
    if (frozenAt === undefined) offsetMs = ms - Date.now()
    else frozenAt = ms
  }
  if (options.frozen) frozenAt = options.at ?? now()
  return {
    now,
    set,
    advance: (ms) => set(now() + ms),
    freeze: () => {
      frozenAt = now()
    },
  }
}
