// What all command lines of the project have in common: help without noise, wrong usage as an error to be handled, and no
// flag lost on the way through npm.
import { Command, Help } from 'commander'
import { environment } from '../config/config.ts'
import { commandWithSeparator, type Flag, flagText, swallowedFlags } from '../config/npm-flags.ts'
import { SyncError } from '../errors.ts'
import { outliveReaders } from './output.ts'

/** The beginning of each command line: a program whose wrong usage is thrown, as `CommanderError`, instead of ending the process. */
export function createProgram(name: string): Command {
  outliveReaders()
  return new Command(name)
    .exitOverride()
    .configureOutput({ writeErr: (text) => process.stderr.write(text) })
    .configureHelp({
      optionDescription(option) {
        // That a switch is off unless it is given needs no words.
        return option.defaultValue === false ? option.description : Help.prototype.optionDescription(option)
      },
    })
}

/**
 * Throws `SyncError('usage')` if npm kept a flag of the program or of one of its commands: `npm run sync --dry-run` would
 * be a real run. `args` are the arguments that did arrive, without the command's name.
 */
export function refuseSwallowedFlags(program: Command, args: readonly string[]): void {
  const options = [program, ...program.commands].flatMap((command) => command.options)
  const flags = new Map<string, Flag>()
  for (const { long, required } of options) {
    const name = long?.slice(2)
    // npm answers `--version` itself.
    if (name !== undefined && name !== 'version') flags.set(name, { name, takesValue: required })
  }
  refuseSwallowed([...flags.values()], args)
}

/** The same for flags that are another program's. */
export function refuseSwallowed(flags: readonly Flag[], args: readonly string[]): void {
  const env = environment()
  const swallowed = swallowedFlags(flags, env)
  if (swallowed.length === 0) return
  const command = commandWithSeparator(env.npm_lifecycle_event ?? '', swallowed, args)
  throw new SyncError(
    'usage',
    `npm kept ${swallowed.map(flagText).join(', ')} for itself; nothing was done`,
    {
      hint: `Put -- before the flags: ${command}\nIf you typed none, a variable npm_config_… of your shell says so.`,
    },
  )
}
