// Reads the query string of a listing as Clerk's document describes it: unknown parameters are ignored, malformed ones
// refused. What the document leaves open is an option of the sandbox.
import { type OrderField, orderFields } from './world.ts'

/** Clerk's page size where none, or none that it accepts, is asked for. */
export const defaultLimit = 10
const limitMax = 500
/** The most values that a repeatable filter takes. */
const valuesMax = 100

/** A parameter that Clerk answers with 422. */
export class Refusal extends Error {
  override readonly name = 'Refusal'
  readonly parameter: string

  constructor(parameter: string, message: string) {
    super(message)
    this.parameter = parameter
  }
}

/** Ids to include (undefined: all) and to leave out. */
export interface IdFilter {
  readonly included: ReadonlySet<string> | undefined
  readonly excluded: ReadonlySet<string>
}

/** Times between which a property must lie. */
export interface Range {
  readonly property: 'created_at' | 'last_active_at' | 'last_sign_in_at'
  readonly before: number | undefined
  readonly after: number | undefined
  /** The deprecated lower bound that counts itself in. */
  readonly since: number | undefined
}

/** Whom to return: the part that list and count share. */
export interface Filters {
  readonly userId: IdFilter | undefined
  readonly externalId: IdFilter | undefined
  readonly organizationId: IdFilter | undefined
  readonly exact: ReadonlyMap<string, ReadonlySet<string>>
  readonly partial: ReadonlyMap<string, string>
  readonly provider: { readonly name: string; readonly userIds: ReadonlySet<string> } | undefined
  readonly banned: boolean | undefined
  readonly ranges: readonly Range[]
}

/** Which page of them. */
export interface Paging {
  readonly limit: number
  readonly offset: number
  readonly field: OrderField
  readonly descending: boolean
  readonly startingAfter: string | undefined
}

/** What to do with a limit outside 1 to 500: serve 10 users, as was observed, or answer 422. */
export type BadLimit = 'default' | 'refuse'

/** Spaces at the front were plus signs: a raw `+` in a query string decodes to a space. */
const unspaced = (value: string) => value.replace(/^ /, '+')

function values(query: URLSearchParams, name: string): string[] {
  const all = query.getAll(name).map(unspaced)
  if (all.length > valuesMax) throw new Refusal(name, `${name} takes up to ${valuesMax} values.`)
  return all
}

function integer(query: URLSearchParams, name: string): number | undefined {
  const text = query.get(name)
  if (text === null) return undefined
  if (!/^-?\d{1,15}$/.test(text)) throw new Refusal(name, `${name} must be an integer.`)
  return Number(text)
}

function idFilter(query: URLSearchParams, name: string): IdFilter | undefined {
  const all = values(query, name)
  if (all.length === 0) return undefined
  const included = all.filter((value) => !value.startsWith('-')).map((value) => value.replace(/^\+/, ''))
  const excluded = all.filter((value) => value.startsWith('-')).map((value) => value.slice(1))
  return { included: included.length === 0 ? undefined : new Set(included), excluded: new Set(excluded) }
}

function range(query: URLSearchParams, property: Range['property']): Range {
  return {
    property,
    before: integer(query, `${property}_before`),
    after: integer(query, `${property}_after`),
    since: property === 'last_active_at' ? integer(query, 'last_active_at_since') : undefined,
  }
}

function banned(query: URLSearchParams): boolean | undefined {
  const text = query.get('banned')
  if (text === null) return undefined
  if (text !== 'true' && text !== 'false') throw new Refusal('banned', 'banned must be true or false.')
  return text === 'true'
}

function provider(query: URLSearchParams): Filters['provider'] {
  const name = query.get('provider')
  const userIds = values(query, 'provider_user_id')
  if (name === null && userIds.length === 0) return undefined
  if (name === null || userIds.length === 0) {
    throw new Refusal('provider', 'provider and provider_user_id must be used in combination.')
  }
  return { name, userIds: new Set(userIds) }
}

/** The filters of a list or count. Throws a `Refusal`. */
export function readFilters(query: URLSearchParams): Filters {
  const exact = ['email_address', 'phone_number', 'username', 'web3_wallet']
    .map((name) => [name, new Set(values(query, name))] as const)
    .filter(([, wanted]) => wanted.size > 0)
  const partial = ['query', 'email_address_query', 'phone_number_query', 'username_query', 'name_query']
    .map((name) => [name, unspaced(query.get(name) ?? '').toLowerCase()] as const)
    .filter(([, text]) => text !== '')
  const ranges = [range(query, 'created_at'), range(query, 'last_active_at'), range(query, 'last_sign_in_at')]
  return {
    userId: idFilter(query, 'user_id'),
    externalId: idFilter(query, 'external_id'),
    organizationId: idFilter(query, 'organization_id'),
    exact: new Map(exact),
    partial: new Map(partial),
    provider: provider(query),
    banned: banned(query),
    ranges: ranges.filter(
      ({ before, after, since }) => before !== undefined || after !== undefined || since !== undefined,
    ),
  }
}

function limit(query: URLSearchParams, badLimit: BadLimit): number {
  const text = query.get('limit')
  if (text === null) return defaultLimit
  const wanted = /^\d{1,9}$/.test(text) ? Number(text) : 0
  if (wanted >= 1 && wanted <= limitMax) return wanted
  if (badLimit === 'refuse') throw new Refusal('limit', `limit must be an integer from 1 to ${limitMax}.`)
  return defaultLimit
}

function order(query: URLSearchParams): { field: OrderField; descending: boolean } {
  const text = unspaced(query.get('order_by') ?? '-created_at')
  const field = orderFields.find((name) => name === text.replace(/^[+-]/, ''))
  if (field === undefined)
    throw new Refusal('order_by', 'order_by names no property that users can be ordered by.')
  return { field, descending: text.startsWith('-') }
}

/** The page that is asked for. Throws a `Refusal`, also where a cursor meets another order or an offset. */
export function readPaging(query: URLSearchParams, badLimit: BadLimit): Paging {
  const { field, descending } = order(query)
  const offset = integer(query, 'offset') ?? 0
  const startingAfter = query.get('starting_after') ?? undefined
  if (offset < 0) throw new Refusal('offset', 'offset must be greater than or equal to 0.')
  if (startingAfter !== undefined && field !== 'created_at') {
    throw new Refusal('starting_after', 'starting_after requires ordering by created_at.')
  }
  if (startingAfter !== undefined && offset > 0) {
    throw new Refusal('starting_after', 'starting_after cannot be combined with a non-zero offset.')
  }
  return { limit: limit(query, badLimit), offset, field, descending, startingAfter }
}
