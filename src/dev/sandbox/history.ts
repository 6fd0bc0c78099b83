// The recent past of the users: a listing may show the world as it was a while ago. Each reader keeps a world of its own,
// which is moved over the changes that lie between what it shows and what is asked for.
import type { SandboxClock } from './clock.ts'
import type { Entry, World } from './world.ts'

/** How long a change is remembered; a longer lag shows the oldest world known. */
const historyMs = 60 * 60 * 1000
/** How often the past is looked through for what has become too old, in changes. */
const trimEvery = 1024

export interface Change {
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

export interface History {
  /** Remembers a change that `present` has seen. */
  add(change: Change): void
  /** The world as it was that long ago. `reader` names who looks, because each keeps a world of its own. */
  worldBefore(lagMs: number, reader: string): World
}

export function createHistory(present: World, clock: SandboxClock): History {
  const changes: Change[] = []
  const replicas = new Map<string, Replica>()

  const forward = (replica: Replica, change: Change) => {
    replica.world.put(change.id, change.after)
    replica.position += 1
  }
  const trim = () => {
    const oldest = clock.now() - historyMs
    const kept = changes.findIndex((change) => change.at >= oldest)
    const dropped = kept === -1 ? changes.length : kept
    for (const replica of replicas.values()) {
      for (const change of changes.slice(replica.position, dropped)) forward(replica, change)
      replica.position -= dropped
    }
    changes.splice(0, dropped)
  }

  return {
    add(change) {
      changes.push(change)
      if (changes.length % trimEvery === 0) trim()
    },
    worldBefore(lagMs, reader) {
      const replica = replicas.get(reader) ?? { world: present.copy(), position: changes.length }
      replicas.set(reader, replica)
      const at = clock.now() - lagMs
      // Forwards over what had happened by then, backwards over what had not.
      for (let next = changes[replica.position]; next !== undefined && next.at <= at; ) {
        forward(replica, next)
        next = changes[replica.position]
      }
      for (let last = changes[replica.position - 1]; last !== undefined && last.at > at; ) {
        replica.world.put(last.id, last.before)
        replica.position -= 1
        last = changes[replica.position - 1]
      }
      return replica.world
    },
  }
}
