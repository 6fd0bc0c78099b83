// A failure as a person reads it: the seed, what led to it, and the command that repeats it.
import type { Failure } from './run.ts'

const linesShown = 60

/** The failure in words. Ids are the sandbox's, made from the seed. */
export function describeFailure(failure: Failure): string {
  const { seed, message, trace, options, steps } = failure
  return [
    `seed ${seed}: ${message}`,
    `  options ${JSON.stringify(options)}`,
    `  shrunk to ${steps.length} steps: ${steps.map((step) => step.kind).join(', ')}`,
    `  the last of ${trace.length} events:`,
    ...trace.slice(-linesShown).map((line) => `    ${line}`),
    `  repeat it: npm run simulate -- --seed ${seed}`,
  ].join('\n')
}
