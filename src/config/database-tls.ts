// Encryption as DATABASE_URL asks for it, in the words of libpq, Prisma and node-postgres, turned into what the driver
// understands. The rule: where a word is in doubt the stricter reading holds, and an unknown one is refused, because a
// connection that nobody checks looks like any other.
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'

/** What the driver cannot read from a URL. To be spread into its options, which win over the URL. */
export interface DriverOptions {
  host?: string
  port?: number
  path?: string
  database?: string
  ssl?: {
    ca?: string
    cert?: string
    key?: string
    passphrase?: string
    rejectUnauthorized: boolean
    checkServerIdentity?: () => undefined
  }
}

/** What is wrong with DATABASE_URL and what to do, in words that hold no part of it. */
export class Problem extends Error {}

const modes = new Map<string, 'disable' | 'prefer' | 'require' | 'verify-ca' | 'verify-full'>([
  ['disable', 'disable'],
  ['false', 'disable'],
  ['0', 'disable'],
  // `allow` starts without encryption and the driver cannot; `prefer` connects wherever `allow` does.
  ['allow', 'prefer'],
  ['prefer', 'prefer'],
  ['require', 'require'],
  // The driver reads a word that it does not know as the strictest mode.
  ['no-verify', 'require'],
  ['verify-ca', 'verify-ca'],
  ['verify-full', 'verify-full'],
  ['true', 'verify-full'],
  ['1', 'verify-full'],
])

/**
 * Returns the driver's mode, and in `options.ssl` what has no word in its language. Where the URL asks for nothing it is
 * `prefer`, as in libpq: encrypted wherever the server offers it.
 */
export function tlsOf(
  query: Map<string, string>,
  directory: string,
  options: DriverOptions,
  warnings: string[],
) {
  const word = query.get('sslmode') ?? query.get('ssl')
  const asked = word === undefined ? undefined : modes.get(word.toLowerCase())
  if (word !== undefined && asked === undefined) {
    // Guessing here could mean a connection that nobody checks.
    throw new Problem(
      'has an unknown sslmode. Use disable, prefer, require, verify-ca, verify-full or no-verify.',
    )
  }
  if (asked === 'disable') return asked
  // Prisma's `sslcert` is the root certificate, libpq's is the client's and comes with a key.
  const client = query.has('sslkey')
  const root = query.get('sslrootcert') ?? (client ? undefined : query.get('sslcert'))
  const ca = root === undefined || root === 'system' ? undefined : readPem(root, directory)
  const strict = query.get('sslaccept') === 'strict'
  let mode = asked
  if (root !== undefined && mode === undefined) mode = 'verify-full'
  if (root === 'system' || (strict && mode === 'require')) mode = 'verify-full'
  // As in libpq: a root certificate that is there is used.
  if (ca !== undefined && (mode === 'require' || mode === 'prefer') && word !== 'no-verify')
    mode = 'verify-ca'
  if (mode === 'verify-ca' && ca === undefined) {
    mode = 'verify-full'
    warnings.push('DATABASE_URL: sslmode=verify-ca without sslrootcert is taken as verify-full.')
  }
  if (ca === undefined && !client) return mode ?? 'prefer'
  const checked = mode === 'verify-ca' || mode === 'verify-full'
  options.ssl = { rejectUnauthorized: checked }
  if (checked && ca !== undefined) options.ssl.ca = ca
  if (mode === 'verify-ca') options.ssl.checkServerIdentity = () => undefined
  if (client) {
    options.ssl.key = readPem(query.get('sslkey') ?? '', directory)
    options.ssl.cert = readPem(query.get('sslcert') ?? '', directory)
    const passphrase = query.get('sslpassword')
    if (passphrase !== undefined) options.ssl.passphrase = passphrase
  }
  return mode === 'verify-ca' ? 'verify-full' : (mode ?? 'require')
}

function readPem(file: string, directory: string): string {
  try {
    return readFileSync(resolve(directory, file), 'utf8')
  } catch {
    throw new Problem(
      'names a certificate or key file (sslrootcert, sslcert, sslkey) that cannot be read. Give its full path.',
    )
  }
}
