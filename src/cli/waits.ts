// What a run is waiting for, said before silence becomes a question: below the bar on a terminal, after a while in the log.
import type { Output } from './output.ts'

/** Shorter waits are the rule; to name them would flicker. */
const shownAfterMs = 2000
const loggedAfterMs = 10_000
const lookEveryMs = 500

export interface Waits {
  /** Begins a wait. Returns what ends it. */
  begin(what: string): () => void
  stop(): void
}

/** Watches the waits of one run and says the newest, which the others wait for. The caller stops it. */
export function watchWaits(output: Output): Waits {
  const waits = new Map<symbol, { readonly what: string; readonly since: number; isLogged: boolean }>()
  const look = () => {
    const newest = [...waits.values()].at(-1)
    const waitedMs = newest === undefined ? 0 : performance.now() - newest.since
    const isLong = newest !== undefined && waitedMs >= shownAfterMs
    output.progress.note(isLong ? `waiting for ${newest.what}, ${Math.floor(waitedMs / 1000)} s` : undefined)
    if (newest === undefined || newest.isLogged || waitedMs < loggedAfterMs) return
    newest.isLogged = true
    output.log.info({ waitingFor: newest.what, seconds: Math.floor(waitedMs / 1000) }, 'waiting')
  }
  const timer = setInterval(look, lookEveryMs).unref()
  return {
    begin(what) {
      const key = Symbol(what)
      waits.set(key, { what, since: performance.now(), isLogged: false })
      return () => void waits.delete(key)
    },
    stop() {
      clearInterval(timer)
      output.progress.note(undefined)
    },
  }
}
