import fc from 'fast-check'
import { expect, test } from 'vitest'
import type {
  DeletedCursor,
  RecordedRequest,
  Sandbox,
  SandboxOptions,
} from '../../../src/dev/sandbox/sandbox.ts'
import { isSyncError } from '../../../src/errors.ts'
import { upTo } from '../../support/settled.ts'
import { expectTiled, expectWhole, longAgo, seenIn, walk, withUsers } from '../../support/walking.ts'

/** The users in the order in which the sandbox lists them. */
const ordered = (sandbox: Sandbox) =>
  sandbox.users.all().sort((a, b) => a.created_at - b.created_at || (a.id < b.id ? -1 : 1))

const byTime = 'fallback: continued by creation time, without the cursor'
const furtherBack = 'fallback: continued from one user further back'

/** Runs `change` just before the list request of that number is answered. */
function before(sandbox: Sandbox, number: number, change: (request: RecordedRequest) => void): void {
  sandbox.onRequest = (request, ordinal) => {
    if (request.endpoint === 'list' && ordinal === number) change(request)
  }
}

test('a page that is as full as others and repeats everybody is not the end', async () => {
  // One step back from the refused cursor lies the start, and the first page is full of what is known.
  await withUsers([0, 1, 1, 1, 1, 1, 1, 2, 3], {}, async (sandbox) => {
    sandbox.faults.add({ endpoint: 'list', kind: 422, when: (each) => each.query.has('starting_after') })
    const walked = await walk(sandbox, 5)
    expectWhole(walked, sandbox)
    expect(walked.notes).toEqual([furtherBack])
  })
})

test('a page that repeats nobody proves nothing, also if it is well-formed and later', async () => {
  await withUsers(upTo(20), {}, async (sandbox) => {
    const users = ordered(sandbox)
    // The cursor's user now stands later: the page after it would leave out everybody in between.
    before(sandbox, 2, () => sandbox.users.update(users[3]?.id ?? '', { created_at: longAgo + 12.5 }))
    const walked = await walk(sandbox, 5)
    expect(walked.complete).toBe(true)
    const others = users.filter((_user, place) => place !== 3).map((user) => user.id)
    expect(seenIn(walked).filter((id) => id !== users[3]?.id)).toEqual(others)
    expect(walked.notes).toEqual([furtherBack])
  })
})

test('a known user who moved ahead is no thread: those between are still read', async () => {
  // The page after the tie's cursor leaves the rest of the tie out, and shows somebody known.
  await withUsers([...upTo(9).map(() => 0), ...upTo(6, 1)], {}, async (sandbox) => {
    sandbox.cursorMode = 'time-only'
    const known = ordered(sandbox)[4]
    before(sandbox, 2, () => sandbox.users.update(known?.id ?? '', { created_at: longAgo + 2 }))
    const walked = await walk(sandbox, 5)
    expect(walked.complete).toBe(true)
    expect(new Set(seenIn(walked))).toEqual(new Set(sandbox.users.all().map((user) => user.id)))
  })
})

test('a user imported behind the cursor takes no span back that was closed', async () => {
  const tens = upTo(10).map((time) => time * 10)
  await withUsers(tens, { deletedCursor: 'refuse' }, async (sandbox) => {
    const users = ordered(sandbox)
    before(sandbox, 4, () => {
      sandbox.users.delete(users[2]?.id ?? '')
      sandbox.users.import({ created_at: longAgo + 15 })
    })
    const walked = await walk(sandbox, 2)
    expect(walked.complete).toBe(true)
    expectTiled(walked)
    expect(seenIn(walked)).toEqual(users.map((user) => user.id))
  })
})

test.each<DeletedCursor>(['remember', 'refuse', 'ignore', 'empty'])(
  'the newest users may go between two pages (a cursor whose user is gone: %s)',
  async (deletedCursor) => {
    for (const count of [2, 5, 6, 13]) {
      await withUsers(upTo(count), { deletedCursor }, async (sandbox) => {
        const last = ordered(sandbox).at(-1)
        before(sandbox, 2, () => sandbox.users.delete(last?.id ?? ''))
        const walked = await walk(sandbox, 5)
        expect(walked.complete).toBe(true)
        expectTiled(walked)
        expect(seenIn(walked)).toEqual(expect.arrayContaining(sandbox.users.all().map((user) => user.id)))
      })
    }
  },
)

test('a listing of which no way of asking continues ends incomplete, after what could be read', async () => {
  await withUsers(upTo(20), {}, async (sandbox) => {
    sandbox.paramsIgnored = new Set(['starting_after', 'created_at_after'])
    const walked = await walk(sandbox, 5)
    expect(walked.complete).toBe(false)
    expect(seenIn(walked)).toHaveLength(5)
    expect(walked.pages.at(-1)?.span).toEqual({ after: undefined, upTo: longAgo + 3 })
    expect(walked.notes).toEqual([expect.stringContaining('no longer overlap')])
  })
})

test('by time a tie is read once, also where the user after it has gone', async () => {
  await withUsers([0, 0, 0, 0, ...upTo(10, 1)], {}, async (sandbox) => {
    const users = ordered(sandbox)
    sandbox.cursorMode = 'refused'
    before(sandbox, 2, () => sandbox.users.delete(users[4]?.id ?? ''))
    const walked = await walk(sandbox, 5)
    expect(walked.complete).toBe(true)
    expect(seenIn(walked)).toEqual(users.map((user) => user.id))
  })
})

test('by time a tie is read on from where it was, also where some of it have gone', async () => {
  await withUsers([...upTo(14).map(() => 0), 1], {}, async (sandbox) => {
    const users = ordered(sandbox)
    sandbox.cursorMode = 'refused'
    before(sandbox, 2, () => {
      for (const { id } of users.slice(0, 3)) sandbox.users.delete(id)
    })
    const walked = await walk(sandbox, 6)
    expect(walked.complete).toBe(true)
    expect(seenIn(walked)).toEqual(users.map((user) => user.id))
  })
})

test('a page in another order than asked for is an error', async () => {
  await withUsers(upTo(20), {}, async (sandbox) => {
    sandbox.faults.add({
      endpoint: 'list',
      kind: 'wrong-order',
      when: (each) => each.query.has('starting_after'),
    })
    const error = await walk(sandbox, 5).catch((thrown: unknown) => thrown)
    expect(isSyncError(error, 'contract')).toBe(true)
  })
})

test('users without a readable time or id stand in no one’s way, and the second are counted', async () => {
  await withUsers([0, 1, 2, 2, 2, 2, 2, 2, 3, 4, 5, 6], {}, async (sandbox) => {
    for (const how of ['created_at a string', 'no id'] as const) {
      const ids = ordered(sandbox).map((user) => user.id)
      for (const spoilt of [[ids[0]], [ids[4]], [ids[5], ids[6]], [ids[11]]]) {
        sandbox.faults.clear()
        const broken = spoilt.map((id) => id ?? '')
        sandbox.faults.add({ endpoint: 'list', kind: 'malformed-user', how, ids: broken, times: Infinity })
        const walked = await walk(sandbox, 5)
        const readable = how === 'no id' ? ids.filter((id) => !broken.includes(id)) : ids
        expect(walked.complete).toBe(true)
        expect(seenIn(walked).sort()).toEqual(readable.toSorted())
        const unreadable = walked.pages.reduce((sum, page) => sum + page.unreadable, 0)
        expect(unreadable > 0).toBe(how === 'no id')
      }
    }
  })
})

const change = fc.oneof(
  fc.record({ kind: fc.constant('delete' as const), who: fc.nat(1000) }),
  fc.record({ kind: fc.constant('move' as const), who: fc.nat(1000), to: fc.nat(12) }),
  fc.record({ kind: fc.constant('import' as const), to: fc.nat(12) }),
  fc.record({ kind: fc.constantFrom('refused' as const, 'ignored' as const, 'time-only' as const) }),
)

test.each<DeletedCursor>(['remember', 'refuse', 'ignore', 'empty'])(
  'whoever stays put is seen once, whatever happens to others between pages (%s)',
  async (deletedCursor) => {
    const times = fc.array(fc.nat({ max: 12 }), { minLength: 1, maxLength: 40 })
    const changes = fc.array(fc.tuple(fc.integer({ min: 2, max: 14 }), change), { maxLength: 5 })
    const orders = fc.constantFrom<NonNullable<SandboxOptions['ties']>>('id', 'id-descending', 'scrambled')
    await fc.assert(
      fc.asyncProperty(
        times,
        fc.integer({ min: 2, max: 7 }),
        orders,
        changes,
        async (created, size, order, plan) => {
          await withUsers(created, { ties: order, deletedCursor }, async (sandbox) => {
            const ids = sandbox.users.all().map((user) => user.id)
            const still = new Set(ids)
            sandbox.onRequest = (_request, ordinal) => {
              sandbox.cursorMode = 'normal'
              for (const [, each] of plan.filter(([when]) => when === ordinal)) {
                const id = 'who' in each ? (ids[each.who % ids.length] ?? '') : ''
                if ('who' in each) still.delete(id)
                if (each.kind === 'import') sandbox.users.import({ created_at: longAgo + each.to })
                else if (each.kind === 'delete') sandbox.users.delete(id)
                else if (each.kind !== 'move') sandbox.cursorMode = each.kind
                else if (sandbox.users.get(id)) sandbox.users.update(id, { created_at: longAgo + each.to })
              }
            }
            const walked = await walk(sandbox, size)
            expectTiled(walked)
            const seen = seenIn(walked).filter((id) => still.has(id))
            expect(new Set(seen).size).toBe(seen.length)
            if (walked.complete) expect(seen.length).toBe(still.size)
            for (const page of walked.pages.filter((each) => each.closesSpan)) {
              const { after = -Infinity, upTo: end = Infinity } = page.span
              const inSpan = [...still].filter((id) => {
                const time = sandbox.users.get(id)?.created_at ?? Number.NaN
                return time > after && time <= end
              })
              expect(page.seen).toEqual(expect.arrayContaining(inSpan))
            }
          })
        },
      ),
      { numRuns: 120 },
    )
  },
)

test('a cursor lost once is found again by the page after, and lost for good by time', async () => {
  await withUsers(upTo(20), {}, async (sandbox) => {
    const hasCursor = (each: RecordedRequest) => each.query.has('starting_after')
    sandbox.faults.add({ endpoint: 'list', kind: 422, when: hasCursor })
    expect((await walk(sandbox, 5)).notes).toEqual([furtherBack])
    sandbox.faults.add({ endpoint: 'list', kind: 422, when: hasCursor, times: Infinity })
    expect((await walk(sandbox, 5)).notes).toEqual([byTime])
  })
})
