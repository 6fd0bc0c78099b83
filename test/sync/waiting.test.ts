// The memory of refused deliveries: small, short, and of one Clerk instance.
import { expect, test, vi } from 'vitest'
import { WriteError } from '../../src/db/database.ts'
import { WaitingDeliveries } from '../../src/sync/waiting.ts'
import { userOf } from '../support/receiver.ts'

const failure = new WriteError('row', '23505', 'one_address')
const idsOf = (waiting: WaitingDeliveries) => waiting.all().map(({ user }) => user.clerkId)

test('holds twenty users, the newest of them, in the order of their ids', () => {
  const waiting = new WaitingDeliveries()
  const ids = Array.from({ length: 22 }, (_each, index) => `user_${String(index).padStart(2, '0')}`)
  for (const id of ids.toReversed()) waiting.add(userOf(id, 0), failure)
  expect(idsOf(waiting)).toEqual(ids.slice(0, 20))
})

test('holds the newest that was heard of a user', () => {
  const waiting = new WaitingDeliveries()
  for (const version of [1, 3, 2]) waiting.add(userOf('user_a', version), failure)
  expect(waiting.all().map(({ user }) => user.values.name)).toEqual(['V3'])
  waiting.delete('user_a')
  expect(idsOf(waiting)).toEqual([])
})

test('forgets everybody once the table is another instance’s', () => {
  const waiting = new WaitingDeliveries()
  waiting.keepOnly('ins_a').add(userOf('user_a', 0), failure)
  expect(idsOf(waiting.keepOnly('ins_a'))).toEqual(['user_a'])
  expect(idsOf(waiting.keepOnly('ins_b'))).toEqual([])
  expect(idsOf(waiting.keepOnly('ins_a'))).toEqual([])
})

test('forgets a user after ten minutes: a pass has settled it by then', () => {
  vi.useFakeTimers({ toFake: ['performance'] })
  try {
    const waiting = new WaitingDeliveries()
    waiting.add(userOf('user_a', 0), failure)
    vi.advanceTimersByTime(10 * 60_000 - 1)
    expect(idsOf(waiting)).toEqual(['user_a'])
    vi.advanceTimersByTime(2)
    expect(idsOf(waiting)).toEqual([])
  } finally {
    vi.useRealTimers()
  }
})
