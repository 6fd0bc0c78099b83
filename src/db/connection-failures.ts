// What is wrong between this program and Postgres, by what driver, pooler or server say of it, and what an operator can do.
import type { ErrorKind } from '../errors.ts'

/** The parts of an error by which its class is recognised. */
export interface Said {
  readonly code: string
  readonly message: string
  /** It ended the connection; while one is being made, it is about the login and its parameters. */
  readonly isFatal: boolean
  /** Postgres names the routine that raised an error, a pooler does not. */
  readonly isPostgres: boolean
}

interface Failure {
  readonly when: (said: Said) => boolean
  readonly kind: ErrorKind
  readonly message: string
  readonly hint: string | ((said: Said) => string)
}

const code = (pattern: RegExp) => (said: Said) => pattern.test(said.code)
/** PgBouncer has one code for nearly everything, Supabase's and Neon's poolers have another. */
const pooler = (words: RegExp) => (said: Said) =>
  !said.isPostgres && /^(08P01|XX000)$/.test(said.code) && words.test(said.message)

const certificateWays: readonly (readonly [RegExp, string])[] = [
  [/EXPIRED|NOT_YET_VALID/, 'It is out of date, or the clock of this machine is wrong.'],
  [
    /ALTNAME/,
    'It is of another host name: use the name that it was made for, or sslmode=verify-ca with sslrootcert.',
  ],
  [
    /./,
    'Add &sslrootcert=/path/to/root.pem with the root certificate of your provider, or use sslmode=require, which encrypts without a check.',
  ],
]

/** In this order: the first that fits. */
export const connectionFailures: readonly Failure[] = [
  {
    when: (said) => parameterIn(said.message) !== undefined && !said.isPostgres,
    kind: 'configuration',
    message: 'the pooler does not take a parameter of DATABASE_URL',
    hint: (said) =>
      `Leave ${parameterIn(said.message)} out of it, and set it for the role instead: \`alter role … set …\`.`,
  },
  {
    when: (said) => said.isFatal && said.isPostgres && /^(22|42704|42601|42602)/.test(said.code),
    kind: 'configuration',
    message: 'Postgres does not take a parameter of DATABASE_URL',
    hint: (said) =>
      `Correct or remove ${/parameter "([a-z_.]{1,60})"/i.exec(said.message)?.[1] ?? 'what Postgres does not know'} behind the ? of DATABASE_URL.`,
  },
  {
    when: code(
      /^ERR_SSL_(WRONG_VERSION|UNSUPPORTED|NO_|.*ALERT_(PROTOCOL|HANDSHAKE|UNKNOWN_CA|ACCESS|CERTIFICATE|BAD_CERT))|^ERR_OSSL|^EPROTO$/,
    ),
    kind: 'configuration',
    message: 'Postgres and this program agree on no encryption',
    hint: 'Does the server want a certificate of the client (sslcert, sslkey), or an old protocol? sslmode=disable in DATABASE_URL goes without encryption.',
  },
  {
    when: code(/CERT|SELF_SIGNED|^UNABLE_TO_|^ERR_TLS_CERT|^HOSTNAME_MISMATCH|^INVALID_(CA|PURPOSE)/),
    kind: 'configuration',
    message: 'the certificate of Postgres does not pass the check',
    hint: (said) => certificateWays.find(([pattern]) => pattern.test(said.code))?.[1] ?? '',
  },
  {
    when: (said) =>
      (said.code === '28000' && /pg_hba\.conf.*(no encryption|ssl off)/is.test(said.message)) ||
      (!said.isPostgres && /^(08P01|XX000|28)/.test(said.code) && insists.test(said.message)),
    kind: 'configuration',
    message: 'Postgres takes no connection without encryption here',
    hint: 'Set sslmode=require in DATABASE_URL (or verify-full with sslrootcert). If the server offers no encryption, its pg_hba.conf has to let this address in.',
  },
  {
    when: (said) => said.code === '28000' && /pg_hba\.conf/i.test(said.message),
    kind: 'configuration',
    message: 'Postgres lets nobody in from this address for this user and database',
    hint: 'Its pg_hba.conf, or the allow-list of your provider, needs an entry. If it allows only connections without encryption, set sslmode=disable in DATABASE_URL.',
  },
  {
    when: pooler(/tenant|endpoint id is not specified|project.*not found|endpoint.*not (be )?found/i),
    kind: 'configuration',
    message: 'the pooler does not know the project in DATABASE_URL',
    hint: 'Copy the address again from your provider: its host and the user (at Supabase `postgres.<project>`) name the project.',
  },
  {
    when: (said) =>
      /^(28|3D000)/.test(said.code) ||
      pooler(/no such (user|database)|does not exist|auth|password|login|not allowed/i)(said),
    kind: 'configuration',
    message: 'Postgres refused the login or does not know the database',
    hint: 'Check user, password and database name in DATABASE_URL.',
  },
  {
    when: code(/^SASL_|^AUTH_TYPE|^MESSAGE_NOT_SUPPORTED$/),
    kind: 'configuration',
    message: 'Postgres asks for a login that this program does not know',
    hint: 'Use a password with scram-sha-256, and check that DATABASE_URL leads to Postgres.',
  },
  {
    when: code(/^25006$/),
    kind: 'transient',
    message: 'Postgres is a standby, on which nothing can be written',
    hint: 'After a failover the address leads to the new primary again. If it stays so, point DATABASE_URL at the primary.',
  },
  {
    when: code(/^53300$/),
    kind: 'transient',
    message: 'Postgres has no connection left',
    hint: 'A run uses a handful. Close others, raise max_connections, or go through a pooler, then run the command again.',
  },
  {
    when: code(/^53/),
    kind: 'transient',
    message: 'Postgres has run out of disk, memory or another resource',
    hint: 'Give it more room, then run the command again.',
  },
  {
    when: (said) =>
      code(
        /^(08|57P0[1-5]|580|58030|25P03|CONNECT|ECONN|ENOTFOUND|EAI_AGAIN|EHOST|ENET|ETIMEDOUT|EPIPE|ERR_SSL)/,
      )(said) ||
      (said.code === 'XX000' && !said.isPostgres),
    kind: 'transient',
    message: 'Postgres cannot be reached',
    hint: 'Check DATABASE_URL and that the database is up, then run the command again.',
  },
  {
    when: code(/^42501$/),
    kind: 'configuration',
    message: 'the database role lacks a privilege',
    hint: 'Grant what docs/configuration.md lists to the role in DATABASE_URL.',
  },
  {
    when: code(/^3F000$/),
    kind: 'configuration',
    message: 'the search path names no schema that exists and that the role may use',
    hint: 'Correct ?schema= in DATABASE_URL, grant usage on the schema, or: alter role … set search_path = public.',
  },
]

const insists = /insecure|sslmode=require|(ssl|tls|encryption) (is )?required|requires? (ssl|tls|encryption)/i

/** A parameter that a pooler names; Neon's adds `in options` and a second sentence. */
function parameterIn(message: string): string | undefined {
  const [, name] =
    /unsupported startup parameter(?: in options)?: ([\w.-]{1,60}?)\.?(?:\s|$)/.exec(message) ?? []
  return name === 'search_path' ? 'schema (search_path)' : name
}
