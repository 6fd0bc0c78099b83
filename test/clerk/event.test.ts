// A signed webhook as it is read: which signatures hold, and what Clerk's payloads, old and new, are taken for. The
// payloads are in the shapes that Clerk documents and sends, with people of example.com.
import { describe, expect, test } from 'vitest'
import { readEvent, readWebhook, type WebhookEvent } from '../../src/clerk/event.ts'
import { createSandbox } from '../../src/dev/sandbox/sandbox.ts'
import {
  clerkEvent,
  clerkUser,
  deletionOf,
  instanceId,
  type SignOptions,
  sign,
  signingSecret,
} from '../support/endpoint.ts'

const userId = 'user_2g7np7Hrk0SN6kj5EDMLDaKNL0S'
const refused = { kind: 'malformed' }

function requestOf(
  body: string | Buffer,
  headers: Record<string, string> | Headers,
  method = 'POST',
): Request {
  return new Request('http://127.0.0.1/api/users/webhook', {
    method,
    headers,
    body: new Uint8Array(Buffer.from(body)),
  })
}

/** Reads a body signed by the published scheme. */
function read(body: string | Buffer, options: SignOptions = {}, over: Record<string, string> = {}) {
  const { headers, raw } = sign(body, options)
  return readWebhook(requestOf(raw, { ...headers, ...over }), [signingSecret])
}

const created = JSON.stringify(clerkEvent('user.created', clerkUser(userId)))

/** The values that a user's event would write. */
function desiredOf(delivery: WebhookEvent) {
  if (delivery.kind !== 'user' || delivery.user.kind !== 'user')
    throw new Error(`no user: ${JSON.stringify(delivery)}`)
  return delivery.user.desired
}

describe('a signature', () => {
  test('holds if it was made by the published scheme, here or by the sandbox', async () => {
    expect(await read(created)).toMatchObject({ kind: 'user', instanceId })
    const sandbox = await createSandbox()
    try {
      const user = sandbox.users.create()
      for (const event of ['user.created', 'user.updated', 'user.deleted'] as const) {
        const { body, headers } = sandbox.webhook(event, user)
        const delivery = await readWebhook(requestOf(body, headers), [sandbox.webhookSecret])
        expect(delivery.kind).toBe(event === 'user.deleted' ? 'deletion' : 'user')
        // Signed by the same hand, the two are the same bytes.
        const id = headers['svix-id'] ?? ''
        const seconds = Number(headers['svix-timestamp'])
        expect(sign(body, { id, seconds, secret: sandbox.webhookSecret }).headers).toEqual(headers)
      }
    } finally {
      await sandbox.close()
    }
  })

  test('does not hold over a body of which any one byte is another', async () => {
    const { headers, raw } = sign(created)
    let judged = 0
    for (let place = 0; place < raw.length; place += 7) {
      const tampered = Buffer.from(raw)
      tampered[place] = (raw[place] ?? 0) ^ 1
      expect(await readWebhook(requestOf(tampered, headers), [signingSecret])).toMatchObject(refused)
      judged++
    }
    expect(judged).toBeGreaterThan(100)
    for (const body of [
      raw.subarray(1),
      raw.subarray(0, -1),
      Buffer.concat([raw, Buffer.from(' ')]),
      Buffer.of(),
    ]) {
      expect(await readWebhook(requestOf(body, headers), [signingSecret])).toMatchObject(refused)
    }
  })

  test('does not hold with another secret, id or time than it was made with', async () => {
    const other = `whsec_${Buffer.from('another secret of a test').toString('base64')}`
    expect(await read(created, { secret: other })).toMatchObject(refused)
    expect(await read(created, {}, { 'svix-id': 'msg_another' })).toMatchObject(refused)
    const second = Math.floor(Date.now() / 1000)
    expect(await read(created, { seconds: second }, { 'svix-timestamp': `${second - 1}` })).toMatchObject(
      refused,
    )
    expect(await read(created, {}, { 'svix-timestamp': 'yesterday' })).toMatchObject(refused)
  })

  test('holds for five minutes of the receiver’s clock, in both directions', async () => {
    const second = Math.floor(Date.now() / 1000)
    for (const age of [-360, 360]) {
      expect(await read(created, { seconds: second + age })).toMatchObject(refused)
    }
    for (const age of [-270, 270]) {
      expect((await read(created, { seconds: second + age })).kind).toBe('user')
    }
  })

  test.each(['svix-id', 'svix-timestamp', 'svix-signature'])('needs %s', async (missing) => {
    const { headers, raw } = sign(created)
    const rest = Object.fromEntries(Object.entries(headers).filter(([name]) => name !== missing))
    expect(await readWebhook(requestOf(raw, rest), [signingSecret])).toMatchObject(refused)
    expect(await readWebhook(requestOf(raw, { ...rest, [missing]: ' ' }), [signingSecret])).toMatchObject(
      refused,
    )
  })

  test('that does not hold is told apart by what went wrong', async () => {
    const second = Math.floor(Date.now() / 1000)
    const { headers, raw } = sign(created)
    const why = async (body: string | Buffer, parts: Record<string, string>, secret = signingSecret) => {
      const delivery = await readWebhook(requestOf(Buffer.from(body), parts), [secret])
      return delivery.kind === 'malformed' ? delivery.reason : delivery.kind
    }
    expect(await why(raw, {})).toMatch(/^the header svix-id, svix-timestamp, svix-signature is missing/)
    expect(await why(raw, { ...headers, 'svix-timestamp': 'now' })).toBe(
      'the header svix-timestamp is not a time',
    )
    const [late, early] = [sign(created, { seconds: second - 660 }), sign(created, { seconds: second + 660 })]
    expect(await why(late.raw, late.headers)).toMatch(/more than 5 minutes before the clock of this machine/)
    expect(await why(early.raw, early.headers)).toMatch(/more than 5 minutes after the clock of this machine/)
    expect(await why(raw.subarray(0, 100), headers)).toMatch(/^the body is not JSON/)
    const other = `whsec_${Buffer.from('the secret of another endpoint').toString('base64')}`
    expect(await why(raw, headers, other)).toMatch(
      /^the signature does not fit: CLERK_WEBHOOK_SIGNING_SECRET/,
    )
    expect(await why(raw, headers)).toBe('user')
  })

  test('holds by either of two secrets while one replaces the other, and by no third', async () => {
    const secrets = ['the old secret of it', 'the new secret of it'].map(
      (text) => `whsec_${Buffer.from(text).toString('base64')}`,
    )
    for (const secret of secrets) {
      const { headers, raw } = sign(created, { secret })
      expect((await readWebhook(requestOf(raw, headers), secrets)).kind).toBe('user')
    }
    const { headers, raw } = sign(created)
    expect(await readWebhook(requestOf(raw, headers), secrets)).toMatchObject(refused)
  })

  test('holds among others that do not, as while a secret is replaced, and not by a version that is not known', async () => {
    const good = sign(created).headers['svix-signature'] ?? ''
    const id = 'msg_1'
    const signature = sign(created, { id }).headers['svix-signature'] ?? ''
    const none = `v1,${Buffer.alloc(32).toString('base64')}`
    const judge = async (list: string) => (await read(created, { id }, { 'svix-signature': list })).kind
    expect(await judge(`${none} ${signature}`)).toBe('user')
    expect(await judge(`v1a,xyz ${signature} ${none}`)).toBe('user')
    for (const list of [
      none,
      good,
      signature.replace('v1,', 'v2,'),
      signature.slice(3),
      'v1',
      'v1,',
      `${none} ${none}`,
    ]) {
      expect(await judge(list), list).toBe('malformed')
    }
  })

  test('does not make an event of what is none', async () => {
    for (const body of [
      '',
      'null',
      '17',
      '"user.deleted"',
      '[]',
      '{}',
      '{"type":17}',
      '{',
      '\u0000',
      'undefined',
    ]) {
      const delivery = await read(body)
      expect(delivery, body).toMatchObject({ kind: 'malformed' })
    }
  })

  test('over bytes that are no UTF-8 does not hold', async () => {
    const bytes = Buffer.from(created)
    bytes[bytes.indexOf('Ada')] = 0xff
    expect(await read(bytes)).toMatchObject(refused)
  })
})

describe('a user’s event', () => {
  /** As the dashboard's example looked in 2022: no timestamp, no instance, no attributes, fewer properties. */
  const old = {
    data: {
      birthday: '',
      created_at: 1654012591514,
      email_addresses: [
        {
          email_address: 'example@example.com',
          id: 'idn_29w83yL7CwVlJXylYLxcslromF1',
          linked_to: [],
          object: 'email_address',
          verification: { status: 'verified', strategy: 'ticket' },
        },
      ],
      external_accounts: [],
      external_id: '567772',
      first_name: 'Example',
      gender: '',
      id: 'user_29w83sxmDNGwOuEthce5gg56FcC',
      last_name: 'Example',
      last_sign_in_at: 1654012591514,
      object: 'user',
      password_enabled: true,
      phone_numbers: [],
      primary_email_address_id: 'idn_29w83yL7CwVlJXylYLxcslromF1',
      primary_phone_number_id: null,
      primary_web3_wallet_id: null,
      private_metadata: {},
      profile_image_url: 'https://www.gravatar.com/avatar?d=mp',
      public_metadata: {},
      two_factor_enabled: false,
      unsafe_metadata: {},
      updated_at: 1654012591835,
      username: null,
      web3_wallets: [],
    },
    object: 'event',
    type: 'user.created',
  }

  test('in today’s shape gives the row’s values, the version and the instance', async () => {
    const delivery = await read(created)
    expect(delivery.instanceId).toBe(instanceId)
    expect(desiredOf(delivery)).toEqual({
      clerkId: userId,
      values: {
        name: 'Ada Lovelace',
        email: 'dmldaknl0s@example.com'.slice(2),
        imageUrl: 'https://img.clerk.com/eyJ0eXBlIjoiZGVmYXVsdCJ9',
      },
      clerkCreatedAt: Date.parse('2026-03-01T09:00:00.007Z'),
      clerkUpdatedAt: Date.parse('2026-03-01T09:00:00.007Z'),
    })
  })

  test('in the old shape too, of no instance', async () => {
    const delivery = await read(JSON.stringify(old))
    expect(delivery.instanceId).toBeUndefined()
    expect(desiredOf(delivery)).toMatchObject({
      values: { name: 'Example Example', email: 'example@example.com', imageUrl: '' },
      clerkCreatedAt: 1654012591514,
      clerkUpdatedAt: 1654012591835,
    })
  })

  test('with seconds where milliseconds are meant has the same times', () => {
    const inSeconds = { ...clerkUser(userId), created_at: 1716883200, updated_at: 1716883260 }
    expect(desiredOf(readEvent(clerkEvent('user.updated', inSeconds)))).toMatchObject({
      clerkCreatedAt: 1716883200_000,
      clerkUpdatedAt: 1716883260_000,
    })
    const neverChanged = { ...inSeconds, updated_at: 1716883200 }
    expect(desiredOf(readEvent(clerkEvent('user.created', neverChanged)))).toMatchObject({
      clerkCreatedAt: 1716883200_000,
      clerkUpdatedAt: 1716883200_000,
    })
    // Of whom somebody imported who signed up elsewhere before 1970.
    const ancient = { ...inSeconds, created_at: -86_400 }
    expect(desiredOf(readEvent(clerkEvent('user.updated', ancient))).clerkCreatedAt).toBe(-86_400_000)
  })

  test.each([
    ['in 1971', 40_000_000_000],
    ['in 1970', 1],
    ['at the epoch itself', 0],
    ['before 1970', -86_400_000],
  ])('of an imported user who signed up %s keeps that time', (_when, createdAt) => {
    const imported = { ...clerkUser(userId), created_at: createdAt, updated_at: 1761092033553 }
    expect(desiredOf(readEvent(clerkEvent('user.created', imported)))).toMatchObject({
      clerkCreatedAt: createdAt,
      clerkUpdatedAt: 1761092033553,
    })
  })

  test('without an address or a name is a user all the same', () => {
    const phone = {
      ...clerkUser(userId),
      first_name: null,
      last_name: null,
      primary_email_address_id: null,
      email_addresses: [],
      primary_phone_number_id: 'idn_9',
      phone_numbers: [{ id: 'idn_9', object: 'phone_number', phone_number: '+12015550123' }],
    }
    expect(desiredOf(readEvent(clerkEvent('user.created', phone))).values).toMatchObject({
      name: '+12015550123',
      email: null,
    })
  })

  test('as Clerk’s document shows it, with an address that is not in its list, is rejected by name and not malformed', () => {
    const example = {
      ...clerkUser(userId),
      email_addresses: [],
      created_at: 1716883200000,
      updated_at: 1716883200000,
    }
    expect(readEvent(clerkEvent('user.created', example, { timestamp: 1716883200 }))).toMatchObject({
      kind: 'user',
      user: {
        kind: 'rejected',
        clerkId: userId,
        reason: 'the primary email address is not in email_addresses',
      },
    })
  })

  test('that cannot be mapped is rejected alone, with a reason that holds no value', () => {
    for (const [broken, reason] of [
      [{ updated_at: undefined }, /^updated_at /],
      [{ updated_at: '1761092033553' }, /^updated_at /],
      [{ created_at: null }, /^created_at /],
      [{ first_name: { en: 'Ada' } }, /^first_name /],
      [{ email_addresses: 'ada@example.com' }, /^email_addresses /],
      [{ updated_at: 9e15 }, /^updated_at /],
    ] as const) {
      const delivery = readEvent(clerkEvent('user.updated', { ...clerkUser(userId), ...broken }))
      expect(delivery).toMatchObject({ kind: 'user', user: { kind: 'rejected', clerkId: userId } })
      if (delivery.kind !== 'user' || delivery.user.kind !== 'rejected') throw new Error('unreachable')
      expect(delivery.user.reason).toMatch(reason)
      expect(delivery.user.reason).not.toMatch(/Ada|example/)
    }
  })

  test.each([
    undefined,
    null,
    'a string',
    [],
    {},
    { ...clerkUser('user_x'), id: 17 },
    clerkUser('org_1'),
    clerkUser(''),
  ])('about nobody (%#) is malformed', (data) => {
    for (const type of ['user.created', 'user.updated']) {
      expect(readEvent(clerkEvent(type, data))).toMatchObject({ kind: 'malformed' })
    }
  })
})

describe('a deletion', () => {
  test('needs the id alone', () => {
    expect(readEvent(deletionOf(userId))).toEqual({ kind: 'deletion', clerkId: userId, instanceId })
    const documented = { object: 'user', id: userId, deleted: true, external_id: 'ex_123456789' }
    expect(readEvent(clerkEvent('user.deleted', documented, { timestamp: 1716883200 })).kind).toBe('deletion')
    expect(
      readEvent({
        data: { deleted: true, id: userId, object: 'user' },
        object: 'event',
        type: 'user.deleted',
      }),
    ).toEqual({
      kind: 'deletion',
      clerkId: userId,
      instanceId: undefined,
    })
  })

  test.each([
    undefined,
    null,
    [],
    {},
    userId,
    { id: null },
    { id: 17 },
    { id: '' },
    { id: 'user_' },
    { id: [userId] },
    { id: ` ${userId}` },
    { id: `${userId}\n` },
    { id: 'org_1' },
    { id: "user_x' or true --" },
  ])('without an id of a user (%#) is malformed', (data) => {
    expect(readEvent(clerkEvent('user.deleted', data))).toEqual({
      kind: 'malformed',
      instanceId,
      reason: 'the deletion names no user',
    })
  })
})

describe('the envelope', () => {
  test('names the instance, or none: null and absent are the same', () => {
    for (const over of [{ instance_id: undefined }, { instance_id: null }]) {
      expect(readEvent(deletionOf(userId, over))).toMatchObject({ kind: 'deletion', instanceId: undefined })
    }
    expect(readEvent(deletionOf(userId, { instance_id: '' }))).toMatchObject({
      kind: 'deletion',
      instanceId: '',
    })
  })

  test.each([17, true, {}, [instanceId]])(
    'with an instance that is no text (%#) is malformed, not of any instance',
    (id) => {
      expect(readEvent(deletionOf(userId, { instance_id: id }))).toMatchObject({ kind: 'malformed' })
      expect(readEvent(clerkEvent('user.created', clerkUser(userId), { instance_id: id }))).toMatchObject({
        kind: 'malformed',
      })
    },
  )

  test('of any other type is not ours, whatever it carries', () => {
    for (const type of [
      'session.created',
      'organization.deleted',
      'email.created',
      'user.renamed',
      'USER.DELETED',
      '__proto__',
      '',
    ]) {
      expect(readEvent(clerkEvent(type, { id: userId }))).toEqual({ kind: 'other', type, instanceId })
    }
  })
})
