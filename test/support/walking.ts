// A walk through a sandbox's users and what must hold of it, for tests of reading alone. The laws are of this moment's
// users, so they hold for a walk during which nothing changes.
import { expect } from 'vitest'
import { type ClerkClient, createClerkClient } from '../../src/clerk/api.ts'
import {
  createClock,
  createSandbox,
  type Sandbox,
  type SandboxOptions,
} from '../../src/dev/sandbox/sandbox.ts'
import { paginateUsers, type UserPage } from '../../src/sync/pagination/cursor-pages.ts'
import { impatient } from './world.ts'

/** When the users of these tests were created, give or take some milliseconds. */
export const longAgo = Date.UTC(2025, 5, 1)

export interface Walk {
  readonly pages: readonly UserPage[]
  readonly complete: boolean
  readonly notes: readonly string[]
}

/** A client of the sandbox that waits for nothing. */
function clientOf(sandbox: Sandbox): ClerkClient {
  return createClerkClient({
    secretKey: sandbox.secretKey,
    apiUrl: sandbox.url,
    requestsPer10s: 100_000,
    signal: new AbortController().signal,
    limits: { ...impatient, requestMs: 5000, totalMs: 20_000 },
  })
}

/** Walks to the end. */
export async function walk(sandbox: Sandbox, pageSize: number): Promise<Walk> {
  const pages: UserPage[] = []
  const notes = new Set<string>()
  const walking = paginateUsers(clientOf(sandbox), { pageSize, note: (text) => notes.add(text) })
  for (;;) {
    const next = await walking.next()
    if (next.done === true) return { pages, complete: next.value.complete, notes: [...notes] }
    pages.push(next.value)
  }
}

/** Runs `use` with a sandbox that has a user for each of these creation times, in ms after `longAgo`. */
export async function withUsers<T>(
  times: readonly number[],
  options: SandboxOptions,
  use: (sandbox: Sandbox) => Promise<T>,
): Promise<T> {
  const clock = createClock({ at: longAgo + 30 * 86_400_000, frozen: true })
  const sandbox = await createSandbox({ rateLimit: null, clock, ...options })
  try {
    for (const time of times) sandbox.users.import({ created_at: longAgo + time })
    return await use(sandbox)
  } finally {
    await sandbox.close()
  }
}

/** The ids of the users that a walk has yielded, in its order. */
export function seenIn({ pages }: Walk): string[] {
  return pages.flatMap((page) => page.users.map((user) => user.clerkId))
}

/** The spans of a walk follow each other without gap and overlap, from before everything to after everything. */
export function expectTiled({ pages, complete }: Walk): void {
  let closedUpTo: number | undefined
  for (const { span, closesSpan } of pages) {
    expect(span.after).toBe(closedUpTo)
    if (!closesSpan) continue
    if (span.upTo !== undefined) expect(span.upTo).toBeGreaterThan(closedUpTo ?? Number.NEGATIVE_INFINITY)
    closedUpTo = span.upTo
  }
  if (complete) expect(pages.at(-1)).toMatchObject({ closesSpan: true, span: { upTo: undefined } })
}

/** A walk that met its end, saw each of the sandbox's users once, and those of each span by the time it closed. */
export function expectWhole(walked: Walk, sandbox: Sandbox): void {
  const users = sandbox.users.all()
  expect(walked.complete).toBe(true)
  expectTiled(walked)
  expect(seenIn(walked).sort()).toEqual(users.map((user) => user.id).sort())
  for (const { span, seen } of walked.pages.filter((page) => page.closesSpan)) {
    const { after = Number.NEGATIVE_INFINITY, upTo = Number.POSITIVE_INFINITY } = span
    const inSpan = users.filter((user) => user.created_at > after && user.created_at <= upTo)
    expect(seen).toEqual(expect.arrayContaining(inSpan.map((user) => user.id)))
  }
}
