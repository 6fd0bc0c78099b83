// DATABASE_URL as people have it, from Neon, Supabase, RDS, Cloud SQL, Prisma or by hand, turned into one that the
// driver (postgres.js) understands. It sends every parameter that it does not know to the server, which then refuses
// the connection; so the rule: no parameter leaves this file that neither the driver nor Postgres knows. Messages name
// parameters, never values: the URL holds a password.
import { type DriverOptions, Problem, tlsOf } from './database-tls.ts'

export type { DriverOptions } from './database-tls.ts'

export interface DatabaseAddress {
  url: string
  options: DriverOptions
  /** Whole sentences, without values. */
  warnings: string[]
}

// The pool's size, prepared statements and the like are left out on purpose: this tool sets them itself.
const driverNumbers = new Set(['connect_timeout', 'idle_timeout', 'max_lifetime', 'keep_alive'])
const sessionAttributes = new Set(['read-write', 'read-only', 'primary', 'standby', 'prefer-standby'])
// Settings that a client may give at the start of a session and that change no answer we read.
const serverSettings = new Set([
  'application_name',
  'client_min_messages',
  'idle_in_transaction_session_timeout',
  'idle_session_timeout',
  'jit',
  'lock_timeout',
  'options',
  'role',
  'row_security',
  'search_path',
  'statement_timeout',
  'synchronous_commit',
  'tcp_keepalives_count',
  'tcp_keepalives_idle',
  'tcp_keepalives_interval',
  'tcp_user_timeout',
  'timezone',
  'work_mem',
])
// What libpq and Prisma read here and this file turns into what it means.
const translated = new Set(
  (
    'host port user password dbname schema target_session_attrs ' +
    'ssl sslmode sslaccept sslnegotiation sslrootcert sslcert sslkey sslpassword'
  ).split(' '),
)
// Nothing is lost when these go: they state the driver's own behaviour, or are another client's switches.
const harmless = new Map([
  ['client_encoding', 'utf8'],
  ['encoding', 'utf8'],
  ['gssencmode', 'disable'],
  ['schema', 'public'],
  ['target_session_attrs', 'any'],
])

/**
 * The address that the driver understands, or what is wrong with this one. Reads the certificate files it names,
 * relative to `directory`.
 */
export function readDatabaseUrl(
  text: string,
  directory: string,
): { address: DatabaseAddress } | { problem: string } {
  try {
    return { address: addressOf(text, directory) }
  } catch (error) {
    if (error instanceof Problem) return { problem: error.message }
    // A lone surrogate is all that is left to fail; the original error would carry the URL.
    return { problem: 'cannot be read. Copy it again from your database provider.' }
  }
}

function addressOf(text: string, directory: string): DatabaseAddress {
  const warnings: string[] = []
  const parts = split(text)
  const query = new Map([...new URLSearchParams(parts.query)].filter(([, value]) => value !== ''))
  if (parts.odd) {
    warnings.push(
      'DATABASE_URL: the password holds characters that have a meaning in a URL; it was read as meant. ' +
        'Percent-encode them to be sure.',
    )
  }

  const options: DriverOptions = {}
  const user = query.get('user') ?? decoded(parts.user)
  const password = query.get('password') ?? decoded(parts.password)
  if (/^(\[.*\]|<.*>|\*{3,}|\.{3}|x{4,}|your[-_ ]?password)$/i.test(password)) {
    throw new Problem(
      'still holds a placeholder for the password. Put the database password in its place, percent-encoded.',
    )
  }
  const database = query.get('dbname') ?? decoded(parts.database)
  // The driver does not decode the name of the database.
  if (database !== encodeURIComponent(database)) options.database = database

  const hosts = hostsOf(parts.hosts, query)
  const socket = hosts.find(({ host }) => host.startsWith('/'))
  if (socket !== undefined) {
    if (/\/\.s\.PGSQL\.\d+$/.test(socket.host)) options.path = socket.host
    else options.host = socket.host
    hosts.splice(0, hosts.length, { host: 'localhost', port: socket.port })
  } else if (hosts.some(({ host }) => host.startsWith('['))) {
    // The driver cuts a host at its first colon, but not one in a list, which its types do not know.
    options.host = hosts.map(({ host }) => host.replace(/^\[|\]$/g, '')) as unknown as string
    options.port = hosts.map(({ port }) => port ?? 5432) as unknown as number
  }

  const parameters: [string, string][] = []
  // Encryption on a socket is refused by the server and ignored by libpq.
  const mode = socket === undefined ? tlsOf(query, directory, options, warnings) : undefined
  if (mode !== undefined) parameters.push(['sslmode', mode])
  for (const [name, value] of query) {
    if (harmless.get(name) === value.toLowerCase()) continue
    if (name === 'schema') {
      if (!query.has('search_path')) parameters.push(['search_path', `"${value.replaceAll('"', '""')}"`])
    } else if (name === 'sslnegotiation') {
      if (mode !== undefined && mode !== 'disable' && value === 'direct') parameters.push([name, value])
    } else if (name === 'target_session_attrs' ? sessionAttributes.has(value) : known(name, value)) {
      parameters.push([name, value])
    } else if (!translated.has(name) || name === 'target_session_attrs') {
      // A name that is not a name may be a piece of a password.
      const label = /^[a-z][a-z_]{0,40}$/i.test(name) ? `the parameter ${name}` : 'an unreadable parameter'
      warnings.push(`DATABASE_URL: ${label} is not used and was dropped.`)
    }
  }

  const secret = password === '' ? '' : `:${encodeURIComponent(password)}`
  const credentials = user + secret === '' ? '' : `${encodeURIComponent(user)}${secret}@`
  const places = hosts.map(({ host, port }) => (port === undefined ? host : `${host}:${port}`)).join(',')
  const search = parameters.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join('&')
  const path = `${encodeURIComponent(database)}${search === '' ? '' : `?${search}`}`
  const url = `postgres://${credentials}${places}/${path}`
  return { url, options, warnings }
}

/**
 * Cuts the URL at the signs that carry a meaning. Passwords contain these signs too, unencoded: where the plain reading
 * makes no sense, the last `@` that a host follows ends the password.
 */
function split(text: string) {
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text)?.[1]?.toLowerCase()
  if (scheme?.startsWith('prisma')) {
    throw new Problem('is a Prisma Accelerate address. Use the direct address of the Postgres behind it.')
  }
  if (scheme !== 'postgres' && scheme !== 'postgresql') {
    throw new Problem('must begin with postgres:// or postgresql://. Copy it from your database provider.')
  }
  const rest = text.slice(scheme.length + 3)
  const plain = /^(?:([^@/?#]*)@)?([^@/?#]*)(?:\/([^@?#]*))?(?:\?([^#]*))?$/.exec(rest)
  const plainFits = plain !== null && hostPattern.test(plain[2] ?? '')
  if (plainFits && sensible(plain[4] ?? '')) return parts(plain, false)
  const greedy = /^(?:(.*)@)([^@/?#]*)(?:\/([^@?#]*))?(?:\?([^@#]*))?$/s.exec(rest)
  // Without a database behind it, the last `@` may as well be one in a parameter.
  const greedyFits = greedy !== null && hostPattern.test(greedy[2] ?? '') && (!plainFits || greedy[3])
  if (greedyFits) return parts(greedy, true)
  if (plainFits) return parts(plain, false)
  throw new Problem(
    'is not a Postgres URL (postgres://user:password@host:5432/database). Percent-encode special characters in the ' +
      'password, and in an .env file put the value in quotes if it holds a #.',
  )
}

const hostPattern = /^(?:(?:[\w.-]+|%2f[\w.%~-]*|\[[0-9a-f:.]+\])?(?::\d{1,5})?(?:,|$))*$/i

/** False where the query looks like the end of a password: it holds an `@` and a name that nobody knows. */
function sensible(query: string): boolean {
  if (!query.includes('@')) return true
  return [...new URLSearchParams(query)].every(
    ([name, value]) => value === '' || translated.has(name) || known(name, value),
  )
}

function parts(match: RegExpExecArray, odd: boolean) {
  const [, userinfo = '', hosts = '', database = '', query = ''] = match
  const colon = userinfo.indexOf(':')
  const user = colon === -1 ? userinfo : userinfo.slice(0, colon)
  const password = colon === -1 ? '' : userinfo.slice(colon + 1)
  return { user, password, hosts, database, query, odd }
}

function known(name: string, value: string): boolean {
  if (driverNumbers.has(name)) return /^\d{1,9}$/.test(value)
  // A name with a dot is the app's own setting, which Postgres takes from anybody.
  return serverSettings.has(name.toLowerCase()) || /^[a-z_]\w*\.[a-z_]\w*$/i.test(name)
}

function hostsOf(
  authority: string,
  query: Map<string, string>,
): { host: string; port: number | undefined }[] {
  const hosts = query.get('host')?.split(',') ?? []
  const ports = query.get('port')?.split(',') ?? []
  const given = authority.split(',').map((place) => {
    const [, host = '', port] = /^(.*?)(?::(\d+))?$/.exec(place) ?? []
    return { host: decoded(host), port }
  })
  // libpq: what the query says wins, and one port serves all hosts.
  return (hosts.length > 0 ? hosts.map((host) => ({ host, port: undefined })) : given).map((place, index) => {
    const port = ports[index] ?? ports[0] ?? place.port ?? given[0]?.port
    if (port !== undefined && !(/^\d{1,5}$/.test(port) && Number(port) >= 1 && Number(port) <= 65_535)) {
      throw new Problem('has a port that is not between 1 and 65535. Postgres listens on 5432 by default.')
    }
    if (!place.host.startsWith('/') && !/^([\w.-]*|\[[0-9a-f:.]+\]|[0-9a-f:.]+)$/i.test(place.host)) {
      throw new Problem('names a host that is not one. Copy it again from your database provider.')
    }
    const bare = place.host.includes(':') && !/^[[/]/.test(place.host)
    // A URL with a user needs a host; without one libpq means this machine.
    const host = bare ? `[${place.host}]` : place.host || 'localhost'
    return { host, port: port === undefined ? undefined : Number(port) }
  })
}

/** Percent-decoded; as it is where a bare `%` shows that it was never encoded. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
