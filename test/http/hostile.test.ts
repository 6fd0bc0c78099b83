// Whatever anybody may send who knows the address, and what somebody might who knows the secret as well: none of it is
// accepted, and the process goes on as if it had not been. The requests come from a seed.
import { connect } from 'node:net'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import {
  bind,
  clerkEvent,
  clerkUser,
  deletionOf,
  type Endpoint,
  everything,
  newUserId,
  openEndpoint,
  type RequestParts,
  send,
  sign,
  signEvent,
  signingSecret,
  standing,
} from '../support/endpoint.ts'

const seed = Number(process.env.HOSTILE_SEED ?? 20260301)
const again = `HOSTILE_SEED=${seed} npx vitest run test/http/hostile.test.ts`
const requests = 2000

let db: TestDatabase
let endpoint: Endpoint

beforeAll(async () => {
  db = await createTestDatabase()
  await bind(db.sql)
  endpoint = await openEndpoint({ databaseUrl: db.url })
})
afterAll(async () => {
  await endpoint.close()
  await db.drop()
})

/** Numbers from a seed, the same on every machine. */
function randomFrom(start: number) {
  let state = start >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (limit: number) => Math.floor(next() * limit)
  return {
    below,
    pick: <T>(list: readonly T[]): T => list[below(list.length)] as T,
    bytes: (length: number) => Buffer.from(Array.from({ length }, () => below(256))),
  }
}
type Random = ReturnType<typeof randomFrom>

/** Arrays in arrays, or objects in objects. */
const deep = (levels: number, open: string, close: string) => `${open.repeat(levels)}1${close.repeat(levels)}`
const deepest = [deep(50_000, '[', ']'), deep(50_000, '{"a":', '}')]

/** What JSON can hold and no event has there. */
function absurd(random: Random, levels = 2): unknown {
  const leaves = [
    null,
    true,
    false,
    0,
    -1,
    1e308,
    Number.MIN_VALUE,
    '',
    '\u0000',
    '\ud800',
    'user.deleted',
    '💥'.repeat(50),
  ]
  if (levels === 0 || random.below(3) === 0) return random.pick(leaves)
  const length = random.below(4)
  const inner = () => absurd(random, levels - 1)
  if (random.below(2) === 0) return Array.from({ length }, inner)
  const keys = ['__proto__', 'constructor', 'toString', 'id', 'type', 'data', 'then', '', 'length']
  return Object.fromEntries(Array.from({ length }, () => [random.pick(keys), inner()]))
}

/** An id that no user has. */
const foreignIds = [
  null,
  17,
  '',
  'user_',
  'org_1',
  ['user_a'],
  { id: 'user_a' },
  "user_a'; drop table users; --",
  'user_\u0000',
  'user_ａ',
]

interface Hostile {
  readonly what: string
  readonly parts: RequestParts
  /** The statuses that are right. */
  readonly right: readonly number[]
}

const kinds: Record<string, (random: Random) => Omit<Hostile, 'what'>> = {
  'random bytes': (random) => ({
    parts: { body: random.bytes(random.below(2000)), chunked: random.below(2) === 0 },
    right: [400],
  }),
  'random bytes with headers of a delivery': (random) => {
    const { headers } = sign('{}')
    return { parts: { headers, body: random.bytes(1 + random.below(500)) }, right: [400] }
  },
  'a good delivery with a byte changed': (random) => {
    const { headers, raw } = signEvent(
      random.pick([deletionOf(newUserId()), clerkEvent('user.created', clerkUser(newUserId()))]),
    )
    const body = Buffer.from(raw)
    const place = random.below(body.length)
    body[place] = (body[place] ?? 0) ^ (1 << random.below(8))
    return { parts: { headers, body }, right: [400] }
  },
  'a good delivery with a header missing, doubled or another': (random) => {
    const { headers, body } = signEvent(deletionOf(newUserId()))
    const name = random.pick(['svix-id', 'svix-timestamp', 'svix-signature'])
    const value = headers[name] ?? ''
    const others = [
      '',
      ' ',
      'x',
      `${value}x`,
      'ada@example.com',
      signingSecret,
      '1e99',
      '-1',
      'NaN',
      'v1,',
      'v1',
      ',',
      'é'.repeat(50),
      'A'.repeat(5000),
    ]
    const { [name]: _gone, ...rest } = headers
    const kind = random.below(3)
    // A signature that comes twice is still there.
    const doubled = name === 'svix-signature' ? 'svix-id' : name
    if (kind === 0) return { parts: { headers: rest, body }, right: [400] }
    if (kind === 1)
      return {
        parts: { headers: { ...headers, [doubled]: [`${headers[doubled]}`, 'x'].reverse() }, body },
        right: [400],
      }
    return {
      parts: { headers: { ...rest, [name]: Buffer.from(random.pick(others)).toString('latin1') }, body },
      right: [400],
    }
  },
  'another method': (random) => {
    const { headers, body } = signEvent(deletionOf(newUserId()))
    const method = random.pick([
      'PUT',
      'PATCH',
      'DELETE',
      'OPTIONS',
      'PROPFIND',
      'REPORT',
      'M-SEARCH',
      'QUERY',
    ])
    return { parts: { method, headers, body }, right: [405] }
  },
  'another content type and encoding': (random) => {
    const type = random.pick([
      'multipart/form-data',
      'text/html',
      'application/xml',
      '',
      'x'.repeat(3000),
      'application/json; charset=utf-16',
    ])
    const encoding = random.pick(['gzip', 'br', 'identity', 'x'])
    const { headers } = sign('{}')
    return {
      parts: {
        headers: { ...headers, 'content-type': type, 'content-encoding': encoding },
        body: random.bytes(200),
      },
      right: [400],
    }
  },
  'a body over the limit': (random) => ({
    parts: {
      body: Buffer.alloc(1024 * 1024 + 1 + random.below(1_000_000), '['),
      chunked: random.below(2) === 0,
    },
    right: [413],
  }),
  'deep JSON, not signed': (random) => ({
    parts: { headers: { ...sign('x').headers }, body: random.pick(deepest) },
    right: [400],
  }),
  'deep JSON, signed': (random) => {
    const json = random.pick(deepest)
    const bodies: [string, number][] = [
      [json, 400],
      [`{"type":"user.deleted","data":${json}}`, 400],
      [`{"type":"user.updated","data":{"id":${json}}}`, 400],
      [`{"type":"user.created","instance_id":${json},"data":{"id":"user_a"}}`, 400],
      [`{"type":${json}}`, 400],
      [`{"type":"session.created","data":${json}}`, 200],
    ]
    const [body, status] = random.pick(bodies)
    return { parts: { ...sign(body) }, right: [status] }
  },
  'bytes that are no UTF-8, signed': (random) => {
    const bytes = Buffer.from(JSON.stringify(deletionOf(newUserId())))
    bytes[20 + random.below(bytes.length - 40)] = random.pick([0x80, 0xc0, 0xfe, 0xff])
    const { headers, raw } = sign(bytes)
    return { parts: { headers, body: raw }, right: [400] }
  },
  'absurd JSON, signed': (random) => {
    const event = absurd(random, 3) as { type?: unknown } | null
    const isForeign = typeof event?.type === 'string' && !event.type.startsWith('user.')
    return { parts: { ...signEvent(event) }, right: [isForeign ? 200 : 400] }
  },
  'an event about nobody, signed': (random) => {
    const type = random.pick(['user.created', 'user.updated', 'user.deleted'])
    const data =
      random.below(2) === 0 ? { ...clerkUser('user_a'), id: random.pick(foreignIds) } : notAUser(random)
    return { parts: { ...signEvent(clerkEvent(type, data)) }, right: [400] }
  },
  'an event of another type, signed': (random) => ({
    parts: {
      ...signEvent(
        clerkEvent(random.pick(['session.ended', 'sms.created', 'x', '__proto__']), absurd(random)),
      ),
    },
    right: [200],
  }),
  'an event of another instance, signed': (random) => {
    const event = random.pick([deletionOf(newUserId()), clerkEvent('user.created', clerkUser(newUserId()))])
    const other = random.pick(['ins_other', '', 0, false, [], {}, 'ins_\u0000'])
    return { parts: { ...signEvent({ ...event, instance_id: other }) }, right: [400] }
  },
  'a broken user, signed': (random) => {
    const field = random.pick([
      'created_at',
      'updated_at',
      'first_name',
      'last_name',
      'email_addresses',
      'username',
    ])
    const broken = random.pick([{}, 1e300, -1e300, ['x'], { length: 1 }])
    const value = typeof broken === 'number' && !field.endsWith('_at') ? {} : broken
    const data = { ...clerkUser(newUserId()), [field]: field === 'email_addresses' ? {} : value }
    return { parts: { ...signEvent(clerkEvent('user.updated', data)) }, right: [200] }
  },
}

function notAUser(random: Random): unknown {
  const data = absurd(random)
  return typeof data === 'object' && data !== null && 'id' in data ? null : data
}

/** Every kind as often as the others, but for the large ones. */
function hostileRequests(): Hostile[] {
  const random = randomFrom(seed)
  const names = Object.keys(kinds)
  const rare = new Set(['a body over the limit', 'deep JSON, not signed', 'deep JSON, signed'])
  return Array.from({ length: requests }, (): Hostile => {
    let what = random.pick(names)
    if (rare.has(what) && random.below(3) > 0) what = 'random bytes'
    const make = kinds[what]
    if (make === undefined) throw new Error('unreachable')
    return { what, ...make(random) }
  })
}

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

/** The heap in bytes without what is garbage. */
async function heapInUse(): Promise<number> {
  for (let time = 0; time < 3; time++) {
    collectGarbage()
    await new Promise((resolve) => setImmediate(resolve))
  }
  return process.memoryUsage().heapUsed
}

async function expectGoodDelivery(): Promise<void> {
  const id = newUserId()
  expect(await endpoint.post(signEvent(clerkEvent('user.created', clerkUser(id))))).toMatchObject({
    status: 200,
  })
  expect(await standing(db.sql, id)).toEqual({ name: 'Ada Lovelace', tombstone: false })
  await db.sql`delete from users where clerk_id = ${id}`
}

test(`${requests} hostile requests are each turned away, change nothing and leave nothing behind (${again})`, async () => {
  const bystander = newUserId()
  await endpoint.post(signEvent(clerkEvent('user.created', clerkUser(bystander))))
  const before = await everything(db.sql)
  const all = hostileRequests()
  const wrong: unknown[] = []
  const judged = new Map<string, number>()
  const runOne = async ({ what, parts, right }: Hostile) => {
    const answer = await send(endpoint.port, parts).catch((error: unknown) => ({
      status: String(error),
      body: {},
    }))
    const isRight = right.includes(Number(answer.status))
    // 200 is for what is not ours, or a user whom a repeat would not make better.
    const isFine =
      answer.status !== 200 ||
      ['ignored', 'rejected'].includes(String('result' in answer.body && answer.body.result))
    if (!isRight || !isFine)
      wrong.push({ what, right, ...answer, sent: String(parts.body).slice(0, 200), headers: parts.headers })
    judged.set(what, (judged.get(what) ?? 0) + 1)
  }
  let heapAtFirst = 0
  for (let start = 0; start < all.length; start += 500) {
    const queue = all.slice(start, start + 500)
    const lane = async () => {
      for (let one = queue.shift(); one !== undefined; one = queue.shift()) await runOne(one)
    }
    await Promise.all(Array.from({ length: 8 }, lane))
    if (start === 0) heapAtFirst = await heapInUse()
  }
  const growth = (await heapInUse()) - heapAtFirst
  expect(wrong.slice(0, 5)).toEqual([])
  expect([...judged.keys()].sort()).toEqual(Object.keys(kinds).sort())
  expect(await everything(db.sql)).toEqual(before)
  // The log that the test keeps grows by half a megabyte; bodies of 1500 requests would be 100.
  expect(growth).toBeLessThan(16 * 1024 * 1024)
  expect(endpoint.leaks(['drop table'])).toEqual([])
  expect(endpoint.log.filter((line) => /"level":"(error|fatal)"/.test(line))).toEqual([])
  await expectGoodDelivery()
})

test('what is not even HTTP, breaks off or never ends does not disturb the others', async () => {
  const random = randomFrom(seed + 1)
  const good = signEvent(deletionOf(newUserId()))
  const headers = Object.entries(good.headers).map(([name, value]) => `${name}: ${value}`)
  const post = (more: string[]) =>
    ['POST /api/users/webhook HTTP/1.1', 'host: x', ...more, '', ''].join('\r\n')
  const openings: (string | Buffer)[] = [
    random.bytes(500),
    'GET / HTTP/9.9\r\n\r\n',
    'POST\r\n\r\n',
    post(['content-length: 10', 'content-length: 20']),
    post(['content-length: -1']),
    post(['content-length: 10', 'transfer-encoding: chunked']),
    `${post(['transfer-encoding: chunked'])}zz\r\n`,
    `${post(['transfer-encoding: chunked'])}ffffffffffffffff\r\nx`,
    post([`x-large: ${'x'.repeat(100_000)}`]),
    post(Array.from({ length: 3000 }, (_, index) => `x-${index}: 1`)),
    post(['host: y', 'bad header\u0000: 1']),
    'CONNECT example.com:443 HTTP/1.1\r\nhost: example.com\r\n\r\n',
    'POST http://[::1 HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n',
    'POST /api/users/webhook HTTP/1.1\r\nhost: a b\r\ncontent-length: 0\r\n\r\n',
    // Broken off in the middle of the body, with a length and in chunks: the rest will never come.
    `${post([...headers, `content-length: ${good.raw.length}`])}${good.body.slice(0, 40)}`,
    `${post([...headers, 'transfer-encoding: chunked'])}28\r\n${good.body.slice(0, 40)}\r\n`,
  ]
  const before = await everything(db.sql)
  for (const opening of openings) {
    for (let time = 0; time < 3; time++) {
      const answer = await new Promise<string>((resolve) => {
        const socket = connect(endpoint.port, '127.0.0.1')
        let text = ''
        socket.on('error', () => {})
        socket.on('data', (chunk) => {
          text += chunk
        })
        socket.once('close', () => resolve(text))
        // Half-closed: nothing more will come.
        socket.end(opening)
      })
      expect(answer, String(opening).slice(0, 60)).not.toMatch(/^HTTP\/1\.1 200/)
    }
  }
  expect(await everything(db.sql)).toEqual(before)
  expect(endpoint.log.filter((line) => /"level":"(error|fatal)"/.test(line))).toEqual([])
  expect(endpoint.leaks()).toEqual([])
  await expectGoodDelivery()
})

test('a user with metadata 50,000 levels deep is a user like any other', async () => {
  const id = newUserId()
  const event = JSON.stringify(clerkEvent('user.created', { ...clerkUser(id), public_metadata: 'DEEP' }))
  for (const json of deepest) {
    const answer = await endpoint.post(sign(event.replace('"DEEP"', json)))
    expect(answer).toMatchObject({ status: 200 })
  }
  expect(await standing(db.sql, id)).toEqual({ name: 'Ada Lovelace', tombstone: false })
})

test('an id or a name of hundreds of kilobytes is written or refused, and never tried for ever', async () => {
  const long = `user_${'a'.repeat(200_000)}`
  for (const event of [clerkEvent('user.created', clerkUser(long)), deletionOf(long)]) {
    const { status, body } = await endpoint.post(signEvent(event))
    expect([status, body.result]).toEqual([expect.toBeOneOf([200, 400]), expect.any(String)])
  }
  const id = newUserId()
  const wordy = signEvent(clerkEvent('user.created', clerkUser(id, { name: 'A'.repeat(500_000) })))
  expect(await endpoint.post(wordy)).toMatchObject({ status: 200, body: { result: 'created' } })
})
