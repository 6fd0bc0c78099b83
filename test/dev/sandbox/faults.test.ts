// Each fault as it looks on the wire.
import { describe, expect, it } from 'vitest'
import type { FaultKind, FaultOptions, SandboxUser } from '../../../src/dev/sandbox/sandbox.ts'
import { seedUsers } from '../../../src/dev/sandbox/seed.ts'
import { count, errorCode, get, ids, json, list, start } from './client.ts'

const users = seedUsers({ count: 8 })
const LIST = '/users?order_by=created_at'

async function spoilt(options: Partial<FaultOptions> & { kind: FaultKind }, path = LIST) {
  const sandbox = await start({ users })
  sandbox.faults.add({ endpoint: 'any', ...options })
  return get(sandbox, path)
}

async function page(options: Partial<FaultOptions> & { kind: FaultKind }, path = LIST) {
  return (await (await spoilt(options, path)).json()) as (SandboxUser | null)[]
}

describe('a fault', () => {
  it('spoils one request that fits it, then leaves the right answer', async () => {
    const sandbox = await start({ users })
    const fault = sandbox.faults.add({ endpoint: 'list', kind: 500 })
    expect(await count(sandbox)).toBe(8)
    expect(fault.used).toBe(0)
    expect((await get(sandbox, LIST)).status).toBe(500)
    expect((await get(sandbox, LIST)).status).toBe(200)
    expect(fault.used).toBe(1)
    expect(sandbox.requests.map(({ endpoint, status }) => `${endpoint} ${status}`)).toEqual([
      'count 200',
      'list 500',
      'list 200',
    ])
  })

  it('lasts as long as it is told, until it is removed or all are cleared', async () => {
    const sandbox = await start({ users })
    const statuses = async () => [(await get(sandbox, LIST)).status, (await get(sandbox, LIST)).status]
    const fault = sandbox.faults.add({ endpoint: 'list', kind: 503, times: Number.POSITIVE_INFINITY })
    expect(await statuses()).toEqual([503, 503])
    fault.remove()
    expect(await statuses()).toEqual([200, 200])
    sandbox.faults.add({ endpoint: 'list', kind: 503, times: 3, when: ({ query }) => query.has('order_by') })
    expect((await get(sandbox, '/users')).status).toBe(200)
    expect((await get(sandbox, LIST)).status).toBe(503)
    sandbox.faults.clear()
    expect(await statuses()).toEqual([200, 200])
  })
})

describe('a body that is no list of users', () => {
  it.each([
    ['object', '{}'],
    ['wrapped-empty', '{"data":[]}'],
    ['empty-array', '[]'],
    ['null', 'null'],
    ['string', '"users"'],
  ] as const)('%s is %s with status 200', async (kind, body) => {
    const response = await spoilt({ kind })
    expect(response.status).toBe(200)
    expect(response.headers.get('content-type')).toBe('application/json')
    expect(await response.text()).toBe(body)
  })

  it('comes wrapped, as HTML, or with a charset', async () => {
    expect(await (await spoilt({ kind: 'wrapped' })).json()).toEqual({
      data: await page({ kind: 'charset' }),
    })
    const html = await spoilt({ kind: 'html' })
    expect(html.status).toBe(200)
    expect(html.headers.get('content-type')).toContain('text/html')
    expect((await spoilt({ kind: 'charset' })).headers.get('content-type')).toBe(
      'application/json; charset=utf-8',
    )
  })
})

describe('a page', () => {
  it.each([
    ['null', (user: unknown) => user === null],
    ['a string', (user: unknown) => typeof user === 'string'],
    ['no id', (user: object) => !('id' in user)],
    ['a numeric id', (user: { id: unknown }) => user.id === 17],
    ['a foreign id', (user: { id: string }) => user.id.startsWith('org_')],
    ['created_at a string', (user: { created_at: unknown }) => typeof user.created_at === 'string'],
    ['no updated_at', (user: object) => !('updated_at' in user)],
    ['email_addresses no array', (user: SandboxUser) => !Array.isArray(user.email_addresses)],
    ['first_name an object', (user: { first_name: unknown }) => typeof user.first_name === 'object'],
  ] as const)('has one malformed user: %s', async (how, isSo) => {
    const right = await page({ kind: 'charset' })
    const spoiltPage = await page({ kind: 'malformed-user', how, index: 2 })
    expect(isSo(spoiltPage[2] as never)).toBe(true)
    expect(spoiltPage.toSpliced(2, 1)).toEqual(right.toSpliced(2, 1))
  })

  it('has a malformed user by id, also where that user is asked for alone', async () => {
    const id = users[4]?.id ?? ''
    const fault = { kind: 'malformed-user', how: 'first_name an object', ids: [id] } as const
    expect(
      (await page(fault)).filter((user) => typeof user?.first_name === 'object' && user.first_name),
    ).toHaveLength(1)
    const alone = (await (await spoilt(fault, `/users/${id}`)).json()) as SandboxUser
    expect(alone.first_name).toEqual({ en: 'Ada' })
  })

  it('is cut short, lacks users, runs backwards or holds one twice', async () => {
    const right = await page({ kind: 'charset' })
    const first = right[0]?.id ?? ''
    expect(await page({ kind: 'cut-short' })).toEqual(right.slice(0, 4))
    expect(await page({ kind: 'cut-short', n: 1 })).toEqual(right.slice(0, 7))
    expect(await page({ kind: 'missing-users', ids: [first] })).toEqual(right.slice(1))
    expect((await spoilt({ kind: 'missing-users', ids: [first] }, `/users/${first}`)).status).toBe(404)
    expect(await page({ kind: 'wrong-order' })).toEqual(right.toReversed())
    expect(await page({ kind: 'duplicate-user' })).toEqual([right[0], ...right])
    expect(await page({ kind: 'duplicate-user' }, `${LIST}&limit=3`)).toEqual([right[0], right[0], right[1]])
  })
})

describe('a broken connection', () => {
  it('is reset before any header', async () => {
    await expect(spoilt({ kind: 'reset' })).rejects.toThrow('fetch failed')
  })

  it('ends in the middle of the body, with a length that promised more', async () => {
    const response = await spoilt({ kind: 'truncated' })
    expect(response.status).toBe(200)
    expect(Number(response.headers.get('content-length'))).toBeGreaterThan(8000)
    await expect(response.text()).rejects.toThrow('terminated')
  })

  it('never answers, until the sandbox closes', async () => {
    const sandbox = await start({ users })
    sandbox.faults.add({ endpoint: 'list', kind: 'hang' })
    const asked = new Promise<void>((resolve) => {
      sandbox.onRequest = () => resolve()
    })
    const pending = expect(get(sandbox, LIST)).rejects.toThrow('fetch failed')
    await asked
    expect(await count(sandbox)).toBe(8)
    await sandbox.close()
    await pending
  })

  it('stalls in the middle of the body, until the sandbox closes', async () => {
    const sandbox = await start({ users })
    sandbox.faults.add({ endpoint: 'list', kind: 'slow-body' })
    const response = await get(sandbox, LIST)
    expect(response.status).toBe(200)
    const reader = (response.body as ReadableStream<Uint8Array>).getReader()
    expect((await reader.read()).value?.length).toBeGreaterThan(0)
    const pending = expect(reader.read()).rejects.toThrow('terminated')
    await sandbox.close()
    await pending
  })
})

describe('a status', () => {
  it.each([400, 401, 403, 404, 422, 429, 500, 503] as const)('%s comes with an error body', async (kind) => {
    const response = await spoilt({ kind })
    expect(response.headers.get('retry-after')).toBe(null)
    expect(response.headers.get('content-type')).toBe('application/json')
    expect(await errorCode(response)).toMatchObject({ status: kind, code: expect.any(String), traced: true })
  })

  it('502 comes with HTML', async () => {
    const response = await spoilt({ kind: 502 })
    expect(response.status).toBe(502)
    expect(await response.text()).toContain('<html>')
  })

  it('429 says when to come back, in seconds or as a date', async () => {
    expect((await spoilt({ kind: 429, retryAfter: 3 })).headers.get('retry-after')).toBe('3')
    const date = new Date(1_700_000_000_000)
    expect((await spoilt({ kind: 429, retryAfter: date })).headers.get('retry-after')).toBe(
      date.toUTCString(),
    )
  })
})

describe('another answer', () => {
  it('counts too many, too few, or in words', async () => {
    const sandbox = await start({ users })
    sandbox.faults.add({ endpoint: 'count', kind: 'count-high', n: 3 })
    sandbox.faults.add({ endpoint: 'count', kind: 'count-low' })
    sandbox.faults.add({ endpoint: 'count', kind: 'count-string' })
    expect([await count(sandbox), await count(sandbox), await count(sandbox), await count(sandbox)]).toEqual([
      11,
      7,
      '8',
      8,
    ])
  })

  it('comes from another instance', async () => {
    const sandbox = await start({ environmentType: 'production' })
    expect(await json(sandbox, '/instance')).toEqual({
      object: 'instance',
      id: sandbox.instanceId,
      environment_type: 'production',
      allowed_origins: null,
      workspace_id: null,
    })
    sandbox.faults.add({ endpoint: 'instance', kind: 'another-instance' })
    expect(await json(sandbox, '/instance')).not.toMatchObject({ id: sandbox.instanceId })
  })

  it('brings whatever a test put among the users', async () => {
    const sandbox = await start({ users })
    sandbox.users.putRaw(null, { createdAt: Number.MAX_SAFE_INTEGER })
    const id = sandbox.users.putRaw({ id: 'user_Odd', created_at: -1e13, first_name: 7 })
    expect(await list(sandbox, 'limit=1')).toEqual([null])
    expect(await ids(sandbox, 'order_by=created_at&limit=1')).toEqual([id])
    expect(await count(sandbox)).toBe(10)
  })
})
