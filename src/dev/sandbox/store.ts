// The users behind the sandbox. Every change goes through here and is stamped by the sandbox's clock, as Clerk stamps it.
import type { SandboxClock } from './clock.ts'
import { createHistory } from './history.ts'
import { buildUser, defaultAvatar, identifiersOf, propertiesOf } from './new-user.ts'
import { ksuid, type Random, randomFrom, seedOf } from './random.ts'
import type { SandboxUser, UserParts } from './user.ts'
import { createWorld, type Entry, type Ties, type World } from './world.ts'

/** The users of one instance. Unknown ids throw, but for `get` and `delete`. */
export interface UserStore {
  readonly size: number
  /** The user as it is now. Not to be changed in place: `update` makes a new one. */
  get(id: string): SandboxUser | undefined
  /** Everybody, raw values included, in the order in which they came. */
  all(): SandboxUser[]
  /** A sign-up, now. */
  create(parts?: UserParts): SandboxUser
  /** A user brought along from elsewhere: made now, with the `created_at` that the importer chose. */
  import(parts: UserParts & { created_at: number }): SandboxUser
  /** Lays the parts over the user. `updated_at` is the clock's, unless the parts name one. */
  update(id: string, parts: UserParts): SandboxUser
  /** A sign-in: like at Clerk it moves `updated_at`, to some tens of milliseconds after `last_sign_in_at`. */
  signIn(id: string): SandboxUser
  /** Activity of a signed-in user: moves `last_active_at` alone. */
  touch(id: string): SandboxUser
  /** Takes the user out and returns it; undefined where there is none. */
  delete(id: string): SandboxUser | undefined
  /**
   * Puts any JSON value among the users. Its place is its own `id` and `created_at`, unless `place` names one; without
   * a readable one the id is made up and the creation time is now. Returns the id by which the store knows it.
   */
  putRaw(json: unknown, place?: { id?: string; createdAt?: number }): string
  /** The world as it was that long ago. `reader` names who looks, because each keeps a world of its own. */
  worldBefore(lagMs: number, reader: string): World
  /** The user under that id now, or as it was when it was deleted. */
  everKnown(id: string): Entry | undefined
}

export function createUserStore(options: {
  clock: SandboxClock
  instanceId: string
  users?: Iterable<SandboxUser>
  ties?: Ties
}): UserStore {
  const { clock, instanceId } = options
  const random = randomFrom(seedOf(instanceId))
  const present = createWorld(options.ties ?? 'id', Array.from(options.users ?? [], entryOf))
  const history = createHistory(present, clock)
  const gone = new Map<string, Entry>()

  const change = (id: string, after: Entry | undefined) => {
    const before = present.get(id)
    present.put(id, after)
    if (after === undefined && before !== undefined) gone.set(id, before)
    else gone.delete(id)
    history.add({ at: clock.now(), id, before, after })
  }
  const replace = (user: SandboxUser) => {
    change(user.id, entryOf(user))
    return user
  }
  const get = (id: string) => present.get(id)?.json as SandboxUser | undefined
  const existing = (id: string) => {
    const user = get(id)
    if (typeof user !== 'object' || user === null) throw new Error(`the sandbox has no user ${id}`)
    return user
  }
  const create = (parts: UserParts = {}) => {
    const user = buildUser(parts, instanceId, clock.now(), random)
    if (present.get(user.id) !== undefined) throw new Error(`the sandbox already has a user ${user.id}`)
    return replace(user)
  }

  return {
    get size() {
      return present.size
    },
    get,
    all: () => Array.from(present.entries(), (entry) => entry.json as SandboxUser),
    create,
    import: create,
    update: (id, parts) => replace(updated(existing(id), parts, { instanceId, now: clock.now(), random })),
    signIn(id) {
      const now = clock.now()
      const times = { last_sign_in_at: now - 25 - random.below(12), last_active_at: now, updated_at: now }
      return replace({ ...existing(id), ...times })
    },
    touch: (id) => replace({ ...existing(id), last_active_at: clock.now() }),
    delete(id) {
      const entry = present.get(id)
      if (entry === undefined) return undefined
      change(id, undefined)
      return entry.json as SandboxUser
    },
    putRaw(json, place = {}) {
      const raw = entryOf(json)
      const id = place.id ?? (raw.id === '' ? ksuid('user_', clock.now(), random) : raw.id)
      change(id, { id, createdAt: place.createdAt ?? raw.createdAt ?? clock.now(), json })
      return id
    },
    worldBefore: (lagMs, reader) => (lagMs <= 0 ? present : history.worldBefore(lagMs, reader)),
    everKnown: (id) => present.get(id) ?? gone.get(id),
  }
}

/** The user with the parts laid over it. */
function updated(
  user: SandboxUser,
  parts: UserParts,
  { instanceId, now, random }: { instanceId: string; now: number; random: Random },
): SandboxUser {
  const next: SandboxUser = {
    ...user,
    updated_at: now,
    ...identifiersOf(parts, now, random),
    ...propertiesOf(parts),
    id: user.id,
  }
  const hadDefaultAvatar = user.image_url === defaultAvatar(instanceId, user)
  if (!hadDefaultAvatar || parts.image_url !== undefined) return next
  const avatar = defaultAvatar(instanceId, next)
  return { ...next, image_url: avatar, profile_image_url: avatar }
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
