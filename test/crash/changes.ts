// What happens in Clerk meanwhile, from a seed: users come, change, sign in and leave, and some of it is told by webhook,
// late, twice, out of order, or never. Keeps the truth that the table is judged by.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Random } from '../../src/dev/sandbox/random.ts'
import {
  createSandbox,
  type Sandbox,
  type SandboxUser,
  type WebhookEvent,
} from '../../src/dev/sandbox/sandbox.ts'
import { seedUsers } from '../../src/dev/sandbox/seed.ts'
import { send } from '../support/endpoint.ts'

/** So that a run has many pages: nobody is asked for more than Clerk gives. */
const pageSize = 50
const users = 500
/** Clerk's clock has to agree with this machine's, so a grace has to pass in earnest: a short one. */
export const graceSeconds = 2
/** Beyond it, with a `Date` that is rounded down to whole seconds. */
const settledMs = graceSeconds * 1000 + 1001
/** Shares of the changes. */
const toldByWebhook = 0.6
const told = { late: 0.3, lost: 0.1, twice: 0.1 }

interface Event {
  readonly type: WebhookEvent
  /** As it was then. */
  readonly user: SandboxUser
}

/** A delivery that was answered with 200. */
export interface Answered extends Event {
  readonly result: string
}

export type Changes = Awaited<ReturnType<typeof openChanges>>

/** A sandbox full of users who have long settled. The caller closes it. */
export async function openChanges(seed: number) {
  const sandbox: Sandbox = await createSandbox({ users: seedUsers({ count: users, seed }), rateLimit: null })
  sandbox.latencyMs = 4
  /** When they left, ms on this machine's clock, which is Postgres's too. */
  const leftAt = new Map<string, number>()
  const waiting: Event[] = []
  const answered: Answered[] = []
  const posts = new Set<Promise<void>>()

  const post = (event: Event, port: number) => {
    const { headers, body } = sandbox.webhook(event.type, event.user)
    const posting = send(port, { headers, body })
      .then(({ status, body }) => {
        if (status === 200) answered.push({ ...event, result: String(body.result) })
        else waiting.push(event)
      })
      // No answer: it comes again.
      .catch(() => void waiting.push(event))
      .finally(() => posts.delete(posting))
    posts.add(posting)
  }

  return {
    sandbox,
    leftAt,
    answered,
    /** One change. Its webhook goes to that port, if a worker listens there. */
    make(random: Random, port: number | undefined): void {
      const event = change(sandbox, leftAt, random)
      if (!random.chance(toldByWebhook) || random.chance(told.lost)) return
      if (port === undefined || random.chance(told.late)) waiting.push(event)
      else post(event, port)
      if (random.chance(told.twice)) waiting.push(event)
    },
    /** Tells some of what is still to be told. */
    deliverLate(random: Random, port: number): void {
      for (let count = random.below(6); count > 0 && waiting.length > 0; count--) {
        const [event] = waiting.splice(random.below(waiting.length), 1)
        if (event !== undefined) post(event, port)
      }
    },
    /** Until every delivery under way has an answer, or none to come. */
    async quiet(): Promise<void> {
      while (posts.size > 0) await Promise.all(posts)
    },
    /** Waits until everything that has changed so far has settled. */
    settle: () => sleep(settledMs),
    /** To be called with each request of a run. */
    cutPage(query: URLSearchParams): void {
      const limit = Number(query.get('limit'))
      if (query.get('order_by') === '+created_at' && limit > pageSize) query.set('limit', `${pageSize}`)
    },
    async close(): Promise<void> {
      await sandbox.close()
    },
  }
}

function change(sandbox: Sandbox, leftAt: Map<string, number>, random: Random): Event {
  const kind = random.pick([
    'come',
    'come',
    'change',
    'change',
    'change',
    'sign in',
    'sign in',
    'leave',
    'leave',
  ])
  if (kind === 'come') {
    const name = `Grace${random.below(1e6)}`
    const parts = {
      first_name: name,
      last_name: 'Hopper',
      email_address: `${name}@example.com`.toLowerCase(),
    }
    // Some are imported with the date they had elsewhere, so that they are on any page.
    const user = random.chance(0.5)
      ? sandbox.users.create(parts)
      : sandbox.users.import({ ...parts, created_at: Date.UTC(2023, 0, 1) + random.below(94_000_000) * 1000 })
    return { type: 'user.created', user }
  }
  const all = sandbox.users.all()
  const { id } = all[random.below(all.length)] as SandboxUser
  if (kind === 'leave') {
    const user = sandbox.users.delete(id) as SandboxUser
    leftAt.set(id, Date.now())
    return { type: 'user.deleted', user }
  }
  const user =
    kind === 'sign in'
      ? sandbox.users.signIn(id)
      : sandbox.users.update(id, { first_name: `Ada${random.below(1e6)}`, last_name: 'Lovelace' })
  return { type: 'user.updated', user }
}
