// Who matches a query, in the list and in the count alike.
import { describe, expect, it } from 'vitest'
import { seedUsers } from '../../../src/dev/sandbox/seed.ts'
import { count, get, ids, start } from './client.ts'

async function people() {
  const sandbox = await start()
  sandbox.users.import({
    id: 'user_Ada',
    created_at: 100,
    first_name: 'Ada',
    last_name: 'Lund',
    email_address: 'ada@example.com',
    external_id: 'x1',
    last_active_at: 500,
    last_sign_in_at: 400,
  })
  sandbox.users.import({
    id: 'user_Bo',
    created_at: 200,
    phone_number: '+12025550100',
    username: 'bosse',
    banned: true,
  })
  sandbox.users.import({
    id: 'user_Cy',
    created_at: 300,
    web3_wallet: '0xabc',
    external_id: 'x2',
    last_active_at: 600,
  })
  return sandbox
}

describe('filters', () => {
  it.each([
    ['user_id=user_Ada&user_id=user_Bo&user_id=user_unknown', 'Ada Bo'],
    ['user_id=%2Buser_Ada', 'Ada'],
    ['user_id=+user_Ada', 'Ada'],
    ['user_id=-user_Ada', 'Bo Cy'],
    ['user_id=user_Ada&user_id=user_Bo&user_id=-user_Bo', 'Ada'],
    ['external_id=x1', 'Ada'],
    ['external_id=-x1', 'Bo Cy'],
    ['email_address=ada@example.com&email_address=nobody@example.com', 'Ada'],
    ['email_address=ada@example', ''],
    ['phone_number=%2B12025550100', 'Bo'],
    ['phone_number=+12025550100', 'Bo'],
    ['username=bosse', 'Bo'],
    ['web3_wallet=0xabc', 'Cy'],
    ['query=ADA', 'Ada'],
    ['query=5550100', 'Bo'],
    ['query=user_c', 'Cy'],
    ['name_query=da%20lu', 'Ada'],
    ['email_address_query=DA@EX', 'Ada'],
    ['phone_number_query=555', 'Bo'],
    ['username_query=OSS', 'Bo'],
    ['banned=true', 'Bo'],
    ['banned=false', 'Ada Cy'],
    ['created_at_after=100', 'Bo Cy'],
    ['created_at_before=300', 'Ada Bo'],
    ['created_at_after=100&created_at_before=300', 'Bo'],
    ['last_active_at_after=500', 'Cy'],
    ['last_active_at_since=500', 'Ada Cy'],
    ['last_sign_in_at_before=401', 'Ada'],
    ['organization_id=org_1', ''],
    ['provider=oauth_google&provider_user_id=1', ''],
    ['colour=blue', 'Ada Bo Cy'],
  ])('%s gives %s', async (query, expected) => {
    const sandbox = await people()
    const found = await ids(sandbox, `order_by=created_at&${query}`)
    expect(found.map((id) => id.slice('user_'.length)).join(' ')).toBe(expected)
    expect(await count(sandbox, query)).toBe(found.length)
  })

  it('count their bounds in where they are told to', async () => {
    const sandbox = await people()
    sandbox.inclusive = true
    expect(await count(sandbox, 'created_at_after=100&created_at_before=300')).toBe(3)
  })

  it('return ten users unless a limit is given, also by id', async () => {
    const users = seedUsers({ count: 20 })
    const sandbox = await start({ users })
    const query = users.map(({ id }) => `user_id=${id}`).join('&')
    expect(await ids(sandbox, query)).toHaveLength(10)
    expect(await ids(sandbox, `${query}&limit=100`)).toHaveLength(20)
  })

  it.each([
    'user_id',
    'external_id',
    'email_address',
    'phone_number',
    'username',
    'web3_wallet',
    'organization_id',
  ])('take 100 values of %s and refuse 101', async (name) => {
    const sandbox = await people()
    const values = (length: number) => Array.from({ length }, (_, index) => `${name}=v${index}`).join('&')
    expect((await get(sandbox, `/users?${values(100)}`)).status).toBe(200)
    expect((await get(sandbox, `/users?${values(101)}`)).status).toBe(422)
    expect((await get(sandbox, `/users/count?${values(101)}`)).status).toBe(422)
  })

  it('refuse a time or a flag that is none', async () => {
    const sandbox = await people()
    for (const query of ['created_at_after=yesterday', 'banned=perhaps', 'provider=oauth_google']) {
      expect((await get(sandbox, `/users?${query}`)).status).toBe(422)
    }
  })

  it('by user_id can be ignored, empty, or leave somebody out', async () => {
    const sandbox = await people()
    const query = 'order_by=created_at&user_id=user_Ada&user_id=user_Bo'
    sandbox.userIdFilter = 'ignored'
    expect(await ids(sandbox, query)).toEqual(['user_Ada', 'user_Bo', 'user_Cy'])
    sandbox.userIdFilter = 'empty'
    expect(await ids(sandbox, query)).toEqual([])
    sandbox.userIdFilter = new Set(['user_Ada'])
    expect(await ids(sandbox, query)).toEqual(['user_Bo'])
    expect(await ids(sandbox)).toHaveLength(3)
  })
})
