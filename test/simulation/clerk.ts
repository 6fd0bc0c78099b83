// The sandbox's Clerk without a socket: the same answers and the same faults, handed over in the process, and the truth
// about every user at every moment, which the checks hold the table against.
import { createClock } from '../../src/dev/sandbox/clock.ts'
import { createFaults, type FaultOptions, type RecordedRequest, spoil } from '../../src/dev/sandbox/faults.ts'
import { defaultLimit, Refusal } from '../../src/dev/sandbox/query.ts'
import type { Random } from '../../src/dev/sandbox/random.ts'
import {
  answerCount,
  answerInstance,
  answerList,
  answerUser,
  type Behaviour,
} from '../../src/dev/sandbox/reads.ts'
import { errorReply, jsonReply, type Reply } from '../../src/dev/sandbox/reply.ts'
import { createUserStore, type UserStore } from '../../src/dev/sandbox/store.ts'
import type { SandboxUser, UserParts } from '../../src/dev/sandbox/user.ts'
import type { WebhookEvent } from '../../src/dev/sandbox/webhooks.ts'
import type { SimulationOptions } from './options.ts'
import type { Row } from './postgres.ts'

/** What a row should hold. */
export type Wanted = Pick<Row, 'name' | 'email' | 'imageUrl' | 'createdAt' | 'updatedAt'>

/** A user from a moment on. Undefined wants: deleted, or of a catalog that no row can have. */
export interface Version {
  readonly at: number
  readonly isDeleted: boolean
  readonly createdAt: number
  readonly wanted: Wanted | undefined
}

/** A delivery that Clerk owes. */
export interface Event {
  readonly id: number
  readonly type: WebhookEvent
  readonly clerkId: string
  readonly user: SandboxUser | undefined
  readonly at: number
}

/** An answer, as the one who asked got it. */
export interface Heard {
  readonly request: RecordedRequest
  readonly fault: FaultOptions | undefined
  readonly value: unknown
  /** What it would have been without the fault. */
  readonly right: unknown
  readonly at: number
  /** Whether it carried Clerk's time, right or wrong. */
  readonly hadDate: boolean
}

/** A user whom Clerk has and denies. */
interface Hidden {
  readonly json: SandboxUser
  readonly where: 'everywhere' | 'in lists'
}

/** The same as it is remembered: until when, which is undefined while it lasts. */
interface Hiding {
  readonly where: Hidden['where']
  to: number | undefined
}

export class SimulatedClerk {
  readonly clock
  readonly users: UserStore
  readonly behaviour: Behaviour & { dateHeader: boolean; dateOffsetMs: number }
  readonly faults = createFaults()
  readonly history = new Map<string, Version[]>()
  /** Not delivered yet, and not lost. */
  readonly events: Event[] = []
  readonly instanceId: string
  private readonly options: SimulationOptions
  private readonly hidden = new Map<string, Hidden>()
  private readonly past = new Map<string, Hiding[]>()
  private addressCount = 0
  private eventCount = 0

  constructor(options: SimulationOptions, at: number, instanceId: string) {
    this.options = options
    this.instanceId = instanceId
    this.clock = createClock({ at, frozen: true })
    this.users = createUserStore({ clock: this.clock, instanceId, ties: options.ties })
    this.behaviour = {
      environmentType: 'production',
      listingLagMs: 0,
      countLagMs: 0,
      filterLags: options.filterLags,
      cursorMode: options.cursorMode,
      deletedCursor: options.deletedCursor,
      userIdFilter: 'normal',
      paramsIgnored: new Set(),
      badLimit: 'default',
      inclusive: options.inclusive,
      dateHeader: options.dateHeader,
      dateOffsetMs: 0,
    }
    // Each reader's world begins here, or the first lagging look would find a world without a past.
    this.users.worldBefore(1, 'list')
    this.users.worldBefore(1, 'count')
  }

  now(): number {
    return this.clock.now()
  }

  create(parts: UserParts): string {
    const user = this.users.create(parts)
    this.note('user.created', user.id, user)
    return user.id
  }

  update(clerkId: string, parts: UserParts): void {
    this.note('user.updated', clerkId, this.users.update(clerkId, parts))
  }

  signIn(clerkId: string): void {
    this.note('user.updated', clerkId, this.users.signIn(clerkId))
  }

  delete(clerkId: string): void {
    this.users.delete(clerkId)
    this.hidden.delete(clerkId)
    this.note('user.deleted', clerkId, undefined)
  }

  private note(type: WebhookEvent, clerkId: string, user: SandboxUser | undefined): void {
    const versions = this.history.get(clerkId) ?? []
    const createdAt = user?.created_at ?? versions.at(-1)?.createdAt ?? 0
    versions.push({
      at: this.now(),
      isDeleted: user === undefined,
      createdAt,
      wanted: user && wantedOf(user),
    })
    this.history.set(clerkId, versions)
    this.events.push({ id: ++this.eventCount, type, clerkId, user, at: this.now() })
  }

  /** Who lives now. */
  liveIds(): string[] {
    return [...this.history].filter(([, versions]) => versions.at(-1)?.isDeleted === false).map(([id]) => id)
  }

  /** Who lives now and is not hidden. */
  shownIds(): string[] {
    return this.liveIds().filter((id) => this.users.get(id) !== undefined)
  }

  /** An address that nobody has had, some of them in capitals. */
  freshAddress(): string {
    const count = ++this.addressCount
    const isUpperCase = count % (this.options.lowersAddresses ? 2 : 4) === 0
    return `${isUpperCase ? 'A' : 'a'}${count}@example.com`
  }

  addressOf(clerkId: string): string | undefined {
    const user = this.users.get(clerkId)
    const isPrimary = (each: { id: string }) => each.id === user?.primary_email_address_id
    return user?.email_addresses.find(isPrimary)?.email_address
  }

  /**
   * Clerk denies users that it has, until they are shown again: to every question, or in lists and counts alone. No
   * event tells of it.
   */
  hide(clerkIds: readonly string[], where: Hidden['where']): void {
    for (const id of clerkIds) {
      const json = this.users.delete(id)
      if (json === undefined) continue
      this.hidden.set(id, { json, where })
      this.past.set(id, [...(this.past.get(id) ?? []), { where, to: undefined }])
    }
  }

  /** All hidden users are back, as they were. */
  showAll(): void {
    for (const [id, { json }] of this.hidden) {
      this.users.putRaw(json)
      const last = this.past.get(id)?.at(-1)
      if (last !== undefined) last.to ??= this.now()
    }
    this.hidden.clear()
  }

  /** True if Clerk left the user out of its lists at some time since then. */
  wasHidden(clerkId: string, since: number): boolean {
    return this.hidings(clerkId, since).length > 0
  }

  /** True if Clerk denied the user to every question at some time since then: no reader could know better. */
  wasDenied(clerkId: string, since: number): boolean {
    return this.hidings(clerkId, since).some(({ where }) => where === 'everywhere')
  }

  private hidings(clerkId: string, since: number): Hiding[] {
    return (this.past.get(clerkId) ?? []).filter(({ to }) => to === undefined || to >= since)
  }

  /** The place in the history at which a user stood at that moment; -1 before its creation. */
  placeAt(clerkId: string, at: number): number {
    return (this.history.get(clerkId) ?? []).findLastIndex((version) => version.at <= at)
  }

  /** The way to the network. `random` decides how old the answer is. */
  answer(url: URL, random: Random): { response: Response; heard: Heard } {
    const { options, behaviour } = this
    const lag = (most: number) =>
      options.isLagSteady ? most : random.pick([0, most, random.below(most + 1)])
    behaviour.listingLagMs = lag(options.listingLagMs)
    behaviour.countLagMs = lag(options.countLagMs)
    const path = url.pathname.replace(/^\/v1/, '')
    const query = url.searchParams
    const endpoint =
      path === '/users'
        ? 'list'
        : path === '/users/count'
          ? 'count'
          : path === '/instance'
            ? 'instance'
            : 'user'
    const request = { endpoint, method: 'GET', path, query, at: this.now(), status: 0 } as const
    const right = this.rightAnswer(endpoint, path, query)
    const fault = this.faults.take(request)
    const limit = Number(query.get('limit')) || defaultLimit
    const reply = fault === undefined ? right : spoil(right, fault, limit)
    const heard = {
      request: { ...request, status: reply.status },
      fault,
      value: reply.value,
      right: right.value,
      at: this.now(),
      hadDate: behaviour.dateHeader,
    }
    return { response: this.sent(reply), heard }
  }

  private rightAnswer(endpoint: string, path: string, query: URLSearchParams): Reply {
    const source = { ...this.behaviour, users: this.users, instanceId: this.instanceId }
    try {
      if (endpoint === 'list') return answerList(source, query)
      if (endpoint === 'count') return answerCount(source, query)
      if (endpoint === 'instance') return answerInstance(source)
      const id = path.slice('/users/'.length)
      const hidden = this.hidden.get(id)
      return hidden?.where === 'in lists' ? jsonReply(hidden.json) : answerUser(source, id)
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      return errorReply(422, 'form_param_value_invalid', 'is invalid', { longMessage: error.message })
    }
  }

  /** What the network makes of it. Throws where no answer arrives. */
  private sent(reply: Reply): Response {
    if (reply.wire === 'reset') throw new TypeError('fetch failed')
    if (reply.wire === 'hang') throw new DOMException('it took too long', 'TimeoutError')
    const body = reply.text ?? JSON.stringify(reply.value)
    const headers = new Headers(reply.headers)
    if (this.behaviour.dateHeader)
      headers.set('date', new Date(this.now() + this.behaviour.dateOffsetMs).toUTCString())
    const isCut = reply.wire === 'truncated' || reply.wire === 'slow-body'
    return new Response(isCut ? cutStream(body) : body, { status: reply.status, headers })
  }
}

function cutStream(body: string): ReadableStream {
  return new ReadableStream({
    start(controller) {
      controller.enqueue(new TextEncoder().encode(body.slice(0, body.length / 2)))
      controller.error(new TypeError('terminated'))
    },
  })
}

/** The mapping as docs/adopting-a-table.md states it, written once more on purpose, for the users that the simulation makes. */
function wantedOf(user: SandboxUser): Wanted | undefined {
  if (typeof user.username === 'object' && user.username !== null) return undefined
  const email = user.email_addresses.find((each) => each.id === user.primary_email_address_id)?.email_address
  const names = [user.first_name, user.last_name].map((part) => (part ?? '').trim()).filter(Boolean)
  return {
    name: names.join(' ') || user.username || email || user.id,
    email: email ?? null,
    imageUrl: user.image_url ?? '',
    createdAt: user.created_at,
    updatedAt: user.updated_at,
  }
}
