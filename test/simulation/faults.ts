// The bad answers that a history holds: every fault of the sandbox, on every request. The one rule: no live user is denied
// by both endpoints at once, since no reader could tell that from the truth.
import type { Endpoint, FaultKind, FaultOptions, Malformation } from '../../src/dev/sandbox/faults.ts'
import type { Random } from '../../src/dev/sandbox/random.ts'
import type { Simulation } from './simulation.ts'

/** Clerk answers rightly from now on. */
export function stopFaults({ clerk }: Simulation): void {
  clerk.faults.clear()
  clerk.behaviour.userIdFilter = 'normal'
  clerk.behaviour.dateOffsetMs = 0
  clerk.showAll()
}

/** A user that lives and that Clerk does not deny, if there is one. */
export function pickLive(simulation: Simulation, random: Random): string | undefined {
  const ids = simulation.clerk.shownIds()
  return ids.length === 0 ? undefined : ids[random.below(ids.length)]
}

const kindsByEndpoint = {
  list: [
    'html',
    'charset',
    'object',
    'wrapped',
    'wrapped-empty',
    'empty-array',
    'null',
    'string',
    'malformed-user',
    'malformed-user',
    'cut-short',
    'cut-short',
    'missing-users',
    'missing-users',
    'missing-users',
    'truncated',
    'slow-body',
    'reset',
    'hang',
    'wrong-order',
    'duplicate-user',
    400,
    401,
    403,
    404,
    422,
    429,
    500,
    502,
    503,
  ],
  count: ['count-high', 'count-low', 'count-string', 'html', 'null', 'reset', 500, 404],
  user: ['html', 'null', 'truncated', 'reset', 'malformed-user', 500, 502, 429, 404],
  instance: ['another-instance', 'html', 'reset', 401, 503],
} as const satisfies Partial<Record<Endpoint, readonly [FaultKind, ...FaultKind[]]>>

const malformations = [
  'null',
  'a string',
  'no id',
  'a numeric id',
  'a foreign id',
  'created_at a string',
  'no updated_at',
  'email_addresses no array',
  'first_name an object',
] as const satisfies readonly Malformation[]

/** A fault on one to three requests, or for good. */
export function pickFault(simulation: Simulation, random: Random): FaultOptions {
  const endpoint = random.pick<keyof typeof kindsByEndpoint>([
    'list',
    'list',
    'list',
    'list',
    'count',
    'user',
    'instance',
  ])
  const kinds: readonly FaultKind[] = kindsByEndpoint[endpoint]
  const drawn = kinds[random.below(kinds.length)] ?? 500
  const kind = endpoint === 'user' && drawn === 404 && !simulation.options.mayDenyAlone ? 500 : drawn
  const id = pickLive(simulation, random)
  // Who is denied alone must not be left out of lists.
  const isLie = kind === 'missing-users' || kind === 'cut-short' || kind === 'empty-array'
  return {
    endpoint,
    kind: isLie && endpoint === 'list' && simulation.options.mayDenyAlone ? 'reset' : kind,
    times: random.pick([1, 1, 2, 3, 4, Number.POSITIVE_INFINITY]),
    how: random.pick(malformations),
    index: random.below(4),
    ...(kind === 'missing-users' && id !== undefined ? { ids: [id] } : {}),
    n: 1 + random.below(3),
    // Any other wait would be a real one.
    retryAfter: random.chance(0.7) ? 0 : 1e7,
  }
}

/** A gap in the walk: what it leaves unread, or unfinished, proves no absence. */
export function pickGap(simulation: Simulation, random: Random): FaultOptions {
  const how = random.pick<Malformation>(['null', 'a string', 'no id', 'a numeric id', 'a foreign id'])
  const isCut = random.chance(0.3) && !simulation.options.mayDenyAlone
  return {
    endpoint: 'list',
    ...(isCut ? { kind: 'empty-array' } : { kind: 'malformed-user', how, index: random.below(4) }),
    times: random.pick([1, 2, Number.POSITIVE_INFINITY]),
    when: ({ query }) =>
      query.get('order_by') === '+created_at' &&
      (!isCut || query.has('starting_after') || query.has('created_at_after')),
  }
}
