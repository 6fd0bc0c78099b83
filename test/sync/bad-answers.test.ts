// Every bad answer of Clerk's, a proxy's or the network's, at every place of a full pass where it can arrive: what the
// run says of it. After each, no row was lost, none holds what it should not, and the next run converges.
import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  createClock,
  type FaultOptions,
  type Malformation,
  type RecordedRequest,
} from '../../src/dev/sandbox/sandbox.ts'
import { seedUsers } from '../../src/dev/sandbox/seed.ts'
import { createWorld, impatient, type RowValues, type SyncOutcome, type World } from '../support/world.ts'

// ok            succeeded, with no more requests than a good run
// again         succeeded, because Clerk was asked again
// fallback      succeeded by another way of asking for the page
// rejected      in part: a live user of the page was rejected, by name
// partial       in part: the answers proved too little, and the report says so
// contract, transient, configuration, refused     failed with an error of this kind
// -             cannot arrive there
//
// `by ids` is asked for a live user that no page shows, among the deleted. `alone` is asked for a live user that the list
// by ids leaves out too, which by itself makes the run partial; there 404 is Clerk's own word that the user is gone.
const table = `
bad answer                     |          | instance      | newest        | count 1       | page 1        | page 2…       | by ids        | alone         | count 2
200 with HTML                  | once     | again         | again         | again         | again         | again         | again         | partial       | again
                               | for good | contract      | contract      | contract      | contract      | contract      | contract      | contract      | contract
charset in the content type    | once     | ok            | ok            | ok            | ok            | ok            | ok            | partial       | ok
                               | for good | ok            | ok            | ok            | ok            | ok            | ok            | partial       | ok
{}                             | once     | again         | again         | again         | again         | again         | again         | partial       | again
                               | for good | contract      | contract      | contract      | contract      | contract      | contract      | contract      | contract
{"data":[]}                    | once     | again         | again         | again         | again         | again         | again         | partial       | again
                               | for good | contract      | contract      | contract      | contract      | contract      | contract      | contract      | contract
{"data":[…]}                   | once     | again         | again         | again         | again         | again         | again         | partial       | again
                               | for good | contract      | contract      | contract      | contract      | contract      | contract      | contract      | contract
[]                             | once     | again         | ok            | again         | partial       | fallback      | again         | partial       | again
                               | for good | contract      | ok            | contract      | partial       | partial       | partial       | contract      | contract
null                           | once     | again         | again         | again         | again         | again         | again         | partial       | again
                               | for good | contract      | contract      | contract      | contract      | contract      | contract      | contract      | contract
a string                       | once     | again         | again         | again         | again         | again         | again         | partial       | again
                               | for good | contract      | contract      | contract      | contract      | contract      | contract      | contract      | contract
user: null                     | once     | -             | ok            | -             | partial       | partial       | partial       | partial       | -
                               | for good | -             | ok            | -             | partial       | partial       | partial       | contract      | -
user: a string                 | once     | -             | ok            | -             | partial       | partial       | partial       | partial       | -
                               | for good | -             | ok            | -             | partial       | partial       | partial       | contract      | -
user: no id                    | once     | again         | ok            | -             | partial       | partial       | partial       | partial       | -
                               | for good | contract      | ok            | -             | partial       | partial       | partial       | contract      | -
user: a numeric id             | once     | again         | ok            | -             | partial       | partial       | partial       | partial       | -
                               | for good | contract      | ok            | -             | partial       | partial       | partial       | contract      | -
user: a foreign id             | once     | again         | ok            | -             | partial       | partial       | partial       | partial       | -
                               | for good | contract      | ok            | -             | partial       | partial       | partial       | contract      | -
user: created_at a string      | once     | -             | ok            | -             | rejected      | rejected      | rejected      | rejected      | -
                               | for good | -             | ok            | -             | rejected      | rejected      | rejected      | rejected      | -
user: no updated_at            | once     | -             | ok            | -             | rejected      | rejected      | rejected      | rejected      | -
                               | for good | -             | ok            | -             | rejected      | rejected      | rejected      | rejected      | -
user: email_addresses no array | once     | -             | ok            | -             | rejected      | rejected      | rejected      | rejected      | -
                               | for good | -             | ok            | -             | rejected      | rejected      | rejected      | rejected      | -
user: first_name an object     | once     | -             | ok            | -             | rejected      | rejected      | rejected      | rejected      | -
                               | for good | -             | ok            | -             | rejected      | rejected      | rejected      | rejected      | -
canary: no id                  | once     | -             | -             | -             | -             | -             | partial       | -             | -
                               | for good | -             | -             | -             | -             | -             | partial       | -             | -
canary: first_name an object   | once     | -             | -             | -             | -             | -             | ok            | -             | -
                               | for good | -             | -             | -             | -             | -             | ok            | -             | -
a page cut short               | once     | -             | -             | -             | again         | again         | partial       | -             | -
                               | for good | -             | -             | -             | again         | partial       | partial       | -             | -
a live user left out           | once     | -             | -             | -             | ok            | ok            | partial       | -             | -
                               | for good | -             | -             | -             | ok            | ok            | partial       | -             | -
wrong order                    | once     | -             | -             | -             | contract      | contract      | ok            | -             | -
                               | for good | -             | -             | -             | contract      | contract      | ok            | -             | -
a duplicate user               | once     | -             | -             | -             | ok            | ok            | ok            | -             | -
                               | for good | -             | -             | -             | ok            | again         | ok            | -             | -
a truncated body               | once     | again         | again         | again         | again         | again         | again         | partial       | again
                               | for good | transient     | transient     | transient     | transient     | transient     | transient     | transient     | transient
a reset                        | once     | again         | again         | again         | again         | again         | again         | partial       | again
                               | for good | transient     | transient     | transient     | transient     | transient     | transient     | transient     | transient
a hang                         | once     | again         | again         | again         | again         | again         | again         | partial       | again
                               | for good | transient     | transient     | transient     | transient     | transient     | transient     | transient     | transient
a slow body                    | once     | again         | again         | again         | again         | again         | again         | partial       | again
                               | for good | transient     | transient     | transient     | transient     | transient     | transient     | transient     | transient
400                            | once     | contract      | contract      | contract      | contract      | fallback      | contract      | contract      | contract
                               | for good | contract      | contract      | contract      | contract      | contract      | contract      | contract      | contract
401                            | once     | configuration | configuration | configuration | configuration | configuration | configuration | configuration | configuration
                               | for good | configuration | configuration | configuration | configuration | configuration | configuration | configuration | configuration
403                            | once     | configuration | configuration | configuration | configuration | configuration | configuration | configuration | configuration
                               | for good | configuration | configuration | configuration | configuration | configuration | configuration | configuration | configuration
404                            | once     | contract      | contract      | contract      | contract      | fallback      | contract      | -             | contract
                               | for good | contract      | contract      | contract      | contract      | contract      | contract      | -             | contract
422                            | once     | contract      | contract      | contract      | contract      | fallback      | contract      | contract      | contract
                               | for good | contract      | contract      | contract      | contract      | contract      | contract      | contract      | contract
429                            | once     | again         | again         | again         | again         | again         | again         | partial       | again
                               | for good | transient     | transient     | transient     | transient     | transient     | transient     | transient     | transient
429, retry after 1 s           | once     | again         | again         | again         | again         | again         | again         | partial       | again
                               | for good | transient     | transient     | transient     | transient     | transient     | transient     | transient     | transient
429, retry at a date           | once     | again         | again         | again         | again         | again         | again         | partial       | again
                               | for good | transient     | transient     | transient     | transient     | transient     | transient     | transient     | transient
429, retry after an hour       | once     | transient     | transient     | transient     | transient     | transient     | transient     | transient     | transient
                               | for good | transient     | transient     | transient     | transient     | transient     | transient     | transient     | transient
500                            | once     | again         | again         | again         | again         | again         | again         | partial       | again
                               | for good | transient     | transient     | transient     | transient     | transient     | transient     | transient     | transient
502 with HTML                  | once     | again         | again         | again         | again         | again         | again         | partial       | again
                               | for good | transient     | transient     | transient     | transient     | transient     | transient     | transient     | transient
503                            | once     | again         | again         | again         | again         | again         | again         | partial       | again
                               | for good | transient     | transient     | transient     | transient     | transient     | transient     | transient     | transient
a count one too high           | once     | -             | -             | ok            | -             | -             | -             | -             | ok
                               | for good | -             | -             | ok            | -             | -             | -             | -             | ok
a count 1,000 too high         | once     | -             | -             | ok            | -             | -             | -             | -             | ok
                               | for good | -             | -             | ok            | -             | -             | -             | -             | ok
a count 5 too low              | once     | -             | -             | ok            | -             | -             | -             | -             | ok
                               | for good | -             | -             | ok            | -             | -             | -             | -             | ok
a count in words               | once     | -             | -             | again         | -             | -             | -             | -             | again
                               | for good | -             | -             | contract      | -             | -             | -             | -             | contract
another instance               | once     | refused       | -             | -             | -             | -             | -             | -             | -
                               | for good | refused       | -             | -             | -             | -             | -             | -             | -
`

const places = ['instance', 'newest', 'count 1', 'page 1', 'page 2…', 'by ids', 'alone', 'count 2'] as const
type Place = (typeof places)[number]
type BadAnswer = Omit<FaultOptions, 'endpoint' | 'when' | 'times'>

/** What a bad answer may have to know. */
interface Scene {
  readonly place: Place
  /** Clerk's clock, ms. It stands still on a whole second, so that a date a second ahead is a second away. */
  readonly now: number
  readonly ids: readonly string[]
  /** The live user that no page shows, at `by ids` and `alone`. */
  readonly lurker: string
}

/** The second user of the answer is broken: by ids it is the live one, the canary comes first. */
const malformed =
  (how: Malformation, index = 1) =>
  ({ place }: Scene): BadAnswer => ({ kind: 'malformed-user', how, index: place === 'newest' ? 0 : index })

const leftOut: Partial<Record<Place, number>> = { 'page 1': 1, 'page 2…': 5 }

const badAnswers: Record<string, (scene: Scene) => BadAnswer> = {
  '200 with HTML': () => ({ kind: 'html' }),
  'charset in the content type': () => ({ kind: 'charset' }),
  '{}': () => ({ kind: 'object' }),
  '{"data":[]}': () => ({ kind: 'wrapped-empty' }),
  '{"data":[…]}': () => ({ kind: 'wrapped' }),
  '[]': () => ({ kind: 'empty-array' }),
  null: () => ({ kind: 'null' }),
  'a string': () => ({ kind: 'string' }),
  'user: null': malformed('null'),
  'user: a string': malformed('a string'),
  'user: no id': malformed('no id'),
  'user: a numeric id': malformed('a numeric id'),
  'user: a foreign id': malformed('a foreign id'),
  'user: created_at a string': malformed('created_at a string'),
  'user: no updated_at': malformed('no updated_at'),
  'user: email_addresses no array': malformed('email_addresses no array'),
  'user: first_name an object': malformed('first_name an object'),
  'canary: no id': malformed('no id', 0),
  'canary: first_name an object': malformed('first_name an object', 0),
  'a page cut short': () => ({ kind: 'cut-short' }),
  'a live user left out': ({ place, ids, lurker }) => ({
    kind: 'missing-users',
    ids: [ids[leftOut[place] ?? -1] ?? lurker],
  }),
  'wrong order': () => ({ kind: 'wrong-order' }),
  'a duplicate user': () => ({ kind: 'duplicate-user' }),
  'a truncated body': () => ({ kind: 'truncated' }),
  'a reset': () => ({ kind: 'reset' }),
  'a hang': () => ({ kind: 'hang' }),
  'a slow body': () => ({ kind: 'slow-body' }),
  '400': () => ({ kind: 400 }),
  '401': () => ({ kind: 401 }),
  '403': () => ({ kind: 403 }),
  '404': () => ({ kind: 404 }),
  '422': () => ({ kind: 422 }),
  '429': () => ({ kind: 429 }),
  '429, retry after 1 s': () => ({ kind: 429, retryAfter: 1 }),
  '429, retry at a date': ({ now }) => ({ kind: 429, retryAfter: new Date(now + 1000) }),
  '429, retry after an hour': () => ({ kind: 429, retryAfter: 3600 }),
  '500': () => ({ kind: 500 }),
  '502 with HTML': () => ({ kind: 502 }),
  '503': () => ({ kind: 503 }),
  'a count one too high': () => ({ kind: 'count-high' }),
  'a count 1,000 too high': () => ({ kind: 'count-high', n: 1000 }),
  'a count 5 too low': () => ({ kind: 'count-low', n: 5 }),
  'a count in words': () => ({ kind: 'count-string' }),
  'another instance': () => ({ kind: 'another-instance' }),
}

const isPage = ({ endpoint, query }: RecordedRequest) =>
  endpoint === 'list' && query.get('order_by') === '+created_at'

/** Whether the request is one of those that `place` names; `soFar` are the requests of the same run before it. */
function isAt(place: Place, request: RecordedRequest, soFar: readonly RecordedRequest[], lurker: string) {
  const { endpoint, query, path } = request
  const isLater = query.has('starting_after') || query.has('created_at_after')
  switch (place) {
    case 'instance':
      return endpoint === 'instance'
    case 'newest':
      return endpoint === 'list' && query.get('order_by') === '-updated_at'
    case 'count 1':
      return endpoint === 'count' && !soFar.some(isPage)
    case 'page 1':
      return isPage(request) && !isLater
    case 'page 2…':
      return isPage(request) && isLater
    case 'by ids':
      return endpoint === 'list' && query.has('user_id')
    case 'alone':
      return endpoint === 'user' && path.endsWith(lurker)
    case 'count 2':
      return endpoint === 'count' && soFar.some(isPage)
  }
}

/** One world a place, so that the places of a row are tried side by side. */
const worlds = new Map<Place, World>()
/** How many requests a run costs that meets nothing bad. */
const goodRequests = new Map<Place, number>()
/** Three pages; deletions enough for all rows of the table, since they come within the guard's hour. */
const settings = { pageSize: 5, maxDeletes: 1000, recountDelayMs: 1 }
/** Where nothing has to be waited for, a busy machine shall not make a good answer late. */
const patient = { ...impatient, requestMs: 5000, totalMs: 10_000 }
/** Where an answer never comes, the limit has to be reached; a good answer of the same run shall stay below it. */
const waiting = { ...impatient, requestMs: 2000, totalMs: 10_000 }
/** Worlds in which a case has not come to its end: what it left behind is no other case's trouble. */
const leftOver = new Set<Place>()

const worldAt = (place: Place) => worlds.get(place) ?? expect.unreachable()

/** An hour later in Clerk: changes on each page, one user gone, one new. */
function changeClerk({ sandbox }: World): void {
  sandbox.clock.advance(3_600_000)
  const ids = sandbox.users.all().map((user) => user.id)
  const at = (index: number) => ids[index] ?? expect.unreachable()
  for (const index of [0, 1, 4, 5, 9]) {
    sandbox.users.update(at(index), { last_name: `of ${sandbox.clock.now()}` })
  }
  sandbox.users.signIn(at(6))
  sandbox.users.delete(at(2))
  sandbox.users.create({ first_name: 'New' })
}

/** One run that meets the bad answer so many times. Gives the rows before it as well. */
async function runWith(place: Place, name: string | undefined, times: number, limits = patient) {
  const world = worldAt(place)
  const { sandbox } = world
  changeClerk(world)
  const before = await world.rows()
  const start = sandbox.requests.length
  const ids = sandbox.users.all().map((user) => user.id)
  const lurker = ids[7] ?? expect.unreachable()
  const scene = { place, now: sandbox.clock.now(), ids, lurker }
  const fault = sandbox.faults.add({
    ...(badAnswers[name ?? 'null']?.(scene) ?? expect.unreachable(name)),
    times,
    endpoint: 'any',
    when: (request) => isAt(place, request, sandbox.requests.slice(start), lurker),
  })
  const isLurking = place === 'by ids' || place === 'alone'
  if (isLurking) {
    sandbox.faults.add({
      endpoint: 'list',
      kind: 'missing-users',
      ids: [lurker],
      times: Infinity,
      when: isPage,
    })
  }
  if (place === 'alone') sandbox.userIdFilter = new Set([lurker])
  const outcome = await world.sync({ ...settings, limits })
  sandbox.faults.clear()
  sandbox.userIdFilter = 'normal'
  if (times > 0) expect(fault.used, `how often it came at ${place}`).toBeGreaterThan(0)
  return { outcome, before }
}

/** No row holds anything but what it held before or what Clerk has now; nobody whom Clerk has is without a row he had. */
async function expectNothingLost(world: World, before: ReadonlyMap<string, RowValues>): Promise<void> {
  const [rows, wanted] = [await world.rows(), world.wanted()]
  for (const id of new Set([...rows.keys(), ...before.keys()])) {
    expect([before.get(id), wanted.get(id)], id).toContainEqual(rows.get(id))
  }
}

async function wordFor(place: Place, { report, rejections, complete }: SyncOutcome): Promise<string> {
  const world = worldAt(place)
  if (report.error !== null || !complete) expect(report.counts.deleted).toBe(0)
  if (report.error !== null) return report.error.kind
  if (report.status === 'partial') {
    expect(report.notes.length + rejections.length).toBeGreaterThan(0)
    if (!complete || rejections.length === 0) return 'partial'
    for (const { clerkId } of rejections) expect(world.wanted().has(clerkId)).toBe(true)
    return 'rejected'
  }
  expect(report.status).toBe('succeeded')
  expect(await world.rows()).toEqual(world.wanted())
  if (report.notes.some((note) => note.startsWith('fallback'))) return 'fallback'
  return report.requests.total > (goodRequests.get(place) ?? 0) ? 'again' : 'ok'
}

/** What comes of the bad answer there. Fails the test if anything was lost, or stays wrong after the next run. */
async function tryAt(place: Place, name: string, times: number): Promise<string> {
  if (leftOver.has(place)) await openWorld(place)
  leftOver.add(place)
  const world = worldAt(place)
  const limits = /hang|slow/.test(name) ? waiting : name.includes('429') ? impatient : patient
  const { outcome, before } = await runWith(place, name, times, limits)
  await expectNothingLost(world, before)
  expect(outcome.log + JSON.stringify(outcome.report)).not.toContain(world.sandbox.secretKey)
  const word = await wordFor(place, outcome)
  if (outcome.report.status !== 'succeeded') {
    const next = await world.sync({ ...settings, limits: patient })
    expect(next.report, `the run after it at ${place}`).toMatchObject({ status: 'succeeded', error: null })
    expect(await world.rows()).toEqual(world.wanted())
  }
  leftOver.delete(place)
  return word
}

/** A new world for that place, in which the table equals Clerk. */
async function openWorld(place: Place): Promise<void> {
  await worlds.get(place)?.close()
  const clock = createClock({ at: Date.UTC(2026, 5, 1), frozen: true })
  const world = await createWorld({ users: seedUsers({ count: 12, seed: 3 }), clock })
  worlds.set(place, world)
  await world.sync(settings)
  const { report } = (await runWith(place, undefined, 0)).outcome
  expect(report.status).toBe(place === 'alone' ? 'partial' : 'succeeded')
  goodRequests.set(place, report.requests.total)
  await world.sync(settings)
  leftOver.delete(place)
}

beforeAll(() => Promise.all(places.map(openWorld)))
afterAll(() => Promise.all([...worlds.values()].map((world) => world.close())))

interface Row {
  readonly name: string
  readonly often: string
  readonly words: readonly string[]
}

/** The rows of the table; a row without a name goes on with the name above it. */
function rowsOf(text: string): Row[] {
  const rows: Row[] = []
  for (const line of text.trim().split('\n').slice(1)) {
    const [name = '', often = '', ...words] = line.split('|').map((cell) => cell.trim())
    rows.push({ name: name || (rows.at(-1)?.name ?? ''), often, words })
  }
  return rows
}

const rows = rowsOf(table)

test('the table has a row for every bad answer, once and for good, and a word for every place', () => {
  const named = Object.keys(badAnswers).flatMap((name) => [`${name}, once`, `${name}, for good`])
  expect(rows.map(({ name, often }) => `${name}, ${often}`).sort()).toEqual(named.sort())
  expect(rows.filter(({ words }) => words.length !== places.length)).toEqual([])
})

test.each(rows.map(({ name, often, words }) => [name, often, words] as const))(
  '%s, %s: loses nobody, ends as the table says, and the next run converges',
  async (name, often, words) => {
    const times = often === 'once' ? 1 : Number.POSITIVE_INFINITY
    const met = await Promise.all(
      places.map((place, index) => (words[index] === '-' ? '-' : tryAt(place, name, times))),
    )
    const byPlace = (all: readonly string[]) =>
      Object.fromEntries(places.map((place, index) => [place, all[index]]))
    expect(byPlace(met)).toEqual(byPlace(words))
  },
)

test('counts that are both far too high for good let nobody be deleted, and the report says so', async () => {
  const world = worldAt('page 1')
  changeClerk(world)
  const before = await world.rows()
  world.sandbox.faults.add({
    endpoint: 'count',
    kind: 'count-high',
    n: 1000,
    times: Number.POSITIVE_INFINITY,
  })
  const { report } = await world.sync({ ...settings, limits: patient })
  world.sandbox.faults.clear()
  expect(report).toMatchObject({ status: 'partial', error: null, counts: { created: 1, deleted: 0 } })
  expect(report.notes).toContain('1000 users that Clerk counts were on no page')
  await expectNothingLost(world, before)
  expect((await world.sync({ ...settings, limits: patient })).report).toMatchObject({ status: 'succeeded' })
  expect(await world.rows()).toEqual(world.wanted())
})

test('an approval does not turn empty lists and counts into deletions of users whom Clerk has', async () => {
  const world = worldAt('page 1')
  const before = await world.rows()
  world.sandbox.clock.advance(3_600_000)
  const times = Number.POSITIVE_INFINITY
  world.sandbox.faults.add({ endpoint: 'list', kind: 'empty-array', times })
  world.sandbox.faults.add({ endpoint: 'count', kind: 'count-low', n: 1000, times })
  const { report } = await world.sync({ ...settings, limits: patient, approveDeletes: 1000 })
  world.sandbox.faults.clear()
  expect(report).toMatchObject({ status: 'partial', counts: { deleted: 0 } })
  expect(await world.rows()).toEqual(before)
})
