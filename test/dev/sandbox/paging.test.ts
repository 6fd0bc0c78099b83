// Pages and cursors, as the document describes them and in the ways in which they may fail a reader.
import { describe, expect, it } from 'vitest'
import { createClock } from '../../../src/dev/sandbox/sandbox.ts'
import { seedUsers } from '../../../src/dev/sandbox/seed.ts'
import { count, errorCode, get, ids, list, start, walk } from './client.ts'

const at = (createdAt: number, id: string) => ({ id: `user_${id}`, created_at: createdAt })

async function fiveUsers(options = {}) {
  const sandbox = await start(options)
  for (const user of [at(10, 'A'), at(20, 'B'), at(20, 'C'), at(20, 'D'), at(30, 'E')])
    sandbox.users.import(user)
  return sandbox
}

describe('pages', () => {
  it.each(['%2Bcreated_at', '-created_at', 'created_at'])(
    'gives every user exactly once by cursor, ordered by %s',
    async (order) => {
      for (const seed of [1, 2, 3]) {
        const users = seedUsers({ count: 400, seed })
        const sandbox = await start({ users })
        const seen = await walk(sandbox, order, 37)
        expect(seen).toHaveLength(400)
        expect(new Set(seen)).toEqual(new Set(users.map(({ id }) => id)))
      }
    },
  )

  it('gives the newest ten users unless told otherwise', async () => {
    const sandbox = await start({ users: seedUsers({ count: 30 }) })
    const page = await list(sandbox)
    expect(page).toHaveLength(10)
    expect(page.map((user) => user.created_at)).toEqual(
      page.map((user) => user.created_at).sort((a, b) => b - a),
    )
  })

  it('serves ten users where the limit is out of range, as was observed, or refuses it', async () => {
    const sandbox = await start({ users: seedUsers({ count: 30 }) })
    for (const limit of ['501', '0', '-1', 'many', ''])
      expect(await list(sandbox, `limit=${limit}`)).toHaveLength(10)
    expect(await list(sandbox, 'limit=500')).toHaveLength(30)
    sandbox.badLimit = 'refuse'
    expect((await get(sandbox, '/users?limit=501')).status).toBe(422)
  })

  it('takes a plus sign in order_by encoded, raw or left out, and the first order_by alone', async () => {
    const sandbox = await fiveUsers()
    const ascending = await ids(sandbox, 'order_by=%2Bcreated_at')
    expect(ascending).toEqual(['user_A', 'user_B', 'user_C', 'user_D', 'user_E'])
    for (const order of ['+created_at', '%20created_at', 'created_at', 'created_at&order_by=-created_at']) {
      expect(await ids(sandbox, `order_by=${order}`)).toEqual(ascending)
    }
    expect(await ids(sandbox, 'order_by=-created_at')).toEqual(ascending.toReversed())
    expect((await get(sandbox, '/users?order_by=shoe_size')).status).toBe(422)
  })

  it('sorts by every documented property with those without a value last in both directions', async () => {
    const sandbox = await start()
    for (const name of ['Bo', null, 'Al']) sandbox.users.create({ id: `user_${name}`, first_name: name })
    expect(await ids(sandbox, 'order_by=first_name')).toEqual(['user_Al', 'user_Bo', 'user_null'])
    expect(await ids(sandbox, 'order_by=-first_name')).toEqual(['user_Bo', 'user_Al', 'user_null'])
    const fields =
      'updated_at email_address web3wallet last_name phone_number username last_active_at last_sign_in_at'
    for (const field of fields.split(' ')) expect(await ids(sandbox, `order_by=-${field}`)).toHaveLength(3)
  })

  it('skips as many users as the offset says', async () => {
    const sandbox = await fiveUsers()
    expect(await ids(sandbox, 'order_by=created_at&offset=3&limit=1')).toEqual(['user_D'])
    expect(await ids(sandbox, 'order_by=-created_at&offset=1&limit=2')).toEqual(['user_D', 'user_C'])
    expect(await ids(sandbox, 'order_by=created_at&offset=1&created_at_after=10')).toEqual([
      'user_C',
      'user_D',
      'user_E',
    ])
    expect(await ids(sandbox, 'offset=9')).toEqual([])
    expect((await get(sandbox, '/users?offset=-1')).status).toBe(422)
  })

  it('breaks ties in another order where it is told to', async () => {
    expect(await ids(await fiveUsers({ ties: 'id-descending' }), 'order_by=created_at')).toEqual(
      ['A', 'D', 'C', 'B', 'E'].map((id) => `user_${id}`),
    )
  })
})

describe('the cursor', () => {
  it('is refused with another order, with an offset, and where it names nobody', async () => {
    const sandbox = await fiveUsers()
    for (const query of [
      'starting_after=user_A&order_by=-updated_at',
      'starting_after=user_A&offset=1',
      'starting_after=user_unknown',
    ]) {
      expect(await errorCode(await get(sandbox, `/users?${query}`))).toEqual({
        status: 422,
        code: 'form_param_value_invalid',
        traced: true,
      })
    }
    expect(await ids(sandbox, 'starting_after=user_B&offset=0')).toEqual(['user_A'])
  })

  it('continues inside a group of users with the same time', async () => {
    const sandbox = await fiveUsers()
    expect(await ids(sandbox, 'order_by=created_at&starting_after=user_B')).toEqual([
      'user_C',
      'user_D',
      'user_E',
    ])
    expect(await ids(sandbox, 'order_by=-created_at&starting_after=user_D')).toEqual([
      'user_C',
      'user_B',
      'user_A',
    ])
  })

  it('skips the rest of the group in time-only mode', async () => {
    const sandbox = await fiveUsers()
    sandbox.cursorMode = 'time-only'
    expect(await ids(sandbox, 'order_by=created_at&starting_after=user_B')).toEqual(['user_E'])
    expect(await ids(sandbox, 'order_by=-created_at&starting_after=user_C')).toEqual(['user_A'])
  })

  it('can be refused, or ignored so that the first page comes again', async () => {
    const sandbox = await fiveUsers()
    sandbox.cursorMode = 'refused'
    expect((await get(sandbox, '/users?starting_after=user_B')).status).toBe(422)
    sandbox.cursorMode = 'ignored'
    expect(await ids(sandbox, 'starting_after=user_B')).toEqual(await ids(sandbox))
    sandbox.cursorMode = 'normal'
    sandbox.paramsIgnored.add('starting_after')
    expect(await ids(sandbox, 'starting_after=user_B')).toEqual(await ids(sandbox))
  })

  it('of a deleted user keeps its place, or is refused, ignored or empty', async () => {
    const sandbox = await fiveUsers()
    sandbox.users.delete('user_C')
    const query = 'order_by=created_at&starting_after=user_C'
    expect(await ids(sandbox, query)).toEqual(['user_D', 'user_E'])
    sandbox.deletedCursor = 'ignore'
    expect(await ids(sandbox, query)).toEqual(['user_A', 'user_B', 'user_D', 'user_E'])
    sandbox.deletedCursor = 'empty'
    expect(await ids(sandbox, query)).toEqual([])
    sandbox.deletedCursor = 'refuse'
    expect((await get(sandbox, `/users?${query}`)).status).toBe(422)
  })

  it('loses nobody when users come, go and move between pages', async () => {
    const users = seedUsers({ count: 300, seed: 5 })
    const sandbox = await start({ users })
    const steady = users.filter((_, index) => index % 3 === 0).map(({ id }) => id)
    sandbox.onRequest = (_request, page) => {
      sandbox.users.create()
      sandbox.users.delete(users[page * 3 + 1]?.id ?? '')
      sandbox.users.signIn(steady[page] ?? '')
    }
    const seen = await walk(sandbox, 'created_at', 20)
    expect(new Set(seen).size).toBe(seen.length)
    expect(steady.filter((id) => !seen.includes(id))).toEqual([])
  })
})

describe('a listing that lags', () => {
  it('shows the world as it was, by its own clock, while a single user is fresh', async () => {
    const clock = createClock({ at: 1_000_000, frozen: true })
    const sandbox = await start({ clock, users: [] })
    const old = sandbox.users.create({ first_name: 'Old' })
    clock.advance(60_000)
    const young = sandbox.users.create()
    sandbox.users.update(old.id, { first_name: 'New' })
    sandbox.listingLagMs = 10_000
    expect((await list(sandbox)).map(({ first_name }) => first_name)).toEqual(['Old'])
    expect(await ids(sandbox, `user_id=${young.id}`)).toEqual([])
    expect((await get(sandbox, `/users/${young.id}`)).status).toBe(200)
    expect(await count(sandbox)).toBe(2)
    sandbox.countLagMs = 10_000
    expect(await count(sandbox)).toBe(1)
    sandbox.filterLags = false
    expect(await ids(sandbox, `user_id=${young.id}`)).toEqual([young.id])
    clock.advance(10_000)
    expect(await list(sandbox)).toHaveLength(2)
    sandbox.users.delete(old.id)
    expect(await list(sandbox)).toHaveLength(2)
    clock.advance(10_000)
    expect(await ids(sandbox)).toEqual([young.id])
  })

  it('goes back again when the lag grows, past thousands of changes', async () => {
    const clock = createClock({ at: 1_000_000, frozen: true })
    const sandbox = await start({ clock })
    sandbox.countLagMs = 1
    expect(await count(sandbox)).toBe(0)
    for (let second = 1; second <= 5000; second += 1) {
      clock.advance(1000)
      sandbox.users.create()
    }
    for (const seconds of [1, 600, 5, 0]) {
      sandbox.countLagMs = seconds * 1000
      expect(await count(sandbox)).toBe(5000 - seconds)
    }
  })
})
