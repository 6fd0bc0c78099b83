// Heartbeats without waiting: the timers of the runs' heartbeats are caught, and fire when the simulation says so. Other
// timers stay what they are.
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { SQL } from 'drizzle-orm'
import type { Database } from '../../src/db/database.ts'
import type { Actor } from './gate.ts'

/** The interval of a heartbeat, which is how one is told from other timers. */
const heartbeatIntervalMs = 5000

export interface Heartbeats {
  /** Whose code runs now: a timer that is set is theirs. */
  owner: Actor | undefined
  owners(): Actor[]
  /** Fires, and waits until the beat has got through. */
  fire(actor: Actor): Promise<void>
  /** A process that is gone does not beat. */
  forget(actor: Actor): void
  /** The database for heartbeats, whose statements can be awaited. */
  database(real: Database): Database
  /** Gives timers back to the process. */
  stop(): void
}

/** Catches the timers of heartbeats from now on. */
export function captureHeartbeats(): Heartbeats {
  const original = globalThis.setInterval
  const originalClear = globalThis.clearInterval
  const timers = new Map<Actor, () => void>()
  const statements: Promise<unknown>[] = []
  const heartbeats: Heartbeats = {
    owner: undefined,
    owners: () => [...timers.keys()],
    async fire(actor) {
      timers.get(actor)?.()
      await nextTurn()
      await Promise.allSettled(statements.splice(0))
      await nextTurn()
    },
    forget: (actor) => void timers.delete(actor),
    database: (real) => ({
      ...real,
      db: {
        execute(statement: SQL) {
          const answer = Promise.resolve(real.db.execute(statement))
          statements.push(answer)
          return answer
        },
      } as unknown as Database['db'],
    }),
    stop() {
      globalThis.setInterval = original
      globalThis.clearInterval = originalClear
    },
  }
  globalThis.setInterval = ((callback: () => void, milliseconds?: number, ...rest: unknown[]) => {
    const { owner } = heartbeats
    if (milliseconds !== heartbeatIntervalMs || owner === undefined) {
      return (original as (...all: unknown[]) => unknown)(callback, milliseconds, ...rest)
    }
    timers.set(owner, callback)
    return owner
  }) as typeof setInterval
  globalThis.clearInterval = ((timer: unknown) => {
    if (timers.has(timer as Actor)) timers.delete(timer as Actor)
    else originalClear(timer as NodeJS.Timeout)
  }) as typeof clearInterval
  return heartbeats
}
