// Clerk's own count of its users, which the passes hold their reading against. It lags like everything else: before a
// difference is believed, Clerk is asked once more, a few seconds later.
import { setTimeout as delay } from 'node:timers/promises'
import type { PassContext } from './pass.ts'

/** How many users Clerk counts, and its clock then (ms, undefined without a `Date`). Throws what the client throws. */
export function countUsers(pass: PassContext): Promise<{ count: number; date: number | undefined }> {
  return pass.clerk.countUsers()
}

/** How many users Clerk counts once a lag has had time to pass. Throws the signal's reason if that comes first. */
export async function countAgain(pass: PassContext): Promise<number> {
  await delay(pass.options.recountDelayMs, undefined, { signal: pass.signal }).catch(() =>
    pass.signal.throwIfAborted(),
  )
  return (await countUsers(pass)).count
}
