// The users behind the sandbox, and their recent past: a listing may show the world as it was a while ago. Every change
// goes through here and is stamped by the sandbox's clock, as Clerk stamps it.
import type { SandboxClock } from './clock.ts'
import { buildUser, defaultAvatar, identifiersOf, propertiesOf } from './new-user.ts'
import { ksuid, type Random, randomFrom, seedOf } from './random.ts'
import type { SandboxUser, UserParts } from './user.ts'
import { type Entry, type Ties, World } from './world.ts'

/** How long a change is remembered; a longer lag shows the oldest world known. */
const HISTORY_MS = 60 * 60 * 1000
/** How often the past is looked through for what has become too old, in changes. */
const TRIM_EVERY = 1024

interface Change {
  readonly at: number
  readonly id: string
  readonly before: Entry | undefined
  readonly after: Entry | undefined
}

/** A world that stands between two changes of the history. */
interface Replica {
  readonly world: World
  /** How many of the remembered changes it has seen. */
  position: number
}

/** The users of one instance. Unknown ids throw, but for `get` and `delete`. */
export class UserStore {
  private readonly present: World
  private readonly clock: SandboxClock
  private readonly instanceId: string
  private readonly random: Random
  private readonly changes: Change[] = []
  private readonly replicas = new Map<string, Replica>()
  private readonly gone = new Map<string, Entry>()

  constructor(options: {
    clock: SandboxClock
    instanceId: string
    users?: Iterable<SandboxUser>
    ties?: Ties
  }) {
    this.clock = options.clock
    this.instanceId = options.instanceId
    this.random = randomFrom(seedOf(options.instanceId))
    this.present = new World(options.ties ?? 'id', Array.from(options.users ?? [], entryOf))
  }

  get size(): number {
    return this.present.size
  }

  /** The user as it is now. Not to be changed in place: `update` makes a new one. */
  get(id: string): SandboxUser | undefined {
    return this.present.get(id)?.json as SandboxUser | undefined
  }

  /** Everybody, raw values included, in the order in which they came. */
  all(): SandboxUser[] {
    return Array.from(this.present.entries(), (entry) => entry.json as SandboxUser)
  }

  /** A sign-up, now. */
  create(parts: UserParts = {}): SandboxUser {
    const user = buildUser(parts, this.instanceId, this.clock.now(), this.random)
    if (this.present.get(user.id) !== undefined) throw new Error(`the sandbox already has a user ${user.id}`)
    this.change(user.id, entryOf(user))
    return user
  }

  /** A user brought along from elsewhere: made now, with the `created_at` that the importer chose. */
  import(parts: UserParts & { created_at: number }): SandboxUser {
    return this.create(parts)
  }

  /** Lays the parts over the user. `updated_at` is the clock's, unless the parts name one. */
  update(id: string, parts: UserParts): SandboxUser {
    const user = this.existing(id)
    const now = this.clock.now()
    const next: SandboxUser = {
      ...user,
      updated_at: now,
      ...identifiersOf(parts, now, this.random),
      ...propertiesOf(parts),
      id,
    }
    const hadDefaultAvatar = user.image_url === defaultAvatar(this.instanceId, user)
    if (hadDefaultAvatar && parts.image_url === undefined) {
      next.image_url = defaultAvatar(this.instanceId, next)
      next.profile_image_url = next.image_url
    }
    return this.replace(next)
  }

  /** A sign-in: like at Clerk it moves `updated_at`, to some tens of milliseconds after `last_sign_in_at`. */
  signIn(id: string): SandboxUser {
    const now = this.clock.now()
    const times = { last_sign_in_at: now - 25 - this.random.below(12), last_active_at: now, updated_at: now }
    return this.replace({ ...this.existing(id), ...times })
  }

  /** Activity of a signed-in user: moves `last_active_at` alone. */
  touch(id: string): SandboxUser {
    return this.replace({ ...this.existing(id), last_active_at: this.clock.now() })
  }

  /** Takes the user out and returns it; undefined where there is none. */
  delete(id: string): SandboxUser | undefined {
    const entry = this.present.get(id)
    if (entry === undefined) return undefined
    this.change(id, undefined)
    return entry.json as SandboxUser
  }

  /**
   * Puts any JSON value among the users. Its place is its own `id` and `created_at`, unless `place` names one; without
   * a readable one the id is made up and the creation time is now. Returns the id by which the store knows it.
   */
  putRaw(json: unknown, place: { id?: string; createdAt?: number } = {}): string {
    const raw = entryOf(json)
    const id = place.id ?? (raw.id === '' ? ksuid('user_', this.clock.now(), this.random) : raw.id)
    this.change(id, { id, createdAt: place.createdAt ?? raw.createdAt ?? this.clock.now(), json })
    return id
  }

  /** The world as it was that long ago. `reader` names who looks, because each keeps a world of its own. */
  worldBefore(lagMs: number, reader: string): World {
    if (lagMs <= 0) return this.present
    const replica = this.replicas.get(reader) ?? { world: this.present.copy(), position: this.changes.length }
    this.replicas.set(reader, replica)
    this.move(replica, this.clock.now() - lagMs)
    return replica.world
  }

  /** The user under that id now, or as it was when it was deleted. */
  everKnown(id: string): Entry | undefined {
    return this.present.get(id) ?? this.gone.get(id)
  }

  private existing(id: string): SandboxUser {
    const user = this.get(id)
    if (typeof user !== 'object' || user === null) throw new Error(`the sandbox has no user ${id}`)
    return user
  }

  private replace(user: SandboxUser): SandboxUser {
    this.change(user.id, entryOf(user))
    return user
  }

  private change(id: string, after: Entry | undefined): void {
    const before = this.present.get(id)
    this.present.put(id, after)
    if (after === undefined && before !== undefined) this.gone.set(id, before)
    else this.gone.delete(id)
    this.changes.push({ at: this.clock.now(), id, before, after })
    if (this.changes.length % TRIM_EVERY === 0) this.trim()
  }

  /** Forwards over what had happened by then, backwards over what had not. */
  private move(replica: Replica, at: number): void {
    for (let next = this.changes[replica.position]; next !== undefined && next.at <= at; ) {
      replica.world.put(next.id, next.after)
      replica.position += 1
      next = this.changes[replica.position]
    }
    for (let last = this.changes[replica.position - 1]; last !== undefined && last.at > at; ) {
      replica.world.put(last.id, last.before)
      replica.position -= 1
      last = this.changes[replica.position - 1]
    }
  }

  private trim(): void {
    const oldest = this.clock.now() - HISTORY_MS
    const kept = this.changes.findIndex((change) => change.at >= oldest)
    const dropped = kept === -1 ? this.changes.length : kept
    for (const replica of this.replicas.values()) {
      while (replica.position < dropped) {
        const next = this.changes[replica.position]
        if (next !== undefined) replica.world.put(next.id, next.after)
        replica.position += 1
      }
      replica.position -= dropped
    }
    this.changes.splice(0, dropped)
  }
}

/** The place that a user's own JSON gives it; an unreadable id is empty. */
function entryOf(json: unknown): Entry {
  const { id, created_at: createdAt } = (typeof json === 'object' && json !== null ? json : {}) as Record<
    string,
    unknown
  >
  return {
    id: typeof id === 'string' ? id : '',
    createdAt: typeof createdAt === 'number' ? createdAt : null,
    json,
  }
}
