// One seed from beginning to end: the history with everything that can go wrong (nothing wrong may happen), then peace
// (the table must become equal to Clerk and stay so). A failure is shrunk by leaving out steps.
import { populate } from './beginnings.ts'
import { Stalled } from './gate.ts'
import { type Scenario, type Step, scenarioOf } from './options.ts'
import { findPeace } from './peace.ts'
import type { SimulatedPostgres } from './postgres.ts'
import { Simulation } from './simulation.ts'
import { takeStep } from './steps.ts'
import { Violation } from './witness.ts'

export interface Failure {
  readonly seed: number
  readonly message: string
  readonly trace: readonly string[]
  readonly steps: readonly Step[]
  readonly options: Scenario['options']
  /** True if it hangs: the server is good for nothing after that. */
  readonly isStalled: boolean
}

export interface SeedResult {
  readonly failure: Failure | undefined
  /** What happened, in order: the same for the same seed. */
  readonly trace: readonly string[]
}

/** Runs one seed. Never throws for a violation, always for a fault of the simulation's own. */
export async function runSeed(seed: number, server: SimulatedPostgres): Promise<SeedResult> {
  return runScenario(scenarioOf(seed), server)
}

/** Leaves out steps one by one for as long as it still fails, at most so many runs. */
export async function shrink(failure: Failure, server: SimulatedPostgres, runsMax = 150): Promise<Failure> {
  if (failure.isStalled) return failure
  let smallest = failure
  let runs = 0
  for (let index = smallest.steps.length - 1; index >= 0 && runs < runsMax; index--) {
    const steps = smallest.steps.toSpliced(index, 1)
    const scenario = { seed: failure.seed, options: failure.options, steps }
    runs++
    const { failure: still } = await runScenario(scenario, server)
    if (still !== undefined) smallest = still
  }
  return smallest
}

async function runScenario(scenario: Scenario, server: SimulatedPostgres): Promise<SeedResult> {
  const simulation = await Simulation.begin(scenario, server)
  const { trace } = simulation
  let violation: unknown
  try {
    await populate(simulation, scenario)
    for (const step of scenario.steps) await takeStep(simulation, step)
    await findPeace(simulation, scenario)
  } catch (error) {
    violation = error
  }
  const isStalled = violation instanceof Stalled
  if (!isStalled) await simulation.close()
  if (violation === undefined) return { failure: undefined, trace }
  const message =
    violation instanceof Violation ? violation.message : ((violation as Error).stack ?? String(violation))
  const { seed, options, steps } = scenario
  return { failure: { seed, message, trace: [...trace], steps, options, isStalled }, trace }
}
