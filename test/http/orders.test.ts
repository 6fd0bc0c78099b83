// What one user's events lead to in every order in which they can arrive, looked at after every single delivery.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import {
  bind,
  clerkEvent,
  clerkUser,
  createdAt,
  deletionOf,
  type Endpoint,
  newUserId,
  openEndpoint,
  signEvent,
} from '../support/endpoint.ts'

let database: TestDatabase
let endpoint: Endpoint

beforeAll(async () => {
  database = await createTestDatabase()
  await bind(database.sql)
  endpoint = await openEndpoint({ databaseUrl: database.url, connections: 6 })
})
afterAll(async () => {
  await endpoint.close()
  await database.drop()
})

/** An event of one user: a version with its name, or the deletion. */
type Step = { readonly version: number; readonly type: string } | 'deleted'

const versions: Step[] = [
  { version: 0, type: 'user.created' },
  { version: 1, type: 'user.updated' },
  { version: 2, type: 'user.updated' },
  { version: 60_000, type: 'user.updated' },
]

function ordersOf<T>(items: readonly T[]): T[][] {
  if (items.length < 2) return [[...items]]
  return items.flatMap((item, place) =>
    ordersOf([...items.slice(0, place), ...items.slice(place + 1)]).map((rest) => [item, ...rest]),
  )
}

/** A user's events in one order, each signed once: a repeat is the same message, byte by byte. */
function storyOf(order: readonly Step[]) {
  const id = newUserId()
  const signed = new Map(
    order.map((step) => [
      step,
      signEvent(
        step === 'deleted'
          ? deletionOf(id)
          : clerkEvent(step.type, clerkUser(id, { version: step.version, name: `V${step.version}` })),
      ),
    ]),
  )
  return { id, order, deliveries: order.map((step) => signed.get(step)) }
}

type Story = ReturnType<typeof storyOf>

/** What must stand after these events, whatever their order. */
function expected(past: readonly Step[]) {
  if (past.includes('deleted')) return { version: null, name: null, tombstone: true }
  const version = Math.max(...past.map((step) => (step === 'deleted' ? 0 : step.version)))
  return { version: createdAt + version, name: `V${version} Lovelace`, tombstone: false }
}

async function lookAt(stories: readonly Story[]) {
  const rows = await database.sql<
    { id: string; version: number | null; name: string | null; tombstone: boolean }[]
  >`
    select s.id, (extract(epoch from clerk_updated_at) * 1000)::float8 as version, name, t.clerk_id is not null as tombstone
    from unnest(${stories.map((story) => story.id)}::text[]) s(id)
      left join users u on u.clerk_id = s.id left join clerk_sync.tombstones t on t.clerk_id = s.id`
  return new Map(rows.map(({ id, ...found }) => [id, found]))
}

/** Delivers the first event of every story, looks at all of them, then the second, and so on. */
async function tell(stories: readonly Story[]): Promise<void> {
  const length = stories[0]?.order.length ?? 0
  for (let step = 0; step < length; step++) {
    await inLanes(stories, 6, async (story) => {
      const delivery = story.deliveries[step]
      if (delivery === undefined) throw new Error('a story without a step')
      const { status, body } = await endpoint.post(delivery)
      if (status !== 200) throw new Error(`${status} ${JSON.stringify(body)}`)
    })
    const found = await lookAt(stories)
    const wrong = stories.flatMap((story) => {
      const past = story.order.slice(0, step + 1)
      const is = found.get(story.id)
      const should = expected(past)
      return JSON.stringify(is) === JSON.stringify(should) ? [] : [{ past, is, should }]
    })
    expect(wrong.slice(0, 3)).toEqual([])
  }
}

async function inLanes<T>(
  items: readonly T[],
  lanes: number,
  run: (item: T) => Promise<void>,
): Promise<void> {
  const queue = [...items]
  const lane = async () => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await run(item)
  }
  await Promise.all(Array.from({ length: lanes }, lane))
}

/** All orders of the events and a repeat of one of them; every event takes its turn as the repeated one. */
function ordersWithRepeat(events: readonly Step[]): Step[][] {
  const places = Array.from({ length: events.length + 1 }, (_, place) => place)
  return ordersOf(places).map((order, number) =>
    order.map((place) => {
      const event = events[place < events.length ? place : number % events.length]
      if (event === undefined) throw new Error('unreachable')
      return event
    }),
  )
}

test('in all 720 orders of creation, three updates, deletion and a repeat the user is gone from the deletion on, and until then the newest version stands', async () => {
  const stories = ordersWithRepeat([...versions, 'deleted']).map(storyOf)
  expect(stories).toHaveLength(720)
  await tell(stories)
  // 4320 deliveries: ten seconds on a machine that does nothing else.
}, 300_000)

test('in all 120 orders of creation, three updates and a repeat the newest version stands from when it came', async () => {
  const stories = ordersWithRepeat(versions).map(storyOf)
  expect(stories).toHaveLength(120)
  await tell(stories)
})

test('delivered all at once, the same events end in the same rows', async () => {
  const all: Step[] = [...versions, 'deleted']
  const stories = Array.from({ length: 40 }, (_, number) =>
    storyOf(number % 2 === 0 ? [...all, ...all] : [...versions, ...versions]),
  )
  const deliverAll = async (story: Story) => {
    const statuses = await Promise.all(
      story.deliveries.map(async (delivery) => {
        if (delivery === undefined) throw new Error('a story without a step')
        return (await endpoint.post(delivery)).status
      }),
    )
    expect(new Set(statuses)).toEqual(new Set([200]))
  }
  await inLanes(stories, 4, deliverAll)
  const found = await lookAt(stories)
  for (const { id, order } of stories) expect(found.get(id)).toEqual(expected(order))
})

test('nothing that was logged meanwhile says who they were', () => {
  expect(endpoint.lines('webhook').length).toBeGreaterThan(1000)
  expect(endpoint.leaks()).toEqual([])
})
