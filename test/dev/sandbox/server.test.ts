// The rest of the API: keys, the request window, the clock, writes, and signed deliveries.
import { verifyWebhook } from '@clerk/backend/webhooks'
import { describe, expect, it } from 'vitest'
import { createClock, createSandbox, type Delivery, type Sandbox } from '../../../src/dev/sandbox/sandbox.ts'
import { errorCode, get, json, list, start } from './client.ts'

const SECRETS = ['/users', '/users/count', '/users/user_1', '/instance']

describe('the API', () => {
  it.each(SECRETS)('refuses another key on %s', async (path) => {
    const sandbox = await start()
    for (const headers of [{}, { authorization: 'Bearer sk_test_other' }]) {
      const response = await get(sandbox, path, { headers })
      expect(await errorCode(response)).toEqual({ status: 401, code: 'clerk_key_invalid', traced: true })
    }
  })

  it('answers 404 for a user that is not there', async () => {
    const response = await get(await start(), '/users/user_gone')
    expect(await errorCode(response)).toEqual({ status: 404, code: 'resource_not_found', traced: true })
  })

  it('names the content type without a charset', async () => {
    expect((await get(await start(), '/users')).headers.get('content-type')).toBe('application/json')
  })

  it('allows so many requests per 10 seconds, and says how long to wait', async () => {
    const clock = createClock({ at: 1_000_000, frozen: true })
    const sandbox = await start({ clock, rateLimit: 2 })
    expect((await get(sandbox, '/users')).status).toBe(200)
    clock.advance(3500)
    expect((await get(sandbox, '/users/count')).status).toBe(200)
    const refused = await get(sandbox, '/users')
    expect(refused.status).toBe(429)
    expect(refused.headers.get('retry-after')).toBe('7')
    clock.advance(6500)
    expect((await get(sandbox, '/users')).status).toBe(200)
    sandbox.rateLimit = null
    for (let index = 0; index < 5; index += 1) expect((await get(sandbox, '/users')).status).toBe(200)
  })

  it('has the documented limits of both kinds of instance', async () => {
    const limits = await Promise.all(
      (['development', 'production'] as const).map(async (environmentType) => {
        const sandbox = await createSandbox({ environmentType })
        await sandbox.close()
        return sandbox.rateLimit
      }),
    )
    expect(limits).toEqual([100, 1000])
  })

  it('dates its answers by its own clock, or not at all', async () => {
    const clock = createClock({ at: Date.UTC(2031, 4, 6), frozen: true })
    const sandbox = await start({ clock })
    expect((await get(sandbox, '/users')).headers.get('date')).toBe('Tue, 06 May 2031 00:00:00 GMT')
    sandbox.dateHeader = false
    expect((await get(sandbox, '/users')).headers.get('date')).toBe(null)
  })

  it('records each request with its query and the answer', async () => {
    const sandbox = await start()
    await get(sandbox, '/users?limit=5')
    await get(sandbox, '/users/user_1')
    await get(sandbox, '/nothing')
    const seen = sandbox.requests.map(({ endpoint, path, query, status }) => [
      endpoint,
      path,
      query.get('limit'),
      status,
    ])
    expect(seen).toEqual([
      ['list', '/v1/users', '5', 200],
      ['user', '/v1/users/user_1', null, 404],
      ['other', '/v1/nothing', null, 404],
    ])
  })

  it('lets a test change the world before the answer is computed', async () => {
    const sandbox = await start()
    sandbox.onRequest = async ({ endpoint }, ordinal) => {
      if (endpoint === 'list' && ordinal === 2) sandbox.users.create({ first_name: 'Late' })
    }
    expect(await list(sandbox)).toHaveLength(0)
    expect(await list(sandbox)).toHaveLength(1)
  })

  it('rejects a taken port', async () => {
    const sandbox = await start()
    await expect(createSandbox({ port: sandbox.port })).rejects.toMatchObject({ code: 'EADDRINUSE' })
  })
})

describe('the store', () => {
  it('stamps changes as Clerk does: sign-ins move updated_at, activity does not', async () => {
    const clock = createClock({ at: 1_000_000, frozen: true })
    const { users } = await start({ clock })
    const { id, updated_at, created_at } = users.create()
    expect([created_at, updated_at]).toEqual([1_000_000, 1_000_000])
    clock.advance(1000)
    expect(users.touch(id)).toMatchObject({ last_active_at: 1_001_000, updated_at: 1_000_000 })
    const signedIn = users.signIn(id)
    expect(signedIn.updated_at).toBe(1_001_000)
    expect(signedIn.updated_at - (signedIn.last_sign_in_at ?? 0)).toBeGreaterThan(20)
    clock.advance(1000)
    expect(users.update(id, { email_address: 'new@example.com' })).toMatchObject({ updated_at: 1_002_000 })
    expect(users.get(id)?.email_addresses.map((email) => email.id)).toEqual([
      users.get(id)?.primary_email_address_id,
    ])
    expect(users.import({ created_at: -5 })).toMatchObject({ created_at: -5, updated_at: 1_002_000 })
    expect(users.delete(id)?.id).toBe(id)
    expect([users.get(id), users.size, users.all().length]).toEqual([undefined, 1, 1])
  })

  it('changes a default avatar with the name, and leaves a picture alone', async () => {
    const { users } = await start()
    const { id, image_url } = users.create({ first_name: 'Ada' })
    expect(users.update(id, { first_name: 'Bo' }).image_url).not.toBe(image_url)
    users.update(id, { image_url: 'https://img.clerk.com/picture' })
    expect(users.update(id, { first_name: 'Cy' }).image_url).toBe('https://img.clerk.com/picture')
  })
})

describe('writes over HTTP', () => {
  const send = (sandbox: Sandbox, method: string, path: string, body?: unknown) =>
    get(sandbox, path, {
      method,
      headers: { authorization: `Bearer ${sandbox.secretKey}` },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    })

  it('create, change and delete a user', async () => {
    const sandbox = await start()
    const made = await send(sandbox, 'POST', '/users', {
      first_name: 'Ada',
      email_address: ['ada@example.com'],
      created_at: '2020-01-02T03:04:05.678Z',
    })
    const { id, created_at } = (await made.json()) as { id: string; created_at: number }
    expect(created_at).toBe(Date.UTC(2020, 0, 2, 3, 4, 5, 678))
    await send(sandbox, 'PATCH', `/users/${id}`, { last_name: 'Lund', public_metadata: { plan: 'pro' } })
    expect(await json(sandbox, `/users/${id}`)).toMatchObject({
      first_name: 'Ada',
      last_name: 'Lund',
      public_metadata: { plan: 'pro' },
    })
    expect(await (await send(sandbox, 'DELETE', `/users/${id}`)).json()).toEqual({
      object: 'user',
      id,
      deleted: true,
    })
    expect((await send(sandbox, 'DELETE', `/users/${id}`)).status).toBe(404)
    expect((await send(sandbox, 'PATCH', `/users/${id}`, {})).status).toBe(404)
  })

  it('refuse what is no JSON or of the wrong kind', async () => {
    const sandbox = await start()
    expect((await send(sandbox, 'POST', '/users', '{')).status).toBe(400)
    expect((await send(sandbox, 'POST', '/users', [])).status).toBe(400)
    expect((await send(sandbox, 'POST', '/users', { first_name: 7 })).status).toBe(422)
    expect((await send(sandbox, 'POST', '/users', { created_at: 'soon' })).status).toBe(422)
    expect(sandbox.users.size).toBe(0)
  })
})

describe('a delivery', () => {
  const verify = ({ headers, body }: Delivery, signingSecret: string) =>
    verifyWebhook(new Request('http://127.0.0.1/', { method: 'POST', headers, body }), { signingSecret })

  it.each(['user.created', 'user.updated'] as const)(
    'of %s carries the whole user and holds its signature',
    async (event) => {
      const sandbox = await start()
      const user = sandbox.users.create({ first_name: 'Zoë 🚀' })
      const verified = await verify(sandbox.webhook(event, user.id), sandbox.webhookSecret)
      expect(verified).toMatchObject({
        type: event,
        object: 'event',
        instance_id: sandbox.instanceId,
        timestamp: user.updated_at + 15,
        data: user,
      })
    },
  )

  it('of user.deleted carries the id alone, also of somebody unknown', async () => {
    const sandbox = await start()
    const user = sandbox.users.create({ external_id: 'x1' })
    const known = await verify(sandbox.webhook('user.deleted', user), sandbox.webhookSecret)
    expect(known.data).toEqual({ deleted: true, id: user.id, object: 'user', external_id: 'x1' })
    const unknown = await verify(sandbox.webhook('user.deleted', 'user_Gone'), sandbox.webhookSecret)
    expect(unknown.data).toEqual({ deleted: true, id: 'user_Gone', object: 'user' })
  })

  it('does not hold with another key, a changed body or an old attempt', async () => {
    const sandbox = await start()
    const user = sandbox.users.create()
    const other = `whsec_${Buffer.from('another key, 24 bytes in').toString('base64')}`
    const secret = sandbox.webhookSecret
    await expect(verify(sandbox.webhook('user.updated', user, { secret: other }), secret)).rejects.toThrow()
    const delivery = sandbox.webhook('user.updated', user)
    await expect(verify({ ...delivery, body: `${delivery.body} ` }, secret)).rejects.toThrow()
    const late = sandbox.webhook('user.updated', user, { attemptedAt: Date.now() - 600_000 })
    await expect(verify(late, secret)).rejects.toThrow()
  })

  it('is repeated under its id, for another instance or none, with any time', async () => {
    const sandbox = await start()
    const user = sandbox.users.create()
    const options = { id: 'msg_1', instanceId: null, timestamp: 5 }
    const { headers, body } = sandbox.webhook('user.updated', user, options)
    expect(headers['svix-id']).toBe('msg_1')
    expect(JSON.parse(body)).toMatchObject({ timestamp: 5 })
    expect(JSON.parse(body)).not.toHaveProperty('instance_id')
    const elsewhere = sandbox.webhook('user.updated', user, { instanceId: 'ins_other' })
    expect(JSON.parse(elsewhere.body)).toMatchObject({ instance_id: 'ins_other' })
    expect(elsewhere.headers['svix-id']).not.toBe(sandbox.webhook('user.updated', user).headers['svix-id'])
  })
})
