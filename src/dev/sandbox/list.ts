// Answers a query on a world: who matches, in which order, and where the page begins. Pure: it changes nothing and
// knows no HTTP.
import { type Filters, type IdFilter, type Paging, type Range, Refusal } from './query.ts'
import { type Entry, lacksValue, partitionPoint, propertyOf, type World } from './world.ts'

/** What a cursor does: what the document says, or one of the ways in which it could fail a reader. */
export type CursorMode = 'normal' | 'refused' | 'ignored' | 'time-only'
/** What becomes of a cursor whose user is gone. The document leaves it open. */
export type DeletedCursor = 'remember' | 'refuse' | 'ignore' | 'empty'
/** What the `user_id` filter does; a set names ids that it leaves out. */
export type UserIdFilter = 'normal' | 'ignored' | 'empty' | ReadonlySet<string>

export interface CursorRules {
  readonly mode: CursorMode
  readonly deleted: DeletedCursor
  /** The user as it is or was, for a cursor that this world does not hold. */
  readonly everKnown: (id: string) => Entry | undefined
}

export interface FilterRules {
  readonly userIdFilter: UserIdFilter
  /** Whether the bounds of a time filter count themselves in; "before" and "after" read as if they did not. */
  readonly inclusive: boolean
}

type Test = (entry: Entry) => boolean

/** The identifiers of a user by the filter that asks for them. */
const identifierArrays: Record<string, string> = {
  email_address: 'email_addresses',
  phone_number: 'phone_numbers',
  web3_wallet: 'web3_wallets',
}

function textsOf(entry: Entry, name: string): string[] {
  const array = identifierArrays[name]
  const found: unknown = array === undefined ? [propertyOf(entry, name)] : propertyOf(entry, array)
  if (!Array.isArray(found)) return []
  const texts: unknown[] = array === undefined ? found : found.map((element) => element?.[name])
  return texts.filter((text) => typeof text === 'string')
}

const nameProperties = ['first_name', 'last_name']
/** Where each partial match looks. */
const searchedBy: Record<string, readonly string[]> = {
  query: ['id', 'email_address', 'phone_number', 'username', 'web3_wallet', ...nameProperties],
  email_address_query: ['email_address'],
  phone_number_query: ['phone_number'],
  username_query: ['username'],
  name_query: nameProperties,
}

function partialTest(name: string, text: string): Test {
  const searched = searchedBy[name] ?? []
  const byFullName = searched.includes('first_name')
  return (entry) => {
    const texts = searched.flatMap((property) => textsOf(entry, property))
    if (byFullName) texts.push(nameProperties.flatMap((property) => textsOf(entry, property)).join(' '))
    return texts.some((candidate) => candidate.toLowerCase().includes(text))
  }
}

const passes = (id: unknown, { included, excluded }: IdFilter) =>
  typeof id === 'string' ? (included?.has(id) ?? true) && !excluded.has(id) : included === undefined

function rangeTest({ property, before, after, since }: Range, inclusive: boolean): Test {
  const slack = inclusive ? 1 : 0
  const below = before === undefined ? Number.POSITIVE_INFINITY : before + slack
  const above = after === undefined ? Number.NEGATIVE_INFINITY : after - slack
  return (entry) => {
    const at = property === 'created_at' ? entry.createdAt : propertyOf(entry, property)
    return typeof at === 'number' && at < below && at > above && at >= (since ?? Number.NEGATIVE_INFINITY)
  }
}

function testsOf(filters: Filters, rules: FilterRules): Test[] {
  const tests: Test[] = []
  const { externalId, organizationId, provider, banned } = filters
  if (externalId !== undefined) tests.push((entry) => passes(propertyOf(entry, 'external_id'), externalId))
  if (organizationId?.included !== undefined) tests.push(() => false)
  for (const [name, wanted] of filters.exact) {
    tests.push((entry) => textsOf(entry, name).some((text) => wanted.has(text)))
  }
  for (const [name, text] of filters.partial) tests.push(partialTest(name, text))
  if (provider !== undefined) {
    tests.push((entry) => {
      const accounts = propertyOf(entry, 'external_accounts')
      const isWanted = (account: Record<string, unknown> | null) =>
        account?.provider === provider.name && provider.userIds.has(String(account.provider_user_id))
      return Array.isArray(accounts) && accounts.some(isWanted)
    })
  }
  if (banned !== undefined) tests.push((entry) => (propertyOf(entry, 'banned') === true) === banned)
  for (const range of filters.ranges) tests.push(rangeTest(range, rules.inclusive))
  return tests
}

/** The ids that the `user_id` filter lets through, or undefined where it does not filter. */
function idRule(filters: Filters, rule: UserIdFilter): IdFilter | undefined {
  if (filters.userId === undefined || rule === 'ignored') return undefined
  if (rule === 'normal') return filters.userId
  if (rule === 'empty') return { included: new Set(), excluded: new Set() }
  return { included: filters.userId.included, excluded: new Set([...filters.userId.excluded, ...rule]) }
}

/** The users among whom to look, sorted, and the tests that remain. Few ids are looked up, not searched for. */
function candidates(world: World, filters: Filters, rules: FilterRules, field: Paging['field']) {
  const ids = idRule(filters, rules.userIdFilter)
  const tests = testsOf(filters, rules)
  if (ids?.included !== undefined) {
    const found = Array.from(ids.included, (id) => (ids.excluded.has(id) ? undefined : world.get(id)))
    return {
      items: world.sort(
        found.filter((entry) => entry !== undefined),
        field,
      ),
      tests,
    }
  }
  if (ids !== undefined) tests.push((entry) => !ids.excluded.has(entry.id))
  return { items: world.inOrder(field), tests }
}

/** How many users of `items` come before the page in its own direction; undefined for a page that is empty. */
function startOf(
  world: World,
  items: readonly Entry[],
  paging: Paging,
  rules: CursorRules,
): number | undefined {
  const { startingAfter, descending } = paging
  if (startingAfter === undefined || rules.mode === 'ignored') return 0
  if (rules.mode === 'refused') throw new Refusal('starting_after', 'starting_after is not supported.')
  let cursor = world.get(startingAfter)
  if (cursor === undefined) {
    if (rules.deleted === 'ignore') return 0
    if (rules.deleted === 'empty') return undefined
    cursor = rules.deleted === 'remember' ? rules.everKnown(startingAfter) : undefined
    if (cursor === undefined) throw new Refusal('starting_after', 'starting_after names no user.')
  }
  const { createdAt } = cursor
  const isEarlier = (entry: Entry) =>
    entry.createdAt !== null && (createdAt === null || entry.createdAt < createdAt)
  const isUpTo = (entry: Entry) => isEarlier(entry) || entry.createdAt === createdAt
  const isBefore = (entry: Entry) => world.compare(entry, cursor, 'created_at') < 0
  const isAtOrBefore = (entry: Entry) => world.compare(entry, cursor, 'created_at') <= 0
  const byTime = rules.mode === 'time-only'
  if (!descending || createdAt === null) return partitionPoint(items, byTime ? isUpTo : isAtOrBefore)
  const valued = partitionPoint(items, (entry) => !lacksValue(entry, 'created_at'))
  return valued - partitionPoint(items, byTime ? isEarlier : isBefore)
}

/** The users of one page. Throws a `Refusal` where the cursor is refused. */
export function listPage(
  world: World,
  filters: Filters,
  paging: Paging,
  rules: FilterRules & { cursor: CursorRules },
): Entry[] {
  const { items, tests } = candidates(world, filters, rules, paging.field)
  const valued = partitionPoint(items, (entry) => !lacksValue(entry, paging.field))
  const at = (place: number) => items[paging.descending && place < valued ? valued - 1 - place : place]
  let place = startOf(world, items, paging, rules.cursor) ?? items.length
  let skipped = 0
  if (tests.length === 0) {
    place += paging.offset
    skipped = paging.offset
  }
  const page: Entry[] = []
  for (; place < items.length && page.length < paging.limit; place += 1) {
    const entry = at(place)
    if (entry === undefined || !tests.every((test) => test(entry))) continue
    if (skipped < paging.offset) skipped += 1
    else page.push(entry)
  }
  return page
}

/** How many users match. */
export function countUsers(world: World, filters: Filters, rules: FilterRules): number {
  const { items, tests } = candidates(world, filters, rules, 'created_at')
  if (tests.length === 0) return items.length
  return items.reduce((total, entry) => total + (tests.every((test) => test(entry)) ? 1 : 0), 0)
}
