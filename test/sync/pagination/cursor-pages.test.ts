import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { CursorMode, Sandbox, SandboxOptions } from '../../../src/dev/sandbox/sandbox.ts'
import { upTo } from '../../support/settled.ts'
import { expectWhole, longAgo, walk, withUsers } from '../../support/walking.ts'
import { createWorld } from '../../support/world.ts'

const modes: readonly CursorMode[] = ['normal', 'refused', 'ignored', 'time-only']
const ties = fc.constantFrom<NonNullable<SandboxOptions['ties']>>('id', 'id-descending', 'scrambled')
const pageSizes = fc.integer({ min: 2, max: 7 })

const listRequests = (sandbox: Sandbox) => sandbox.requests.filter((each) => each.endpoint === 'list').length

describe.each(modes)('with the cursor %s', (mode) => {
  test('every user of any instance is seen once, in spans without a gap', async () => {
    const times = fc.array(fc.nat({ max: 12 }), { maxLength: 40 })
    await fc.assert(
      fc.asyncProperty(times, pageSizes, ties, fc.boolean(), (created, pageSize, order, inclusive) =>
        withUsers(created, { ties: order, inclusive }, async (sandbox) => {
          sandbox.cursorMode = mode
          expectWhole(await walk(sandbox, pageSize), sandbox)
        }),
      ),
      { numRuns: 80 },
    )
  })

  test('a tie of any length, wherever on a page it begins, is seen whole', async () => {
    for (const before of [0, 1, 3, 4, 5]) {
      for (const tied of [2, 4, 5, 6, 9, 10, 11]) {
        for (const after of [0, 1]) {
          const times = [...upTo(before), ...Array.from({ length: tied }, () => 50), ...upTo(after, 51)]
          await withUsers(times, {}, async (sandbox) => {
            sandbox.cursorMode = mode
            expectWhole(await walk(sandbox, 5), sandbox)
          })
        }
      }
    }
  })

  test.each([0, 1, 2, 5, 6])('an instance of %i users is read to its end, tied or not', async (count) => {
    for (const step of [0, 1]) {
      const times = upTo(count).map((time) => time * step)
      await withUsers(times, {}, async (sandbox) => {
        sandbox.cursorMode = mode
        expectWhole(await walk(sandbox, 5), sandbox)
      })
    }
  })
})

test('a page costs one request: without a cursor too, once that is known', async () => {
  await withUsers(upTo(81), {}, async (sandbox) => {
    expectWhole(await walk(sandbox, 5), sandbox)
    // Each page brings three users or four.
    expect(listRequests(sandbox)).toBeLessThanOrEqual(27)
    const before = listRequests(sandbox)
    sandbox.cursorMode = 'refused'
    expectWhole(await walk(sandbox, 5), sandbox)
    expect(listRequests(sandbox) - before).toBeLessThanOrEqual(27)
  })
})

test('between pages a walk without ties remembers a page, however many users there are', async () => {
  await withUsers(upTo(300), {}, async (sandbox) => {
    for (const mode of modes) {
      sandbox.cursorMode = mode
      const walked = await walk(sandbox, 10)
      expectWhole(walked, sandbox)
      // The page, its cursor, and the one user before that.
      expect(Math.max(...walked.pages.map((page) => page.seen.length))).toBeLessThanOrEqual(12)
    }
  })
})

test('after a long tie its users are forgotten', async () => {
  const times = [...Array.from({ length: 200 }, () => 0), ...upTo(40, 1)]
  await withUsers(times, {}, async (sandbox) => {
    const walked = await walk(sandbox, 10)
    expectWhole(walked, sandbox)
    expect(walked.pages.at(-1)?.seen.length).toBeLessThanOrEqual(12)
  })
})

test('6,000 users with the same creation time converge, with the cursor and by time', async () => {
  const world = await createWorld({ ties: 'scrambled' })
  try {
    for (let number = 0; number < 6000; number++) world.sandbox.users.import({ created_at: longAgo })
    const first = await world.sync()
    expect(first.report).toMatchObject({ status: 'succeeded', notes: [] })
    expect(first.report.counts).toMatchObject({ seen: 6000, created: 6000 })
    expect(await world.rows()).toEqual(world.wanted())
    world.sandbox.cursorMode = 'time-only'
    const second = await world.sync()
    expect(second.report).toMatchObject({ status: 'succeeded' })
    expect(second.report.counts).toMatchObject({ seen: 6000, unchanged: 6000, deleted: 0 })
    expect(second.report.notes).toEqual([expect.stringContaining('by creation time')])
  } finally {
    await world.close()
  }
})
