// The configuration from the outside: what is accepted, what is refused and in which words. Nothing here reads the
// real environment or a real .env: both are given.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import postgres from 'postgres'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { loadConfig, loadDatabase, loadTunnel, readEnvironment, variables } from '../../src/config/config.ts'
import { SyncError } from '../../src/errors.ts'

const key = 'sk_test_Zx81kQpLw0VbNnM3rTy6UeHa'
const valid = { CLERK_SECRET_KEY: key, DATABASE_URL: 'postgres://app:pw@localhost:5432/app' }

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'config-'))
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

const load = (env: Record<string, string | undefined>) => loadConfig(env, directory)

function errorOf(env: Record<string, string | undefined>): SyncError {
  try {
    load(env)
  } catch (error) {
    if (error instanceof SyncError) return error
    throw error
  }
  throw new Error('the configuration was accepted')
}

describe('loadConfig', () => {
  it('fills in every default', () => {
    expect(load({ CLERK_SECRET_KEY: key })).toEqual({
      clerk: {
        secretKey: key,
        apiUrl: 'https://api.clerk.com',
        requestsPer10s: undefined,
        lanes: 8,
        webhookSecrets: [],
        proxy: undefined,
      },
      database: { embedded: true },
      graceMs: 600_000,
      deleteMsMax: 60_000,
      maxDeletes: undefined,
      policy: 'sync',
      schedule: { incremental: '*/5 * * * *', full: '0 * * * *', timezone: 'UTC' },
      http: { host: '127.0.0.1', port: 3000, adminToken: undefined },
      logLevel: 'info',
      warnings: [],
    })
  })

  it('reads every variable', () => {
    const config = load({
      ...valid,
      CLERK_WEBHOOK_SIGNING_SECRET: 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw',
      CLERK_API_URL: 'http://localhost:4000/v1/',
      CLERK_REQUESTS_PER_10S: '20',
      CLERK_LANES: '2',
      SYNC_POLICY: 'upsert-only',
      MAX_DELETES: '0',
      GRACE_SECONDS: '0',
      DELETE_TIMEOUT_SECONDS: '300',
      INCREMENTAL_SCHEDULE: '*/10 * * * * *',
      FULL_SCHEDULE: 'off',
      SCHEDULE_TIMEZONE: 'Europe/Berlin',
      HOST: '0.0.0.0',
      PORT: ' 8080 ',
      ADMIN_TOKEN: '0123456789abcdef',
      LOG_LEVEL: 'silent',
      NODE_ENV: 'production',
    })
    expect(config).toMatchObject({
      clerk: {
        apiUrl: 'http://localhost:4000',
        requestsPer10s: 20,
        lanes: 2,
        webhookSecrets: ['whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'],
        proxy: undefined,
      },
      graceMs: 0,
      deleteMsMax: 300_000,
      maxDeletes: 0,
      policy: 'upsert-only',
      schedule: { incremental: '*/10 * * * * *', full: undefined, timezone: 'Europe/Berlin' },
      http: { host: '0.0.0.0', port: 8080, adminToken: '0123456789abcdef' },
      logLevel: 'silent',
      warnings: ['CLERK_LANES: has no effect yet.', 'ADMIN_TOKEN: has no effect yet.'],
    })
  })

  it('tells all problems at once, each by name', () => {
    const error = errorOf({
      NODE_ENV: 'production',
      CLERK_WEBHOOK_SIGNING_SECRET: 'whsec_abc',
      CLERK_API_URL: 'ftp://x',
      CLERK_LANES: '99',
      PORT: '5abc',
      SYNC_POLICY: 'maybe',
      SCHEDULE_TIMEZONE: 'Mars/Base',
      FULL_SCHEDULE: 'hourly',
      NGROK_DOMAIN: 'https://x.ngrok.app',
    })
    expect(error.kind).toBe('configuration')
    const names = error.message
      .split('\n')
      .slice(1)
      .map((line) => line.split(':')[0])
    expect(names.sort()).toEqual([
      'CLERK_API_URL',
      'CLERK_LANES',
      'CLERK_SECRET_KEY',
      'CLERK_WEBHOOK_SIGNING_SECRET',
      'DATABASE_URL',
      'FULL_SCHEDULE',
      'NGROK_DOMAIN',
      'PORT',
      'SCHEDULE_TIMEZONE',
      'SYNC_POLICY',
    ])
  })

  it('takes an empty value as unset', () => {
    const empty = Object.fromEntries(variables.map(({ name }) => [name, ' ']))
    expect(load({ ...empty, CLERK_SECRET_KEY: key }).http.port).toBe(3000)
    expect(errorOf(empty).message).toContain('CLERK_SECRET_KEY: is not set.')
  })

  it.each([
    ['CLERK_SECRET_KEY', undefined, 'is not set'],
    ['CLERK_SECRET_KEY', 'pk_test_abcdef', 'is the publishable key'],
    ['CLERK_SECRET_KEY', 'whsec_abcdef', 'belongs in CLERK_WEBHOOK_SIGNING_SECRET'],
    ['CLERK_SECRET_KEY', 'sk_test_...', 'is still the placeholder'],
    ['CLERK_SECRET_KEY', 'sk_live_xxxxxxxx', 'is still the placeholder'],
    ['CLERK_SECRET_KEY', 'sk_test_your_secret_key', 'is still the placeholder'],
    ['CLERK_SECRET_KEY', 'sk_test_••••••••', 'is still the placeholder'],
    ['CLERK_SECRET_KEY', `"${key}"`, 'has quotation marks around it'],
    ['CLERK_SECRET_KEY', `${key}\n`, 'has white space or a line break around it'],
    ['CLERK_SECRET_KEY', `${key} ${key}`, 'is not a whole key'],
    ['CLERK_SECRET_KEY', 'abc', 'must begin with sk_test_ or sk_live_'],
    ['CLERK_WEBHOOK_SIGNING_SECRET', 'abc', 'must begin with whsec_'],
    ['CLERK_WEBHOOK_SIGNING_SECRET', 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS', 'is not base64'],
    ['CLERK_SIGNING_SECRET', 'whsec_ab!d', 'is not base64'],
    ['CLERK_API_URL', 'http://api.example.com', 'must be https'],
    ['CLERK_API_URL', 'https://api.clerk.com/v2', 'must be an origin'],
    ['CLERK_API_URL', 'https://user@api.clerk.com', 'must be an origin'],
    ['CLERK_API_URL', 'https://name-1.clerk.accounts.dev', 'is the Frontend API'],
    ['CLERK_API_URL', 'api.clerk.com', 'is not a URL'],
    ['DATABASE_URL', 'mysql://u:p@h/d', 'must begin with postgres:// or postgresql://'],
    ['DATABASE_URL', 'prisma+postgres://accelerate.prisma-data.net/?api_key=k', 'Prisma Accelerate'],
    ['DATABASE_URL', "psql 'postgres://u:p@h/d'", 'has quotation marks'],
    ['DATABASE_URL', 'postgres://u:[YOUR-PASSWORD]@h/d', 'still holds a placeholder'],
    ['DATABASE_URL', 'postgres://u:p@h:99999/d', 'has a port'],
    ['DATABASE_URL', 'postgres://u:p@h/d?sslmode=requried', 'has an unknown sslmode'],
    ['DATABASE_URL', 'postgres://u:p@h/d?sslmode=constructor', 'has an unknown sslmode'],
    ['DATABASE_URL', 'postgres://u:p@h/d?sslmode=verify-full&sslrootcert=/no/such.pem', 'cannot be read'],
    ['DATABASE_URL', 'postgres://u:pa', 'is not a Postgres URL'],
    ['HOST', 'http://localhost', 'is not an address'],
    ['PORT', '0', 'from 1 to 65535'],
    ['PORT', '1e3', 'from 1 to 65535'],
    ['PORT', '0x10', 'from 1 to 65535'],
    ['PORT', '3000.0', 'from 1 to 65535'],
    ['CLERK_REQUESTS_PER_10S', '1001', 'from 1 to 1000'],
    ['CLERK_LANES', '0', 'from 1 to 32'],
    ['MAX_DELETES', '-1', 'from 0'],
    ['GRACE_SECONDS', '86401', 'from 0 to 86400'],
    ['INCREMENTAL_SCHEDULE', '* * * *', 'is not a cron expression'],
    ['FULL_SCHEDULE', '0 0 * * * * *', 'is not a cron expression'],
    ['SCHEDULE_TIMEZONE', 'Berlin', 'is not a time zone'],
    ['SYNC_POLICY', 'Sync', 'Write one of sync, upsert-only'],
    ['ADMIN_TOKEN', 'short', 'at least 16'],
    ['ADMIN_TOKEN', 'sixteen characters', 'no bearer token'],
    ['LOG_LEVEL', 'verbose', 'Write one of trace'],
    ['NGROK_DOMAIN', 'localhost', 'bare host name'],
    ['NGROK_AUTHTOKEN', '...', 'placeholder'],
  ])('refuses %s=%s', (name, value, words) => {
    const error = errorOf({ ...valid, [name]: value })
    expect(error.message.split('\n')[1]).toMatch(new RegExp(`^${name}: .*\\. ?.+\\.`, 's'))
    expect(error.message).toContain(words)
    expect(error.facts).toEqual({ problems: 1 })
  })

  it.each([
    ['https://api.clerk.com', 'https://api.clerk.com'],
    ['https://api.clerk.com/', 'https://api.clerk.com'],
    ['https://api.clerk.com/v1', 'https://api.clerk.com'],
    ['https://api.clerk.com/v1//', 'https://api.clerk.com'],
    ['http://127.0.0.1:8787', 'http://127.0.0.1:8787'],
    ['http://[::1]:8787/v1', 'http://[::1]:8787'],
  ])('reads CLERK_API_URL=%s as %s', (given, origin) => {
    expect(load({ ...valid, CLERK_API_URL: given }).clerk.apiUrl).toBe(origin)
  })

  it.each(['http://127.0.0.1.example.com', 'http://localhost.example.com', 'http://0.0.0.0:1'])(
    'sends no key in the clear to %s',
    (url) => {
      expect(errorOf({ ...valid, CLERK_API_URL: url }).message).toContain('must be https')
    },
  )

  it('leads through a proxy under either way of writing its name, with or without a scheme', () => {
    const proxyOf = (env: Record<string, string>) => load({ ...valid, ...env }).clerk.proxy
    const url = 'http://proxy.example.com:3128'
    expect(proxyOf({ HTTPS_PROXY: url })).toEqual({ url, noProxy: '' })
    expect(proxyOf({ https_proxy: 'proxy.example.com:3128', no_proxy: 'a.test' })).toEqual({
      url,
      noProxy: 'a.test',
    })
    expect(proxyOf({ HTTPS_PROXY: 'http://other.example.com', https_proxy: url })?.url).toBe(url)
    expect(proxyOf({ HTTPS_PROXY: url, CLERK_API_URL: 'http://127.0.0.1:4010' })).toBeUndefined()
    expect(proxyOf({ HTTPS_PROXY: ' ' })).toBeUndefined()
    for (const wrong of ['socks5://proxy.example.com:1080', 'http://']) {
      expect(errorOf({ ...valid, HTTPS_PROXY: wrong }).message).toContain('HTTPS_PROXY: is not an HTTP proxy')
    }
  })

  it('takes the signing secret under either name, and refuses two that differ', () => {
    const [one, two] = ['whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', 'whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD']
    expect(load({ ...valid, CLERK_SIGNING_SECRET: one }).clerk.webhookSecrets).toEqual([one])
    const same = { ...valid, CLERK_SIGNING_SECRET: one, CLERK_WEBHOOK_SIGNING_SECRET: one }
    expect(load(same).clerk.webhookSecrets).toEqual([one])
    expect(errorOf({ ...same, CLERK_WEBHOOK_SIGNING_SECRET: two }).message).toContain('Remove one of the two')
    const both = load({ ...valid, CLERK_WEBHOOK_SIGNING_SECRET: `${one}, ${two}` })
    expect(both.clerk.webhookSecrets).toEqual([one, two])
    const broken = errorOf({ ...valid, CLERK_WEBHOOK_SIGNING_SECRET: `${one},whsec_x` })
    expect(broken.message).toContain('CLERK_WEBHOOK_SIGNING_SECRET: ')
    expect(broken.message).not.toContain('MfKQ9r8')
  })

  it('never falls back to the embedded database in production or with a live key', () => {
    expect(errorOf({ CLERK_SECRET_KEY: key, NODE_ENV: 'production' }).message).toContain('DATABASE_URL')
    expect(errorOf({ CLERK_SECRET_KEY: key.replace('test', 'live') }).message).toContain('DATABASE_URL')
  })

  it('names the sandbox where no key is set, and only there', () => {
    expect(errorOf({}).message).toContain('`npm run sandbox`')
    expect(errorOf({ CLERK_SECRET_KEY: 'pk_test_abcdef' }).message).not.toContain('sandbox')
  })

  it('hints at names that look like ours, also where the right one is missing', () => {
    expect(
      load({
        ...valid,
        SYNC_POLCY: 'upsert-only',
        MAX_DELTEES: '1',
        'clerk-lanes': '1',
        NEXT_PUBLIC_CLERK_SECRET_KEY: key,
      }).warnings,
    ).toEqual([
      'SYNC_POLCY: is not read. Did you mean SYNC_POLICY?',
      'MAX_DELTEES: is not read. Did you mean MAX_DELETES?',
      'clerk-lanes: is not read. Did you mean CLERK_LANES?',
      expect.stringContaining('NEXT_PUBLIC_CLERK_SECRET_KEY: bundlers publish'),
    ])
    expect(errorOf({ CLERK_API_KEY: key }).message).toContain(
      'CLERK_API_KEY: is not read. Did you mean CLERK_SECRET_KEY?',
    )
  })

  it('says nothing about the variables of an ordinary machine', () => {
    const ordinary = {
      HOME: '/',
      PATH: '/',
      POSTGRES_URL: 'x',
      NODE_PATH: '',
      CLERK_PUBLISHABLE_KEY: 'pk',
      HOSTS: 'x',
      port: '1',
    }
    expect(load({ ...ordinary, ...valid }).warnings).toEqual([])
  })
})

describe('secrets', () => {
  // Signs that have a meaning in URLs, .env files and quotes, among letters that spell no message.
  const secret = fc
    .array(fc.constantFrom(...'QXZJqxzj689@:/?#&=%+"\'[]. '), { minLength: 6, maxLength: 24 })
    .map((signs) => signs.join(''))
  const shapes = [
    (s: string) => s,
    (s: string) => `sk_test_${s}`,
    (s: string) => `pk_live_${s}`,
    (s: string) => `whsec_${s}`,
    (s: string) => `"${s}"`,
    (s: string) => `${s}\n`,
    (s: string) => `postgres://app:${s}@db.example.com:5432/app`,
    (s: string) => `postgres://app:${encodeURIComponent(s)}@db.example.com/app?sslmode=require&foo=${s}`,
    (s: string) => `postgres://${s}`,
    (s: string) => `https://${s}@api.clerk.com/${s}`,
  ]

  it('appear in no message, hint or warning, whatever line they stand in', () => {
    fc.assert(
      fc.property(
        fc.record(
          Object.fromEntries(
            variables.map(({ name }) => [name, fc.tuple(secret, fc.constantFrom(...shapes))]),
          ),
        ),
        fc.subarray(variables.map(({ name }) => name)),
        (given, names) => {
          const env: Record<string, string> = { ...valid }
          const secrets: string[] = []
          for (const name of names) {
            const [value, catalog] = given[name] ?? ['', String]
            env[name] = catalog(value)
            secrets.push(value)
          }
          let said: string
          try {
            said = load(env).warnings.join('\n')
          } catch (error) {
            expect(error).toBeInstanceOf(SyncError)
            said = [error, (error as SyncError).stack, (error as SyncError).hint, JSON.stringify(error)].join(
              '\n',
            )
            expect((error as SyncError).cause).toBeUndefined()
          }
          for (const value of secrets) {
            for (let at = 0; at + 6 <= value.length; at++) expect(said).not.toContain(value.slice(at, at + 6))
          }
        },
      ),
      { numRuns: 300 },
    )
  })
})

describe('DATABASE_URL', () => {
  /** What the driver makes of it, without connecting. */
  function driverOf(url: string) {
    const { database, warnings } = load({ CLERK_SECRET_KEY: key, DATABASE_URL: url })
    if (!('url' in database)) throw new Error('embedded')
    const { options } = postgres(database.url, { ...database.options })
    return { ...options, connection: { ...options.connection, application_name: undefined }, warnings }
  }
  const dropped = (name: string) => `DATABASE_URL: the parameter ${name} is not used and was dropped.`

  it.each([
    [
      'Neon',
      'postgresql://app:npg_pw@ep-a-1-pooler.eu-central-1.aws.neon.tech/neondb?sslmode=require&channel_binding=require',
      { host: ['ep-a-1-pooler.eu-central-1.aws.neon.tech'], database: 'neondb', ssl: 'require' },
      {},
      ['channel_binding'],
    ],
    [
      'Neon, endpoint in the options',
      'postgres://app:pw@ep.neon.tech/neondb?options=endpoint%3Dep-1&sslmode=verify-full',
      { ssl: 'verify-full' },
      { options: 'endpoint=ep-1' },
      [],
    ],
    [
      'Supabase, as Prisma takes it',
      'postgresql://postgres.ref:pw@aws-0-eu.pooler.supabase.com:6543/postgres?pgbouncer=true&connection_limit=1&pool_timeout=20',
      { port: [6543], user: 'postgres.ref', ssl: 'prefer' },
      {},
      ['pgbouncer', 'connection_limit', 'pool_timeout'],
    ],
    ['Prisma, public', 'postgresql://u:p@localhost:5432/d?schema=public', { ssl: 'prefer' }, {}, []],
    ['Prisma, a schema', 'postgresql://u:p@localhost/d?schema=My%20app', {}, { search_path: '"My app"' }, []],
    [
      'settings of the server',
      'postgres://u:p@h/d?statement_timeout=5000&app.tenant=t1&TimeZone=UTC&options=-c%20role%3Dx',
      {},
      { statement_timeout: '5000', 'app.tenant': 't1', TimeZone: 'UTC', options: '-c role=x' },
      [],
    ],
    [
      'settings of the driver',
      'postgres://u:p@h/d?connect_timeout=7&idle_timeout=x',
      { connect_timeout: 7 },
      {},
      ['idle_timeout'],
    ],
    [
      'what the tool sets itself',
      'postgres://u:p@h/d?max=50&prepare=true&fetch_types=false',
      { max: 10 },
      {},
      ['max', 'prepare', 'fetch_types'],
    ],
    [
      'names of Object.prototype',
      'postgres://u:p@h/d?constructor=1&toString=2',
      {},
      {},
      ['constructor', 'toString'],
    ],
    ['any server', 'postgres://u:p@h/d?target_session_attrs=any&client_encoding=UTF8', {}, {}, []],
    [
      'a writable server',
      'postgres://u:p@a:1,b:2/d?target_session_attrs=read-write',
      { host: ['a', 'b'], port: [1, 2], target_session_attrs: 'read-write' },
      {},
      [],
    ],
    ['no sslmode', 'postgres://u:p@h/d', { ssl: 'prefer' }, {}, []],
    ['an empty sslmode', 'postgres://u:p@h/d?sslmode=', { ssl: 'prefer' }, {}, []],
    ['sslmode=disable', 'postgres://u:p@h/d?sslmode=disable', { ssl: false }, {}, []],
    ['sslmode=allow', 'postgres://u:p@h/d?sslmode=allow', { ssl: 'prefer' }, {}, []],
    ['sslmode=prefer', 'postgres://u:p@h/d?sslmode=prefer', { ssl: 'prefer' }, {}, []],
    ['sslmode=no-verify', 'postgres://u:p@h/d?sslmode=no-verify', { ssl: 'require' }, {}, []],
    ['ssl=true', 'postgres://u:p@h/d?ssl=true', { ssl: 'verify-full' }, {}, []],
    ['sslrootcert=system', 'postgres://u:p@h/d?sslrootcert=system', { ssl: 'verify-full' }, {}, []],
    [
      'sslaccept=strict',
      'postgres://u:p@h/d?sslmode=require&sslaccept=strict',
      { ssl: 'verify-full' },
      {},
      [],
    ],
    ['IPv6', 'postgres://u:p@[::1]:5433/d', { host: ['::1'], port: [5433] }, {}, []],
    [
      'a socket, libpq',
      'postgres://u:p@/d?host=/var/run/postgresql&sslmode=require',
      { path: '/var/run/postgresql/.s.PGSQL.5432', ssl: false },
      {},
      [],
    ],
    [
      'a socket in the host',
      'postgres://u:p@%2Ftmp:5433/d',
      { path: '/tmp/.s.PGSQL.5433', ssl: false },
      {},
      [],
    ],
    [
      'Cloud SQL',
      'postgres://u:p@localhost/d?host=/cloudsql/a:eu:b',
      { path: '/cloudsql/a:eu:b/.s.PGSQL.5432' },
      {},
      [],
    ],
    [
      'everything in the query',
      'postgresql:///?host=db&port=6000&user=u&password=p%26q&dbname=d',
      { host: ['db'], port: [6000], user: 'u', pass: 'p&q', database: 'd' },
      {},
      [],
    ],
    [
      'a name that needs encoding',
      'postgres://u%40x:p@h/my%20db',
      { user: 'u@x', database: 'my db' },
      {},
      [],
    ],
  ])('of %s reaches the driver as it was meant', (_case, url, options, connection, names) => {
    const driver = driverOf(url)
    expect(driver).toMatchObject(options)
    expect(driver.connection).toEqual({ ...connection, application_name: undefined })
    expect(driver.warnings).toEqual(names.map(dropped))
  })

  it.each([
    'p@ss',
    'p#ss',
    'p/ss',
    'p?ss',
    'p%ss',
    'p:ss',
    'a@b/c?d#e',
    'p?x=1&y',
    'a@b?cdefgh=1',
    '%zz',
    'ü€',
    '100%',
  ])('may hold the password %s as it is', (password) => {
    const driver = driverOf(`postgres://app:${password}@db.example.com:5432/app?sslmode=require`)
    expect(driver).toMatchObject({
      user: 'app',
      pass: password,
      host: ['db.example.com'],
      database: 'app',
      ssl: 'require',
    })
  })

  it('may hold any password, percent-encoded', () => {
    const wellFormed = fc
      .string({ unit: 'binary', minLength: 1, maxLength: 20 })
      .filter((text) => !/^(\[.*\]|<.*>|\*{3,}|\.{3}|x{4,})$/.test(text))
    fc.assert(
      fc.property(wellFormed, (password) => {
        const driver = driverOf(`postgres://app:${encodeURIComponent(password)}@h:5432/app`)
        expect(driver).toMatchObject({ pass: password, host: ['h'], database: 'app' })
      }),
      { numRuns: 200 },
    )
  })

  it('with a root certificate checks the server against it, the name only under verify-full', () => {
    writeFileSync(join(directory, 'ca.pem'), 'PEM')
    const tls = (query: string) => driverOf(`postgres://u:p@h/d?${query}&sslrootcert=ca.pem`).ssl as unknown
    expect(tls('sslmode=verify-full')).toEqual({ ca: 'PEM', rejectUnauthorized: true })
    const anyName = { ca: 'PEM', rejectUnauthorized: true, checkServerIdentity: expect.any(Function) }
    expect(tls('sslmode=verify-ca')).toEqual(anyName)
    expect(tls('sslmode=require')).toEqual(anyName)
    expect(tls('sslmode=disable')).toBe(false)
    expect(driverOf('postgres://u:p@h/d?sslmode=verify-ca').ssl).toBe('verify-full')
  })
})

describe('readEnvironment', () => {
  it('lets .env.local beat .env, and the environment beat both, also with nothing', () => {
    writeFileSync(join(directory, '.env'), 'A=env\nB=env\nC=env\nD=env\nE="a # b"\r\n')
    writeFileSync(join(directory, '.env.local'), '\ufeffB=local\nC=local\nD=local\n')
    expect(readEnvironment(directory, { C: 'real', D: '', X: undefined })).toEqual({
      A: 'env',
      B: 'local',
      C: 'real',
      D: '',
      E: 'a # b',
    })
  })

  it('refuses a line that is no assignment along with the other problems, by file and line', () => {
    writeFileSync(join(directory, '.env'), '   \nSYNC_POLICY=upsert-only\n  # x\nGRACE_SECONDS=1\n')
    expect(load(valid)).toMatchObject({ policy: 'upsert-only', graceMs: 1000 })
    writeFileSync(join(directory, '.env.local'), 'LOG_LEVEL: info\nSYNC_POLICY=sync\n')
    expect(errorOf({ ...valid, PORT: 'x' }).message).toMatch(
      /^\.env\.local: line 1 is no assignment\.[\s\S]*PORT: /m,
    )
    const readers = [
      loadDatabase,
      loadTunnel,
      (env: object, from: string) => readEnvironment(from, { ...env }),
    ]
    for (const reader of readers)
      expect(() => reader(valid, directory)).toThrow(/\.env\.local: line 1 is no assignment/)
  })

  it('hands on what a file says that other readers understand otherwise', () => {
    const env = { CLERK_SECRET_KEY: key, NGROK_AUTHTOKEN: '2abcDEF_x', NGROK_DOMAIN: 'a.ngrok-free.app' }
    writeFileSync(join(directory, '.env'), 'DATABASE_URL=postgres://app:pa\\$w@localhost/app\n')
    const said = expect.stringMatching(/^DATABASE_URL: in line 1 of \.env the \$ is taken literally/)
    for (const loader of [loadConfig, loadDatabase, loadTunnel]) {
      expect(loader(env, directory).warnings).toEqual([said])
    }
  })

  it('does without files', () => {
    expect(readEnvironment(join(directory, 'nowhere'), { A: '1' })).toEqual({ A: '1' })
  })

  it('names a file that is a directory or not text, along with the other problems', () => {
    mkdirSync(join(directory, '.env'))
    writeFileSync(join(directory, '.env.local'), Buffer.from('PORT=1', 'utf16le'))
    expect(() => readEnvironment(directory, {})).toThrow(
      /\.env: is a directory.*\n\.env\.local: is not UTF-8/,
    )
    expect(errorOf({ ...valid, PORT: 'x' }).message).toMatch(/\.env: [\s\S]*\.env\.local: [\s\S]*PORT: /)
  })
})

describe('loadTunnel', () => {
  it('needs the token alone, no key of Clerk', () => {
    const tunnel = { authtoken: '2abcDEF_x', domain: 'a.ngrok-free.app', port: 3000, warnings: [] }
    expect(loadTunnel({ NGROK_AUTHTOKEN: '2abcDEF_x', NGROK_DOMAIN: 'a.ngrok-free.app' }, directory)).toEqual(
      tunnel,
    )
    expect(() => loadTunnel({ PORT: 'x' }, directory)).toThrow(/PORT: /)
    expect(() => loadTunnel({}, directory)).toThrow(/NGROK_AUTHTOKEN: is not set/)
  })
})

describe('.env.example', () => {
  const text = readFileSync(new URL('../../.env.example', import.meta.url), 'utf8')
  const lines = [...text.matchAll(/^(?:# )?([A-Z][A-Z0-9_]+)=(.*)$/gm)].map(([, name = '', value = '']) => ({
    name,
    value,
  }))

  it('lists exactly the variables, each with its default', () => {
    expect(lines.map(({ name }) => name).sort()).toEqual(variables.map(({ name }) => name).sort())
    for (const { name, default: fallback } of variables) {
      if (fallback !== undefined) expect(lines).toContainEqual({ name, value: fallback })
    }
  })

  it('holds placeholders for secrets that are refused', () => {
    const env = Object.fromEntries(lines.map(({ name, value }) => [name, value]))
    const refused = errorOf(env)
      .message.split('\n')
      .slice(1)
      .map((line) => line.split(':')[0])
    expect(refused.sort()).toEqual(
      variables
        .filter(({ secret }) => secret)
        .map(({ name }) => name)
        .sort(),
    )
  })
})

it('names no default that loadConfig does not use', () => {
  const defaults = Object.fromEntries(variables.map((variable) => [variable.name, variable.default]))
  expect(load({ ...defaults, ...valid })).toEqual(load(valid))
})
