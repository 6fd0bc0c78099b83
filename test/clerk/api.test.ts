// The client against a server that answers whatever a test wants, over loopback HTTP: what it sends, what it tries again,
// how long it waits, what ends it, and that no answer but Clerk's own reads as "there is no such user".
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { inspect } from 'node:util'
import { brotliCompressSync, gzipSync } from 'node:zlib'
import { createClerkClient as createSdkClient } from '@clerk/backend'
import { afterAll, describe, expect, test } from 'vitest'
import { type ClerkClient, type ClerkClientOptions, createClerkClient } from '../../src/clerk/api.ts'
import { isSyncError, SyncError } from '../../src/errors.ts'
import { logTo } from '../../src/log.ts'

const secretKey = 'sk_test_TheKeyThatNobodyMaySee'
const user = {
  id: 'user_2abcDEF',
  object: 'user',
  created_at: 1_700_000_000_000,
  updated_at: 1_700_000_000_001,
  first_name: 'Ada',
  last_name: 'Berg',
  username: null,
  image_url: '',
  email_addresses: [],
  primary_email_address_id: null,
  phone_numbers: [],
  primary_phone_number_id: null,
  web3_wallets: [],
  primary_web3_wallet_id: null,
}
const notFound = {
  errors: [{ message: 'not found', long_message: 'No user was found', code: 'resource_not_found' }],
}

/** Answers the request with that number, counted from 1. */
type Answer = (response: ServerResponse, request: IncomingMessage, number: number) => void

interface Arrival {
  readonly url: string
  readonly headers: IncomingMessage['headers']
  /** On `performance.now`'s clock, ms. */
  readonly at: number
  /** Fulfilled once the client has let go of the connection. */
  readonly closed: Promise<void>
}

interface Server {
  readonly url: string
  readonly arrivals: Arrival[]
  /** Fulfilled when that many requests have come in. */
  arrived(count: number): Promise<void>
  close(): Promise<void>
}

const servers: Server[] = []
// Not after each test: some run side by side.
afterAll(() => Promise.all(servers.map((server) => server.close())))

async function serve(answer: Answer): Promise<Server> {
  const arrivals: Arrival[] = []
  const server = createServer((request, response) => {
    const closed = new Promise<void>((resolve) => response.once('close', resolve))
    arrivals.push({ url: request.url ?? '', headers: request.headers, at: performance.now(), closed })
    answer(response, request, arrivals.length)
    server.emit('arrived')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const served: Server = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    arrivals,
    async arrived(count) {
      while (arrivals.length < count) await once(server, 'arrived')
    },
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  servers.push(served)
  return served
}

/** An answer with a JSON body, or with the text itself. */
const send =
  (status: number, body: unknown, headers: Record<string, string> = {}): Answer =>
  (response) => {
    const text = typeof body === 'string'
    response.writeHead(status, { 'content-type': text ? 'text/html' : 'application/json', ...headers })
    response.end(text ? body : JSON.stringify(body))
  }
const reset: Answer = (_response, request) => request.socket.resetAndDestroy()
const hang: Answer = () => {}
const hangInBody: Answer = (response) => {
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': '100' })
  response.write('[{"id":')
}
const cutBody: Answer = (response) => {
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': '100' })
  response.write('[{"id":', () => response.destroy())
}
const noUsers = send(200, [])
/** The first answers in their order; the last of them from then on. */
const inTurn =
  (...answers: Answer[]): Answer =>
  (response, request, number) =>
    answers[Math.min(number, answers.length) - 1]?.(response, request, number)

const quick = { silenceMs: 5000, requestMs: 5000, tries: 3, totalMs: 20_000, firstRetryMs: 1 }

function clientOf(server: Pick<Server, 'url'>, options: Partial<ClerkClientOptions> = {}): ClerkClient {
  return createClerkClient({
    secretKey,
    apiUrl: server.url,
    requestsPer10s: 100_000,
    signal: new AbortController().signal,
    limits: quick,
    ...options,
  })
}

const list = (client: ClerkClient) => client.listUsers({ limit: 500 })

/** What it fails with. Fails the test if it does not. */
async function errorOf(promise: Promise<unknown>): Promise<SyncError> {
  const thrown = await promise.then(
    () => expect.unreachable('it did not fail'),
    (error: unknown) => error,
  )
  return isSyncError(thrown) ? thrown : expect.unreachable(inspect(thrown))
}

describe('a request', () => {
  test('names the API version that the SDK names', async () => {
    const server = await serve(send(200, { object: 'total_count', total_count: 0 }))
    await clientOf(server).countUsers()
    await createSdkClient({ secretKey, apiUrl: server.url }).users.getCount()
    const [ours, theirs] = server.arrivals.map(({ headers }) => headers['clerk-api-version'])
    expect(ours).toMatch(/^\d{4}-\d\d-\d\d$/)
    expect(ours).toBe(theirs)
  })

  test('carries the key as a bearer token, and asks for exactly what it was told', async () => {
    const server = await serve(noUsers)
    const client = clientOf(server)
    await client.listUsers({ limit: 500, orderBy: '+created_at', startingAfter: 'user_1' })
    await client.listUsers({ limit: 1, orderBy: '-updated_at', offset: 7, createdAtAfter: -5 })
    await client.listUsers({ limit: 100, userIds: ['user_1', 'user_2'] })
    expect(server.arrivals.map(({ url }) => url)).toEqual([
      '/v1/users?limit=500&order_by=%2Bcreated_at&starting_after=user_1',
      '/v1/users?limit=1&order_by=-updated_at&offset=7&created_at_after=-5',
      '/v1/users?limit=100&user_id=user_1&user_id=user_2',
    ])
    expect(server.arrivals[0]?.headers).toMatchObject({ authorization: `Bearer ${secretKey}` })
  })

  test('is counted with its tries, and with those that met a 429', async () => {
    const server = await serve(inTurn(send(500, {}), send(429, {}, { 'retry-after': '0' }), noUsers))
    const client = clientOf(server)
    await list(client)
    expect(client.requests).toEqual({ total: 3, throttled: 1 })
  })

  test("tells Clerk's clock, and nothing where there is no readable Date", async () => {
    const dated = { date: 'Thu, 02 Jan 2025 03:04:05 GMT' }
    const undated: Answer = (response, request, number) => {
      response.sendDate = false
      send(200, [], number === 2 ? { date: 'half past ten' } : {})(response, request, number)
    }
    const client = clientOf(await serve(inTurn(send(200, [], dated), undated)))
    expect((await list(client)).date).toBe(Date.UTC(2025, 0, 2, 3, 4, 5))
    expect((await list(client)).date).toBeUndefined()
    expect((await list(client)).date).toBeUndefined()
  })
})

describe('tried again', () => {
  test.each<[string, Answer]>([
    ['408', send(408, {})],
    ['425', send(425, {})],
    ['429', send(429, {}, { 'retry-after': '0' })],
    ['500', send(500, {})],
    ['502 with HTML', send(502, '<html>')],
    ['503', send(503, notFound)],
    ['a reset', reset],
    ['a cut body', cutBody],
    ['200 with HTML', send(200, '<html>')],
    ['200 with nothing', send(200, '')],
    ['half a list', send(200, '[{"id":', { 'content-type': 'application/json' })],
    ['an object in place of a list', send(200, { data: [] })],
    ['null', send(200, null)],
    [
      'a list longer than any of Clerk',
      send(
        200,
        Array.from({ length: 501 }, () => user),
      ),
    ],
  ])('%s, and with the next answer all is well', async (_what, bad) => {
    const server = await serve(inTurn(bad, send(200, [user])))
    const { users } = await list(clientOf(server))
    expect(users).toMatchObject([{ kind: 'user', clerkId: user.id }])
    expect(server.arrivals).toHaveLength(2)
  })

  test.each<[string, Answer, SyncError['kind']]>([
    ['a server that stays away', send(503, {}), 'transient'],
    ['resets', reset, 'transient'],
    ['cut bodies', cutBody, 'transient'],
    ['something else than a list', send(200, { data: [] }), 'contract'],
  ])('%s, as often as the limits say and no more', async (_what, bad, kind) => {
    const server = await serve(bad)
    expect((await errorOf(list(clientOf(server, { limits: { ...quick, tries: 4 } })))).kind).toBe(kind)
    expect(server.arrivals).toHaveLength(4)
  })

  test.concurrent('5 times in all by default', async () => {
    const server = await serve(send(503, {}))
    const client = clientOf(server, { limits: undefined })
    expect((await errorOf(list(client))).kind).toBe('transient')
    expect(server.arrivals).toHaveLength(5)
  })

  test('nothing that cannot change: one request, and the status in the facts', async () => {
    for (const [status, kind] of [
      [204, 'contract'],
      [206, 'contract'],
      [304, 'contract'],
      [400, 'contract'],
      [401, 'configuration'],
      [403, 'configuration'],
      [404, 'contract'],
      [410, 'contract'],
      [422, 'contract'],
    ] as const) {
      const server = await serve(send(status, status === 204 || status === 304 ? '' : notFound))
      expect(await errorOf(list(clientOf(server)))).toMatchObject({ kind, facts: { status } })
      expect(server.arrivals).toHaveLength(1)
    }
  })

  test.each([301, 302, 303, 307, 308])('no redirect (%i), nor is it followed', async (status) => {
    const elsewhere = await serve(noUsers)
    const server = await serve(send(status, '', { location: `${elsewhere.url}/v1/users` }))
    expect(await errorOf(list(clientOf(server)))).toMatchObject({ kind: 'contract', facts: { status } })
    expect([server.arrivals.length, elsewhere.arrivals.length]).toEqual([1, 0])
  })

  test('a server that is not there is transient: the code is in the facts, its address in the hint', async () => {
    const server = await serve(noUsers)
    await server.close()
    expect(await errorOf(list(clientOf(server)))).toMatchObject({
      kind: 'transient',
      hint: expect.stringContaining('CLERK_API_URL'),
      facts: { code: 'ECONNREFUSED' },
    })
  })
})

describe.concurrent('time', () => {
  test.each<[string, Answer]>([
    ['no answer', hang],
    ['an answer that stops in its body', hangInBody],
  ])(
    '%s ends at the limit of a request, is tried again, and lets go of the connection',
    async (_what, answer) => {
      const server = await serve(answer)
      const limits = { ...quick, requestMs: 150, tries: 2 }
      const error = await errorOf(list(clientOf(server, { limits })))
      expect(error).toMatchObject({ kind: 'transient', message: 'Clerk did not answer in time' })
      expect(server.arrivals).toHaveLength(2)
      await Promise.all(server.arrivals.map(({ closed }) => closed))
    },
  )

  test.each<[string, Answer]>([
    ['a request that hangs', hang],
    ['a body that hangs', hangInBody],
    ['one failure after the other', send(500, {})],
  ])('%s never takes longer than all tries may', async (_what, answer) => {
    const server = await serve(answer)
    const limits = { silenceMs: 60_000, requestMs: 60_000, tries: 1000, totalMs: 300, firstRetryMs: 1 }
    const start = performance.now()
    expect((await errorOf(list(clientOf(server, { limits })))).kind).toBe('transient')
    // Far from both limits, so that a busy machine does not matter.
    expect(performance.now() - start).toBeLessThan(10_000)
  })

  test('the budget holds for the tries too: 5 in the first second with a development key', async () => {
    const bad = send(503, {})
    const server = await serve(inTurn(bad, bad, bad, noUsers))
    const client = clientOf(server, { requestsPer10s: undefined })
    await Promise.all([list(client), list(client), list(client)])
    expect(server.arrivals).toHaveLength(6)
    const [first, sixth] = [server.arrivals[0]?.at ?? 0, server.arrivals[5]?.at ?? 0]
    // A second less what the first request may have been slower to arrive.
    expect(sixth - first).toBeGreaterThan(600)
  })
})

test('a request that queues for a small budget for longer than it may take is answered all the same', async () => {
  const server = await serve(noUsers)
  const limits = { ...quick, tries: 1, totalMs: 700, firstRetryMs: 1 }
  const client = clientOf(server, { requestsPer10s: 10, limits })
  const answers = await Promise.all([list(client), list(client), list(client)])
  expect(answers.map((answer) => answer.users)).toEqual([[], [], []])
})

describe.concurrent('an abort is heard at once, and its reason is the error', () => {
  const reason = new SyncError('aborted', 'stopped')

  /** Begins a request, aborts it once `until` holds, and sees it end long before anything it could wait for. */
  async function abortDuring(answer: Answer, until: (server: Server) => Promise<unknown>, limits = quick) {
    const server = await serve(answer)
    const stop = new AbortController()
    const client = clientOf(server, { signal: stop.signal, limits })
    const failed = errorOf(list(client))
    await until(server)
    const sent = server.arrivals.length
    const start = performance.now()
    stop.abort(reason)
    expect(await failed).toBe(reason)
    expect(performance.now() - start).toBeLessThan(3000)
    expect(await errorOf(client.countUsers())).toBe(reason)
    expect(server.arrivals).toHaveLength(sent)
  }
  const patient = { silenceMs: 60_000, requestMs: 60_000, tries: 5, totalMs: 60_000, firstRetryMs: 60_000 }
  const answered = async (server: Server) => {
    await server.arrived(1)
    // The client has read its answer and waits when a second client has been served.
    await fetch(server.url).then((response) => response.text())
  }

  test('before the first request', () => abortDuring(noUsers, async () => {}, patient))
  test('while no answer comes', () => abortDuring(hang, (server) => server.arrived(1), patient))
  test('while the body hangs', () => abortDuring(hangInBody, (server) => server.arrived(1), patient))
  test('in the last try, which would fail for a reason of its own', () =>
    abortDuring(hang, (server) => server.arrived(1), { ...patient, tries: 1 }))
  test('between two tries', () => abortDuring(send(500, {}), answered, patient))
  test('during a pause of Clerk', () =>
    abortDuring(send(429, {}, { 'retry-after': '50' }), answered, { ...patient, firstRetryMs: 1 }))

  test('in the queue for the budget', async () => {
    const server = await serve(noUsers)
    const stop = new AbortController()
    const client = clientOf(server, { signal: stop.signal, requestsPer10s: 1 })
    await list(client)
    const failed = errorOf(list(client))
    stop.abort(reason)
    expect(await failed).toBe(reason)
    expect(server.arrivals).toHaveLength(1)
  })
})

describe.concurrent('after a 429', () => {
  const throttled = (retryAfter: string | undefined, date?: string) =>
    send(
      429,
      {},
      { ...(retryAfter === undefined ? {} : { 'retry-after': retryAfter }), ...(date ? { date } : {}) },
    )

  test('nobody sends anything before the time that Clerk named', async () => {
    const server = await serve(inTurn(throttled('1'), noUsers))
    const client = clientOf(server)
    const first = list(client)
    await server.arrived(1)
    const at = server.arrivals[0]?.at ?? 0
    // The others ask while the first one's answer is on its way, or waits.
    while (client.requests.throttled === 0) await new Promise((resolve) => setImmediate(resolve))
    await Promise.all([first, list(client), client.listUsers({ limit: 1 })])
    expect(server.arrivals).toHaveLength(4)
    expect(Math.min(...server.arrivals.slice(1).map((arrival) => arrival.at))).toBeGreaterThan(at + 950)
    expect(client.requests).toEqual({ total: 4, throttled: 1 })
  })

  const date = 'Thu, 02 Jan 2031 03:04:05 GMT'
  test.each<[string, string | undefined, string | undefined, number]>([
    ['no Retry-After', undefined, undefined, 1000],
    ['an empty one', '', undefined, 1000],
    ['garbage', 'soonish', undefined, 1000],
    ['not a number', 'NaN', undefined, 1000],
    ['no finite number', 'Infinity', undefined, 1000],
    ['seconds', '1', undefined, 1000],
    ['a fraction of a second', '0.2', undefined, 200],
    ['a date, by the clock of the answer', 'Thu, 02 Jan 2031 03:04:06 GMT', date, 1000],
    ['none', '0', undefined, 0],
    ['below zero', '-30', undefined, 0],
    ['a date that is past', 'Thu, 02 Jan 2031 03:00:00 GMT', date, 0],
  ])('with %s (%j) the next request waits accordingly', async (_what, retryAfter, at, waitMs) => {
    const server = await serve(inTurn(throttled(retryAfter, at), noUsers))
    await list(clientOf(server))
    const [first, second] = [server.arrivals[0]?.at ?? 0, server.arrivals[1]?.at ?? 0]
    expect(second - first).toBeGreaterThan(waitMs - 50)
    expect(server.arrivals).toHaveLength(2)
  })

  test.each<[string, string, number]>([
    ['an hour', '3600', 3600],
    ['a date of tomorrow', 'Fri, 03 Jan 2031 03:04:05 GMT', 86_400],
    ['more than time has', '99999999999999999999', 1e20],
  ])(
    'that asks for %s everybody fails at once, without another request',
    async (_what, retryAfter, seconds) => {
      const server = await serve(throttled(retryAfter, date))
      // Between two tries it would wait for 5 s.
      const client = clientOf(server, { limits: { ...quick, firstRetryMs: 60_000, totalMs: 60_000 } })
      const start = performance.now()
      const error = await errorOf(list(client))
      expect(error.kind).toBe('transient')
      expect(error.facts.waitSeconds).toBeGreaterThan(0.99 * seconds)
      expect(error.hint).toContain(`${error.facts.waitSeconds} s`)
      expect(await errorOf(client.countUsers())).toMatchObject({ kind: 'transient', message: error.message })
      expect(performance.now() - start).toBeLessThan(4000)
      expect(server.arrivals).toHaveLength(1)
    },
  )

  test('for good, the tries end', async () => {
    const server = await serve(throttled('0'))
    expect(await errorOf(list(clientOf(server)))).toMatchObject({ kind: 'transient', facts: { status: 429 } })
    expect(server.arrivals).toHaveLength(3)
  })
})

describe('an answer without end', () => {
  const megabyte = 1024 * 1024
  /** Sends blanks for as long as anybody reads, and counts them. */
  function endless(status = 200): { answer: Answer; sent(): number } {
    const part = Buffer.alloc(megabyte / 16, ' ')
    let sent = 0
    const answer: Answer = (response) => {
      response.writeHead(status, { 'content-type': 'application/json' })
      response.write('[')
      const write = () => {
        let hasRoom = true
        while (hasRoom && !response.destroyed) {
          sent += part.length
          hasRoom = response.write(part)
        }
      }
      response.on('drain', write)
      write()
    }
    return { answer, sent: () => sent }
  }
  /** What a few kilobytes on the wire become. */
  const bomb = Buffer.alloc(64 * megabyte, ' ')
  const sendPacked = (encoding: string, packed: Buffer): Answer => {
    return (response) => response.writeHead(200, { 'content-encoding': encoding }).end(packed)
  }

  test('is read as far as a list can be long, then let go, and is a bad answer', async () => {
    const { answer, sent } = endless()
    const server = await serve(answer)
    const error = await errorOf(list(clientOf(server, { limits: { ...quick, tries: 2 } })))
    expect(error).toMatchObject({ kind: 'contract', message: expect.stringContaining('longer than 32 MB') })
    await Promise.all(server.arrivals.map(({ closed }) => closed))
    expect(server.arrivals).toHaveLength(2)
    // What was still on its way, in buffers of the system, may have been sent as well.
    expect(sent()).toBeLessThan(2 * 48 * megabyte)
  })

  test('is read less far where one user, a count or the instance was asked for', async () => {
    const { answer, sent } = endless()
    const client = clientOf(await serve(answer), { limits: { ...quick, tries: 1 } })
    const questions = [client.countUsers, () => client.fetchUser(user.id), client.fetchInstance]
    for (const ask of questions) {
      expect((await errorOf(ask())).message).toContain('longer than 1 MB')
    }
    expect(sent()).toBeLessThan(3 * 16 * megabyte)
  })

  test.each<[string, Answer]>([
    ['gzip', sendPacked('gzip', gzipSync(bomb))],
    ['brotli', sendPacked('br', brotliCompressSync(bomb))],
  ])('is counted as it is after decompression: %s', async (_what, answer) => {
    const client = clientOf(await serve(answer), { limits: { ...quick, tries: 1 } })
    expect(await errorOf(list(client))).toMatchObject({ kind: 'contract' })
  })

  test('keeps the meaning of its status', async () => {
    for (const [status, kind] of [
      [401, 'configuration'],
      [404, 'contract'],
      [503, 'transient'],
    ] as const) {
      const client = clientOf(await serve(endless(status).answer), { limits: { ...quick, tries: 1 } })
      expect(await errorOf(client.fetchUser(user.id))).toMatchObject({ kind, facts: { status } })
    }
  })

  test('makes the next page smaller, and the users of a large one arrive in two', async () => {
    const large = { ...user, private_metadata: { text: 'x'.repeat(80 * 1024) } }
    const users = Array.from({ length: 500 }, (_, index) => ({ ...large, id: `user_${index}` }))
    const server = await serve((response, request, number) => {
      const limit = Number(new URL(request.url ?? '', server.url).searchParams.get('limit'))
      send(200, users.slice(0, limit))(response, request, number)
    })
    const client = clientOf(server)
    const answer = await list(client)
    expect([answer.users.length, answer.limit]).toEqual([250, 250])
    expect((await list(client)).limit).toBe(250)
    expect((await client.listUsers({ limit: 1 })).limit).toBe(1)
    expect(client.notes()).toEqual([expect.stringContaining('pages of 250 users')])
    expect(server.arrivals).toHaveLength(4)
  })
})

test('an answer that no page of fewer users could have helped makes no page smaller', async () => {
  const bad = send(503, {})
  const server = await serve(inTurn(bad, reset, send(200, '<html>'), noUsers))
  const client = clientOf(server, { limits: { ...quick, tries: 4 } })
  expect((await list(client)).limit).toBe(500)
  expect(client.notes()).toEqual([])
})

describe('one user by id', () => {
  const ask = (client: ClerkClient) => client.fetchUser(user.id)

  test('is denied only in the words of Clerk', async () => {
    const client = clientOf(await serve(send(404, notFound)))
    expect((await ask(client)).user).toBe('denied')
  })

  test.each<[string, Answer]>([
    ["a proxy's page", send(404, '<html>404 Not Found</html>')],
    ['an empty body', send(404, '')],
    ['another code', send(404, { errors: [{ code: 'host_invalid' }] })],
    ['no code', send(404, { errors: [{}] })],
    ['errors that are no list', send(404, { errors: { code: 'resource_not_found' } })],
    ["a gateway's own JSON", send(404, { code: 'resource_not_found', message: 'no route' })],
    ['null', send(404, null)],
    ["Clerk's words under another status", send(400, notFound)],
    ["Clerk's words with a 410", send(410, notFound)],
    ["Clerk's words with a 200", send(200, notFound)],
    ['another user', send(200, { ...user, id: 'user_2other' })],
    ['a list', send(200, [user])],
    ['an empty list', send(200, [])],
    ['a user without an id', send(200, { ...user, id: null })],
  ])('is not denied by a 404 or an answer that is not: %s', async (_what, answer) => {
    const client = clientOf(await serve(answer))
    expect((await errorOf(ask(client))).kind).toBe('contract')
  })

  test('is not denied by a refused key or a server in trouble, whatever they say', async () => {
    for (const [status, kind] of [
      [401, 'configuration'],
      [403, 'configuration'],
      [500, 'transient'],
      [503, 'transient'],
    ] as const) {
      expect((await errorOf(ask(clientOf(await serve(send(status, notFound)))))).kind).toBe(kind)
    }
  })

  test('is read, or rejected by name', async () => {
    const client = clientOf(await serve(inTurn(send(200, user), send(200, { ...user, first_name: 7 }))))
    expect((await ask(client)).user).toMatchObject({ kind: 'user', clerkId: user.id })
    expect((await ask(client)).user).toMatchObject({ kind: 'rejected', clerkId: user.id })
  })

  test('that cannot be one of Clerk is never denied', async () => {
    const client = clientOf(await serve(send(200, { ...user, id: 'org_1' })))
    expect((await errorOf(client.fetchUser('org_1'))).kind).toBe('contract')
  })
})

test("a list is never empty by a 404 in Clerk's words", async () => {
  expect((await errorOf(list(clientOf(await serve(send(404, notFound)))))).kind).toBe('contract')
})

test('a list keeps its order, and each user that cannot be read stays in its place', async () => {
  const client = clientOf(
    await serve(send(200, [null, user, { ...user, id: 'user_2b', email_addresses: 7 }, 'x'])),
  )
  expect((await list(client)).users.map(({ kind }) => kind)).toEqual([
    'unreadable',
    'user',
    'rejected',
    'unreadable',
  ])
})

describe('a count', () => {
  test('is a whole number of users', async () => {
    for (const count of [0, 926_354]) {
      const client = clientOf(await serve(send(200, { object: 'total_count', total_count: count })))
      expect((await client.countUsers()).count).toBe(count)
    }
  })
  test.each(['"12"', '-1', '1.5', 'null', '1e999', '[12]', 'true'])('is not %s', async (count) => {
    const answer = send(200, `{"object":"total_count","total_count":${count}}`)
    expect((await errorOf(clientOf(await serve(answer)).countUsers())).kind).toBe('contract')
  })
})

describe('the instance', () => {
  test('is told by its id', async () => {
    const client = clientOf(await serve(send(200, { object: 'instance', id: 'ins_2abc' })))
    expect((await client.fetchInstance()).id).toBe('ins_2abc')
  })
  test.each<unknown>([
    { object: 'instance' },
    { object: 'instance', id: 7 },
    { object: 'instance', id: 'user_2abc' },
    { object: 'instance', id: 'ins_' },
    { object: 'user', id: 'ins_2abc' },
    [{ object: 'instance', id: 'ins_2abc' }],
  ])('is not told by %j', async (body) => {
    expect((await errorOf(clientOf(await serve(send(200, body))).fetchInstance())).kind).toBe('contract')
  })
})

describe('the secret key is in no error and in no line of the log', () => {
  /** Everything that anybody could print of the error, its causes included. */
  function everythingOf(error: SyncError): string {
    const lines: string[] = []
    const log = logTo({ write: (line: string) => void lines.push(line) }, 'debug')
    log.error({ err: error }, 'failed')
    log.error({ error, cause: error.cause }, 'failed')
    const shown = inspect(error, { depth: 10, showHidden: true, getters: true })
    return [
      shown,
      JSON.stringify(error),
      String(error.stack),
      error.hint,
      JSON.stringify(error.facts),
      ...lines,
    ].join()
  }
  /** Says back what it was sent, as a debug page does. */
  const echo =
    (status: number, headers: (request: IncomingMessage) => Record<string, string> = () => ({})): Answer =>
    (response, request, number) =>
      send(status, { errors: [{ code: 'echo', message: request.headers.authorization }] }, headers(request))(
        response,
        request,
        number,
      )

  test.each<[string, Answer]>([
    ['a 200 that says it back', echo(200)],
    ['a 400 that says it back', echo(400)],
    ['a 401 that says it back', echo(401)],
    ['a 404 that says it back', echo(404)],
    [
      'a 429 that says it back',
      echo(429, (request) => ({ 'retry-after': String(request.headers.authorization) })),
    ],
    ['a 500 that says it back', echo(500)],
    ['a redirect with it', echo(302, (request) => ({ location: `/?${request.headers.authorization}` }))],
    ['a reset', reset],
    ['a cut body', cutBody],
    ['a hang', hang],
    [
      'no HTTP at all',
      (_response, request) => request.socket.end(`nonsense ${request.headers.authorization}\r\n\r\n`),
    ],
  ])('after %s', async (_what, answer) => {
    const limits = { ...quick, requestMs: 200, tries: 2, totalMs: 1500 }
    const client = clientOf(await serve(answer), { limits })
    const errors = [await errorOf(list(client)), await errorOf(client.fetchUser(user.id))]
    expect(errors.map(everythingOf).join()).not.toContain('NobodyMaySee')
  })

  test.each<[string, string]>([
    ['a line break', 'sk_test_NobodyMaySee\nThis'],
    ['an ellipsis', 'sk_test_NobodyMaySee…This'],
    ['a NUL', 'sk_test_NobodyMaySee\u0000This'],
  ])('if it holds %s, which no request can carry', async (_what, badKey) => {
    const server = await serve(noUsers)
    const error = await errorOf(list(clientOf(server, { secretKey: badKey })))
    expect(error).toMatchObject({ kind: 'configuration', hint: expect.stringContaining('CLERK_SECRET_KEY') })
    expect(everythingOf(error)).not.toContain('NobodyMaySee')
    expect(server.arrivals).toEqual([])
  })
})
