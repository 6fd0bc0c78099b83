// What is asked of Clerk's endpoints and how their answers are read. Pure. The rule: an answer that is not what the API
// promises is undefined, so that none can read as "no users".
import { isClerkUserId, type ReadUser, readUser } from './user.ts'

/** What a list is asked for. Times are milliseconds. */
export interface ListQuery {
  limit: number
  orderBy?: '+created_at' | '-updated_at'
  startingAfter?: string
  offset?: number
  createdAtAfter?: number
  /** More of them than a page may hold are asked for in several requests. */
  userIds?: readonly string[]
  /**
   * One of `userIds`, a user that Clerk has. It is asked for in every request, and the answer holds it only if each of the
   * requests returned it: so it vouches for the whole answer.
   */
  canary?: string | undefined
}

/** What an answer says, and Clerk's clock then (ms, undefined without a `Date`). */
export interface Answer<T> {
  value: T
  date: number | undefined
}

/** How an endpoint's answer is read: undefined is "not what the API promises". */
export interface Reader<T> {
  what: string
  /** 1 MB if absent. */
  bytesMax?: number
  body(json: unknown): T | undefined
  notFound?(): T
}

/**
 * A user whose three kinds of metadata are full (8 KB each) has about 32 KB, 500 of them 16 MB. More than twice of that
 * is no page of Clerk's, or one that is better asked for in halves.
 */
const listBytesMax = 32 * 1024 * 1024
/** The most that Clerk returns in one list. Millions of empty elements would fit into the bytes. */
const usersMax = 500
export const listReader: Reader<ReadUser[]> = {
  what: 'the list of users is not an array of users',
  bytesMax: listBytesMax,
  body: (json) => (Array.isArray(json) && json.length <= usersMax ? json.map(readUser) : undefined),
}

export const countReader: Reader<number> = {
  what: 'the count of users is not a number',
  body(json) {
    const count = field(json, 'total_count')
    return typeof count === 'number' && Number.isInteger(count) && count >= 0 ? count : undefined
  },
}

export const instanceReader: Reader<string> = {
  what: 'the instance has no id',
  body(json) {
    const id = field(json, 'id')
    return field(json, 'object') === 'instance' && typeof id === 'string' && /^ins_\w+$/.test(id)
      ? id
      : undefined
  },
}

export const userReader = (clerkId: string): Reader<ReadUser | 'denied'> => ({
  what: 'the user is not the one that was asked for',
  body: (json) => (field(json, 'id') === clerkId && isClerkUserId(clerkId) ? readUser(json) : undefined),
  notFound: () => 'denied',
})

export function listParameters(query: ListQuery): URLSearchParams {
  const parameters = new URLSearchParams({ limit: String(query.limit) })
  if (query.orderBy !== undefined) parameters.set('order_by', query.orderBy)
  if (query.startingAfter !== undefined) parameters.set('starting_after', query.startingAfter)
  if (query.offset !== undefined) parameters.set('offset', String(query.offset))
  if (query.createdAtAfter !== undefined) parameters.set('created_at_after', String(query.createdAtAfter))
  for (const id of query.userIds ?? []) parameters.append('user_id', id)
  return parameters
}

/**
 * The users of all parts. The canary is left out unless every part has it: what a part without it denies, is not denied.
 */
export function joinAnswers(parts: readonly ReadUser[][], canary: string | undefined): ReadUser[] {
  const isCanary = (user: ReadUser) => user.kind !== 'unreadable' && user.clerkId === canary
  const vouches = parts.every((users) => users.some(isCanary))
  return parts.flatMap((users, index) => users.filter((user) => !isCanary(user) || (vouches && index === 0)))
}

/** Clerk's own word for "no such user"; a proxy's 404 says nothing about users. */
export function isNotFoundError(json: unknown): boolean {
  const errors = field(json, 'errors')
  return Array.isArray(errors) && errors.some((each) => field(each, 'code') === 'resource_not_found')
}

/** The JSON in a text, undefined if it is none. */
export function parseJson(body: string): unknown {
  try {
    return JSON.parse(body)
  } catch {
    return undefined
  }
}

/** A key of something that may be no object. */
export function field(json: unknown, key: string): unknown {
  return typeof json === 'object' && json !== null ? (json as Record<string, unknown>)[key] : undefined
}
