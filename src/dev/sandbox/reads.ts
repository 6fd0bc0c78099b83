// The four requests of a reader: list, count, one user, the instance. Each gives the right answer; what spoils it comes
// later.
import { type CursorMode, countUsers, type DeletedCursor, listPage, type UserIdFilter } from './list.ts'
import { type BadLimit, readFilters, readPaging } from './query.ts'
import { errorReply, jsonReply, type Reply } from './reply.ts'
import type { UserStore } from './store.ts'

export type EnvironmentType = 'development' | 'production'

/** How the API behaves where Clerk's documents leave it open, or where a test wants it to misbehave. */
export interface Behaviour {
  environmentType: EnvironmentType
  /** The list shows the world as it was that long ago on the sandbox's clock; `GET /users/{id}` is always fresh. */
  listingLagMs: number
  countLagMs: number
  /** Whether a list filtered by `user_id` lags too. */
  filterLags: boolean
  cursorMode: CursorMode
  deletedCursor: DeletedCursor
  userIdFilter: UserIdFilter
  /** Query parameters that the API does not know. */
  paramsIgnored: Set<string>
  badLimit: BadLimit
  /** Whether `…_before` and `…_after` count their bound in. */
  inclusive: boolean
}

/** What the answers are taken from. */
export interface Source extends Behaviour {
  readonly users: UserStore
  readonly instanceId: string
}

function selection(source: Source, query: URLSearchParams, lagMs: number, reader: 'list' | 'count') {
  const known = new URLSearchParams([...query].filter(([name]) => !source.paramsIgnored.has(name)))
  const filters = readFilters(known)
  const isFresh = filters.userId !== undefined && !source.filterLags
  return { known, filters, world: source.users.worldBefore(isFresh ? 0 : lagMs, reader) }
}

/** `GET /v1/users`. Throws a `Refusal`. */
export function answerList(source: Source, query: URLSearchParams): Reply {
  const { known, filters, world } = selection(source, query, source.listingLagMs, 'list')
  const everKnown = (id: string) => source.users.everKnown(id)
  const cursor = { mode: source.cursorMode, deleted: source.deletedCursor, everKnown }
  const { userIdFilter, inclusive } = source
  const page = listPage(world, filters, readPaging(known, source.badLimit), {
    userIdFilter,
    inclusive,
    cursor,
  })
  return jsonReply(page.map(({ json }) => json))
}

/** `GET /v1/users/count`. Throws a `Refusal`. */
export function answerCount(source: Source, query: URLSearchParams): Reply {
  const { filters, world } = selection(source, query, source.countLagMs, 'count')
  return jsonReply({ object: 'total_count', total_count: countUsers(world, filters, source) })
}

/** Clerk's answer to an id that it does not know. */
export function userNotFound(id: string): Reply {
  return errorReply(404, 'resource_not_found', 'Resource not found', {
    longMessage: `No user was found with id ${id}.`,
  })
}

/** `GET /v1/users/{id}`. */
export function answerUser(source: Source, id: string): Reply {
  const user: unknown = source.users.get(id)
  return user === undefined ? userNotFound(id) : jsonReply(user)
}

/** `GET /v1/instance`. */
export function answerInstance(source: Source): Reply {
  return jsonReply({
    object: 'instance',
    id: source.instanceId,
    environment_type: source.environmentType,
    allowed_origins: null,
    workspace_id: null,
  })
}
