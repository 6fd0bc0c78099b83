// Hints about names that are set and not read. They are sentences with names, without values.
import { variables } from './variables.ts'

const otherNames = new Map([
  ...['CLERK_SECRET', 'CLERK_API_KEY', 'CLERK_KEY', 'CLERK_TOKEN'].map(
    (name) => [name, 'CLERK_SECRET_KEY'] as const,
  ),
  ...[
    'WEBHOOK_SECRET',
    'CLERK_WEBHOOK_SECRET',
    'CLERK_WEBHOOK_KEY',
    'SVIX_SECRET',
    'SVIX_WEBHOOK_SECRET',
  ].map((name) => [name, 'CLERK_WEBHOOK_SIGNING_SECRET'] as const),
  ...['POSTGRES_URL', 'POSTGRESQL_URL', 'DATABASE_URI', 'DB_URL', 'PG_URL'].map(
    (name) => [name, 'DATABASE_URL'] as const,
  ),
])

/** Says which of the variables that are set do nothing in this version. */
export function unusedVariableHints(given: Readonly<Record<string, string | undefined>>): string[] {
  return variables
    .filter(({ description }) => description.includes('no effect yet'))
    .filter(({ name, default: fallback }) => given[name] !== undefined && given[name] !== fallback)
    .map(({ name }) => `${name}: has no effect yet.`)
}

/** Hints about names in the environment that look like one of ours: sentences with names, without values. */
export function unknownVariableHints(values: Record<string, string>): string[] {
  const hints: string[] = []
  const names = new Set(variables.map(({ name }) => name))
  for (const name of Object.keys(values)) {
    const upper = name.toUpperCase().replaceAll(/[.-]/g, '_')
    // Short ones, such as `host`, are other programs'.
    if (upper !== name && upper.length >= 8 && names.has(upper) && !values[upper]) {
      hints.push(`${name}: is not read. Did you mean ${upper}?`)
    }
    if (names.has(name) || !/^[A-Z][A-Z0-9_]{3,60}$/.test(name)) continue
    const rest = /^(?:NEXT_PUBLIC|NUXT_PUBLIC|EXPO_PUBLIC|PUBLIC|VITE|REACT_APP|GATSBY)_(.+)$/.exec(name)?.[1]
    if (variables.some((variable) => variable.secret && variable.name === rest)) {
      hints.push(
        `${name}: bundlers publish this name to browsers. Rename it to ${rest}, and rotate the secret.`,
      )
      continue
    }
    const meant = otherNames.get(name) ?? variables.find((variable) => oneEditAway(name, variable.name))?.name
    if (meant !== undefined && !values[meant]) hints.push(`${name}: is not read. Did you mean ${meant}?`)
  }
  return hints
}

/** True where one letter is wrong, missing, too many, or swapped with its neighbour. Short names are too alike. */
function oneEditAway(a: string, b: string): boolean {
  if (b.length < 8 || Math.abs(a.length - b.length) > 1) return false
  let start = 0
  while (start < a.length && a[start] === b[start]) start++
  let end = 0
  while (end < Math.min(a.length, b.length) - start && a.at(-1 - end) === b.at(-1 - end)) end++
  const [left, right] = [a.slice(start, a.length - end), b.slice(start, b.length - end)]
  return (
    (left.length <= 1 && right.length <= 1) ||
    (left.length === 2 && left === right[1]?.concat(right[0] ?? ''))
  )
}
