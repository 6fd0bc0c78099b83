// What a run is at and what it waits for, said before silence becomes a question: in the progress line on a terminal, after a
// while in the log.
import type { Phase } from '../sync/pass.ts'
import type { Output } from './output.ts'

/** Shorter waits are the rule; to name them would flicker. */
const shownAfterMs = 2000
const loggedAfterMs = 10_000
const lookEveryMs = 500
/** Before Clerk is asked for a second count, a run just waits: as long as `recountDelayMs`, and somewhat more. */
const recountMs = 3500

export interface Waits {
  /** Begins a wait for something outside. Returns what ends it. */
  begin(what: string): () => void
  /** Says what comes next, and how many rows it has before it where that is known. */
  phase(phase: Phase, left?: number): void
  /** Says that something has come. */
  move(): void
  stop(): void
}

/** The phases of which the number of users says nothing. */
const phaseTexts: Readonly<Record<Exclude<Phase, 'reading'>, string>> = {
  instance: 'asking Clerk which instance the key belongs to',
  migrating: 'looking at the schema',
  counting: 'counting again',
  confirming: 'asking Clerk about rows that no page had',
  deleting: 'deleting rows',
  settling: 'trying refused users once more',
  recording: 'recording the end of the run',
}

interface Wait {
  readonly what: string
  readonly since: number
  isLogged: boolean
}

/**
 * Watches the waits of one run and says the newest, which the others wait for. Where nothing outside is waited for and
 * nothing comes, it is Postgres that does not answer. The caller stops it.
 */
export function watchWaits({ progress, log }: Pick<Output, 'progress' | 'log'>): Waits {
  const waits = new Map<symbol, Wait>()
  let phase: { name: Phase; left: number | undefined } = { name: 'instance', left: undefined }
  let postgres: Wait
  const move = () => {
    postgres = { what: 'Postgres', since: performance.now() + recountMs, isLogged: false }
  }
  const look = () => {
    const wait = [...waits.values()].at(-1) ?? postgres
    const waitedMs = performance.now() - wait.since
    const isLong = waitedMs >= shownAfterMs
    progress.note(isLong ? `waiting for ${wait.what}, ${Math.floor(waitedMs / 1000)} s` : phaseText(phase))
    if (wait.isLogged || waitedMs < loggedAfterMs) return
    wait.isLogged = true
    const facts = { waitingFor: wait.what, phase: phase.name, seconds: Math.floor(waitedMs / 1000) }
    log.info(facts, 'waiting')
  }
  move()
  const timer = setInterval(look, lookEveryMs).unref()
  return {
    begin(what) {
      const key = Symbol(what)
      waits.set(key, { what, since: performance.now(), isLogged: false })
      return () => {
        waits.delete(key)
        move()
      }
    },
    phase(name, left) {
      phase = { name, left }
      move()
    },
    move,
    stop() {
      clearInterval(timer)
      progress.note(undefined)
    },
  }
}

function phaseText({ name, left }: { name: Phase; left: number | undefined }): string | undefined {
  if (name === 'reading') return undefined
  return left === undefined ? phaseTexts[name] : `${phaseTexts[name]}, ${left.toLocaleString('en')} left`
}
