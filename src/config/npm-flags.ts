// Flags that npm kept for itself because the `--` before them was forgotten. npm leaves them in the environment, as
// `npm_config_dry_run=true`, and there it also leaves what stands in npmrc files. The rule: what a file says is not what
// somebody typed. For `json` and `dry-run`, which people do have in a file of their own, the project's .npmrc says no: it
// goes before theirs, so that what is left of the two was typed.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

/** A flag of a command line, without the dashes before it. */
export interface Flag {
  readonly name: string
  readonly takesValue: boolean
}

/** A flag that npm kept. `value` is undefined for a switch, and where npm kept the flag alone and handed its value on. */
export interface SwallowedFlag extends Flag {
  readonly value: string | undefined
}

/**
 * The flags that npm kept. npm 10 and 11 keep any, npm 12 only those that it knows (`--json`, `--dry-run`); the others it
 * refuses. Empty where npm did not start this process.
 */
export function swallowedFlags(flags: readonly Flag[], env: NodeJS.ProcessEnv): SwallowedFlag[] {
  if (env.npm_lifecycle_event === undefined) return []
  const settings = Object.keys(env).filter((name) => name.startsWith(prefix))
  return flags.flatMap(({ name, takesValue }): SwallowedFlag[] => {
    // Without the separators, since `--dryrun` is swallowed just as silently.
    const left = settings.find((each) => compact(each.slice(prefix.length)) === compact(name))
    const value = left === undefined ? undefined : env[left]
    if (left === undefined || value === undefined || isFromFile(left, value, env)) return []
    // `--no-json` leaves it empty, and asks for nothing that a run without flags would not do.
    if (!takesValue) return value === '' || value === 'false' ? [] : [{ name, takesValue, value: undefined }]
    // As whom npm 6 was to install, in the environment of many an image.
    if (name === 'user' && /^(\d+|root)$/.test(value)) return []
    // Empty is `--user=$ID` with nothing in ID: without the flag that would be a run over all users.
    return [{ name, takesValue, value: /^\w+$/.test(value) && value !== 'true' ? value : undefined }]
  })
}

/** As it was typed, as far as that is known. */
export function flagText({ name, value }: SwallowedFlag): string {
  return value === undefined ? `--${name}` : `--${name}=${value}`
}

/** The command as it was meant, with `--`. `args` are the arguments that did arrive. */
export function commandWithSeparator(
  script: string,
  flags: readonly SwallowedFlag[],
  args: readonly string[],
): string {
  const open = flags.filter(({ takesValue, value }) => takesValue && value === undefined)
  const whole = flags.filter((flag) => !open.includes(flag)).map(flagText)
  // With one such flag it is clear whose value stands among the arguments.
  const [only] = open.length === 1 ? open : []
  const rest =
    only === undefined
      ? [
          ...open.map((flag) => `${flagText(flag)} <value>`),
          ...args.filter((arg) => open.length === 0 || arg.startsWith('-')),
        ]
      : [flagText(only), ...args]
  return ['npm run', script, '--', ...whole, ...rest].join(' ')
}

const prefix = 'npm_config_'
const compact = (name: string) => name.replaceAll(/[_-]/g, '')

/** Whether the files that npm read say so. The project's goes before the user's, that before the machine's. */
function isFromFile(variable: string, value: string, env: NodeJS.ProcessEnv): boolean {
  const root = env.npm_config_local_prefix
  const files = [
    root === undefined ? undefined : join(root, '.npmrc'),
    env.npm_config_userconfig,
    env.npm_config_globalconfig,
  ].map((file) => (file === undefined ? new Map<string, string>() : readNpmrc(file)))
  // npm makes the same variable of both spellings.
  const name = variable.slice(prefix.length)
  return [name, name.replaceAll('_', '-')].some((key) => {
    const said = files.find((file) => file.has(key))?.get(key)
    return said !== undefined && (said === value || said.includes('${'))
  })
}

/** The settings of such a file, as far as they are single words. A file that cannot be read has none. */
function readNpmrc(file: string): Map<string, string> {
  let text = ''
  try {
    text = readFileSync(file, 'utf8')
  } catch {}
  const settings = new Map<string, string>()
  for (const line of text.split(/\r?\n/)) {
    const [, key, , value = 'true'] = /^\s*([\w-]+)\s*(=\s*(.*?)\s*)?$/.exec(line) ?? []
    if (key !== undefined) settings.set(key, value.replace(/^(["'])(.*)\1$/, '$2'))
  }
  return settings
}
