// The four requests to Clerk: list, count, one user, the instance. Each answer is validated, so that no bad answer can
// read as "no users"; pages become smaller where Clerk is too slow for large ones.
import {
  type Answer,
  countReader,
  instanceReader,
  joinAnswers,
  type ListQuery,
  listParameters,
  listReader,
  userReader,
} from './answers.ts'
import { createPageSize } from './page-size.ts'
import { createTransport, type TransportOptions } from './transport.ts'
import type { ReadUser } from './user.ts'

/** One page of users. */
export interface ListAnswer {
  users: ReadUser[]
  /** The limit of the request: smaller than the query's once Clerk was too slow for that many. */
  limit: number
  /** Clerk's clock when it answered, ms; undefined where the answer had no `Date`. Whole seconds, rounded down. */
  date: number | undefined
}

export interface ClerkClient {
  /** One page. A refused query is a `contract` error whose `facts.status` is the 4xx. */
  listUsers(query: ListQuery): Promise<ListAnswer>
  /** All users of the instance: unfiltered, since a filtered count can take minutes. */
  countUsers(): Promise<{ count: number; date: number | undefined }>
  /** The user, or `denied` if Clerk answers with its own code that there is none. */
  fetchUser(clerkId: string): Promise<{ user: ReadUser | 'denied'; date: number | undefined }>
  fetchInstance(): Promise<{ id: string; date: number | undefined }>
  /** Ends every request and every wait, also those whose caller has failed. */
  close(): void
  /** Requests sent so far, retries included, and how many of them got a 429. */
  readonly requests: { total: number; throttled: number }
  /** What a report should say about how Clerk had to be asked. */
  notes(): string[]
}

export interface ClerkClientOptions extends TransportOptions {
  /** Pages are not made smaller than this; 10 if absent. */
  smallestPage?: number
}

/**
 * A client for one run. Its requests throw `SyncError`: `configuration` for 401 and 403, `transient` for what stayed
 * unreachable through all tries, `contract` for an answer that is not what the API promises, or the signal's reason.
 */
export function createClerkClient(options: ClerkClientOptions): ClerkClient {
  const { request, requests, close } = createTransport(options)
  const pageSize = createPageSize(options.smallestPage)

  const listPage = async (query: ListQuery): Promise<ListAnswer> => {
    let limit = query.limit
    const parameters = () => {
      limit = pageSize.of(query.limit)
      return listParameters({ ...query, limit })
    }
    const askForLess = () => pageSize.halve(limit)
    const answer = await request({ path: '/users', read: listReader, parameters, askForLess })
    return { users: answer.value, limit, date: answer.date }
  }

  /** Asks for at most a page of ids at a time, with the canary each time. */
  const listByIds = async (query: ListQuery, userIds: readonly string[]): Promise<ListAnswer> => {
    const { canary } = query
    const companions = canary === undefined ? [] : [canary]
    const others = userIds.filter((id) => id !== canary)
    const answers: Answer<ReadUser[]>[] = []
    for (let asked = 0; answers.length === 0 || asked < others.length; ) {
      let part: string[] = []
      const parameters = () => {
        const size = pageSize.of(others.length + companions.length) - companions.length
        part = others.slice(asked, asked + Math.max(1, size))
        return listParameters({ ...query, userIds: [...part, ...companions] })
      }
      const askForLess = () => pageSize.halve(part.length + companions.length)
      answers.push(await request({ path: '/users', read: listReader, parameters, askForLess }))
      asked += part.length
    }
    const users = joinAnswers(
      answers.map((answer) => answer.value),
      canary,
    )
    return { users, limit: query.limit, date: answers.at(-1)?.date }
  }

  return {
    requests,
    notes: () =>
      pageSize.lowered === undefined
        ? []
        : [`a full page took too long or was too large: pages of ${pageSize.lowered} users were asked for`],
    close,
    listUsers: (query) => (query.userIds === undefined ? listPage(query) : listByIds(query, query.userIds)),
    async countUsers() {
      const answer = await request({ path: '/users/count', read: countReader })
      return { count: answer.value, date: answer.date }
    },
    async fetchUser(clerkId) {
      const answer = await request({ path: `/users/${clerkId}`, read: userReader(clerkId) })
      return { user: answer.value, date: answer.date }
    },
    async fetchInstance() {
      const answer = await request({ path: '/instance', read: instanceReader })
      return { id: answer.value, date: answer.date }
    },
  }
}
