// Clerk's user JSON against the row that it becomes: each rule of the mapping. Needs no database.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type ReadUser, readUser } from '../../src/clerk/user.ts'
import type { DesiredUser } from '../../src/db/schema.ts'
import { seedUsers } from '../../src/dev/sandbox/seed.ts'
import { almostUser } from './any-user.ts'

const createdAt = Date.UTC(2025, 0, 2, 3, 4, 5, 678)
const updatedAt = createdAt + 1
const address = (id: string, email_address: unknown) => ({ id, email_address })

/** A user as Clerk sends it, with nothing but its id to be named by. */
const bare = {
  id: 'user_2abcDEF',
  object: 'user',
  created_at: createdAt,
  updated_at: updatedAt,
  first_name: null,
  last_name: null,
  username: null,
  image_url: 'https://img.clerk.com/abc',
  email_addresses: [],
  primary_email_address_id: null,
  phone_numbers: [],
  primary_phone_number_id: null,
  web3_wallets: [],
  primary_web3_wallet_id: null,
}

const email = { email_addresses: [address('idn_1', 'ada@example.com')], primary_email_address_id: 'idn_1' }
const phone = {
  phone_numbers: [{ id: 'idn_2', phone_number: '+12005550100' }],
  primary_phone_number_id: 'idn_2',
}
const wallet = { web3_wallets: [{ id: 'idn_3', web3_wallet: '0xabc' }], primary_web3_wallet_id: 'idn_3' }

/** The row's values. Fails the test if the user is not mapped. */
function valuesOf(parts: object): DesiredUser['values'] {
  const read = readUser({ ...bare, ...parts })
  return read.kind === 'user' ? read.desired.values : expect.unreachable(JSON.stringify(read))
}

/** The reason why the user is rejected. Fails the test if it is not. */
function reasonOf(parts: object): string {
  const read = readUser({ ...bare, ...parts })
  return read.kind === 'rejected' ? read.reason : expect.unreachable(JSON.stringify(read))
}

const without = (key: keyof typeof bare) => {
  const { [key]: _left, ...rest } = bare
  return rest
}

test('a whole user becomes a row of name, primary email, image and both of its times, and of nothing else', () => {
  const user = {
    ...bare,
    ...email,
    ...phone,
    ...wallet,
    first_name: 'Ada',
    last_name: 'Berg',
    username: 'ada',
  }
  expect(readUser({ ...user, private_metadata: { iban: 'XX00' }, public_metadata: { plan: 'pro' } })).toEqual(
    {
      kind: 'user',
      clerkId: bare.id,
      createdAt,
      updatedAt,
      desired: {
        clerkId: bare.id,
        values: { name: 'Ada Berg', email: 'ada@example.com', imageUrl: 'https://img.clerk.com/abc' },
        clerkCreatedAt: createdAt,
        clerkUpdatedAt: updatedAt,
      },
    },
  )
})

describe('the name', () => {
  const everything = { ...email, ...phone, ...wallet, username: 'ada99' }
  test.each<[object, string, string]>([
    [{ first_name: 'Ada', last_name: 'Berg' }, 'first and last name', 'Ada Berg'],
    [{ first_name: 'Ada' }, 'the first name alone', 'Ada'],
    [{ last_name: 'Berg' }, 'the last name alone', 'Berg'],
    [{ first_name: '', last_name: 'Berg' }, 'the last name alone if the first is empty', 'Berg'],
    [{ first_name: '  Ada ', last_name: '\tBerg\n' }, 'trimmed', 'Ada Berg'],
    [{ first_name: 'Ada Maria', last_name: 'van  Berg' }, 'not touched inside', 'Ada Maria van  Berg'],
    [
      { first_name: 'null', last_name: 'undefined' },
      'taken by the word, if that is the name',
      'null undefined',
    ],
    [{}, 'the username without either', 'ada99'],
    [{ first_name: ' ', last_name: '\u00A0\u3000' }, 'the username if both are blank', 'ada99'],
    [{ first_name: '\u0000', last_name: null }, 'the username if nothing but a NUL is left', 'ada99'],
    [{ username: null }, 'the primary email without a username', 'ada@example.com'],
    [{ username: ' ' }, 'the primary email if the username is blank', 'ada@example.com'],
    [{ username: null, primary_email_address_id: null }, 'the phone without a primary email', '+12005550100'],
    [
      { username: null, email_addresses: [address('idn_1', ' ')] },
      'the phone if the email is blank',
      '+12005550100',
    ],
    [
      {
        username: null,
        primary_email_address_id: null,
        phone_numbers: [{ id: 'idn_2', phone_number: ' +12005550100\n' }],
      },
      'the phone, trimmed',
      '+12005550100',
    ],
    [
      { username: null, primary_email_address_id: null, primary_phone_number_id: null },
      'the wallet without a phone',
      '0xabc',
    ],
    [
      { username: null, primary_email_address_id: null, phone_numbers: [{ id: 'idn_2', phone_number: '' }] },
      'the wallet if the phone is empty',
      '0xabc',
    ],
    [
      {
        username: null,
        primary_email_address_id: null,
        phone_numbers: [{ id: 'idn_2', phone_number: ' ' }],
        web3_wallets: [{ id: 'idn_3', web3_wallet: ' 0xabc ' }],
      },
      'the wallet, trimmed, if the phone is blank',
      '0xabc',
    ],
    [
      {
        username: null,
        primary_email_address_id: null,
        primary_phone_number_id: null,
        web3_wallets: [{ id: 'idn_3', web3_wallet: '\t' }],
      },
      'the id if the wallet is blank',
      bare.id,
    ],
    [
      {
        username: null,
        primary_email_address_id: null,
        primary_phone_number_id: null,
        primary_web3_wallet_id: null,
      },
      'the id if there is nothing else',
      bare.id,
    ],
  ])('%j is %s', (parts, _rule, name) => {
    expect(valuesOf({ ...everything, ...parts }).name).toBe(name)
  })
})

describe('the email', () => {
  const addresses = [address('idn_1', 'old@example.com'), address('idn_2', 'new@example.com')]
  test('is the primary one, also where that is not the first', () => {
    expect(valuesOf({ email_addresses: addresses, primary_email_address_id: 'idn_2' }).email).toBe(
      'new@example.com',
    )
  })
  test('is null where no address is primary, whatever addresses there are', () => {
    expect(valuesOf({ email_addresses: addresses, primary_email_address_id: null }).email).toBeNull()
    expect(valuesOf({ email_addresses: [], primary_email_address_id: null }).email).toBeNull()
  })
  test('keeps its case, and is primary even if it is not verified', () => {
    const one = { ...address('idn_1', 'Ada@Example.COM'), verification: null }
    expect(valuesOf({ email_addresses: [one], primary_email_address_id: 'idn_1' }).email).toBe(
      'Ada@Example.COM',
    )
  })
  test('is found among elements that are no addresses', () => {
    const list = [null, 'idn_2', 7, ['idn_2'], addresses[1]]
    expect(valuesOf({ email_addresses: list, primary_email_address_id: 'idn_2' }).email).toBe(
      'new@example.com',
    )
  })
})

describe('a user is rejected by name, so that its row stays as it is, where', () => {
  const notInList = 'the primary email address is not in email_addresses'
  const noTime = (key: string) => `${key} is not a time of the years 1 to 9999`
  const noText = (key: string) => `${key} is neither a text nor null`
  test.each<[string, object, string]>([
    ['the primary email is not in the list', { primary_email_address_id: 'idn_9' }, notInList],
    ['the primary email is no text', { ...email, email_addresses: [address('idn_1', 7)] }, notInList],
    ['its place is taken by null', { ...email, email_addresses: [null] }, notInList],
    [
      'the phone that is its only name is not in the list',
      { ...phone, phone_numbers: [] },
      'the primary phone number or wallet is not in its list',
    ],
    [
      'the wallet that is its only name is not in the list',
      { ...wallet, web3_wallets: [{}] },
      'the primary phone number or wallet is not in its list',
    ],
    ['first_name is an object', { first_name: { en: 'Ada' } }, noText('first_name')],
    ['last_name is a number', { last_name: 7 }, noText('last_name')],
    ['username is a list', { username: ['ada'] }, noText('username')],
    ['image_url is a number', { image_url: 7 }, noText('image_url')],
    ['the primary email id is a number', { primary_email_address_id: 7 }, noText('primary_email_address_id')],
    [
      'email_addresses is an object',
      { email_addresses: { 0: 'a@example.com' } },
      'email_addresses is not a list',
    ],
    ['email_addresses is null', { email_addresses: null }, 'email_addresses is not a list'],
    ['phone_numbers is a text', { phone_numbers: '+1' }, 'phone_numbers is not a list'],
    ['web3_wallets is an object', { web3_wallets: {} }, 'web3_wallets is not a list'],
    ['created_at is a text', { created_at: String(createdAt) }, noTime('created_at')],
    ['created_at is an ISO date', { created_at: '2025-01-02T03:04:05Z' }, noTime('created_at')],
    ['created_at is null', { created_at: null }, noTime('created_at')],
    ['created_at is what JSON makes of NaN', JSON.parse('{"created_at":null}'), noTime('created_at')],
    ['created_at is beyond every number', JSON.parse('{"created_at":1e999}'), noTime('created_at')],
    [
      'created_at is in the year 10000',
      { created_at: Date.UTC(9999, 11, 31) + 86_400_000 },
      noTime('created_at'),
    ],
    [
      'created_at is in the year 0',
      { created_at: Date.parse('0000-12-31T23:59:59.999Z') },
      noTime('created_at'),
    ],
    ['updated_at is in the year 10000', { updated_at: 253_402_300_800_000 }, noTime('updated_at')],
    ['updated_at is beyond what a date can be', { updated_at: 9e15 }, noTime('updated_at')],
    ['updated_at is true', { updated_at: true }, noTime('updated_at')],
  ])('%s', (_where, parts, reason) => {
    expect(reasonOf(parts)).toBe(reason)
  })

  // Absent is not empty: read as empty, it would take a name or an address from the row.
  const required = Object.keys(bare).filter((key) => !['id', 'object', 'image_url'].includes(key))
  test.each(required as (keyof typeof bare)[])('%s is absent', (key) => {
    expect(readUser(without(key))).toMatchObject({
      kind: 'rejected',
      clerkId: bare.id,
      reason: expect.any(String),
    })
  })
})

test('the reason of a rejection holds no value of the user', () => {
  const marked = { ...bare, ...email, first_name: 'Secret', last_name: 'Secret', username: 'Secret' }
  const broken = Object.keys(bare)
    .filter((key) => key !== 'id')
    .map((key) =>
      readUser({ ...marked, email_addresses: [address('idn_1', 'Secret')], [key]: { Secret: 1 } }),
    )
  expect(broken.filter((read) => read.kind === 'rejected')).toHaveLength(broken.length - 1)
  expect(JSON.stringify(broken.filter((read) => read.kind === 'rejected'))).not.toContain('Secret')
})

test('a rejected user still says where it stands in the list, unless its time cannot be read either', () => {
  expect(readUser({ ...bare, first_name: 7 })).toMatchObject({ kind: 'rejected', createdAt })
  expect(readUser({ ...bare, created_at: 1e16 })).toMatchObject({ kind: 'rejected', createdAt: 1e16 })
  for (const created_at of ['today', Number.POSITIVE_INFINITY]) {
    expect(readUser({ ...bare, created_at })).toMatchObject({ kind: 'rejected', createdAt: undefined })
  }
})

test.each<[string, unknown]>([
  ['null', null],
  ['a text', 'user_2abcDEF'],
  ['a list', [bare]],
  ['no id', without('id')],
  ['a numeric id', { ...bare, id: 17 }],
  ['an empty id', { ...bare, id: '' }],
  ["another object's id", { ...bare, id: 'org_2abcDEF' }],
  ['an id with something before it', { ...bare, id: 'org_user_2abcDEF' }],
  ['an id in a list', { ...bare, id: ['user_2abcDEF'] }],
  ['an id with a line break', { ...bare, id: 'user_2abcDEF\n' }],
  ['an id with a slash', { ...bare, id: 'user_2abc/../DEF' }],
  ['an id with a NUL', { ...bare, id: 'user_2abc\u0000' }],
])('a user that is %s cannot be read at all', (_what, json) => {
  expect(readUser(json)).toEqual({ kind: 'unreadable' })
})

describe('texts are stored as Postgres can hold them', () => {
  test.each<[string, string, string]>([
    ['a NUL goes', 'Ad\u0000a\u0000', 'Ada'],
    ['a high surrogate alone is replaced', 'Ada\uD83D', 'Ada\uFFFD'],
    ['a low surrogate alone is replaced', '\uDE00Ada', '\uFFFDAda'],
    ['surrogates in the wrong order are replaced', 'A\uDE00\uD83DB', 'A\uFFFD\uFFFDB'],
    ['a pair that only a NUL parted is whole', 'A\uD83D\u0000\uDE00', 'A😀'],
    ['emoji stay', '👩🏽‍🚀', '👩🏽‍🚀'],
    ['composed and decomposed letters stay different', 'Zoe\u0308', 'Zoe\u0308'],
    ['10,000 characters stay', 'x'.repeat(10_000), 'x'.repeat(10_000)],
  ])('%s', (_what, given, stored) => {
    expect(valuesOf({ first_name: given }).name).toBe(stored)
    expect(valuesOf({ image_url: given }).imageUrl).toBe(stored)
    const parts = { email_addresses: [address('idn_1', given)], primary_email_address_id: 'idn_1' }
    expect(valuesOf(parts)).toMatchObject({ email: stored, name: stored })
  })

  test('an absent image_url is empty, and so is null', () => {
    const read = readUser(without('image_url'))
    expect(read).toMatchObject({ kind: 'user', desired: { values: { imageUrl: '' } } })
    expect(valuesOf({ image_url: null }).imageUrl).toBe('')
  })
})

describe('times', () => {
  test.each<[string, number, number]>([
    ['below zero', -86_400_001, -86_400_001],
    ['zero', 0, 0],
    ['fractions are rounded down', createdAt + 0.9, createdAt],
    ['fractions below zero too', -0.5, -1],
    ['the first millisecond of the year 1', Date.parse('0001-01-01T00:00:00.000Z'), -62_135_596_800_000],
    ['the last millisecond of the year 9999', Date.parse('9999-12-31T23:59:59.999Z'), 253_402_300_799_999],
  ])('%s', (_what, given, stored) => {
    expect(readUser({ ...bare, created_at: given, updated_at: given })).toMatchObject({
      kind: 'user',
      createdAt: stored,
      desired: { clerkCreatedAt: stored, clerkUpdatedAt: stored },
    })
  })
})

test('no JSON makes the mapping throw', () => {
  const kinds = new Set<ReadUser['kind']>()
  const json = fc.oneof(
    fc.jsonValue(),
    almostUser,
    almostUser.map((user) => ({ ...user, id: null })),
  )
  fc.assert(
    fc.property(json, (value) => {
      const read = readUser(value)
      kinds.add(read.kind)
      if (read.kind === 'user') expect(read.desired.values.name.trim()).not.toBe('')
      if (read.kind === 'rejected') expect(read.reason).not.toBe('')
    }),
    { numRuns: 2000 },
  )
  expect([...kinds].sort()).toEqual(['rejected', 'unreadable', 'user'])
})

test('every user of the seed is mapped, with names that are never blank', () => {
  const users = seedUsers({ count: 1000, seed: 5 })
  const read = users.map((user) => readUser(JSON.parse(JSON.stringify(user))))
  expect(read.filter(({ kind }) => kind !== 'user')).toEqual([])
  const names = read.flatMap((user) => (user.kind === 'user' ? [user.desired.values.name] : []))
  expect(names.filter((name) => name.trim() === '' || /null null/.test(name))).toEqual([])
})
