// What a seed decides: the options of a world and the steps of its history. Each step carries a seed of its own, so that
// a step can be left out without changing what the others do.
import type { CursorMode, DeletedCursor } from '../../src/dev/sandbox/list.ts'
import { type Random, randomFrom, seedOf } from '../../src/dev/sandbox/random.ts'
import type { Ties } from '../../src/dev/sandbox/world.ts'
import type { AppTable } from './tables.ts'

/** How long a run waits until it counts again, as the command line has it; here that time passes without waiting. */
export const recountDelayMs = 3000

export interface SimulationOptions extends AppTable {
  readonly graceMs: number
  /** The most that a listing lags; each request has a lag of its own. At most the grace. */
  readonly listingLagMs: number
  readonly countLagMs: number
  /** Whether every request lags as long as it may. */
  readonly isLagSteady: boolean
  readonly filterLags: boolean
  readonly policy: 'sync' | 'upsert-only'
  readonly maxDeletes: number | undefined
  readonly pageSize: number
  /** How far Postgres's clock is ahead of Clerk's, and the clock of the machine that runs this code. */
  readonly skewMs: number
  readonly processSkewMs: number
  readonly ties: Ties
  readonly deletedCursor: DeletedCursor
  readonly cursorMode: CursorMode
  readonly inclusive: boolean
  readonly dateHeader: boolean
  readonly hasFaults: boolean
  /** Which of its two endpoints may deny a live user: never both, since no reader could tell that from the truth. */
  readonly mayDenyAlone: boolean
  /** Users that Clerk has from the start. */
  readonly users: number
  /** Rows from before the first run. */
  readonly rowsBefore: number
}

const stepKinds = {
  create: 3,
  import: 3,
  update: 5,
  'sign in': 2,
  move: 2,
  delete: 6,
  'full pass': 6,
  'incremental pass': 4,
  'one user': 3,
  'dry run': 1,
  deliver: 9,
  lose: 1,
  tick: 6,
  go: 5,
  drain: 3,
  turnover: 4,
  trickle: 3,
  race: 3,
  outrun: 2,
  stall: 2,
  crash: 2,
  stop: 1,
  beat: 2,
  fault: 4,
  'faults off': 2,
  'database fault': 2,
  'hand edit': 1,
  spoil: 1,
  'swap addresses': 3,
  'hand addresses on': 2,
  reissue: 3,
  'odd address': 2,
  deny: 3,
  'deny by id': 2,
  'leave out': 4,
  'wrong clock': 2,
  'app row': 1,
  'other key': 1,
  'back up': 2,
  restore: 2,
  'make anew': 1,
} as const

export type StepKind = keyof typeof stepKinds

export interface Step {
  readonly kind: StepKind
  readonly seed: number
}

export interface Scenario {
  readonly seed: number
  readonly options: SimulationOptions
  readonly steps: readonly Step[]
}

const minuteMs = 60_000
const dayMs = 24 * 60 * minuteMs
const allKinds = Object.entries(stepKinds).flatMap(([kind, weight]) =>
  Array.from({ length: weight }, () => kind as StepKind),
) as [StepKind, ...StepKind[]]

/** What never happens in a world where nobody lies and nothing breaks. */
const faultKinds = new Set<StepKind>([
  'fault',
  'database fault',
  'faults off',
  'deny',
  'deny by id',
  'leave out',
  'wrong clock',
])

/** The world and the history of that seed. */
export function scenarioOf(seed: number): Scenario {
  const random = randomFrom(seedOf(`world ${seed}`))
  const options = optionsFrom(random)
  const length = 6 + random.below(24)
  const steps = Array.from({ length }, (_, index) => ({
    kind: kindFrom(random, options),
    seed: seedOf(`step ${seed} ${index}`),
  }))
  return { seed, options, steps }
}

function kindFrom(random: Random, options: SimulationOptions): StepKind {
  const kind = random.pick(allKinds)
  return faultKinds.has(kind) && !options.hasFaults ? 'deliver' : kind
}

function optionsFrom(random: Random): SimulationOptions {
  const graceMs = random.pick([10 * minuteMs, 10 * minuteMs, minuteMs, 30 * minuteMs])
  // The watermark stays ten minutes behind, whatever the grace.
  const lagMax = Math.min(graceMs, 10 * minuteMs)
  const lag = () => random.pick([0, Math.floor(lagMax / 20), Math.floor(lagMax / 2), lagMax])
  return {
    graceMs,
    listingLagMs: lag(),
    countLagMs: random.pick([0, recountDelayMs - 1000, lag(), lagMax]),
    isLagSteady: random.chance(0.4),
    filterLags: random.chance(0.8),
    policy: random.chance(0.88) ? 'sync' : 'upsert-only',
    maxDeletes: random.pick([undefined, undefined, 0, 1, 2]),
    pageSize: 2 + random.below(3),
    skewMs: random.pick([0, 0, 1500, graceMs / 2, -graceMs / 2, dayMs, -dayMs]),
    processSkewMs: random.pick([0, 0, 0, graceMs / 3, -graceMs / 3, 2 * graceMs]),
    ties: random.pick(['id', 'id-descending', 'scrambled']),
    deletedCursor: random.pick(['remember', 'refuse', 'ignore', 'empty']),
    cursorMode: random.pick(['normal', 'normal', 'normal', 'normal', 'refused', 'ignored', 'time-only']),
    inclusive: random.chance(0.5),
    dateHeader: random.chance(0.97),
    hasFaults: random.chance(0.5),
    mayDenyAlone: random.chance(0.3),
    users: random.pick([0, 1, 2, 3, 4, 6, 9, 12]),
    rowsBefore: random.chance(0.2) ? 1 + random.below(6) : 0,
    address: random.pick(['free', 'free', 'unique', 'unique', 'required', 'unique and required']),
    lowersAddresses: random.chance(0.15),
    mayLackCreation: random.chance(0.3),
  }
}
