// All users at one moment, with a sorted array for each order that was asked for. A change moves one element of each
// array, so a page costs the same however many users there are and however deep it lies.

/** One user with its place in the listing. `json` may be anything at all: a test may have put it there. */
export interface Entry {
  readonly id: string
  /** Where it stands in the order of creation; null sorts last. */
  readonly createdAt: number | null
  readonly json: unknown
}

/** The properties that `order_by` takes. */
export const orderFields = [
  'created_at',
  'updated_at',
  'email_address',
  'web3wallet',
  'first_name',
  'last_name',
  'phone_number',
  'username',
  'last_active_at',
  'last_sign_in_at',
] as const
export type OrderField = (typeof orderFields)[number]

/** How users with equal values are sorted: by id, by id backwards, or in a fixed order that follows nothing. */
export type Ties = 'id' | 'id-descending' | 'scrambled'

/** That property of a user, or undefined where the user is not an object. */
export function propertyOf(entry: Entry, name: string): unknown {
  const { json } = entry
  return typeof json === 'object' && json !== null ? (json as Record<string, unknown>)[name] : undefined
}

function primaryOf(entry: Entry, elements: string, primary: string, value: string): string | null {
  const all = propertyOf(entry, elements)
  const id = propertyOf(entry, primary)
  if (!Array.isArray(all) || id === null) return null
  const found: unknown = all.find((element) => element?.id === id)?.[value]
  return typeof found === 'string' ? found : null
}

function orderValue(entry: Entry, field: OrderField): number | string | null {
  switch (field) {
    case 'created_at':
      return entry.createdAt
    case 'email_address':
      return primaryOf(entry, 'email_addresses', 'primary_email_address_id', 'email_address')
    case 'phone_number':
      return primaryOf(entry, 'phone_numbers', 'primary_phone_number_id', 'phone_number')
    case 'web3wallet':
      return primaryOf(entry, 'web3_wallets', 'primary_web3_wallet_id', 'web3_wallet')
    default: {
      const value = propertyOf(entry, field)
      return typeof value === 'number' || typeof value === 'string' ? value : null
    }
  }
}

/** The index of the first element for which `isBefore` is false; those for which it is true come first. */
export function partitionPoint<T>(items: readonly T[], isBefore: (item: T) => boolean): number {
  let low = 0
  let high = items.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (isBefore(items[middle] as T)) low = middle + 1
    else high = middle
  }
  return low
}

const compareText = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0)
const backwards = (text: string) => [...text].reverse().join('')

function compareTies(a: string, b: string, ties: Ties): number {
  if (ties === 'id') return compareText(a, b)
  return ties === 'id-descending' ? compareText(b, a) : compareText(backwards(a), backwards(b))
}

function compareValues(a: number | string | null, b: number | string | null): number {
  if (a === b) return 0
  if (a === null) return 1
  if (b === null) return -1
  return a < b ? -1 : 1
}

/** Users by id, and sorted on demand. */
export interface World {
  readonly size: number
  get(id: string): Entry | undefined
  entries(): IterableIterator<Entry>
  /** A world of its own with the same users. */
  copy(): World
  /** Puts the user in place of the one with its id, or takes that one out. */
  put(id: string, entry: Entry | undefined): void
  /** All users ascending by that property, those without a value last. Valid until the next change. */
  inOrder(field: OrderField): readonly Entry[]
  /** The given users in that order. */
  sort(entries: Entry[], field: OrderField): Entry[]
  /** Below 0 where `a` comes first in the ascending order. */
  compare(a: Entry, b: Entry, field: OrderField): number
}

export function createWorld(ties: Ties, initial: Iterable<Entry> = []): World {
  const byId = new Map(Array.from(initial, (entry) => [entry.id, entry]))
  const sorted = new Map<OrderField, Entry[]>()
  const compare = (a: Entry, b: Entry, field: OrderField) =>
    compareValues(orderValue(a, field), orderValue(b, field)) || compareTies(a.id, b.id, ties)
  const placeOf = (items: readonly Entry[], entry: Entry, field: OrderField) =>
    partitionPoint(items, (item) => compare(item, entry, field) < 0)
  const sort = (entries: Entry[], field: OrderField) => entries.sort((a, b) => compare(a, b, field))

  return {
    get size() {
      return byId.size
    },
    get: (id) => byId.get(id),
    entries: () => byId.values(),
    copy: () => createWorld(ties, byId.values()),
    put(id, entry) {
      const before = byId.get(id)
      for (const [field, items] of sorted) {
        if (before !== undefined) items.splice(placeOf(items, before, field), 1)
        if (entry !== undefined) items.splice(placeOf(items, entry, field), 0, entry)
      }
      if (entry === undefined) byId.delete(id)
      else byId.set(id, entry)
    },
    inOrder(field) {
      const items = sorted.get(field) ?? sort([...byId.values()], field)
      sorted.set(field, items)
      return items
    },
    sort,
    compare,
  }
}

/** True where the user has no value to be sorted by. */
export const lacksValue = (entry: Entry, field: OrderField) => orderValue(entry, field) === null
