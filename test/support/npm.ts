// The scripts that prove something take flags too, and `npm run kills --kills=100` would prove less than it was asked to.
import { commandWithSeparator, flagText, swallowedFlags } from '../../src/config/npm-flags.ts'

/** Throws if npm kept one of these options, in the form of `parseArgs`, for itself. */
export function refuseSwallowed(options: Record<string, { readonly type: 'string' | 'boolean' }>): void {
  const flags = Object.entries(options).map(([name, { type }]) => ({ name, takesValue: type === 'string' }))
  const swallowed = swallowedFlags(flags, process.env)
  if (swallowed.length === 0) return
  const script = process.env.npm_lifecycle_event ?? ''
  const command = commandWithSeparator(script, swallowed, process.argv.slice(2))
  throw new Error(`npm kept ${swallowed.map(flagText).join(', ')} for itself: ${command}`)
}
